"""Own the checks that every command shares: keys, model, hardware, steps."""

from __future__ import annotations

import contextlib
import json
import math
import re
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pairedit.bases.base import Model
from pairedit.bases.flux1.names import NAMES
from pairedit.files import locate
from pairedit.lora.names import Names
from pairedit.machine.hardware import AUTO, PRECISIONS, Hardware
from pairedit.plan.build import build, reason
from pairedit.problems import Problems

UNIT = 16  # px: FLUX's VAE shrinks 8 times, a token covers 2 x 2 latent pixels
MODEL_PARTS = (
    "transformer",
    "vae",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
    "scheduler",
)

LARGEST = 8192  # px, rank, rows or tokens: beyond any model's use, before any memory runs out
# Never run with.
SET_ASIDE = {"resolution": 512, "num_inference_steps": 28, "skip": 0}

SET_ASIDE |= {"datasets": {}, "readers": {}, "scales": []}

DEVICES = ("auto", "cpu", "cuda", "mps")


def _model(config: DictConfig, problems: Problems) -> Model | None:
    """Build the model group and check that its folder is there and fits the other keys."""
    model = problems.attempt(lambda: build(config.model, "model", Model))
    problems.expect(
        UNIT <= config.resolution <= LARGEST and config.resolution % UNIT == 0,
        f"resolution={config.resolution}: expected a multiple of {UNIT} px, at most {LARGEST}",
    )
    problems.expect(
        config.device in DEVICES, f"device={config.device}: expected one of {', '.join(DEVICES)}"
    )
    guidance = config.guidance_scale
    if guidance is not None:
        problems.expect(0 <= guidance < math.inf, f"guidance_scale={guidance}: expected 0 or more")
    if model is None:
        return None
    problems.expect(
        model.precision in ("float32", "bf16"),
        f"model.precision={model.precision}: expected float32 or bf16",
    )
    problems.expect(
        1 <= model.max_sequence_length <= LARGEST,
        f"model.max_sequence_length={model.max_sequence_length}: expected 1 to {LARGEST}",
    )
    folder = locate(model.path)
    if not folder.is_dir():
        looks_like_hub_id = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model.path)
        problems.expect(
            bool(looks_like_hub_id), f"model.path={model.path}: no such model folder ({folder})"
        )
        return model
    missing = [part for part in MODEL_PARTS if not (folder / part).is_dir()]
    if missing:
        problems.append(f"model.path={model.path}: no FLUX pipeline, lacks {', '.join(missing)}")
        return model
    try:
        guided = json.loads((folder / "transformer/config.json").read_text())["guidance_embeds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problems.append(f"model.path={model.path}: bad transformer/config.json ({error!r})")
        return model
    problems.expect(
        guided == (guidance is not None),
        f"guidance_scale={'null' if guidance is None else guidance}: this model "
        + ("needs a number" if guided else "takes none, expected null"),
    )
    return model


def names_of(model: Model | None) -> Names:
    """Return how a base model names its modules; FLUX.1's while the model is not at hand."""
    return getattr(model, "names", NAMES)


def _hardware(config: DictConfig, problems: Problems) -> tuple[Hardware | None, dict[str, Any]]:
    """Build the hardware group; return it with the keys that were set apart from it."""
    hardware = problems.attempt(lambda: build(config.hardware, "hardware", Hardware))
    problems.expect(
        hardware is None or hardware.name != "cpu" or config.device in ("auto", "cpu"),
        f"device={config.device}: hardware=cpu says otherwise",
    )
    known = (AUTO, *PRECISIONS)
    problems.expect(
        config.precision in known,
        f"precision={config.precision}: expected one of {', '.join(known)}",
    )
    changes = {} if config.precision == AUTO else {"precision": config.precision}
    keys = ("batch_size", "batch_terms", "gradient_checkpointing")
    changes |= {key: config[key] for key in keys if config.get(key) is not None}
    rows = changes.get("batch_size", 1)
    problems.expect(
        1 <= rows <= LARGEST, f"batch_size={rows}: expected at least 1 and at most {LARGEST}"
    )
    share = changes.get("gradient_checkpointing", 0)
    problems.expect(
        isinstance(share, bool | int | float) and 0 <= share <= 1,
        f"gradient_checkpointing={share}: expected true, false or a share of the blocks",
    )
    return hardware, changes


def check_keys(config: DictConfig, trunk: type, problems: Problems, prefix: str = "") -> None:
    """Refuse keys that were added with a plus sign: nothing would read them.

    A key that takes its value from a bad one elsewhere is noted and set aside, so that the rest
    can be checked.
    """
    known = {part.name for part in fields(trunk)}
    for key in config:
        problems.expect(key in known, f"{prefix}{key}: no such key")
        try:
            config[key]
        except OmegaConfBaseException as error:
            # What is missing, and what the model would say, is named with the group.
            if not re.search(r"\$\{model\.|access model\.|Missing mandatory", str(error)):
                problems.append(f"{prefix}{key}: {reason(error)}")
            config[key] = SET_ASIDE.get(key)


def _check_steps(config: DictConfig, problems: Problems) -> None:
    """Check the length of an inference run."""
    problems.expect(
        1 <= config.num_inference_steps <= 1000,
        f"num_inference_steps={config.num_inference_steps}: expected 1 to 1000",
    )


def _block_counts(model: Model | None) -> tuple[int, int]:
    """Return the numbers of double and single blocks; FLUX.1's while the model is not at hand."""
    counts = {"num_layers": 19, "num_single_layers": 38}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        config = json.loads((locate(model.path) / "transformer/config.json").read_text())
        counts |= {key: int(config[key]) for key in counts if key in config}
    return counts["num_layers"], counts["num_single_layers"]
