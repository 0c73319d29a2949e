"""Fixtures: a tiny random FLUX in a standard folder, and pairs on disk."""

from __future__ import annotations

import logging
import string
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

torch.set_num_threads(1)

RESOLUTION = 32  # px: 2 x 2 tokens


def write_tiny_flux(folder: Path, *, guidance: bool = True) -> Path:
    """Save a random FLUX of 2 double and 2 single blocks as a diffusers FluxPipeline folder."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxPipeline,
        FluxTransformer2DModel,
    )
    from transformers import (
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTokenizer,
        T5Config,
        T5EncoderModel,
        T5Tokenizer,
    )

    torch.manual_seed(0)
    letters = string.ascii_lowercase
    clip_words = [*letters, *(f"{letter}</w>" for letter in letters)]
    clip_vocab = {
        word: index for index, word in enumerate([*clip_words, "<|startoftext|>", "<|endoftext|>"])
    }
    t5_vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), ("▁", -2.0)]
    t5_vocab += [(letter, -3.0) for letter in letters]
    pipeline = FluxPipeline(
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            guidance_embeds=guidance,
            axes_dims_rope=(4, 6, 6),
        ),
        vae=AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            use_quant_conv=False,
            use_post_quant_conv=False,
            scaling_factor=0.36,
            shift_factor=0.11,
            sample_size=RESOLUTION,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                vocab_size=len(clip_vocab),
                max_position_embeddings=32,
                bos_token_id=clip_vocab["<|startoftext|>"],
                eos_token_id=clip_vocab["<|endoftext|>"],
                pad_token_id=clip_vocab["<|endoftext|>"],
            )
        ),
        text_encoder_2=T5EncoderModel(
            T5Config(
                d_model=16,
                d_kv=8,
                d_ff=16,
                num_layers=1,
                num_heads=2,
                vocab_size=len(t5_vocab),
            )
        ),
        tokenizer=CLIPTokenizer(vocab=clip_vocab, merges=[], model_max_length=32),
        tokenizer_2=T5Tokenizer(vocab=t5_vocab, extra_ids=0, model_max_length=32),
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0,
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=256,
            max_image_seq_len=4096,
        ),
    )
    pipeline.save_pretrained(folder)
    return folder


def write_pairs(folder: Path, count: int = 2, side: int = RESOLUTION) -> Path:
    """Draw pairs: a disc whose colour differs between the images."""
    for index in range(count):
        for name, colour in (("source", "red"), ("target", "blue")):
            image = Image.new("RGB", (side, side), "white")
            draw = ImageDraw.Draw(image)
            draw.ellipse((2 + index, 2, side - 3, side - 3 - index), fill=colour)
            path = folder / name / f"p{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return folder


@pytest.fixture(scope="session")
def tiny_flux_folder(tmp_path_factory) -> Path:
    return write_tiny_flux(tmp_path_factory.mktemp("tiny") / "flux")


@pytest.fixture
def flux(tiny_flux_folder):
    """The tiny model with every LoRA off; fails a test that leaves one attached."""
    from pairedit.bases.flux1.flux import load

    flux = load(str(tiny_flux_folder), device="cpu", precision="float32", max_sequence_length=32)
    yield flux
    assert not getattr(flux.transformer, "peft_config", None)
    assert not flux.transformer.gradient_checkpointing


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "disc")


@pytest.fixture(scope="session")
def tiny_overrides(tiny_flux_folder, pair_folder) -> list[str]:
    """Command-line words that point a command at the tiny model, for a CPU."""
    return [
        f"model.path={tiny_flux_folder}",
        "model.max_sequence_length=32",
        f"resolution={RESOLUTION}",
        "num_inference_steps=4",
        "device=cpu",
    ]


@pytest.fixture(scope="session")
def smile(tmp_path_factory) -> Path:
    """A smile slider of flux-mini after 60 steps of the published method."""
    from pairedit.bases.flux1.flux import load
    from pairedit.data.examples import find_pairs
    from pairedit.files import locate
    from pairedit.methods import PairEdit
    from pairedit.noising import ContentPreserving
    from pairedit.runs.tracking import JsonLines
    from pairedit.settings import Settings
    from pairedit.train import fit

    place = tmp_path_factory.mktemp("smile")
    run = JsonLines(place / "metrics.jsonl")
    folder = str(locate("pkg://flux_mini"))
    files = fit(
        flux=load(folder, device="cpu", precision="float32", max_sequence_length=32),
        method=PairEdit(noising=ContentPreserving(noise_scale=1.0), eta=4.0, content=True),
        pairs=find_pairs(locate("pkg://data/smile")),
        settings=Settings(steps=60, resolution=128),
        folder=place,
        run=run,
        metadata={"base_model": "flux-mini"},
    )
    run.finish()
    return files["semantic"]


@pytest.fixture(autouse=True)
def _keep_logging():
    """Undo what Hydra does to the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:], root.level = handlers, level
