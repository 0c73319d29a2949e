"""The studio's server refuses what is not for others, and ends well."""

import signal

import pytest
from browsing import fill_steps, runs, tab, until

from pairedit.studio.shelf import is_at_work

pytestmark = pytest.mark.browser


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
