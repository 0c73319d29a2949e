"""Own the folder of a slider that is ready for a model hub: pictures, and a README.md around them.

<name>.safetensors   the LoRA
README.md            the model card
workflow.json        for ComfyUI, where the base model has one
images/              pairs.png, sheet.png, and single renderings for the hub's gallery
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from PIL import Image

from pairedit.files import replacing
from pairedit.jobs.readme import readme
from pairedit.lora.file import LoraFile
from pairedit.lora.spec import THUMBNAIL
from pairedit.pictures.pairs import draw_pairs
from pairedit.pictures.png import save_png
from pairedit.plan.card import FEW, Card
from pairedit.plan.export import ExportPlan

log = logging.getLogger(__name__)


def write_folder(plan: ExportPlan, lora: LoraFile) -> None:
    """Write what stands beside the LoRA in a hub's folder; the README.md last.

    Args:
        plan: with a card.
        lora: as read.
    """
    card, missing = plan.card, list(plan.card.missing)
    pictures: list[tuple[str, str]] = []  # file, what it shows
    if card.pairs:
        sheet = draw_pairs(card.pairs, card.sizing, title=card.name)
        pictures.append(("images/pairs.png", "the pairs that the slider was trained on"))
        save_png(sheet, card.folder / pictures[-1][0], {})
    if drawn := _sheet(card, lora.texts):
        pictures.append(("images/sheet.png", "the slider at rising scales"))
        save_png(drawn, card.folder / pictures[-1][0], {})
    else:
        missing.append("a sheet: show=FOLDER of pairedit-gen brings one")
    gallery = _gallery(card)
    if card.recipe.scale is None:
        missing.append(f"the scale that is worth one pair: pairedit-eval lora={plan.lora}")
    if card.figures is None:
        missing.append("measured figures: show=FOLDER of pairedit-eval brings them")
    if card.base is None:
        missing.append("the base model: the file does not name one that pairedit knows")
    elif card.base.hub is None:
        missing.append(f"base_model: {card.base.name} is not on the hub, it ships with pairedit")
    text = readme(plan, lora, pictures=pictures, gallery=gallery)
    with replacing(card.folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    log.info("card: %s", (card.folder / "README.md").resolve())
    for what in missing:
        log.warning("not in the card: %s", what)
    if pictures or gallery:
        log.info("Look at images/ before you upload it: everybody will see these pictures.")
    if card.base and card.base.licence and card.base.licence.notice:
        log.info(
            "The licence of the base model asks for a copy of it: save %s as LICENSE.md there.",
            card.base.licence.link,
        )
    log.info("upload: hf upload USER/NAME %s", card.folder)


def _sheet(card: Card, texts: Mapping[str, str]) -> Image.Image | None:
    """Open the picture of some scales: a sheet, or else the thumbnail in the file's header."""
    if card.sheet:
        return _opened(card.sheet)
    kind, comma, content = texts.get(THUMBNAIL, "").partition(";base64,")
    if not comma or not kind.startswith("data:image/"):
        return None
    try:
        return _opened(io.BytesIO(base64.b64decode(content, validate=True)))
    except (OSError, ValueError) as error:  # somebody else may have written it
        log.warning("the thumbnail in the file's header is damaged (%s)", error)
        return None


def _opened(source: Path | io.BytesIO) -> Image.Image:
    """Read a picture without the texts in it, which name paths of this machine."""
    with Image.open(source) as image:
        return image.convert("RGB")


def _gallery(card: Card) -> list[tuple[str, str]]:
    """Write single renderings; return the file and the prompt of each."""
    gallery = []
    for number, one in enumerate(card.renderings[:FEW]):
        name = f"images/{number}-seed{one.seed}-scale{one.scale:g}.png"
        save_png(_opened(one.path), card.folder / name, {})
        gallery.append((name, f"{one.prompt} (seed {one.seed}, scale {one.scale:g})"))
    if (left := len(card.renderings) - FEW) > 0:
        log.info("images/: the first %d of %d renderings, %d left out", FEW, FEW + left, left)
    return gallery


def public(value: Any) -> Any:
    """Return metadata for everybody: of a path of this machine the last part alone."""
    if isinstance(value, Mapping):
        return {key: public(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [public(entry) for entry in value]
    if isinstance(value, str) and (value.startswith("~") or PureWindowsPath(value).drive):
        return PureWindowsPath(value).name
    if isinstance(value, str) and value.startswith("/"):
        return Path(value).name
    return value
