"""Own the photographs to edit: which files, and the mask and content LoRA that go with each.

A content LoRA lies where `pairedit-train method=inversion` put it: <run>/<file stem>/.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pairedit.data.examples import find_images
from pairedit.data.images import read_image
from pairedit.data.kinds import stem_of
from pairedit.data.masks import read_mask
from pairedit.edits import Edit, RealImage
from pairedit.files import locate, near_path
from pairedit.problems import Problems, given_by

CONTENT = "content.safetensors"


def read_photos(
    config: DictConfig, edit: Edit | None, problems: Problems
) -> tuple[Edit | None, list[tuple[Path, Path | None]]]:
    """Read the keys of real-image editing, and choose the inversion if it is `auto`."""
    if edit is None:
        return None, []
    if not isinstance(edit, RealImage):
        for key in (
            "image",
            "mask",
            "content_lora",
            "inversion",
            "iterations",
            "semantic_cfg_scale",
        ):
            if config[key] is not None:
                problems.append(f"{key}={config[key]}: has no effect; add edit=real")
        return edit, []
    given = config.content_lora is not None
    edit = edit.chosen(given)
    if config.image is None:
        problems.append("edit=real: needs image=photo.png, a list, or a folder")
        return edit, []
    needed = edit.inversion != "ode"
    if needed and not given:
        problems.append(
            f"inversion={edit.inversion}: needs content_lora=, which pairedit-train "
            "method=inversion trains"
        )
    if given and not needed:
        problems.append(f"content_lora={config.content_lora}: has no effect; inversion=ode")
    paths = problems.attempt(lambda: find_photos(config.image)) or []
    contents = [None] * len(paths)
    if paths and needed:
        contents = problems.attempt(lambda: match_content(config.content_lora, paths)) or contents
    return edit, list(zip(paths, contents, strict=True))


def find_photos(image: Any) -> list[Path]:
    """Read `image`: a file, a folder, or a list of these; pkg:// stands for what ships.

    Every image is decoded once, so that what is wrong with it is known before the model loads.

    Returns:
        Files in the order given, those of a folder by stem; at least one, none twice.

    Raises:
        ValueError: names every file that cannot be used, and every file that is there twice.
    """
    if OmegaConf.is_config(image):
        image = OmegaConf.to_container(image)
    entries = image if isinstance(image, list) else [image]
    if not entries or not all(isinstance(entry, str) for entry in entries):
        raise ValueError(f"image={image}: expected a file, a folder, or a list of these")
    problems = Problems()
    found: list[Path] = []
    for entry in entries:
        path = locate(entry)
        if not path.exists():
            problems.append(f"image={path}: no such file or folder{near_path(path)}")
        elif path.is_dir():
            found += (problems.attempt(lambda path=path: find_images(path)) or {}).values()
        else:
            problems.attempt(lambda path=path: _read("image", path, read_image))
            found.append(path)
    for path, times in Counter(path.absolute() for path in found).items():
        problems.expect(times == 1, f"image: {path} is there {times} times")
    problems.done()
    return found


def match_content(content_lora: Any, photos: Sequence[Path]) -> list[Path | None]:
    """Read `content_lora`: a file for a single photograph, a list, or the folder of a run.

    Args:
        content_lora: None, a path, or a list with a path for each photograph, in order.
        photos: the photographs.

    Returns:
        The content LoRA of each photograph.

    Raises:
        ValueError: another number of files, or a folder that lacks some.
    """
    if OmegaConf.is_config(content_lora):
        content_lora = OmegaConf.to_container(content_lora)
    if content_lora is None:
        return [None] * len(photos)
    entries = content_lora if isinstance(content_lora, list) else [content_lora]
    if not all(isinstance(entry, str) for entry in entries):
        raise ValueError(f"content_lora={content_lora}: expected a path or a list of paths")
    paths = [locate(entry) for entry in entries]
    if len(paths) == 1 and paths[0].is_dir():
        (folder,) = paths
        paths = [_content_of(folder, photo) for photo in photos]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise ValueError(f"content_lora={folder}: no {', '.join(map(str, missing))}")
    if len(paths) != len(photos):
        raise ValueError(
            f"content_lora: {len(paths)} files for {len(photos)} images; expected one for each "
            "image, or the folder of a training run"
        )
    return list(paths)


def match_masks(mask: Any, photos: Sequence[Path], notes: list[str]) -> list[Path | None]:
    """Read `mask`: a file for a single photograph, a list, or a folder of masks of their names.

    Every mask is read once, so that what is wrong with it is known before the model loads.

    Args:
        mask: None, a path, or a list with a path for each photograph, in order.
        photos: the photographs.
        notes: receives the photographs of which a folder has no mask.

    Returns:
        The mask of each photograph; None where there is none.

    Raises:
        ValueError: another number of files, a folder without any, or a mask that does not fit.
    """
    if OmegaConf.is_config(mask):
        mask = OmegaConf.to_container(mask)
    if mask is None:
        return [None] * len(photos)
    entries = mask if isinstance(mask, list) else [mask]
    if not entries or not all(isinstance(entry, str) for entry in entries):
        raise ValueError(f"mask={mask}: expected a file, a list of files, or a folder")
    paths: list[Path | None] = [locate(entry) for entry in entries]
    if len(paths) == 1 and paths[0].is_dir():
        there = find_images(paths[0])
        stems = [unicodedata.normalize("NFC", stem_of(photo.name)) for photo in photos]
        paths = [there.get(stem) for stem in stems]
        lonely = [stem for stem, path in zip(stems, paths, strict=True) if path is None]
        if len(lonely) == len(photos):
            raise ValueError(f"mask={mask}: no mask of the name {', '.join(lonely)} in it")
        if lonely:
            notes.append(
                f"mask={mask}: has no mask for {', '.join(lonely)}, which is edited everywhere"
            )
    if len(paths) != len(photos):
        raise ValueError(
            f"mask: {len(paths)} masks for {len(photos)} images; expected one for each image, or a "
            "folder with masks of their names"
        )
    problems = Problems()
    for path, photo in zip(paths, photos, strict=True):
        if path and not path.exists():
            problems.append(f"mask={path}: no such file or folder{near_path(path)}")
        elif path:
            read = partial(read_mask, picture=photo)
            problems.attempt(lambda path=path, read=read: _read("mask", path, read))
    problems.done()
    return paths


def _read(key: str, path: Path, read: Callable[[Path], object]) -> None:
    """Read a picture once; an error names the key."""
    with given_by(key, path):
        read(path)


def _content_of(folder: Path, photo: Path) -> Path:
    """Name the content LoRA of a photograph in the folder of a run.

    A run is named by the stem, behind those of the subfolders of `images=` that it lay in.
    """
    *parents, _ = photo.resolve().parts[1:]
    stem = unicodedata.normalize("NFC", stem_of(photo.name))
    for depth in range(len(parents), 0, -1):
        path = folder / "-".join([*parents[-depth:], stem]) / CONTENT
        if path.is_file():
            return path
    return folder / stem / CONTENT
