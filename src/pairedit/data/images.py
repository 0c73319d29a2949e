"""Own how pictures are read: from files of all kinds to RGB images and tensors, and back.

An image becomes sRGB on white, is brought to a size, then a tensor x = pixel / 127.5 - 1.
Shape letters: H height, W width. Torch and numpy are imported only where an array is made, so that
bad pictures are reported before they load.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, PngImagePlugin, features

from pairedit.data.colour import flatten
from pairedit.data.kinds import RAW
from pairedit.data.shapes import Frame, Sizing, frame_of

if TYPE_CHECKING:
    import torch

MIN_SIDE = 16  # px; one latent token covers so many of every base model that is known here
MAX_PIXELS = 2**28  # px, 1 GiB as Pillow holds them; the largest sensors of phones have 200 million
ORIENTATION, TURNED = 0x0112, 5  # an EXIF tag, and from which value on sides are swapped
MAX_TEXT = 2**26  # bytes of text in a PNG, and of its colour profile, unzipped


def read_image(path: Path) -> Image.Image:
    """Read one image file at its own size.

    EXIF rotation and the colour profile are applied; transparency becomes white; 16-bit, gray,
    palette and CMYK images become 8-bit RGB.

    Args:
        path: a still image in one of `formats()`, of at least `MIN_SIDE` px a side and at most
            `MAX_PIXELS` in all.

    Returns:
        An RGB image.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    return _decode(Path(path), str(path))


def load_image(path: Path, sizing: Sizing) -> Image.Image:
    """Read an image file, brought to a size.

    Args:
        path: see `read_image`.
        sizing: height and width of the result in px, to whose shape it is cut at its centre; or
            what finds them by the picture's own shape.

    Returns:
        An RGB image, resampled by Lanczos (untouched when it has its size already).

    Raises:
        ValueError: see `read_image`.
    """
    return load_images([path], sizing)[0]


def load_images(paths: Sequence[Path], sizing: Sizing) -> list[Image.Image]:
    """Read images that show the same, brought to the size of the first; see `load_image`."""
    images = [read_image(path) for path in paths]
    frame = frame_of(sizing, *images[0].size)
    return [framed(image, frame) for image in images]


def framed(
    image: Image.Image, frame: Frame, resampling: Image.Resampling = Image.Resampling.LANCZOS
) -> Image.Image:
    """Bring an image of any mode to a frame."""
    height, width = frame.size
    # Cropped first: resampling with a box would let pixels from outside it bleed in.
    return image.crop(frame.box(*image.size)).resize((width, height), resampling)


def pixels_of(path: Path) -> tuple[int, int]:
    """Return the width and height of an image that `read_image` reads, without decoding it."""
    with generous_limits(), Image.open(path, formats=_formats_of(path)) as image:
        turned = image.getexif().get(ORIENTATION, 1) >= TURNED
        return image.size[::-1] if turned else image.size


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
    pixels, finite = to_pixels(tensor)
    return from_pixels(pixels.cpu(), finite=bool(finite))


def to_pixels(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn a tensor into pixels where it is, without waiting for a GPU; see `to_image`.

    Returns:
        uint8 [H, W, 3], and whether all values were finite, bool [].

    Raises:
        ValueError: another shape.
    """
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"the tensor has shape {list(tensor.shape)}, expected [3, H, W]")
    values = tensor.detach().float()
    pixels = ((values + 1) * 127.5).round().clamp(0, 255).byte()
    return pixels.permute(1, 2, 0).contiguous(), values.isfinite().all()


def from_pixels(pixels: torch.Tensor, *, finite: bool) -> Image.Image:
    """Make an RGB image of what `to_pixels` returned, on the CPU.

    Raises:
        ValueError: there were values that are not finite.
    """
    if not finite:
        raise ValueError("the tensor has values that are not finite (NaN or infinity)")
    return Image.fromarray(pixels.numpy())


@cache
def formats() -> tuple[str, ...]:
    """Name the decoders that may run, whatever a file is called; HEIF needs pillow-heif."""
    found = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"]
    if features.check("avif"):
        found.append("AVIF")
    try:
        import pillow_heif
    except ImportError:
        return tuple(found)
    pillow_heif.register_heif_opener()
    return (*found, "HEIF")


def _formats_of(path: Path) -> list[str]:
    """Name the decoders that may run on one file.

    A camera's raw file begins as a TIFF does, whose picture is a preview the size of a stamp.
    """
    return [name for name in formats() if name != "TIFF" or path.suffix.lower() not in RAW]


def readable() -> str:
    """Name the formats that are read, as a sentence lists them."""
    *first, last = ("jpg" if name == "JPEG" else name.lower() for name in formats())
    return f"{', '.join(first)} or {last}"


@contextmanager
def generous_limits() -> Iterator[None]:
    """Let Pillow read large photographs, and PNGs with much zipped text, but no bombs."""
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = MAX_PIXELS, MAX_TEXT
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before


def _decode(path: Path, name: str) -> Image.Image:
    """Read an image; errors call it `name`."""
    bomb = f"{name}: more than {MAX_PIXELS / 1e6:.0f} million pixels, refused"
    try:
        # Read at once: the file is closed whatever the decoder does.
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{name}: {_reason(error)}") from error
    try:
        with generous_limits(), warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(content, formats=_formats_of(path)) as image:
                width, height = image.size
                # Further pictures of a camera's file are a preview, the other eye or a burst.
                frames = 1 if image.format in ("MPO", "HEIF") else getattr(image, "n_frames", 1)
                paged = image.format == "TIFF"
                deep = image.mode == "F" or (image.mode == "I" and image.getextrema()[1] > 65535)
                if frames == 1 and min(width, height) >= MIN_SIDE and not deep:
                    return flatten(ImageOps.exif_transpose(image))
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{name}: not a readable {readable()} image") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(bomb) from error
    except Exception as error:
        if "MAX_TEXT" in str(error):
            raise ValueError(f"{name}: more than {MAX_TEXT >> 20} MiB of text in it") from error
        # Decoders raise nearly anything on a damaged file: OSError, SyntaxError, struct.error...
        raise ValueError(f"{name}: damaged or truncated ({error})") from error
    if frames != 1:
        many = f"{frames} pages" if paged else f"animated ({frames} frames)"
        raise ValueError(f"{name}: {many}, expected a still image")
    if deep:
        # Which number is white in it is not told: 1, 255 and the sun are all in use.
        raise ValueError(f"{name}: numbers of 32 bits; save it with 8 or 16 bits")
    raise ValueError(f"{name}: {width} x {height} px, at least {MIN_SIDE} px a side are needed")


def _reason(error: OSError) -> str:
    """Say what the system said, without the number and the path."""
    return (error.strerror or str(error)).lower()
