"""Put the table and the sheets of an evaluation into Markdown pages, between their markers.

    python scripts/ablation_page.py OUTPUT_OF_PAIREDIT_EVAL PAGE [PAGE ...]

A page holds `<!-- methods table: begin -->` and `<!-- methods table: end -->`, and, where it is to
show the sheets and curves, the same pair of `methods sheets`. Pictures go to docs/pictures/.
"""

import argparse
import json
import os
import re
from pathlib import Path

from PIL import Image

from pairedit.measure.table import markdown_table

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"


def table(found: dict) -> str:
    """Write the table and how it was measured."""
    settings, seeds = found["settings"], found["settings"]["seeds"]
    heads, *rows = [found["table"]["heads"], *found["table"]["rows"]]
    (skip,) = {slider["skip"] for slider in found["sliders"]}  # all are used alike
    return (
        markdown_table(heads, rows)
        + f"\n{len(seeds)} seeds ({min(seeds)} to {max(seeds)}), `skip={skip}`; "
        "`off-target` and `identity` at the scale where a slider reaches "
        f"{100 * settings['match']:.0f} % of one pair's worth; in brackets 95 % bootstrap "
        "intervals.\n"
    )


def sheets(folder: Path, page: Path) -> str:
    """Copy the pictures into the documentation and write links to them."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    text = ""
    for source in [*sorted((folder / "sheets").glob("*.png")), folder / "curves.png"]:
        name = PICTURES / f"ablation-{source.stem}.webp"
        Image.open(source).convert("RGB").save(name, quality=75, method=6)
        place = Path(os.path.relpath(name, page.resolve().parent)).as_posix()
        text += f"![{source.stem}]({place})\n\n"
    return text


def fill(text: str, name: str, content: str) -> str:
    """Replace what stands between a pair of markers; a page without them stays as it is."""
    begin, end = (f"<!-- methods {name}: {side} -->\n" for side in ("begin", "end"))
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end.rstrip())})", re.S)
    return pattern.sub(lambda match: match.group(1) + content + match.group(2), text)


def main() -> None:
    """Fill the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder that pairedit-eval wrote")
    parser.add_argument("pages", type=Path, nargs="+", help="the pages to fill")
    args = parser.parse_args()
    found = json.loads((args.folder / "eval.json").read_text(encoding="utf-8"))
    for page in args.pages:
        before = page.read_text(encoding="utf-8")
        if "<!-- methods table: begin -->" not in before:
            parser.error(f"{page}: no <!-- methods table: begin --> in it")
        text = fill(before, "table", table(found))
        if "<!-- methods sheets: begin -->" in text:
            text = fill(text, "sheets", sheets(args.folder, page))
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
