"""The guard in front of the page: hosts, origins, the password, sizes, files."""

import asyncio
import base64

import pytest

from pairedit.studio.guard import Guard


class Page:
    """Stand for what is guarded: reads the body, says so."""

    def __init__(self):
        self.reached = []

    async def __call__(self, scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.reached.append((scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})


def ask(guard, path="/", *, method="GET", chunks=(b"",), **headers):
    """Ask once; return the status."""
    headers = {"host": "127.0.0.1:7860", **{k.replace("_", "-"): v for k, v in headers.items()}}
    sent, left = [], list(chunks)

    async def receive():
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(k.encode(), v.encode()) for k, v in headers.items() if v is not None],
    }
    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"]


@pytest.fixture
def page():
    return Page()


@pytest.fixture
def guard(page, tmp_path):
    return Guard(page, folder=tmp_path, largest=100)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "LOCALHOST"])
def test_names_of_this_machine_are_answered(guard, host):
    assert ask(guard, host=host) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "192.168.1.5", "", None, "["],
)
def test_other_names_are_refused(guard, page, host):
    assert ask(guard, host=host) == 403
    assert not page.reached


def test_a_server_for_the_network_is_asked_by_address_but_by_no_strange_name(page, tmp_path):
    guard = Guard(page, folder=tmp_path, host="0.0.0.0")
    assert ask(guard, host="192.168.1.5:7860") == 200
    assert ask(guard, host="evil.example:7860") == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:7860"]
)
def test_requests_of_other_pages_are_refused(guard, page, origin):
    assert ask(guard, method="POST", origin=origin) == 403
    assert not page.reached


def test_requests_of_this_page_are_not(guard):
    assert ask(guard, method="POST", origin="http://127.0.0.1:7860") == 200


def test_a_form_of_another_page_is_refused_even_without_an_origin(guard):
    assert ask(guard, method="POST", sec_fetch_site="cross-site") == 403


def basic(word, kind="Basic"):
    return f"{kind} {base64.b64encode(word.encode()).decode()}"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        (basic("anyone:wrong"), 401),
        (basic("anyone:"), 401),
        (basic("no colon"), 401),
        ("Basic ?", 401),
        (basic("anyone:right:é", "Bearer"), 401),
        (basic("anyone:right:é"), 200),
    ],
)
def test_the_password_is_asked_for(page, tmp_path, monkeypatch, given, status):
    monkeypatch.setattr("pairedit.studio.guard.PAUSE", 0)
    guard = Guard(page, folder=tmp_path, password="right:é")
    assert ask(guard, authorization=given) == status
    assert bool(page.reached) is (status == 200)


def test_wrong_passwords_are_answered_one_after_the_other(page, tmp_path, monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("pairedit.studio.guard.asyncio.sleep", sleep)
    guard = Guard(page, folder=tmp_path, password="right")
    assert ask(guard, authorization=basic("a:wrong")) == 401
    assert ask(guard, authorization=basic("a:right")) == 200
    assert slept == [1.0]


def test_too_large_a_body_is_refused_whether_it_says_so_or_not(guard, page):
    assert ask(guard, method="POST", chunks=[b"x" * 100]) == 200
    assert ask(guard, method="POST", content_length="101") == 413
    assert ask(guard, method="POST", content_length="-1") == 413
    assert ask(guard, method="POST", chunks=[b"x" * 60, b"x" * 60]) == 413
    assert len(page.reached) == 1


def test_only_files_of_the_folder_are_served(guard, page, tmp_path):
    inside = tmp_path / "a b" / "é%2e.png"
    inside.parent.mkdir()
    inside.write_bytes(b"")
    assert ask(guard, f"/gradio_api/file={inside}") == 200
    (tmp_path / "link").symlink_to("/etc/hosts")
    for path in (
        "/etc/hosts",
        f"{tmp_path}/../x",
        f"{tmp_path}-beside/x",
        f"{tmp_path}/link",
        "etc/hosts",
        "pyproject.toml",
        "http://127.0.0.1:1/x",
        "https:/127.0.0.1/x",
        "//evil.example/x",
    ):
        for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/"):
            assert ask(guard, route + path) == 403, route + path
    assert ask(guard, "/gradio_api/proxy=http://127.0.0.1:1/x") == 403
    assert ask(guard, "/assets/file-1.js") == 200
