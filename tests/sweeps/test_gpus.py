"""Which GPUs a sweep may use is asked of the driver, as torch takes seconds to import."""

import ctypes
import sys

import pytest

from pairedit.sweeps import gpus


class Driver:
    """Stand in for CUDA's driver on a machine with two GPUs."""

    def __init__(self, error=0):
        self._error = error

    def cuInit(self, flags):
        return self._error

    def cuDeviceGetCount(self, place):
        place._obj.value = 2
        return self._error


@pytest.mark.parametrize(
    ("visible", "known"), [("", ["0", "1"]), ("5,7", ["5", "7"]), ("GPU-a", ["GPU-a"])]
)
def test_the_driver_says_how_many_there_are(monkeypatch, visible, known):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    monkeypatch.setenv(gpus.VISIBLE, visible)
    assert gpus.known() == known


@pytest.mark.parametrize("driver", [Driver(error=100), None])
def test_torch_is_asked_where_the_driver_cannot_be(monkeypatch, driver):
    def open_it(name):
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(ctypes, "CDLL", open_it)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert gpus.known() == ["0", "1", "2"]
