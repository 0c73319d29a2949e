"""A base model of another architecture, in plain torch, which the package has never heard of.

Latents are images at an eighth of the size, tokens are their pixels, and prompts change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairedit.bases.base import Model, Posterior
from pairedit.bases.guidance import EMBEDDED
from pairedit.lora.names import Kind, Names
from pairedit.machine.hardware import Hardware

WIDTH, UNIT = 24, 8  # features; px a side of a token
NAMES = Names(
    family="Second",
    kinds=(Kind(name="layers", original="layers", modules=("qkv", "out"), parts=()),),
    targets={"attention": ("qkv", "out")},
)


@dataclass(frozen=True, kw_only=True)
class Second(Model):
    names: ClassVar[Names] = NAMES
    unit: ClassVar[int] = UNIT
    fuses: ClassVar[bool] = False

    def problems(self, guidance_scale: float | None) -> dict[str, str]:
        return {}

    def modules(self) -> list[str]:
        return self.names.modules([2])

    def load(self, *, device: str, hardware: Hardware, changes: Any) -> SecondBase:
        return SecondBase(torch.device(device), replace(hardware, name="plain"))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(F.scaled_dot_product_attention(*self.qkv(x).chunk(3, -1)))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.write = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 3)
        self.layers = nn.ModuleList([Layer(), Layer()])

    def forward(self, latents: Tensor) -> Tensor:
        x = self.read(latents.flatten(2).mT)
        for layer in self.layers:
            x = layer(x)
        return self.write(x).mT.reshape(latents.shape)


@dataclass(frozen=True)
class Words:
    prompts: tuple[str, ...]

    def of(self, prompts: Sequence[str]) -> Words:
        return Words(tuple(prompts))


@dataclass(frozen=True)
class Plain:
    transformer: nn.Module
    key: None = None
    inputs: tuple[Tensor, ...] = ()

    def __call__(self, latents: Tensor) -> Tensor:
        return self.transformer(latents)


class Call:
    enabled = False

    def __call__(self, key: Any, function: Callable[..., Tensor], *inputs: Tensor, **_: Any):
        return function(*inputs)


class SecondBase:
    names = NAMES
    guidance = EMBEDDED

    def __init__(self, device: torch.device, hardware: Hardware) -> None:
        torch.manual_seed(0)
        self.device, self.hardware = device, hardware
        self.transformer = Transformer()

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        return 3, size[0] // UNIT, size[1] // UNIT

    def sigmas(self, size: tuple[int, int], steps: int) -> Tensor:
        return torch.linspace(1, 0, steps + 1)

    def noise(self, seed: int, size: tuple[int, int]) -> Tensor:
        return torch.randn(self.latent_shape(size), generator=torch.Generator().manual_seed(seed))

    def encode(self, images: Tensor) -> Posterior:
        mean = F.avg_pool2d(images.float(), UNIT)
        return Posterior(mean=mean, std=torch.zeros_like(mean))

    def decode(self, latents: Tensor) -> Tensor:
        return F.interpolate(latents, scale_factor=UNIT)

    def text(self, prompts: Sequence[str]) -> Words:
        return Words(tuple(prompts))

    def prepare(self, sigmas: Tensor, text: Words, guidance_scale: float | None) -> None:
        pass

    def rows(self, count: int) -> int:
        return count

    def at(self, sigma: Tensor, text: Words, guidance_scale: float | None) -> Plain:
        return Plain(self.transformer)

    @contextmanager
    def training(self) -> Iterator[Call]:
        yield Call()

    sampling = training
