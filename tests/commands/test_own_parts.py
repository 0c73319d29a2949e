"""A method from outside: the page's own, trained with --config-dir, broken off, resumed, again."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from pairedit import cli
from pairedit.lora.file import inspect_lora, read_lora
from tiny import QUICK

PAGE = (Path(__file__).parents[2] / "docs/own-parts.md").read_text()
BREAKS = """

@dataclass(frozen=True, kw_only=True)
class Breaks(Between):
    steps = []

    def terms(self, step: Step) -> list[Term]:
        self.steps.append(step)
        if len(self.steps) == 3:
            raise RuntimeError("the node went away")
        return super().terms(step)
"""


@pytest.fixture
def outside(tmp_path, monkeypatch, capfd, tiny_overrides):
    """Write the page's files to a working folder; run a command there, or elsewhere."""
    work = tmp_path / "first"
    for name, content in re.findall(r"Save as `(.+?)`:\n\n```\w+\n(.*?)```", PAGE, re.S):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(content)
    (work / "mine.py").write_text((work / "mine.py").read_text() + BREAKS)
    (work / "my_conf/method/breaks.yaml").write_text("_target_: mine.Breaks\n")

    def run(line, *, folder=work, words=tiny_overrides):
        program, *typed = shlex.split(line)
        folder.mkdir(exist_ok=True)
        os.chdir(folder)
        sys.modules.pop("mine", None)
        monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(work)])
        monkeypatch.setattr(sys, "argv", [program, *typed, *words])
        code = 0
        try:
            getattr(cli, program.removeprefix("pairedit-"))()
        except SystemExit as leave:
            code = leave.code
        return code, "".join(capfd.readouterr())

    here = Path.cwd()
    yield run
    os.chdir(here)


def test_a_method_of_ones_own_has_25_lines():
    (method,) = re.findall(r"Save as `mine.py`:\n\n```python\n(.*?)```", PAGE, re.S)
    assert len(method.splitlines()) <= 25


def test_a_method_from_outside_is_trained_and_goes_on_from_anywhere(outside, tmp_path, pair_folder):
    quick = shlex.join(["preview=false", "report=false", "save_every=2", *QUICK, "steps=4"])
    start = f"pairedit-train --config-dir=my_conf dataset=folder pairs={pair_folder} {quick}"
    code, said = outside(f"{start} method=between hydra.run.dir=whole")
    assert code == 0, said
    whole = tmp_path / "first/whole/disc/semantic.safetensors"
    about = inspect_lora(whole)
    assert about["config"]["method"] == {"_target_": "mine.Between", "scales": [0.5, 1.0]}
    code, said = outside(f"{start} method=breaks hydra.run.dir=part")
    assert code == 1
    assert "the node went away" in said
    told = re.search(r"continue with: (.*)", said)[1]
    for folder in (tmp_path / "elsewhere", tmp_path / "first"):
        code, said = outside(told, folder=folder, words=[])
        assert code == 0, said
    there = read_lora(tmp_path / "first/part/disc/semantic.safetensors")
    assert there.sha256 == read_lora(whole).sha256
    again = "pairedit-train --config-dir=../first/my_conf again=../first/whole hydra.run.dir=again"
    code, said = outside(again, folder=tmp_path / "elsewhere", words=[])
    assert code == 0, said
    found = next(tmp_path.rglob("again/disc/semantic.safetensors"))
    assert read_lora(found).sha256 == there.sha256
