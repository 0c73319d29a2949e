"""Own colour: images of any mode become 8-bit sRGB on white, by what their profile says."""

from __future__ import annotations

import io
import logging

from PIL import Image, ImageChops, ImageCms

log = logging.getLogger(__name__)

# Modes of Pillow that a profile of a colour space (by its ICC signature) can convert.
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# Levels of 255. Profiles that mean sRGB differ by their rounding; converting would add ours.
ROUNDING = 2
STEPS = (0, 6, 12, 24, 48, 80, 112, 144, 176, 208, 232, 255)


def flatten(image: Image.Image) -> Image.Image:
    """Turn an image of any mode into 8-bit RGB on white.

    Args:
        image: anything Pillow holds; an embedded colour profile is applied.

    Returns:
        An RGB image: the same object when nothing had to change.
    """
    if image.mode.startswith("I"):
        image = _from_16_bit(image)
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        gray = image.mode in ("L", "LA")
        image = image.convert("RGBA")
        colour = _to_srgb(image.convert("RGB").convert("L" if gray else "RGB"), profile)
        white = Image.new("RGB", image.size, "white")
        return Image.composite(colour, white, image.getchannel("A"))
    if image.mode == "1":
        image = image.convert("L")
    return _to_srgb(image if image.mode in MODES.values() else image.convert("RGB"), profile)


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit gray to 8 bits, where Pillow's own conversion would clip at 255."""
    import numpy as np

    values = np.asarray(image).astype(np.int64)
    gray = Image.fromarray(((values.clip(0, 65535) + 128) // 257).astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        gray.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    if "icc_profile" in image.info:
        gray.info["icc_profile"] = image.info["icc_profile"]
    return gray


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an RGB, L or CMYK image from its colour profile to sRGB."""
    if profile:
        try:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            space = MODES.get(embedded.profile.xcolor_space.strip())
            # Gray under a profile for colours is a colour of three equal parts.
            if image.mode == "L" and space == "RGB":
                image = image.convert("RGB")
            if image.mode != space:
                raise ImageCms.PyCMSError(
                    f"for {embedded.profile.xcolor_space.strip()}, the image is {image.mode}"
                )
            image = _convert(image, embedded)
        except (OSError, ImageCms.PyCMSError) as error:
            log.warning("unusable colour profile, read as sRGB instead: %s", error)
    return image if image.mode == "RGB" else image.convert("RGB")


def _convert(image: Image.Image, embedded: ImageCms.ImageCmsProfile) -> Image.Image:
    """Convert an image by its profile, unless that profile does what sRGB does."""
    # Exact where it matters: precalculated, dark grays would be up to 10 levels off.
    flags = ImageCms.Flags.NOOPTIMIZE if image.mode == "L" else ImageCms.Flags.NONE
    convert = ImageCms.buildTransform(
        embedded, ImageCms.createProfile("sRGB"), image.mode, "RGB", flags=flags
    )
    if image.mode == "CMYK":
        return ImageCms.applyTransform(image, convert)
    tried = _few_colours() if image.mode == "RGB" else _all_grays()
    found = ImageCms.applyTransform(tried, convert)
    apart = ImageChops.difference(found, tried.convert("RGB"))
    if max(high for _, high in apart.getextrema()) <= ROUNDING:
        return image
    if image.mode == "L":
        table = [level for channel in found.split() for level in channel.tobytes()]
        return image.convert("RGB").point(table)
    return ImageCms.applyTransform(image, convert)


def _all_grays() -> Image.Image:
    return Image.frombytes("L", (256, 1), bytes(range(256)))


def _few_colours() -> Image.Image:
    """Draw a cube of colours, and grays that are close where a power law and sRGB part."""
    few = STEPS[::3] + STEPS[-1:]
    colours = [(r, g, b) for r in few for g in few for b in few] + [(v, v, v) for v in STEPS]
    flat = bytes(part for colour in colours for part in colour)
    return Image.frombytes("RGB", (len(colours), 1), flat)
