"""Draw how long a training step takes by card, base and profile, from the committed results.

    python scripts/cards_chart.py [--write]

The figures are those of the table of cards, see page_tables.py. The picture is an SVG without
fonts of its own. It follows light and dark, and its type can still be read on a phone.
"""

from __future__ import annotations

import argparse
from html import escape

from page_tables import CARDS, DOCS, doubt, measured

PICTURE = DOCS / "pictures/cards.svg"
WIDTH, LEFT, RIGHT = 480, 10, 124  # units; right of the bars stand the figures
HEAD, ROW, BAR, FOOT = 40, 42, 14, 8
STYLE = (
    "text { font: 14px system-ui, sans-serif; fill: #52525b } .head { font-weight: 600 } "
    ".figure, .head { fill: #18181b } .paper { fill: #fff } .bar { fill: #0072b2 } "
    "@media (prefers-color-scheme: dark) { text { fill: #a1a1aa } "
    ".figure, .head { fill: #f4f4f5 } .paper { fill: #18181b } .bar { fill: #56b4e9 } }"
)


def chart() -> str:
    """Draw a bar for each line of the table whose training was measured."""
    lines = [
        (card, model, profile, found, doubt(card, base, profile))
        for card, model, profile, base in CARDS
        if (found := measured(base).get(f"train-{profile}"))
    ]
    most = max(found["seconds"]["median"] for *_, found, _ in lines)
    height = HEAD + ROW * len(lines) + FOOT
    parts = [f'<text class="head" x="{LEFT}" y="24">Seconds and memory of a training step</text>']
    for number, (card, model, profile, found, fits) in enumerate(lines):
        top = HEAD + ROW * number
        seconds = found["seconds"]["median"]
        length = (WIDTH - LEFT - RIGHT) * seconds / most
        name = escape(f"{card} GB{fits}: {model}, hardware={profile}")
        said = f"{seconds:.2f} s, {found['peak']['process']:.1f} GiB"
        parts += [
            f'<text x="{LEFT}" y="{top + 14}">{name}</text>',
            f'<rect class="bar" x="{LEFT}" y="{top + 20}" width="{length:.1f}" height="{BAR}"/>',
            f'<text class="figure" x="{LEFT + length + 6:.1f}" y="{top + 32}">{said}</text>',
        ]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{1.5 * WIDTH:.0f}" '
        f'height="{1.5 * height:.0f}" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Seconds and memory of a training step, by card">\n<style>{STYLE}</style>\n'
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    """Draw, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {PICTURE.name}")
    drawn = chart()
    if parser.parse_args().write:
        PICTURE.write_text(drawn)
    print(f"{PICTURE}: {drawn.count('<rect') - 1} bars")


if __name__ == "__main__":
    main()
