"""Devices: a full GPU leads to what needs less memory."""

import pytest
import torch

from pairedit.machine.devices import memory_advice
from pairedit.machine.hardware import profile


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        ("80gb", "try hardware=24gb, hardware=12gb, hardware=8gb, less"),
        ("auto", "try hardware=24gb, hardware=12gb, hardware=8gb, less"),
        ("12gb", "try hardware=8gb, less"),
        ("8gb", "try less"),
    ],
)
def test_a_full_gpu_names_the_smaller_profiles(asked, advice):
    hardware = profile(asked)
    with pytest.raises(MemoryError, match=advice), memory_advice("less", hardware):
        raise torch.OutOfMemoryError("CUDA out of memory")
