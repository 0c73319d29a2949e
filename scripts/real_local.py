"""Measure the default slider on photographs, in four ways to use it: what changes, and where.

    python scripts/real_local.py [--work outputs/real_local] [--faces 32] [--minutes 4] [--out FILE]
    python scripts/real_local.py --known [--write]

Sliders are trained as `pairedit-train` does by default, and used as their files note it, but for
`local` and `flowedit`, which are tried both ways. Unseen portraits stand for photographs; see
real_faces.py. A part of eight faces is written as soon as it is measured, so a
call that its clock stops loses little, and the next one goes on. `--out` keeps what is read of each
face in one file. `--known` shows the newest of them in benchmarks/results/real/, and `--write` puts
its table into docs/real.md.

The mask is where the last step lets the slider act, at the latent pixels that are drawn there. The
background is the rest, compared with the reconstruction: the picture at scale 0.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as pairedit does

import torch
import torch.nn.functional as F
from torch import Tensor

from pairedit import flowedit, local
from pairedit.bases.base import Base, Model
from pairedit.data.images import load_image, to_tensor
from pairedit.edits import Photo, RealImage
from pairedit.lora.file import LoraFile, read_lora
from pairedit.measure.intervals import at, crossing
from pairedit.mini.probe import read
from pairedit.plan.use import use_of
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering
from real_faces import EDITS, PAGE, TOGETHER, changes, faces, interval, options, size_of
from tables import TRAIN, digest, kept, mini, put, weights

RESULTS = PAGE.parents[1] / "benchmarks/results/real"
SCALES = (0.0, 0.15, 0.3, 0.45, 0.65, 0.9)
GAIN = 0.3  # the change of the edited attribute at which uses are compared


class Way(NamedTuple):
    """Say how a slider is used, whatever its file notes of that."""

    local: bool
    flowedit: bool

    def __str__(self) -> str:
        """Name its file."""
        return f"{'local' if self.local else 'plain'}{'-flowedit' * self.flowedit}"


WAYS = tuple(Way(*both) for both in product((False, True), repeat=2))


@contextmanager
def watched() -> Iterator[list[Tensor]]:
    """Keep the masks that rows get, [B, 1, h, w] of each step."""
    share, masks = local.share, []

    def keep(change: Tensor) -> Tensor:
        masks.append(share(change))
        return masks[-1]

    local.share = flowedit.share = keep
    try:
        yield masks
    finally:
        local.share = flowedit.share = share


def trained(edit: str, work: Path) -> Path:
    """Train a slider by the command, unless it is there; return its file."""
    path = work / edit / edit / "semantic.safetensors"
    if not path.is_file():
        words = [f"dataset={edit}", "preview=false", "resume=auto", f"hydra.run.dir={work / edit}"]
        subprocess.run([*TRAIN, *words], check=True)
    return path


def edit_faces(base: Base, model: Model, edit: str, lora: LoraFile, way: Way, paths: list) -> dict:
    """Edit one part of the faces; changes are read against the photographs themselves."""
    use = use_of(lora.metadata, model.num_inference_steps, local=way.local, flowedit=way.flowedit)
    size = size_of(model)
    base.hardware = replace(base.hardware, batch_size=TOGETHER * len(SCALES))
    photos = [Photo(path=path, image=load_image(path, size)) for path in paths]
    words = {"local": use.local, "lean": use.lean, "flowedit": use.flowedit}
    with watched() as masks:
        samples = list(
            generate(
                base,
                sliders=[Slider(lora=lora, scales=SCALES, **words)],
                prompts=[""],
                seeds=[None],
                rendering=Rendering(
                    skip=model.skip if use.skip is None else use.skip,
                    num_inference_steps=model.num_inference_steps,
                    guidance_scale=model.guidance_scale,
                    size=size,
                ),
                edit=RealImage(inversion="ode"),
                photos=photos,
            )
        )
    drawn = torch.stack([to_tensor(each.image) for each in samples])
    grid = drawn.unflatten(0, (len(paths), len(SCALES)))
    target, off = changes(
        read(drawn).unflatten(0, grid.shape[:2]),
        read(torch.stack([to_tensor(photo.image) for photo in photos])),
        edit,
    )
    found = {"use": str(use), "target": target.tolist(), "off": off.tolist()}
    if way.local:
        found |= background(grid, masks[-1])
    return found


def background(grid: Tensor, masks: Tensor) -> dict:
    """Measure the change outside of masks, in levels of 255, [N, K]; and their size.

    Args:
        grid: [N, K, 3, H, W], scale 0 first.
        masks: [N * (K - 1), 1, h, w], of the other scales.
    """
    moved = (grid - grid[:, :1]).abs().mean(2, keepdim=True) * 127.5
    wide = F.interpolate((masks > 0).float(), grid.shape[-2:]).cpu()
    inside = F.pad(wide.unflatten(0, (len(grid), -1)), (0, 0) * 3 + (1, 0))
    outside = 1 - inside
    mean = (moved * outside).sum((2, 3, 4)) / outside.sum((2, 3, 4)).clamp(min=1)
    return {"outside": mean.tolist(), "inside": inside.mean((2, 3, 4)).tolist()}


def row(edit: str, way: Way, one: Mapping) -> str:
    """Write the results of one use of one slider."""
    found = {name: torch.tensor(value) for name, value in one.items() if name != "use"}
    faces_seen = len(found["off"])
    reached = crossing(SCALES, found["target"].mean(0), GAIN)
    cells = ["not reached", "", "", ""]
    if not reached.isnan():
        costs = torch.stack([at(SCALES, line, reached) for line in found["off"]])
        low, high = interval(costs)
        cells = [
            f"{float(reached):.2f}",
            f"**{float(costs.mean()):.3f}** ({low:.3f} to {high:.3f})",
        ]
        for name in ("outside", "inside"):
            known = name in found
            cells.append(f"{float(at(SCALES, found[name].mean(0), reached)):.2f}" if known else "–")
    ways = [str(one).lower() for one in way]
    heads = [edit, *ways, f"`{one['use']}`", str(faces_seen)]
    return f"| {' | '.join([*heads, *cells])} |"


def measured(args: argparse.Namespace) -> dict[str, dict]:
    """Train and measure what is not known yet, as far as the clock allows; by edit and way."""
    deadline = time.time() + 60 * args.minutes
    work = args.work / digest(repr((weights(), SCALES, WAYS)))
    paths = faces(args.faces, work / "faces")
    opened = cache(mini)
    found = {}
    for edit, way in product(args.edits, WAYS):
        parts = []
        for start in range(0, len(paths), TOGETHER):
            file = work / f"{edit}-{way}-{start}.json"
            some = paths[start : start + TOGETHER]
            if not file.is_file() and time.time() > deadline:
                continue

            def made(edit: str = edit, way: Way = way, some: list = some) -> dict:
                model, base = opened()
                lora = read_lora(trained(edit, work), model.names)
                return edit_faces(base, model, edit, lora, way, some)

            parts.append(kept(file, made))
        if parts:
            names = [name for name in parts[0] if name != "use"]
            joined = {name: [face for part in parts for face in part[name]] for name in names}
            found[f"{edit}-{way}"] = {"use": parts[0]["use"], **joined}
    return found


def keep(found: Mapping[str, Mapping], file: Path) -> None:
    """Write what was read of each face into one file."""
    lines = []
    for name, one in found.items():
        short = {key: value if key == "use" else rounded(value) for key, value in one.items()}
        lines.append(f"{json.dumps(name)}: {json.dumps(short)}")
    about = {"weights": weights(), "scales": SCALES}
    file.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(lines)
    file.write_text(f'{{"about": {json.dumps(about)}, "ways": {{\n{body}\n}}}}\n')


def rounded(faces: list[list[float]]) -> list[list[float]]:
    """Keep as many digits as the probe has."""
    return [[round(value, 4) for value in face] for face in faces]


def text(found: Mapping[str, Mapping]) -> str:
    """Write the table."""
    lines = [
        f"| edit | `local` | `flowedit` | use | faces | scale of +{GAIN:g} "
        "| off-target there (95 %) | background, of 255 | share of the picture in the mask |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for edit, way in product(EDITS, WAYS):
        if one := found.get(f"{edit}-{way}"):
            lines.append(row(edit, way, one))
    return "\n".join([*lines, "", ""])


def newest() -> dict[str, dict]:
    """Read what is committed."""
    return json.loads(max(RESULTS.glob("*.json")).read_text())["ways"]


def main() -> None:
    """Train, measure, print, write."""
    parser = options(__doc__, Path("outputs/real_local"))
    parser.add_argument(
        "--minutes", type=float, default=1e6, help="do not begin another part after this time"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write what was read of each face")
    args = parser.parse_args()
    found = newest() if args.known else measured(args)
    if args.out:
        keep(found, args.out)
    print(text(found))
    if args.write:
        put(PAGE, "real local", text(found))


if __name__ == "__main__":
    main()
