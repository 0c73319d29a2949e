"""Tiny models of other architectures than FLUX.1, ours and plain diffusers on the same folders."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch

import klein as tiny_klein
import tiny_z_image


def three(name: str, write: Callable[[Path], Path], *, package: str, length: int, plain: str):
    """Make the fixtures of one architecture: its folder, our base and diffusers' pipeline on it.

    Args:
        name: of the base; the others are `<name>_folder` and `<name>_pipeline`.
        write: writes the folder.
        package: in `pairedit.bases`.
        length: tokens of a prompt at most.
        plain: the pipeline's class.
    """

    @pytest.fixture(scope="session", name=f"{name}_folder")
    def folder(tmp_path_factory) -> Path:
        return write(tmp_path_factory.mktemp("tiny") / name)

    @pytest.fixture(name=name)
    def base(request):
        load = import_module(f"pairedit.bases.{package}.load").load
        place = str(request.getfixturevalue(f"{name}_folder"))
        base = load(place, device="cpu", precision="float32", max_sequence_length=length)
        yield base
        # A test that leaves something on it fails.
        assert not getattr(base.transformer, "peft_config", None)
        assert not base.transformer.gradient_checkpointing

    @pytest.fixture(scope="session", name=f"{name}_pipeline")
    def pipeline(request):
        kind = getattr(import_module("diffusers"), plain)
        place = request.getfixturevalue(f"{name}_folder")
        pipeline = kind.from_pretrained(place, dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return folder, base, pipeline


klein_folder, klein, klein_pipeline = three(
    "klein",
    tiny_klein.write_klein,
    package="flux2",
    length=tiny_klein.LENGTH,
    plain="Flux2KleinPipeline",
)
z_image_folder, z_image, z_image_pipeline = three(
    "z_image",
    tiny_z_image.write_z_image,
    package="z_image",
    length=tiny_z_image.LENGTH,
    plain="ZImagePipeline",
)
