"""Layers and tensors to compare kernels on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pairedit.machine.quantised import EightBit, Float8


def draw(*shape, device="cpu", seed=0):
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(shape, device=device, dtype=torch.bfloat16, generator=generator)


def near(found, expected, tolerance):
    found, expected = found.float(), expected.float()
    return (found - expected).norm() < tolerance * expected.norm()


def needs(capability):
    there = torch.cuda.get_device_capability() if torch.cuda.is_available() else (0, 0)
    reason = f"needs a CUDA device of compute capability {capability}"
    return pytest.mark.skipif(there < capability, reason=reason)


def compiles(test):
    """Leave out what torch says of itself while it compiles for a GPU."""
    for words in (
        "TensorFloat32 tensor cores",
        ".*[Oo]nline softmax is disabled",
        "Torchinductor does not support code generation for complex operators",
        "`torch.jit.script_method` is deprecated",  # torch's own compiler uses these two
        ".*autograd.function.Function'> should not be instantiated",
        "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed",
    ):
        test = pytest.mark.filterwarnings(f"ignore:{words}")(test)
    return test


def quantise(layer, kind):
    """Do what torchao does, which is not always there."""
    weight = layer.weight.detach().float()
    scale = weight.abs().amax(1, keepdim=True) / {Float8: 448, EightBit: 127}[kind]
    scaled = weight / scale
    rounded = scaled.to(torch.float8_e4m3fn) if kind is Float8 else scaled.round().to(torch.int8)
    layer.__class__ = kind
    layer.take(SimpleNamespace(qdata=rounded, scale=scale, dtype=torch.bfloat16))
