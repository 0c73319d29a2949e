"""Fixtures: a studio that is served by a process of its own, and a browser to drive it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SOURCE = Path(__file__).parents[2] / "src"


def pytest_collection_modifyitems(items):
    """Say why tests in a browser are skipped."""
    packages = [name for name in ("gradio", "playwright") if not importlib.util.find_spec(name)]
    missing = [*packages, *([] if CHROMIUM else ["chromium"])]
    if missing:
        why = f"no {' and no '.join(missing)} here: make test-browser installs what is needed"
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason=why))


class Site:
    """Hold a studio in a process of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder, self.words = folder, words
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.outputs = folder / "outputs"
        self.started = 0.0
        self.process = None

    def start(self, sigint=signal.SIG_DFL) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        words = ["browser=false", f"port={self.port}", "device=cpu", *self.words]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
        # Whoever runs the tests in the background ignores Ctrl-C, and what is started does so too.
        before = signal.signal(signal.SIGINT, sigint)
        try:
            with (self.folder / "studio.log").open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "pairedit", "studio", *words],
                    cwd=self.folder,
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
        finally:
            signal.signal(signal.SIGINT, before)
        self.wait()

    def wait(self, seconds: float = 240) -> None:
        """Wait until the page is answered."""
        while time.monotonic() < self.started + seconds:
            assert self.process.poll() is None, self.log()
            if self.ask("/") in (200, 401):
                return
            time.sleep(0.1)
        raise AssertionError(f"no page after {seconds} s: {self.log()}")

    def ask(self, path, *, data=None, **headers) -> int:
        """Ask once; return the status, 0 where nobody answers."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path.lstrip("/"), data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it by a signal; return its exit code."""
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.send_signal(number)
        return self.process.wait(150)

    def log(self) -> str:
        return (self.folder / "studio.log").read_text()


@pytest.fixture(scope="package")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("studio"))
    site.start()
    yield site
    site.stop()


@pytest.fixture(scope="package")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, site):
    """Open the page in a tab of its own; nothing may be asked of another host."""
    contexts, foreign, wrong = [], [], []

    def open_page(width=1280, height=900, **settings):
        context = chromium.new_context(viewport={"width": width, "height": height}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(240_000)
        own = (site.url, "data:", "blob:")
        page.on("request", lambda r: r.url.startswith(own) or foreign.append(r.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(site.url)
        page.get_by_role("tab", name="Play").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not foreign
    assert not wrong
