"""Render data/ again, byte for byte: python scripts/render_data.py [--check].

Each edit is three pairs of people that differ in one attribute alone; `one` holds a single pair.
`real` holds single portraits that stand for photographs: people that flux-mini never saw.
float64 drawing and rounding to 8 bits make the pixels the same on every machine.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from pairedit.data.images import to_image
from pairedit.mini.faces import INDEX, render, sample_attributes, with_attribute

DATA = Path(__file__).parents[1] / "data"
# edit -> (attribute, before, after, seeds of the people)
EDITS = {
    "age": ("age", 0.1, 0.85, (11, 12, 13)),
    "smile": ("smile", 0.15, 0.95, (21, 22, 23)),
    "glasses": ("glasses", 0.0, 1.0, (31, 32, 33)),
    "beard": ("beard", 0.0, 0.9, (41, 42, 43)),
    "mouth_open": ("mouth_open", 0.0, 0.9, (51, 52, 53)),
    "eye_size": ("eye_size", 0.15, 0.9, (61, 62, 63)),
    "hair_length": ("hair_length", 0.15, 0.9, (71, 72, 73)),
    "nose_width": ("nose_width", 0.15, 0.9, (81, 82, 83)),
    "tilt": ("tilt", 0.5, 1.0, (91, 92, 93)),
    "one": ("smile", 0.15, 0.95, (22,)),
}
# Portraits for real-image editing: file stem = seed - UNSEEN. No training face, and none that
# scripts/mini_card.py looks at, comes from a seed this large.
REAL = (220, 610, 769, 1743, 1867, 3026)
UNSEEN = 59_000_000
# What the people of a pair look like besides the edit: awake, facing us, nothing in the way.
PLAIN = {"age": 0.2, "smile": 0.4, "beard": 0.0, "glasses": 0.0, "tilt": 0.5, "mouth_open": 0.0}


def person(seed: int) -> torch.Tensor:
    """Return a random person [1, A] with every edit at rest."""
    face = sample_attributes(1, torch.Generator().manual_seed(seed))
    for name, value in PLAIN.items():
        face[:, INDEX[name]] = value
    return face


def pictures() -> dict[Path, Image.Image]:
    """Render every picture of data/, by its path there."""
    drawn = {}
    for edit, (attribute, before, after, seeds) in EDITS.items():
        for seed in seeds:
            for side, value in (("source", before), ("target", after)):
                face = with_attribute(person(seed), attribute, value)
                path = Path(edit, side, f"person-{seed}.png")
                drawn[path] = to_image(render(face)[0].float() * 2 - 1)
    for stem in REAL:
        face = sample_attributes(1, torch.Generator().manual_seed(UNSEEN + stem))
        drawn[Path("real", f"{stem}.png")] = to_image(render(face)[0].float() * 2 - 1)
    return drawn


def main() -> None:
    """Write the pictures, or with --check compare them with what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing, and compare the pixels with those of data/",
    )
    check = parser.parse_args().check
    different = []
    for path, image in pictures().items():
        if check:
            same = (DATA / path).is_file() and Image.open(DATA / path).tobytes() == image.tobytes()
            different += [] if same else [str(path)]
        else:
            (DATA / path).parent.mkdir(parents=True, exist_ok=True)
            image.save(DATA / path, optimize=True)
    if different:
        raise SystemExit(f"differs from data/: {', '.join(different)}")
    print(f"{len(pictures())} pictures {'equal' if check else 'written'}")


if __name__ == "__main__":
    main()
