"""Tiny models of other architectures than FLUX.1, ours and plain diffusers on the same folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import klein as tiny_klein
import tiny_z_image


def checked(base):
    """Give a base to a test, and fail one that leaves something on it."""
    yield base
    assert not getattr(base.transformer, "peft_config", None)
    assert not base.transformer.gradient_checkpointing


@pytest.fixture(scope="session")
def klein_folder(tmp_path_factory) -> Path:
    return tiny_klein.write_klein(tmp_path_factory.mktemp("tiny") / "klein")


@pytest.fixture
def klein(klein_folder):
    from pairedit.bases.flux2.load import load

    length = tiny_klein.LENGTH
    yield from checked(
        load(str(klein_folder), device="cpu", precision="float32", max_sequence_length=length)
    )


@pytest.fixture(scope="session")
def klein_pipeline(klein_folder):
    from diffusers import Flux2KleinPipeline

    pipeline = Flux2KleinPipeline.from_pretrained(klein_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def z_image_folder(tmp_path_factory) -> Path:
    return tiny_z_image.write_z_image(tmp_path_factory.mktemp("tiny") / "z_image")


@pytest.fixture
def z_image(z_image_folder):
    from pairedit.bases.z_image.load import load

    length = tiny_z_image.LENGTH
    yield from checked(
        load(str(z_image_folder), device="cpu", precision="float32", max_sequence_length=length)
    )


@pytest.fixture(scope="session")
def z_image_pipeline(z_image_folder):
    from diffusers import ZImagePipeline

    pipeline = ZImagePipeline.from_pretrained(z_image_folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
