"""Trainings are started, watched, stopped and gone on with in a browser."""

import pytest
from browsing import fill_steps, runs, tab, until

from pairedit.files import locate
from pairedit.studio.shelf import is_at_work

pytestmark = pytest.mark.browser


def drop(page, *names, broken=None):
    """Choose own pictures and drop the shipped pairs of smiles on both sides."""
    page.get_by_label("Learn from").click()
    page.get_by_role("option", name="my own pictures").click()
    folder = locate("pkg://data/smile")
    before = [str(broken)] if broken else [str(folder / "source" / name) for name in names]
    page.locator("#before input[type=file]").set_input_files(before)
    page.locator("#after input[type=file]").set_input_files(
        [str(folder / "target" / name) for name in names]
    )


def test_a_broken_upload_is_said_in_words(opened, tmp_path):
    page = opened()
    tab(page, "Train")
    (tmp_path / "person-21.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    drop(page, "person-21.png", broken=tmp_path / "person-21.png")
    problem = page.locator("#judged .problem")
    problem.wait_for()
    assert "person-21.png (before): not a readable" in problem.inner_text()
    page.get_by_role("button", name="Start the training").click()
    page.locator("#train-said .problem").wait_for()


def test_smile_is_trained_from_dropped_files_watched_reloaded_and_queued(site, opened):
    page, second = opened(), opened()
    tab(page, "Train")
    tab(second, "Train")
    drop(page, "person-21.png", "person-22.png", "person-23.png")
    page.locator("#judged").get_by_text("your pairs: 3 pairs.").wait_for()
    fill_steps(page, 40)
    page.get_by_role("button", name="Start the training").click()
    page.locator("#train-said").get_by_text("It starts").wait_for()
    # Another one waits for its turn, and says so; a second tab sees both.
    page.get_by_role("button", name="Start the training").click()
    page.locator("#train-said").get_by_text("waits for 1 other.").wait_for()
    status = second.locator("#status")
    status.get_by_text("Waiting for their turn").wait_for()
    far = set()
    until(lambda: far.add(step(status)) or len(far - {None}) >= 2)
    page.reload()
    page.locator("#status progress").wait_for()  # the tab that was open is open again
    first, other = sorted(run.run for run in runs(site).values())[:2]
    until(lambda: [run for run in runs(site).values() if run.run == first and run.report])
    assert list(first.rglob("previews/*.png"))
    # Then the other one has its turn, by itself.
    until(lambda: is_at_work(other))
    page.get_by_role("button", name="Stop and save").click()
    until(lambda: is_at_work(other) is None)
    (done,) = (run for run in runs(site).values() if run.run == first)
    assert (done.state, done.step) == ("done", 40)
    assert done.slider.is_file()


def test_a_training_is_stopped_and_goes_on_from_the_library(site, opened):
    page = opened()
    tab(page, "Train")
    page.locator("#judged").get_by_text("smile: 3 pairs.").wait_for()
    before = set(runs(site))
    fill_steps(page, 400)  # long enough to be stopped, however busy the machine is
    page.get_by_role("button", name="Start the training").click()
    page.locator("#status").get_by_text("steps a second").wait_for()
    page.get_by_role("button", name="Stop and save").click()
    page.locator("#status").get_by_text("It can go on").wait_for()
    (key,) = set(runs(site)) - before
    run = runs(site)[key]
    assert (run.state, is_at_work(run.run)) == ("stopped", None)
    # It has no preview yet, but it is among the others.
    tab(page, "Library")
    page.locator("#runs").get_by_text("stopped").first.wait_for()
    page.locator("#runs button", has_text="stopped").first.click()
    page.get_by_role("button", name="Go on training").click()
    page.locator("#status").get_by_text("steps a second").wait_for()
    until(lambda: runs(site)[key].step > run.step)
    page.get_by_role("button", name="Stop and save").click()
    until(lambda: is_at_work(run.run) is None)


def step(status):
    """Read the step that the page shows; None before the first."""
    words = status.inner_text()
    return (
        words.split("Step ")[1].split()[0]
        if "Step " in words and "steps a second" in words
        else None
    )
