"""Follow the pages as a reader does: run every block of `sh`, and say how long it took.

    python scripts/follow_pages.py [--work outputs/pages] [--pages train render ...]

All commands run as they stand, on flux-mini, in one folder, so that pages share the two sliders. A
page that was followed is not followed again; --pages chooses some. The table says the seconds of
the clock and those of the processor: the second are what a machine of nobody else's takes at most.
"""

import argparse
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def order() -> list[str]:
    """Return the pages in the order of the site's menu."""
    return re.findall(r"([\w-]+)\.md$", (ROOT / "mkdocs.yml").read_text(), re.M)


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of a page in a language."""
    text = (DOCS / f"{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def steps(page: str) -> list[list[str]]:
    """Return what a reader of a page types: commands, and the lines of a notebook as one."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    typed = [shlex.split(line) for line in lines if line.startswith("pairedit-")]
    if page == "python":
        typed.append(["python", "-c", "".join(blocks(page, "python"))])
    return typed


def saved(page: str) -> Mapping[str, str]:
    """Return the files that a page tells its reader to save."""
    text = (DOCS / f"{page}.md").read_text()
    return dict(re.findall(r"Save as `(.+?)`:\n\n```\w+\n(.*?)```", text, flags=re.S))


def prepare(work: Path) -> None:
    """Put the reader's own pictures into a folder: pairs, a photograph and a mask."""
    if (work / "my_edit").is_dir():
        return
    for side in ("source", "target"):
        shutil.copytree(ROOT / "data/mouth_open" / side, work / "my_edit" / side)
    shutil.copy(ROOT / "data/real/1743.png", work / "photo.png")
    from PIL import Image

    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (0, 0, 128, 64))
    mask.save(work / "mask.png")


def run(typed: Sequence[str], work: Path) -> tuple[float, float]:
    """Run one command; return the seconds of the clock and of the processor."""
    name, *words = typed
    where = Path(sys.executable)
    program = where if name == "python" else where.with_name(name)
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([program, *words], cwd=work, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{shlex.join(typed)}\n{done.stdout}{done.stderr}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - begun, used


def follow(page: str, work: Path, known: dict[str, list]) -> None:
    """Run what a page says, but for what was run on another page."""
    for name, content in saved(page).items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(content)
    for typed in steps(page):
        line = shlex.join(typed)
        if line not in known:
            for word in typed:  # what a call that was cut off has left
                if word.startswith("hydra."):
                    shutil.rmtree(work / word.partition("=")[2], ignore_errors=True)
            known[line] = [page, *run(typed, work)]
            (work / "times.json").write_text(json.dumps(known, indent=1))


def main() -> None:
    """Follow, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("outputs/pages"),
        help="the folder in which the commands run",
    )
    parser.add_argument(
        "--pages", nargs="+", choices=order(), default=order(), help="follow only these pages"
    )
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    prepare(work)
    times = work / "times.json"
    known = json.loads(times.read_text()) if times.is_file() else {}
    for page in args.pages:
        follow(page, work, known)
    total = [0.0, 0.0, 0]
    for page in order():
        mine = [found[1:] for found in known.values() if found[0] == page]
        clock, used = (sum(each) for each in zip(*mine, strict=True)) if mine else (0.0, 0.0)
        if mine:
            print(f"| {page} | {len(mine)} | {clock:.0f} | {used:.0f} |")
        total = [total[0] + clock, total[1] + used, total[2] + len(mine)]
    print(f"| all | {total[2]} | {total[0]:.0f} | {total[1]:.0f} |")


if __name__ == "__main__":
    main()
