"""Own what is common to loading all architectures: precision, hardware, and messages."""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import DiffusionPipeline
from torch import nn

from pairedit.bases import base as base_models
from pairedit.bases.plain import PLAIN
from pairedit.bases.quiet import quiet
from pairedit.machine.hardware import AUTO, PROFILES, Hardware, choose
from pairedit.problems import Invalid

log = logging.getLogger(__name__)

B = TypeVar("B")  # a `bases.base.Base`


@contextmanager
def readable(path: str, family: str) -> Iterator[None]:
    """Keep the libraries quiet inside, and say in one line why a model cannot be read.

    Args:
        path: a folder, or a model hub id.
        family: what it should hold, such as FLUX.

    Raises:
        Invalid: names the path and the reason.
    """
    try:
        with quiet():
            yield
    except (OSError, ValueError, json.JSONDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        if not Path(path).is_dir():
            reason = "it is not in the local cache, and the model hub did not give it; " + (
                "unset HF_HUB_OFFLINE, " if os.environ.get("HF_HUB_OFFLINE") else ""
            )
            reason += "accept its licence and run `hf auth login`, or name a local folder"
        problem = f"{path}: not a readable {family} model: {reason}"
        raise Invalid({"path": problem}) from error


def loader(
    pipeline: type[DiffusionPipeline],
    base: Callable[..., B],
    *,
    family: str,
    needs: Callable[[nn.Module], Mapping[str, float]],
    fuses: bool = False,
    parts: Callable[[str, torch.dtype], Mapping[str, nn.Module]] = lambda path, dtype: {},
) -> Callable[..., B]:
    """Make the function that loads the models of one architecture.

    Args:
        pipeline: the class of diffusers that knows their folders.
        base: takes a pipeline over.
        family: of the models, as a user reads it.
        needs: GiB that must be free for each profile, by the transformer.
        fuses: see `settle`.
        parts: reads what is not read as diffusers reads it, given a path and a type.
    """

    @functools.lru_cache(maxsize=base_models.KEPT)
    def load(
        path: str,
        *,
        device: str,
        precision: str,
        max_sequence_length: int,
        hardware: Hardware = PLAIN,
        changes: tuple[tuple[str, Any], ...] = (),
    ) -> B:
        """Load a model, or return it if it is the one loaded last.

        Args:
            path: a folder of the pipeline, or a model hub id.
            device: a torch device, such as cpu or cuda.
            precision: float32 or bf16, the meaning of the hardware's `auto`; the VAE has float32.
            max_sequence_length: tokens of a prompt; longer ones are cut.
            hardware: how the transformer runs; see `hardware.choose`, which settles its `auto`.
            changes: fields of the hardware that the user set apart from it.

        Returns:
            The model with the transformer on the device and everything frozen.

        Raises:
            ValueError: names the path and why it cannot be loaded.
        """
        settings = {"precision": precision, "changes": dict(changes)}
        dtype = dtypes(hardware=hardware, **settings)
        with readable(path, family):
            loaded = pipeline.from_pretrained(
                path,
                **parts(path, dtype["default"]),
                dtype=dtype,
                use_safetensors=True,  # a pickle could run code
            )
        transformer = loaded.transformer
        return base(
            loaded,
            device=torch.device(device),
            max_sequence_length=max_sequence_length,
            hardware=settle(
                hardware,
                transformer,
                device=device,
                needs=needs(transformer),
                fuses=fuses,
                **settings,
            ),
        )

    return load


def dtypes(precision: str, hardware: Hardware, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the precision in which each part of a pipeline is loaded; the VAE has float32.

    Args:
        precision: that `auto` stands for.
        hardware: the profile asked for.
        changes: fields that the user set apart from it.
    """
    asked = changes.get("precision", hardware.precision)
    plain = precision if asked == AUTO else asked
    default = torch.float32 if plain == "float32" else torch.bfloat16
    return {"vae": torch.float32, "default": default}


def settle(
    hardware: Hardware,
    transformer: nn.Module,
    *,
    device: str,
    precision: str,
    changes: Mapping[str, Any],
    needs: Mapping[str, float],
    fuses: bool = True,
) -> Hardware:
    """Settle how a transformer runs, once it is there; see `machine.hardware.choose`.

    Args:
        hardware: a profile, or `auto`.
        transformer: in plain precision.
        device: a torch device, such as cpu or cuda.
        precision: that `auto` stands for.
        changes: fields that the user set apart from the profile.
        needs: GiB that must be free for each profile.
        fuses: it has fused operations; without them these and CUDA graphs are dropped.
    """
    kind = torch.device(device).type
    free = torch.cuda.mem_get_info()[0] / 2**30 if kind == "cuda" else 0.0
    chosen = choose(
        hardware,
        device=kind,
        free=free,
        parameters=sum(weight.numel() for weight in transformer.parameters()),
        precision=precision,
        changes=changes,
        needs=needs,
    )
    if hardware.name == AUTO and chosen.name in PROFILES:
        log.info("hardware=%s: %.1f GiB are free on the GPU", chosen.name, free)
    return chosen if fuses else replace(chosen, fused=False, graphs=False)


def needs_of(transformer: nn.Module) -> Mapping[str, float]:
    """Estimate the GiB that must be free for each profile, at 512 px.

    Weights of 2 bytes, and activations of all blocks, of some, or of one. On an H100 a training
    with 80gb took 16.8 GiB (FLUX.2 klein 4B), 20.5 (Z-Image) and 32.4 (klein 9B), where this says
    17.4, 24.6 and 33.8. One with 12gb took 6.6 GiB (klein 4B), where it says 7.6. The figures are
    those of docs/performance.md.
    """
    weights = 2 * sum(weight.numel() for weight in transformer.parameters()) / 2**30
    return {
        "80gb": 1.7 * weights + 5,
        "24gb": 1.3 * weights + 3,
        "12gb": 0.5 * weights + 4,
        "8gb": 0,
    }
