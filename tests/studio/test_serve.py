"""How the server of the page ends."""

import signal
import socket
import sys
from types import SimpleNamespace

import pytest

from pairedit.runs.stopping import Stopped, Stopping
from pairedit.studio import serve


class Server:
    """Stand for uvicorn's: it heeds a signal, ignored or not, ends, and raises it again."""

    def __init__(self, config):
        pass

    def handle_exit(self, sig, frame):
        pass

    def run(self, sockets):
        before = signal.signal(signal.SIGINT, self.handle_exit)
        signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_a_signal_is_said_even_where_the_caller_ignores_it(monkeypatch, handler):
    uvicorn = SimpleNamespace(Server=Server, Config=lambda app, **_: app)
    monkeypatch.setitem(sys.modules, "uvicorn", uvicorn)
    monkeypatch.setattr(serve, "make_app", lambda studio: None)
    studio = SimpleNamespace(plan=SimpleNamespace(host="127.0.0.1", port=1, browser=False))
    before = signal.signal(signal.SIGINT, handler)
    try:
        with Stopping(), pytest.raises(Stopped) as stopped:
            serve._serve(studio, None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.value.number == signal.SIGINT


def test_a_port_that_is_taken_is_named_with_its_key():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ValueError, match=f"port={port}: .*choose another one with port="):
            serve._listen(SimpleNamespace(host="127.0.0.1", port=port))
