"""Own what is read from disk: pairs by stem, single images, prompts; and how files are replaced.

An image becomes sRGB on white, centre-cropped to a square, then a tensor x = pixel / 127.5 - 1.
Shape letters: H height, W width. Torch and numpy are imported only where an array is made, so that
bad pairs are reported before they load.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import secrets
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageCms, ImageOps

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# Pictures a user may expect to work: refused by name instead of being skipped without a word.
OTHER_PICTURES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jxl", ".tif", ".tiff")
# Only these decoders run, whatever a file is called.
FORMATS = ("JPEG", "PNG", "WEBP")
MIN_SIDE = 16  # px; one latent token of FLUX covers 16 x 16 px
MAX_PIXELS = 89_478_485  # px; Pillow's own decompression-bomb limit, 256 MiB at 3 bytes each


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Hold one before/after example of an edit."""

    stem: str
    source: Path
    target: Path

    @property
    def images(self) -> tuple[Path, ...]:
        """Return both sides."""
        return self.source, self.target

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return the empty one: edits are learnt without words."""
        return ("",)


@dataclass(frozen=True, kw_only=True)
class Single:
    """Hold one image that is learnt alone."""

    path: Path

    @property
    def images(self) -> tuple[Path, ...]:
        """Return the one image."""
        return (self.path,)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return the empty one."""
        return ("",)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Hold the prompts of a text slider: what it acts on, and the two ends it runs between."""

    target: str
    positive: str
    negative: str

    @property
    def images(self) -> tuple[Path, ...]:
        """Return nothing: prompts need no image."""
        return ()

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return all three."""
        return self.target, self.positive, self.negative


Example = Pair | Single | Contrast


def expand_home(path: str | Path) -> Path:
    """Turn a leading ~ into the home folder; that of a user nobody knows stays as it is."""
    # Not Path.expanduser, which raises for such a user.
    return Path(os.path.expanduser(path))


def find_pairs(folder: Path, source: str = "source", target: str = "target") -> list[Pair]:
    """Match the images of `folder/source` and `folder/target` by file stem.

    Every image is decoded once, so that what is wrong with the data is known before training.

    Args:
        folder: holds two folders of jpg, jpeg, png or webp, any case.
        source: name of the folder of the images before the edit.
        target: name of the folder of the images after it.

    Returns:
        The pairs, sorted by stem; at least one.

    Raises:
        ValueError: names every problem at once: a missing or empty folder, a file without
            partner, two files of one stem, a file that `read_image` refuses, a pair whose two
            images are equal, the same pair under two names.
    """
    folder = Path(folder)
    problems: list[str] = []
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder; pairs are read from its {source}/ and {target}/"
        )
    if source == target:
        raise ValueError(f"{folder}: {source}/ cannot be before and after")
    sides = {side: _images_by_stem(folder / side, problems) for side in (source, target)}
    pairs = []
    seen: dict[tuple[bytes, bytes], str] = {}  # stem by content
    for stem in sorted(sides[source].keys() | sides[target].keys()):
        for side, other in ((source, target), (target, source)):
            # A side that could not be listed is one problem, not one for each file opposite.
            if stem not in sides[other] and sides[other]:
                names = ", ".join(f"{side}/{path.name}" for path in sides[side][stem])
                problems.append(f"{names}: no image of that name in {other}/")
        decoded = [
            _read_or_note(path, f"{side}/{path.name}", problems)
            for side in sides
            for path in sides[side].get(stem, [])
        ]
        if not all(len(sides[side].get(stem, [])) == 1 for side in sides):
            continue
        pair = Pair(stem=stem, source=sides[source][stem][0], target=sides[target][stem][0])
        before, after = decoded
        if before and after:
            content = _digest(before), _digest(after)
            if content[0] == content[1]:
                problems.append(
                    f"{source}/{pair.source.name} and {target}/{pair.target.name}: "
                    "equal pixels, the pair shows no edit"
                )
            elif content in seen:
                problems.append(
                    f"{seen[content]} and {pair.source.name}: the same pair twice, "
                    "it would count double"
                )
            seen.setdefault(content, pair.source.name)
        pairs.append(pair)
    if len(problems) == 1:
        raise ValueError(f"{folder}: {problems[0]}")
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise ValueError(f"{folder}: {len(problems)} problems with the pairs:{lines}")
    return pairs


