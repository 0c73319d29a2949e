"""Own the checks that every command shares: keys, model, hardware."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pairedit.bases.base import Loadable
from pairedit.bases.known import USUAL
from pairedit.data.examples import Example
from pairedit.data.images import pixels_of
from pairedit.data.shapes import Fit, Sizing, frame_of, is_side, usual
from pairedit.lora.names import Names
from pairedit.machine.hardware import AUTO, Hardware
from pairedit.plan.build import build, reason
from pairedit.plan.folders import other_kind
from pairedit.plan.parse import is_number
from pairedit.problems import Problems
from pairedit.settings import LARGEST, Rendering, Training, skips

# Stand for values that are bad, while the rest is checked.
SET_ASIDE = {
    "resolution": 512,
    "num_inference_steps": 28,
    "skip": 0,
    "datasets": {},
    "readers": {},
    "scales": [],
    "size": "fit",
}
SQUARE = (512, 512)  # where `size` is bad
DEVICES = ("auto", "cpu", "cuda", "mps")
GRAPHED = 3  # sizes of image that CUDA graphs are captured for; each takes 11 GiB of FLUX.1-dev


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Hold what every checked job has that runs a model; each command has more."""

    model: Any  # a `bases.base.Loadable`
    device: str
    hardware: Hardware
    changes: Mapping[str, Any]  # fields of the hardware set apart from it
    resolved: Mapping[str, Any]  # the configuration that files note, JSON values
    notes: Sequence[str]  # what the user should know, such as options without effect
    words: Sequence[str] = ()  # of the command line, options included; none from Python


def build_model(config: DictConfig, problems: Problems) -> Any:
    """Build the model group and check that its folder is there and fits the other keys."""
    model = problems.attempt(lambda: build(config.model, "model", Loadable))
    problems.expect(
        config.device in DEVICES, f"device={config.device}: expected one of {', '.join(DEVICES)}"
    )
    if model is None:
        return None
    unit, side = model.unit, config.resolution
    problems.expect(
        is_side(side, unit),
        f"resolution={side}: expected a multiple of {unit} px, at most {LARGEST}",
    )
    if kind := other_kind(model):
        problems.append(f"model.path={model.path}: {kind}")
        return model
    for name, problem in model.problems(config.guidance_scale).items():
        own = name not in config
        value = getattr(model, name) if own else config[name]
        problems.append(f"{'model.' if own else ''}{name}={_shown(value)}: {problem}")
    if config.get("negative_prompt") and not model.guidance.weights(config.guidance_scale)[1]:
        why = "" if model.guidance.true else f"model={model.name} has no true guidance and "
        problems.append(
            f"negative_prompt={config.negative_prompt}: has no effect; {why}"
            f"guidance_scale={_shown(config.guidance_scale)} needs no second pass"
        )
    return model


def _shown(value: Any) -> str:
    """Write a value as a command line has it."""
    return "null" if value is None else f"{value}"


def build_hardware(
    config: DictConfig, problems: Problems
) -> tuple[Hardware | None, dict[str, Any]]:
    """Build the hardware group; return it with the keys that were set apart from it."""
    hardware = problems.attempt(lambda: build(config.hardware, "hardware", Hardware))
    problems.expect(
        hardware is None or hardware.name != "cpu" or config.device in ("auto", "cpu"),
        f"device={config.device}: does not go with hardware=cpu; leave out one of the two",
    )
    changes = {} if config.precision == AUTO else {"precision": config.precision}
    keys = ("batch_size", "batch_terms", "gradient_checkpointing")
    changes |= {key: config[key] for key in keys if config.get(key) is not None}
    problems.attempt(lambda: Hardware(**changes))
    return hardware, changes


def trained_by(
    hardware: Hardware,
    changes: Mapping[str, Any],
    training: Training,
    pairs: Mapping[str, Sequence[Example]],
) -> dict[str, Any]:
    """Return the fields of the hardware that a training sets, beside those of the command."""
    found = dict(changes)
    sizes = _most_sizes(pairs, training.size)
    found["steps"] = training.steps // (1 if hardware.dynamic else sizes)
    if sizes > GRAPHED:
        found["graphs"] = False
    return found


def _most_sizes(found: Mapping[str, Sequence[Example]], sizing: Sizing) -> int:
    """Return how many sizes of image the training with the most of them has, at least 1."""
    paths = [[path for example in one for path in example.images[:1]] for one in found.values()]
    sizes = [{frame_of(sizing, *pixels_of(path)).size for path in one} for one in paths]
    return max(1, *map(len, sizes)) if sizes else 1


def names_of(model: Loadable | None) -> Names:
    """Return how a base model names its modules; the usual one's while none is at hand."""
    return (model or USUAL).names


def sizing_of(config: DictConfig, model: Loadable | None) -> Sizing:
    """Read `size`: which size a picture is brought to; `resolution` is the side of a square.

    Raises:
        ValueError: neither a word nor a width and a height that the model draws.
    """
    asked, unit = config.size, (model or USUAL).unit
    if asked in ("fit", "square"):
        fit = Fit(resolution=config.resolution, unit=unit)
        return fit if asked == "fit" else fit.square
    sides = OmegaConf.to_container(asked) if OmegaConf.is_list(asked) else []
    whole = all(isinstance(side, int) and is_side(side, unit) for side in sides)
    if len(sides) != 2 or not whole:
        typed = re.sub(r"[ ']", "", str(sides or asked))
        raise ValueError(
            f"size={typed}: expected fit, square, or [width,height] in multiples of "
            f"{unit} px, at most {LARGEST}"
        )
    width, height = sides
    return height, width


def usual_skip(model: Loadable, steps: int) -> int | float:
    """Return the model's usual share of a run's steps without LoRA, or its noise level."""
    if isinstance(model.skip, float):
        return model.skip
    return model.skip * steps // model.num_inference_steps


def rendering_of(config: DictConfig, model: Loadable | None, sizing: Sizing | None) -> Rendering:
    """Gather the numbers of a rendering; `skip=auto` is that of the model.

    Raises:
        Invalid: names every one that cannot be.
    """
    asked = config.skip
    if asked == AUTO:
        asked = 0 if model is None else usual_skip(model, config.num_inference_steps)
    elif not is_number(asked):
        raise ValueError(f"skip={asked}: expected auto, or {skips(config.num_inference_steps)}")
    return Rendering(
        skip=asked,
        num_inference_steps=config.num_inference_steps,
        guidance_scale=config.guidance_scale,
        negative_prompt=config.negative_prompt,
        size=usual(sizing or SQUARE),
    )


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
