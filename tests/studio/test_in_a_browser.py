"""The studio as people use it: in a real browser, on flux-mini."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from pairedit.files import locate
from pairedit.studio.shelf import SLIDER, Shelf, is_at_work

pytestmark = pytest.mark.browser

ROW = "#{} pairedit-row[ready]"
# Whether a row has so many pictures, and nothing of it is rendered any more.
WHOLE = """([place, count]) => {
  const row = document.querySelector(`#${place} pairedit-row[ready]`);
  const at_work = document.querySelector(`#${place}-said`)?.textContent.includes("Rendering");
  if (!row || at_work) return false;
  return JSON.parse(row.getAttribute("data")).panes.every((p) => p.pictures.length >= count);
}"""
# How far the shown picture is from a first one, mean over values, 0 to 255.
SHOWN = """host => {
  const canvas = host.shadowRoot.querySelector("canvas");
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""


def row_of(page, place="play", count=7):
    """Wait for a row of so many pictures."""
    page.wait_for_function(WHOLE, arg=[place, count])
    return page.locator(ROW.format(place))


def at(row):
    return [float(part) for part in row.get_attribute("data-at").split()]


def away(one, other):
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def until(true, seconds=240):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def tab(page, name):
    page.get_by_role("tab", name=name).click()


def runs(site):
    return Shelf(site.outputs).runs()


def test_the_first_row_ships_and_the_next_is_rendered(opened):
    page = opened()
    row = page.locator(ROW.format("play"))
    row.wait_for()
    row.locator("input").first.focus()
    page.keyboard.press("ArrowLeft")
    assert at(row)[0] < 1
    ships = page.locator("#play-said").get_by_text("These pictures ship with the slider.")
    ships.wait_for()
    row_of(page)
    row.locator("input").first.focus()
    page.keyboard.press("End")
    assert at(row) == [2]
    page.get_by_role("button", name="Next person").click()
    page.wait_for_function(
        "document.querySelector('#play pairedit-row[ready]')?.getAttribute('data')"
        ".includes('seed000001')"
    )
    row.locator("input").first.focus()  # the rest of the row comes while one drags
    page.keyboard.press("Home")
    row_of(page)
    assert ships.count() == 0
    row.locator("input").first.focus()
    page.keyboard.press("Home")
    assert at(row) == [-1]


def test_the_picture_follows_the_mouse_and_nothing_is_asked_for(opened):
    page = opened()
    row = row_of(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    until(lambda: asked.clear() or page.wait_for_timeout(1500) or not asked)
    row.locator("input").first.scroll_into_view_if_needed()
    box = row.locator("input").first.bounding_box()
    y = box["y"] + box["height"] / 2
    places = [box["x"] + box["width"] * share for share in (0.34, 0.5, 0.66, 0.83, 0.99)]
    page.mouse.move(places[0], y)
    page.mouse.down()
    seen, shown = [], []
    for x in places:
        page.mouse.move(x, y, steps=6)
        seen.append(at(row)[0])
        shown.append(row.evaluate(SHOWN))
    page.mouse.up()
    assert seen == [0, 0.5, 1, 1.5, 2]
    distances = [away(picture, shown[0]) for picture in shown]
    assert distances == sorted(set(distances))
    assert asked == []


def test_keys_touch_the_original_the_map_and_people(opened):
    page = opened(390, 800, has_touch=True)
    row = row_of(page)
    row.locator("input").first.focus()
    page.keyboard.press("Home")
    assert at(row) == [-1]
    page.keyboard.press("End")
    assert at(row) == [2]
    assert row.locator("output").inner_text() == "+2"
    page.keyboard.down("o")
    assert at(row) == [0]
    page.keyboard.up("o")
    assert at(row) == [2]
    there = row.evaluate(SHOWN)
    row.get_by_role("button", name="Map of changes").click()
    assert away(row.evaluate(SHOWN), there) > 5
    assert "differs by" in row.locator(".said").inner_text()
    assert "of its range" in row.locator(".said").inner_text()
    row.get_by_role("button", name="Map of changes").click()
    row.locator("canvas").scroll_into_view_if_needed()
    box = row.locator("canvas").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.34, box["y"] + box["height"] / 2)
    assert at(row) == [0]
    person = row.evaluate(SHOWN)
    row.locator("input").first.focus()
    page.keyboard.press("ArrowDown")
    until(lambda: row.count() == 1 and away(row.evaluate(SHOWN), person) > 1)
    assert page.get_by_label("Person (seed)").input_value() == "1"
    assert at(row) == [0]
    # All of it is there again after a reload.
    row_of(page)
    page.reload()
    row = row_of(page)
    assert page.get_by_label("Person (seed)").input_value() == "1"
    assert at(row) == [0]


def test_more_like_this_renders_finer_scales(opened):
    page = opened()
    row = row_of(page)
    row.locator("input").first.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert at(row) == [1]
    page.get_by_role("button", name="More like this").click()
    row_of(page, count=13)
    row.locator("input").first.focus()
    assert at(row) == [1]
    page.keyboard.press("ArrowRight")
    assert at(row) == [1.125]


def test_two_sliders_give_a_pad(opened):
    page = opened()
    row_of(page)
    page.get_by_label("Second slider").click()
    page.get_by_role("option", name="glasses").click()
    page.locator("#play pairedit-row .two").wait_for()
    row = row_of(page, count=25)
    row.locator("canvas").scroll_into_view_if_needed()
    box = row.locator("canvas").bounding_box()
    page.mouse.click(box["x"] + 9, box["y"] + 9)  # its corners are round
    corner = row.evaluate(SHOWN)
    assert at(row) == [-0.5, 1.5]
    page.mouse.click(box["x"] + box["width"] - 9, box["y"] + 9)
    assert at(row) == [1.5, 1.5]
    assert away(row.evaluate(SHOWN), corner) > 1
    row.locator(".pad").scroll_into_view_if_needed()
    box = row.locator(".pad").bounding_box()
    page.mouse.move(box["x"] + 9, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + 9, box["y"] + box["height"] - 9, steps=4)
    assert at(row) == [-0.5, -0.5]
    page.mouse.up()


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


def fill_steps(page, steps):
    """Write the number of steps, and wait until the page has taken it."""
    field = page.locator("#train-steps :is(input, textarea)")
    if not field.is_visible():
        page.locator("#train-more .label-wrap").click()
    field.fill(str(steps))
    field.press("Tab")
    command = page.locator("#train-command .cm-content")
    until(lambda: f"steps={steps}" in command.inner_text())


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


@pytest.fixture
def trained(site):
    """A training that has ended: its folder, with the sliders that ship."""
    place = site.outputs / "train" / "first"
    for name in ("age", "glasses"):
        (place / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(locate(f"pkg://data/sliders/{name}.safetensors"), place / name / SLIDER)
        measures = {"target": [0, 0.5], "image change": [0, 0.14]}
        report = {"verdict": "works", "scales": [0, 0.6], "measures": measures}
        (place / name / "report.json").write_text(json.dumps(report))
    config = {"datasets": {"age": {}, "glasses": {}}, "steps": 150, "model": {"name": "flux-mini"}}
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    (place / "overrides.yaml").write_text('["dataset=[age,glasses]"]')
    return place


def test_a_photograph_is_edited(opened, trained):
    page = opened()
    tab(page, "Photograph")
    more = page.get_by_role("button", name="More like this").locator("visible=true")
    page.locator("#photograph").wait_for()
    assert more.count() == 0  # there is nothing yet of which there could be more
    photo = sorted(Path(locate("pkg://data/real")).glob("*.png"))[0]
    page.locator("#photograph input[type=file]").set_input_files(str(photo))
    page.locator("#quality").get_by_text("dB against the photograph").wait_for()
    row = row_of(page, "photo")
    assert more.count() == 1
    row.locator("input").first.focus()
    page.keyboard.press("End")
    with page.expect_download() as download:
        row.get_by_role("link", name="Save the picture").click()
    with Image.open(download.value.path()) as image:
        assert "lora.0.scale" in image.text
        assert image.text["image"].endswith(".png")


def test_a_lora_is_downloaded_compared_and_thrown_away(site, opened, trained, tmp_path):
    page = opened()
    tab(page, "Library")
    page.locator("#runs button", has_text="age · works").first.click()
    page.locator("#about table").wait_for()
    page.get_by_label("Layout").click()
    page.get_by_role("option", name="kohya").click()
    page.get_by_role("button", name="Make the files").click()
    link = page.locator("#files a").first
    link.wait_for()
    assert "ComfyUI has no flux-mini" in page.locator("#files-said").inner_text()
    with page.expect_download() as download:
        link.click()
    path = tmp_path / "taken.safetensors"
    download.value.save_as(path)
    words = [f"lora={path}", "seeds=[0]", "scales=[0,0.4]", f"hydra.run.dir={tmp_path}/gen"]
    subprocess.run(
        [sys.executable, "-m", "pairedit", "gen", "device=cpu", *words], check=True, cwd=tmp_path
    )
    assert (tmp_path / "gen" / "sheet.png").is_file()
    assert list((site.outputs / "studio" / "exports").rglob("*-workflow.json"))
    page.get_by_label("Compare with").click()
    page.get_by_role("option", name="glasses · works").first.click()
    assert row_of(page, "compare").locator("canvas").count() == 2
    page.get_by_role("button", name="Play with it").locator("visible=true").click()
    page.locator("#play-slider").wait_for()
    chosen = page.get_by_label("Slider", exact=True).locator("visible=true")
    until(lambda: chosen.input_value().startswith("age, "))
    row_of(page)
    tab(page, "Library")
    page.locator("#runs button", has_text="age · works").first.click()
    page.get_by_role("button", name="Move to the trash").click()
    page.get_by_role("button", name="Really move it").click()
    page.locator("#library-said").get_by_text("trash").wait_for()
    assert not (trained / "age").exists()
    assert (trained / "glasses").is_dir()
    assert list((site.outputs / "trash").rglob("age/semantic.safetensors"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1600])
def test_every_tab_can_be_read(opened, width, scheme):
    page = opened(width, 900, color_scheme=scheme)
    for name in ("Play", "Train", "Photograph", "Library"):
        more = page.get_by_role("tab", name=name)
        more.click()
        page.wait_for_timeout(1200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        # Colours fade in.
        until(lambda: page.evaluate(CONTRAST) == [] or page.wait_for_timeout(500), 20)


# Texts whose contrast with what is behind them is less than WCAG's AA asks for.
CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return text.startsWith("color(srgb") ? found.map((v, k) => (k < 3 ? 255 * v : v)) : found;
  };
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement ?? at.getRootNode().host) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a > 0) layers.push([r, g, b, a]);
      if (a === 1) break;
    }
    const over = (under, [r, g, b, a]) => [r, g, b].map((v, k) => v * a + under[k] * (1 - a));
    return layers.reverse().reduce(over, [255, 255, 255]);
  };
  const poor = [];
  const look = (root) => {
    for (const node of root.querySelectorAll("*")) {
      if (node.shadowRoot) look(node.shadowRoot);
      const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
      const seen = { opacityProperty: true, visibilityProperty: true };
      if (!own || !node.checkVisibility(seen)) continue;
      if (node.closest("[disabled], [aria-hidden=true], style, script")) continue;
      if (!node.getClientRects().length) continue;
      const style = getComputedStyle(node), [r, g, b, a = 1] = parse(style.color);
      const under = behind(node), over = [r, g, b].map((v, k) => v * a + under[k] * (1 - a));
      const [low, high] = [light(under), light(over)].sort((x, y) => x - y);
      const ratio = (high + 0.05) / (low + 0.05), size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.7 && Number(style.fontWeight) >= 700);
      if (ratio < (large ? 3 : 4.5))
        poor.push(`${node.tagName} ${node.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
    }
  };
  look(document);
  return poor;
}"""


def test_what_is_not_for_others_is_refused(site):
    assert site.ask("/") == 200
    for path in ("/etc/hosts", f"{site.folder}/studio.log", f"{site.outputs}/../studio.log"):
        assert site.ask(f"/gradio_api/file={path}") in (403, 404)
    assert site.ask("/gradio_api/file=http://127.0.0.1:1/x") == 403
    assert site.ask("/", Host="evil.example") == 403
    assert site.ask("/gradio_api/queue/join", data=b"{}", Origin="http://evil.example") == 403
    assert site.ask("/gradio_api/upload", data=b"x", Content_Length=str(2**40)) == 413


def test_names_of_uploads_are_no_paths(site):
    lines = [
        "--x",
        'Content-Disposition: form-data; name="files"; filename="../../../../out.png"',
        "Content-Type: image/png",
        "",
        "x",
        "--x--",
        "",
    ]
    kind = "multipart/form-data; boundary=x"
    assert (
        site.ask("/gradio_api/upload", data="\r\n".join(lines).encode(), Content_Type=kind) == 200
    )
    (found,) = site.folder.rglob("out.png")
    assert found.is_relative_to(site.outputs / "studio" / "uploads")


def test_a_page_for_others_asks_for_the_password(tmp_path, chromium):
    from conftest import Site

    site = Site(tmp_path, "host=0.0.0.0")
    site.start()
    try:
        password = site.log().split("password: ")[1].split()[0]
        assert site.ask("/") == 401
        context = chromium.new_context(http_credentials={"username": "me", "password": password})
        page = context.new_page()
        page.goto(site.url)
        page.get_by_role("tab", name="Play").wait_for()
        context.close()
    finally:
        site.stop()


@pytest.mark.parametrize("sigint", [signal.SIG_DFL, signal.SIG_IGN])
def test_ctrl_c_is_in_the_exit_code(tmp_path, sigint):
    from conftest import Site

    site = Site(tmp_path)
    site.start(sigint)
    assert site.stop() == 128 + signal.SIGINT


def test_a_killed_server_loses_no_training(tmp_path, chromium):
    from conftest import Site

    site = Site(tmp_path)
    site.start()
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(240_000)
    try:
        page.goto(site.url)
        tab(page, "Train")
        fill_steps(page, 2000)  # it is never reached
        page.get_by_role("button", name="Start the training").click()
        page.locator("#status").get_by_text("steps a second").wait_for()
        (run,) = runs(site).values()
        worker = is_at_work(run.run)
        site.stop(signal.SIGKILL)
        before = runs(site)[run.key].step
        until(lambda: runs(site)[run.key].step > before)
        assert is_at_work(run.run) == worker
        site.start()
        page.goto(site.url)
        tab(page, "Train")
        page.locator("#status").get_by_text("steps a second").wait_for()
        page.get_by_role("button", name="Stop and save").click()
        page.locator("#status").get_by_text("It can go on").wait_for()
        page.get_by_role("button", name="Go on").click()
        page.locator("#status").get_by_text("steps a second").wait_for()
        # Ctrl-C saves.
        assert site.stop() == 128 + signal.SIGINT
        assert runs(site)[run.key].state == "stopped"
    finally:
        site.stop(signal.SIGKILL)
        context.close()
