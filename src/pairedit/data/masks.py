"""Own masks: gray pictures that say where an edit may act. White: it may; black: nothing changes.

A mask has the shape of the picture that it belongs to, and is cut with it. Its edge is feathered
inwards over one unit of the model, so that black stays black to the last pixel:

    feathered = mean of a square around each pixel over (least of the same square over the mask)

Torch is imported only where an array is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageFilter

from pairedit.data.compare import unlike
from pairedit.data.images import framed, generous_limits, pixels_of, read_image
from pairedit.data.shapes import Frame, Sizing, frame_of

if TYPE_CHECKING:
    from torch import Tensor

NEAR = 8  # of 255 levels: as far from black and white as JPEG leaves them
COLOUR = 32  # levels between the channels of what is no gray picture


def read_mask(path: Path, picture: Path) -> Image.Image:
    """Read the mask of a picture.

    Args:
        path: of the mask.
        picture: that it belongs to.

    Returns:
        An L image of the picture's shape; what is nearly black or white is so altogether.

    Raises:
        ValueError: it has another shape, colours or transparent parts, or is black everywhere.
    """
    mask, pixels = read_image(path), pixels_of(picture)
    if unlike(mask.size, pixels):
        raise ValueError(
            f"{path}: a mask of {mask.width} x {mask.height} px does not fit {picture.name} of "
            f"{pixels[0]} x {pixels[1]} px; expected the same shape"
        )
    with generous_limits(), Image.open(path) as image:
        if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:
            raise ValueError(f"{path}: a mask with transparent parts; expected white on black")
    first, *others = mask.split()
    if any(ImageChops.difference(first, other).getextrema()[1] > COLOUR for other in others):
        raise ValueError(f"{path}: a mask in colours; expected white on black")
    gray = mask.convert("L").point(_clear)
    if not gray.getbbox():
        raise ValueError(f"{path}: a mask that is black everywhere; white is where the edit acts")
    return gray


def _clear(level: int) -> int:
    """Stretch levels so that what is nearly black or white becomes so."""
    return max(0, min(255, round((level - NEAR) * 255 / (255 - 2 * NEAR))))


def load_mask(path: Path, picture: Path, sizing: Sizing) -> Image.Image:
    """Read the mask of a picture, brought to the size that the picture is brought to."""
    mask = read_mask(path, picture)
    return framed_mask(mask, frame_of(sizing, *pixels_of(picture)))


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Hold where a photograph may change, feathered: L images, 255 lets everything through."""

    path: Path
    drawn: Image.Image  # at the size that the model draws
    own: Image.Image  # at the photograph's own pixels, as far as they are drawn


def photo_mask(path: Path, photo: Path, frame: Frame, unit: int) -> Mask:
    """Read the mask of a photograph, cut as that is and feathered over `unit` px of the model.

    Raises:
        ValueError: see `read_mask`; or nothing in it is as wide as the feathered edge.
    """
    mask = read_mask(path, photo)
    drawn = feathered(framed_mask(mask, frame), unit)
    if not drawn.getbbox():
        raise ValueError(
            f"{path}: its white parts are too small; expected one that is {unit} px wide when the "
            f"model draws {photo.name} at {drawn.width} x {drawn.height} px"
        )
    left, top, right, bottom = frame.box(*pixels_of(photo))
    pixels = right - left, bottom - top
    own = mask.crop(frame.box(*mask.size)).resize(pixels, Image.Resampling.BILINEAR)
    soft = drawn.resize(pixels, Image.Resampling.BILINEAR)
    return Mask(path=path, drawn=drawn, own=ImageChops.darker(own, soft))


def framed_mask(mask: Image.Image, frame: Frame) -> Image.Image:
    """Cut a mask as its picture is cut, and bring it to the model's size."""
    # Lanczos would leave ripples on black.
    return framed(mask, frame, Image.Resampling.BOX)


def feathered(mask: Image.Image, unit: int) -> Image.Image:
    """Soften the edges of a mask inwards, over `unit` px: nowhere is it more than it was."""
    reach = unit // 2
    return mask.filter(ImageFilter.MinFilter(2 * reach + 1)).filter(ImageFilter.BoxBlur(reach))


def to_latents(mask: Image.Image, shape: tuple[int, int]) -> Tensor:
    """Return the share of each latent pixel that a mask leaves free, float32 [1, h, w] in [0, 1].

    Args:
        mask: L.
        shape: latent height and width; they divide those of the mask.
    """
    import numpy as np
    import torch
    import torch.nn.functional as F

    levels = torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255)
    return F.adaptive_avg_pool2d(levels[None], shape)