def find_images(folder: Path) -> dict[str, Path]:
    """List the images of a folder; every one is decoded once.

    Args:
        folder: holds jpg, jpeg, png or webp files, any case.

    Returns:
        Files by stem, sorted; at least one.

    Raises:
        ValueError: names every problem at once: no such folder, no image in it, two files of one
            stem, a file that `read_image` refuses.
    """
    problems: list[str] = []
    found = _images_by_stem(Path(folder), problems)
    for path in (path for paths in found.values() for path in paths):
        _read_or_note(path, path.name, problems)
    if problems:
        raise ValueError(f"{folder}: {'; '.join(problems)}")
    return {stem: found[stem][0] for stem in sorted(found)}


def pick_images(folder: Path, image_ids: Any = None) -> dict[str, Path]:
    """List the images of a folder that `image_ids` names.

    Args:
        folder: see `find_images`.
        image_ids: None for all, or a list of file stems; one alone needs no list.

    Returns:
        Files by stem, in the order asked for.

    Raises:
        ValueError: names the stems that are not there, or what is wrong with the folder.
    """
    images = find_images(folder)
    if image_ids is None:
        return images
    ids = [str(entry) for entry in (image_ids if isinstance(image_ids, list) else [image_ids])]
    if not ids or len(set(ids)) < len(ids):
        raise ValueError(f"image_ids={image_ids}: expected distinct file stems")
    missing = [entry for entry in ids if entry not in images]
    if missing:
        raise ValueError(
            f"image_ids: no {', '.join(missing)} in {folder}; there is {', '.join(images)}"
        )
    return {entry: images[entry] for entry in ids}


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


def load_image(path: Path, size: int) -> Image.Image:
    """Read an image file as a centre-cropped square.

    Args:
        path: see `read_image`.
        size: side of the result in px.

    Returns:
        An RGB image of size x size px, resampled by Lanczos (untouched when it has that size).

    Raises:
        ValueError: see `read_image`.
    """
    image = read_image(path)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: resampling with a box would let pixels from outside it bleed in.
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.LANCZOS)


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


def read_prompts(path: Path) -> list[str]:
    """Read prompts from a text file: one a line, lines that start with '#' are comments.

    Args:
        path: UTF-8 text.

    Returns:
        The prompts in file order; at least one.

    Raises:
        ValueError: names the file when it cannot be read, is not UTF-8 or holds no prompt.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: {_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at {error.start})") from error
    lines = [line.strip() for line in text.splitlines()]
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise ValueError(f"{path}: no prompt in it; write one a line, '#' starts a comment")
    return prompts


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path that becomes `path` once the block has ended well.

    Nobody sees half a file: on an error the temporary file goes and an older `path` stays. What
    was written survives a loss of power once the block has ended.

    Args:
        path: the file to write; missing parent folders are made.

    Yields:
        A path of the same suffix in the same folder, not existing yet.

    Raises:
        OSError: names `path`, also where the system names no file, as on a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Short, so that a file name near the system's limit works; not mkstemp, whose files are 0600.
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_temporaries(folder: Path) -> None:
    """Remove what `replacing` left in a folder, two levels deep, when its process was killed.

    Args:
        folder: one in which no other process is writing.
    """
    name = "." + "[0-9a-f]" * 16
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        for path in (*folder.glob(pattern), *folder.glob(pattern + ".*")):
            path.unlink()


def _images_by_stem(folder: Path, problems: list[str]) -> dict[str, list[Path]]:
    """List the images of a folder under their stems; note what is wrong in `problems`."""
    name = f"{folder.name}/"
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        problems.append(f"{name}: {_reason(error)}")
        return {}
    found: dict[str, list[Path]] = {}
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in SUFFIXES:
            # macOS stores decomposed accents, others composed ones: the same name to a user.
            found.setdefault(unicodedata.normalize("NFC", path.stem), []).append(path)
        elif suffix in OTHER_PICTURES:
            problems.append(f"{name}{path.name}: {suffix} is not read; use jpg, png or webp")
    for stem, twins in found.items():
        if len(twins) > 1:
            names = ", ".join(name + twin.name for twin in twins)
            problems.append(f"{names}: {len(twins)} files of one stem ({stem})")
    if not found:
        problems.append(f"{name}: no jpg, png or webp image in it")
    return found


def _read_or_note(path: Path, name: str, problems: list[str]) -> Image.Image | None:
    """Decode one image, or note in `problems` why it cannot be used."""
    try:
        return _decode(path, name)
    except ValueError as error:
        problems.append(str(error))
        return None


def _digest(image: Image.Image) -> bytes:
    """Tell pictures apart by their pixels."""
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()


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
