"""Own how pictures are read: from files of all kinds to RGB images and tensors, and back.

An image becomes sRGB on white, centre-cropped to a square, then a tensor x = pixel / 127.5 - 1.
Shape letters: H height, W width. Torch and numpy are imported only where an array is made, so that
bad pictures are reported before they load.
"""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageCms, ImageOps

from pairedit.settings import Size

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Only these decoders run, whatever a file is called.
FORMATS = ("JPEG", "PNG", "WEBP")
MIN_SIDE = 16  # px; one latent token of FLUX covers 16 x 16 px
MAX_PIXELS = 89_478_485  # px; Pillow's own decompression-bomb limit, 256 MiB at 3 bytes each


def read_image(path: Path) -> Image.Image:
    """Read one image file at its own size.

    EXIF rotation and the colour profile are applied; transparency becomes white; 16-bit, gray,
    palette and CMYK images become 8-bit RGB.

    Args:
        path: a still jpg, png or webp of at least `MIN_SIDE` px a side.

    Returns:
        An RGB image.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    return _decode(Path(path), str(path))


def load_image(path: Path, size: Size) -> Image.Image:
    """Read an image file, cropped at its centre to the shape of `size`.

    Args:
        path: see `read_image`.
        size: height and width of the result in px.

    Returns:
        An RGB image of that size, resampled by Lanczos (untouched when it has it already).

    Raises:
        ValueError: see `read_image`.
    """
    image = read_image(path)
    height, width = size
    scale = min(image.width / width, image.height / height)
    wide, high = round(width * scale), round(height * scale)
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    # Cropped first: resampling with a box would let pixels from outside it bleed in.
    cropped = image.crop((left, top, left + wide, top + high))
    return cropped.resize((width, height), Image.Resampling.LANCZOS)


def to_tensor(image: Image.Image) -> torch.Tensor:
    """Turn an RGB image into a tensor.

    Args:
        image: mode RGB; `flatten` makes one of any other mode.

    Returns:
        float32 [3, H, W] in [-1, 1].

    Raises:
        ValueError: the image is not RGB.
    """
    import numpy as np
    import torch

    if image.mode != "RGB":
        raise ValueError(f"the image has mode {image.mode}, expected RGB")
    pixels = np.asarray(image, dtype=np.float32) / 127.5 - 1
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def to_image(tensor: torch.Tensor) -> Image.Image:
    """Turn a tensor into an RGB image; the exact inverse of `to_tensor`.

    Args:
        tensor: float [3, H, W], any device; values outside [-1, 1] are clamped.

    Returns:
        An RGB image.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"the tensor has shape {list(tensor.shape)}, expected [3, H, W]")
    values = tensor.detach().float()
    if not values.isfinite().all():
        raise ValueError("the tensor has values that are not finite (NaN or infinity)")
    pixels = ((values + 1) * 127.5).round().clamp(0, 255).byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def flatten(image: Image.Image) -> Image.Image:
    """Turn an image of any mode into 8-bit RGB on white.

    Args:
        image: anything Pillow holds; an embedded colour profile is applied.

    Returns:
        An RGB image: the same object when nothing had to change.
    """
    if image.mode.startswith("I"):
        image = _from_16_bit(image)
    if image.has_transparency_data:
        profile = image.info.get("icc_profile")
        image = image.convert("RGBA")
        colour = _to_srgb(image.convert("RGB"), profile)
        white = Image.new("RGB", image.size, "white")
        return Image.composite(colour, white, image.getchannel("A"))
    if image.mode not in ("RGB", "L", "CMYK"):
        profile = image.info.get("icc_profile")
        return _to_srgb(image.convert("RGB"), profile)
    return _to_srgb(image, image.info.get("icc_profile"))


def _decode(path: Path, name: str) -> Image.Image:
    """Read an image; errors call it `name`."""
    bomb = f"{name}: more than {MAX_PIXELS / 1e6:.0f} million pixels, refused"
    try:
        # Read at once: the file is closed whatever the decoder does.
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{name}: {_reason(error)}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(content, formats=FORMATS) as image:
                width, height = image.size
                # MPO is a camera's JPEG whose second picture is a preview or the other eye.
                frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
                usable = frames == 1 and min(width, height) >= MIN_SIDE
                if usable and width * height <= MAX_PIXELS:
                    return flatten(ImageOps.exif_transpose(image))
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{name}: not a readable jpg, png or webp image") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(bomb) from error
    except Exception as error:
        # Decoders raise nearly anything on a damaged file: OSError, SyntaxError, struct.error...
        raise ValueError(f"{name}: damaged or truncated ({error})") from error
    if frames != 1:
        raise ValueError(f"{name}: animated ({frames} frames), expected a still image")
    if width * height > MAX_PIXELS:
        raise ValueError(bomb)
    raise ValueError(f"{name}: {width} x {height} px, at least {MIN_SIDE} px a side are needed")


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
            # Converting sRGB to sRGB would only cost rounding.
            if "sRGB" not in ImageCms.getProfileDescription(embedded):
                image = ImageCms.profileToProfile(
                    image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB"
                )
        except (OSError, ImageCms.PyCMSError) as error:
            log.warning("unusable colour profile, read as sRGB instead: %s", error)
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(error: OSError) -> str:
    """Say what the system said, without the number and the path."""
    return (error.strerror or str(error)).lower()
