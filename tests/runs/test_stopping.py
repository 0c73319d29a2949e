"""Signals wait only where they are held."""

import signal

import pytest

from pairedit.runs.stopping import Stopped, Stopping


@pytest.fixture
def heeded():
    """Undo that a shell lets jobs in the background ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_signals_wait_only_where_they_are_held():
    with Stopping() as stopping:
        with pytest.raises(Stopped, match=r"^stopped by SIGTERM$"):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            _held(stopping)
        assert stopping.pending == signal.SIGINT


def _held(stopping):
    with stopping.held():
        signal.raise_signal(signal.SIGINT)
        assert stopping.pending == signal.SIGINT
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGINT)
