"""Own picture files: PNGs with metadata, animations."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pairedit.data.colour import flatten
from pairedit.data.images import generous_limits
from pairedit.files import replacing

THUMBNAIL = 256  # px, the longer side
LOSSLESS_PIXELS = 4_000_000  # an animation of more pixels in all is stored at quality 95


def animate(images: Sequence[Image.Image], path: Path, ms: int = 80) -> None:
    """Write an endless animated WebP that runs there and back, resting at both ends.

    Args:
        images: at least two, of one size, in order.
        path: the file to write, replaced atomically.
        ms: time of a frame in milliseconds; the two ends stay four times as long.

    Raises:
        ValueError: fewer than two images, or sizes that differ.
    """
    if len(images) < 2:
        raise ValueError(f"an animation needs at least two images, got {len(images)}")
    sizes = sorted({image.size for image in images})
    if len(sizes) > 1:
        raise ValueError(f"the images of an animation differ in size: {sizes}")
    there = [flatten(image) for image in images]
    frames = there + there[-2:0:-1]
    times = [ms] * len(frames)
    times[0] = times[len(there) - 1] = 4 * ms
    lossless = len(frames) * there[0].width * there[0].height <= LOSSLESS_PIXELS
    with replacing(path) as temporary:
        frames[0].save(
            temporary,
            format="WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=times,
            loop=0,
            lossless=lossless,
            quality=80 if lossless else 95,  # lossless: effort, not fidelity
            method=4,
        )


def thumbnail(image: Image.Image) -> str:
    """Return a small JPEG of a picture as a data URI, the same bytes for the same picture."""
    small = flatten(image).copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def save_png(image: Image.Image, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a PNG with text chunks, replaced atomically.

    Args:
        image: any mode that PNG knows.
        path: the file to write; missing parent folders are made.
        metadata: any Unicode text under names of 1 to 79 Latin-1 characters.

    Raises:
        ValueError: a name that PNG does not allow.
    """
    chunks = PngInfo()
    for name, text in metadata.items():
        if not 1 <= len(name) <= 79 or not name.isprintable() or name != name.strip():
            raise ValueError(f"PNG metadata cannot be named {name!r}: 1 to 79 printable letters")
        try:
            name.encode("latin-1")
        except UnicodeEncodeError as error:
            raise ValueError(f"PNG metadata cannot be named {name!r}: Latin-1 only") from error
        # tEXt where Latin-1 is enough, which every tool reads; else iTXt.
        chunks.add_text(name, text)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=chunks)


def read_metadata(path: Path) -> dict[str, str]:
    """Read the text chunks of a PNG.

    Args:
        path: a file that `save_png` wrote, or any PNG.

    Returns:
        Text by name; empty when the file has none.

    Raises:
        ValueError: names the file when it is no readable PNG.
    """
    try:
        with generous_limits(), Image.open(path, formats=("PNG",)) as image:
            image.load()
            return {name: str(text) for name, text in image.text.items()}
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{path}: not a readable PNG") from error
    except Exception as error:
        # Damaged chunks raise nearly anything: OSError, SyntaxError, struct.error, zlib.error...
        raise ValueError(f"{path}: not a readable PNG ({error})") from error
