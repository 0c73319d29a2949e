"""A row: what pairedit-gen writes, with what each scale changes noted beside it."""

import json
import subprocess
import sys

import pytest

from composing import composed
from pairedit.jobs.row import run_row
from pairedit.plan.eval import plan_eval
from pairedit.plan.gen import plan_gen
from tiny import write_pairs

SCALES = "scales=[-0.5,0,0.5]"
# The worker, but for the module of its other job, which takes seconds to import.
WORKER = """
import sys
sys.modules["pairedit.jobs.row"] = sys
from pairedit.studio.worker import main
main()
"""


@pytest.fixture
def words(tiny_overrides, lora):
    return [*tiny_overrides, f"lora={lora.path}", SCALES, "seeds=[3]"]


def test_what_each_scale_changes_is_noted(words, tmp_path):
    plan = plan_gen(composed("gen", *words))
    of = plan_eval(composed("eval", "reader=[probe]", *words))
    run_row(plan, tmp_path / "row", lambda: of)
    names = {path.name for path in (tmp_path / "row" / "images").iterdir()}
    assert names == {f"prompt00_seed000003_scale{s}.png" for s in ("-0.5", "+0", "+0.5")}
    notes = json.loads((tmp_path / "row" / "notes.json").read_text())
    assert notes["scales"] == [-0.5, 0, 0.5]
    below, zero, above = notes["measures"]["image change"]
    assert zero == 0
    assert min(below, above) > 0


def test_of_a_photograph_it_is_noted_how_well_it_comes_back(words, tmp_path):
    photo = next((write_pairs(tmp_path / "pairs") / "source").glob("*.png"))
    asked = [word for word in words if not word.startswith("seeds=")]
    plan = plan_gen(composed("gen", *asked, "edit=real", f"image={photo}"))
    run_row(plan, tmp_path / "row")
    (decibel,) = json.loads((tmp_path / "row" / "notes.json").read_text())["decibel"]
    assert decibel > 0


def test_the_worker_answers_each_line_and_ends_with_its_input(tmp_path):
    lines = [
        {"job": "export", "keys": {"lora": str(tmp_path / "none.safetensors")}},
        {"job": "nothing"},
    ]
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=120,
    )
    answers = [json.loads(line)["error"] for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert len(answers) == 2
    assert "no such LoRA file" in answers[0]
    assert answers[1]
