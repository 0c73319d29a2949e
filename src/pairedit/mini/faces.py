"""Procedural portraits from continuous attributes: exact before/after pairs and ground truth.

A face is a vector of attributes in [0, 1]; `render` draws it as anti-aliased signed-distance
layers, back to front, in torch. Coordinates: x right, y down, both in [-1, 1] over the canvas.
The attributes' names are those of `pairedit.attributes`.

Shapes: B faces, A attributes, H and W pixels.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pairedit.mini.attributes import ATTRIBUTES, INDEX, TIED
from pairedit.mini.drawing import _Canvas, _draw, _ramp

# attribute -> (low, high, words): a face within the range may be described by these words.
PHRASES: Mapping[str, tuple[tuple[float, float, str], ...]] = {
    "age": ((0.0, 0.3, "young"), (0.38, 0.62, "middle aged"), (0.68, 1.0, "old")),
    "smile": ((0.0, 0.22, "serious"), (0.62, 1.0, "smiling")),
    "mouth_open": ((0.55, 1.0, "open mouth"),),
    "glasses": ((0.0, 0.1, "without glasses"), (0.7, 1.0, "with glasses")),
    "beard": ((0.0, 0.1, "clean shaven"), (0.6, 1.0, "with a beard")),
    "skin": ((0.0, 0.33, "light skin"), (0.67, 1.0, "dark skin")),
    "hair_length": ((0.0, 0.33, "short hair"), (0.67, 1.0, "long hair")),
    "hair_tone": ((0.0, 0.25, "dark hair"), (0.75, 1.0, "blond hair")),
    "hair_red": ((0.75, 1.0, "red hair"),),
    "eye_color": ((0.0, 0.33, "brown eyes"), (0.4, 0.6, "green eyes"), (0.67, 1.0, "blue eyes")),
    "face_width": ((0.0, 0.2, "narrow face"), (0.8, 1.0, "wide face")),
    "eye_size": ((0.8, 1.0, "big eyes"),),
    "brow_thickness": ((0.8, 1.0, "thick brows"),),
    "lip_red": ((0.75, 1.0, "red lips"),),
    "tilt": ((0.0, 0.25, "tilted left"), (0.75, 1.0, "tilted right")),
    "shirt_hue": (
        (0.0, 0.1, "red shirt"),
        (0.15, 0.28, "yellow shirt"),
        (0.34, 0.48, "green shirt"),
        (0.68, 0.82, "blue shirt"),
        (0.9, 1.0, "purple shirt"),
    ),
    "background_hue": (
        (0.0, 0.1, "red background"),
        (0.15, 0.28, "yellow background"),
        (0.34, 0.48, "green background"),
        (0.68, 0.82, "blue background"),
        (0.9, 1.0, "purple background"),
    ),
}
SUBJECT = "image of a person"


def sample_attributes(count: int, generator: torch.Generator) -> Tensor:
    """Draw random faces, most of them young, serious, shaven, mouth closed, without glasses.

    Args:
        count: B, the number of faces.
        generator: CPU generator; the same state gives the same faces.

    Returns:
        Attributes [B, A], float64 in [0, 1], columns in the order of `ATTRIBUTES`.
    """
    values = torch.rand(count, len(ATTRIBUTES), generator=generator, dtype=torch.float64)
    # The edits lean to their quiet end, as in photographs, which leaves a slider room to act.
    for name, power in (("smile", 2.2), ("age", 1.8)):
        values[:, INDEX[name]] **= power
    values[:, INDEX["mouth_open"]] = _ramp(values[:, INDEX["mouth_open"]], 0.75, 1.0)
    for name, share in (("glasses", 0.15), ("beard", 0.25)):
        column = values[:, INDEX[name]]
        absent, full = column > share + 0.1, column < share
        between = (column - share) / 0.1
        values[:, INDEX[name]] = torch.where(absent, 0.0, torch.where(full, 1.0, between))
    column = values[:, INDEX["beard"]]
    values[:, INDEX["beard"]] = column * (0.55 + 0.45 * torch.rand(count, generator=generator))
    return values


def with_attribute(attributes: Tensor, name: str, value: float) -> Tensor:
    """Return the same faces [B, A] with one attribute set to `value`."""
    if name not in INDEX:
        raise ValueError(f"{name!r}: expected one of {', '.join(ATTRIBUTES)}")
    moved = attributes.clone()
    moved[:, INDEX[name]] = value
    return moved


def phrases(attributes: Tensor) -> Tensor:
    """Tell which phrase of each entry of `PHRASES` fits.

    Args:
        attributes: [B, A] in [0, 1].

    Returns:
        [B, len(PHRASES)] int64: the position within the entry, or -1 where none fits.
    """
    fitting = attributes.new_full((len(attributes), len(PHRASES)), -1, dtype=torch.long)
    for column, (name, entries) in enumerate(PHRASES.items()):
        value = attributes[:, INDEX[name]]
        for position, (low, high, _) in enumerate(entries):
            fitting[(value >= low) & (value <= high), column] = position
        if name in TIED["age"]:  # grey hides the colour
            fitting[attributes[:, INDEX["age"]] > 0.5, column] = -1
        if name == "hair_tone":  # neither dark nor blond when it is red
            fitting[attributes[:, INDEX["hair_red"]] > 0.6, column] = -1
    return fitting


def describe(face: Tensor, limit: int = 4) -> str:
    """Describe one face [A] in flux-mini's words, with the first `limit` fitting phrases."""
    fitting = phrases(face[None])[0].tolist()
    words = [entries[i][2] for entries, i in zip(PHRASES.values(), fitting, strict=True) if i >= 0]
    return ", ".join([SUBJECT, *words[:limit]])


def render(attributes: Tensor, size: int = 128, supersample: int = 2) -> Tensor:
    """Draw faces.

    Args:
        attributes: [B, A] in [0, 1]; its dtype and device are the drawing's. float64 makes the
            8-bit result independent of the machine's rounding.
        size: height and width in pixels.
        supersample: samples per pixel along each axis.

    Returns:
        Images [B, 3, size, size] in [0, 1].

    Raises:
        ValueError: the attributes have another shape or leave [0, 1].
    """
    if attributes.ndim != 2 or attributes.shape[1] != len(ATTRIBUTES):
        raise ValueError(f"attributes {tuple(attributes.shape)}: expected [B, {len(ATTRIBUTES)}]")
    if not bool(((attributes >= 0) & (attributes <= 1)).all()):
        raise ValueError("attributes must lie in [0, 1]")
    images = []
    # One face at a time stays in a processor's cache, hundreds fill a GPU.
    for part in attributes.split(256 if attributes.is_cuda else 1):
        canvas = _Canvas(part, size * supersample)
        _draw(canvas, {name: part[:, i, None, None] for name, i in INDEX.items()})
        images.append(torch.nn.functional.avg_pool2d(canvas.image, supersample))
    return torch.cat(images)
