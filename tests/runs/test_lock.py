"""One process works in a folder; others may look whether it is free."""

import threading

import pytest

from pairedit.runs.lock import LOCK, check_unlocked, locked

fcntl = pytest.importorskip("fcntl")
BUSY = "another run is at work here"


def test_whoever_looks_sees_a_run_and_is_in_nobodys_way(tmp_path):
    check_unlocked(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        with pytest.raises(ValueError, match=BUSY):
            check_unlocked(tmp_path)
        with pytest.raises(ValueError, match=BUSY), locked(tmp_path):
            pass
    check_unlocked(tmp_path)
    looking = (tmp_path / LOCK).open()
    fcntl.flock(looking, fcntl.LOCK_SH)
    check_unlocked(tmp_path)
    threading.Timer(0.05, looking.close).start()
    with locked(tmp_path), pytest.raises(ValueError, match=BUSY):
        check_unlocked(tmp_path)
