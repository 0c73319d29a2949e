"""Own who may ask the server for what: hosts, origins, the password, sizes, files.

A plain ASGI layer around the page, so that nothing reaches Gradio which it has not let through.

    Host     must be ours; else the name of a page elsewhere was made to point to this machine
    Origin   must be ours; else a page elsewhere sends requests here
    file=    must lie in the served folder, also once links are followed
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST = 256 * 2**20  # bytes of a request: a photograph of the largest cameras
PAUSE = 1.0  # seconds between two tries of a password, whoever makes them
# No other page may show this one in a frame, nor be told its address.
ALONE = (
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"referrer-policy", b"same-origin"),
)
OURS = ("localhost", "127.0.0.1", "::1")


class TooLarge(Exception):
    """Say that a body had more bytes than it may."""


class Guard:
    """Let through what may reach the page."""

    def __init__(
        self,
        app: App,
        *,
        folder: Path,
        host: str = OURS[1],
        password: str | None = None,
        largest: int = LARGEST,
    ) -> None:
        """Stand in front of an application.

        Args:
            app: what is guarded.
            folder: the one whose files may be asked for.
            host: that the server listens on; all addresses of this machine count for 0.0.0.0.
            password: None where none is asked for.
            largest: bytes of one request.
        """
        self._app, self._folder, self._largest = app, folder.resolve(), largest
        self._any = host in ("0.0.0.0", "::")
        own = socket.gethostname().lower()
        self._hosts = {*OURS, host.lower(), *((own, f"{own}.local") if self._any else ())}
        self._password = password
        self._guesses = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a refusal, or pass on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the page has no web sockets
        headers = _headers(scope)
        status, words = self._judge(scope, headers)
        if status == 401 and "authorization" in headers:
            # One wrong guess a second, whoever makes them; the right word never waits.
            async with self._guesses:
                await asyncio.sleep(PAUSE)
        if status:
            extra = [(b"www-authenticate", b'Basic realm="pairedit-studio"')] * (status == 401)
            await _answer(send, status, words, extra)
            return
        began = False

        async def told(message: dict[str, Any]) -> None:
            nonlocal began
            began = True
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *ALONE]}
            await send(message)

        try:
            await self._app(scope, self._counted(receive), told)
        except TooLarge:
            if not began:
                await _answer(send, 413, self._too_large())

    def _judge(self, scope: Scope, headers: dict[str, list[str]]) -> tuple[int, str]:
        """Return a status and why; 0 for what may pass."""
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self._is_ours(name_of(hosts[0])):
            return 403, "this page is not served under that name"
        for origin in headers.get("origin", []):
            if urlsplit(origin).netloc.lower() != hosts[0].lower():
                return 403, "requests of other pages are refused"
        if headers.get("sec-fetch-site", ["none"])[0] == "cross-site" and scope["method"] != "GET":
            return 403, "requests of other pages are refused"
        if self._password is not None and not self._knows(headers.get("authorization", [])):
            return 401, "the password, please; the user name may be anything"
        length = headers.get("content-length", ["0"])[0]
        if not length.isdecimal() or int(length) > self._largest:
            return 413, self._too_large()
        if not self._may_read(scope):
            return 403, "that file is not served"
        return 0, ""

    def _is_ours(self, name: str) -> bool:
        """Say whether a name in a request means this server."""
        if name in self._hosts:
            return True
        # A name can be turned to this machine by whoever owns it; an address cannot.
        return self._any and _is_address(name)

    def _knows(self, given: Collection[str]) -> bool:
        """Compare the password."""
        for header in given:
            kind, _, coded = header.partition(" ")
            try:
                word = base64.b64decode(coded, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
            same = hmac.compare_digest(word.encode(), self._password.encode())
            if kind.lower() == "basic" and same:
                return True
        return False

    def _may_read(self, scope: Scope) -> bool:
        """Say whether what a path asks for, if it is a file, lies in the folder."""
        if "/proxy=" in scope["path"]:
            return False
        _, found, asked = scope["path"].partition("/file")
        if not found or asked[:1] not in ("=", "/"):
            return True
        asked = asked[1:]
        # Gradio would take a relative path for one of the working folder, and fetch an address.
        if not Path(asked).is_absolute():
            return False
        try:
            return Path(asked).resolve().is_relative_to(self._folder)
        except (OSError, ValueError, RuntimeError):
            return False

    def _counted(self, receive: Receive) -> Receive:
        """Count the bytes of a body, whatever length was announced."""
        left = self._largest

        async def counting() -> dict[str, Any]:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise TooLarge
            return message

        return counting

    def _too_large(self) -> str:
        return f"more than {self._largest >> 20} MiB at once, refused"


def name_of(host: str) -> str:
    """Take the port off a host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


async def _answer(
    send: Send, status: int, words: str, extra: Collection[tuple[bytes, bytes]] = ()
) -> None:
    body = f"{words}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
