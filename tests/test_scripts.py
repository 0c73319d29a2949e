"""The scripts beside the package run, and measure what they put into the pages."""

from __future__ import annotations

import ast
import json
import runpy
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


pytestmark = pytest.mark.usefixtures("_importable")


@pytest.fixture
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.fixture
def script(monkeypatch):
    """Import a script of one page, whose tables then go into a copy, and run it."""

    def run(name: str, page: Path, *words: object) -> str:
        module = import_module(name)
        shutil.copy(module.PAGE, page)
        monkeypatch.setattr(module, "PAGE", page)
        monkeypatch.setattr(sys, "argv", [name, *map(str, words), "--write"])
        module.main()
        return page.read_text()

    return run


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_every_script_explains_itself(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    if "__main__" not in path.read_text():
        import_module(path.stem)  # what the others share
        return
    with pytest.raises(SystemExit) as leave:
        runpy.run_path(str(path), run_name="__main__")
    assert leave.value.code == 0
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["scripts", "benchmarks"])
def test_every_option_says_what_it_is_for(folder):
    for path in (SCRIPTS.parent / folder).rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".add_argument"):
                assert "help" in {keyword.arg for keyword in call.keywords}, ast.unparse(call)


@pytest.mark.heavy
def test_text_sliders_are_trained_and_measured(script, tmp_path, monkeypatch):
    text_sliders = import_module("text_sliders")
    monkeypatch.setattr(text_sliders, "SCALES", (-0.4, 0.0, 0.8))
    monkeypatch.setattr(text_sliders, "SKIP", 24)
    words = [
        "--edits",
        "smile",
        "--steps",
        1,
        "--seeds",
        4,
        "--work",
        tmp_path,
    ]  # an interval needs 4
    page = script("text_sliders", tmp_path / "page.md", *words)
    (row,) = [line for line in page.splitlines() if line.startswith("| smile |")]
    assert row.count(" ±") == 2
    (measured,) = tmp_path.glob("*/text_smile/measured-*.json")
    found = json.loads(measured.read_text())
    assert found["target"][1] == found["half"][1] == found["off_target"][1] == 0
    assert found["off_target"][0] > 0 < found["off_target"][2]
    assert "1 steps, `skip=24`, 4 seeds from 1000 on" in page


def test_methods_are_measured_at_the_gain_they_are_compared_at(smile, monkeypatch):
    methods_table = import_module("methods_table")
    monkeypatch.setitem(methods_table.EDITS, "smile", (11, (0.0, 0.5)))
    monkeypatch.setattr(methods_table, "MATCHED", 0.05)
    found = methods_table.evaluate(smile, "smile", 2)
    assert found["target"][0] == found["off_target"][0] == 0
    share = 0.05 / found["target"][1]
    assert 0 < share < 1
    assert found["matched"] == pytest.approx(share * found["off_target"][1])
    assert f"**{found['matched']:.3f}** |" in methods_table.table("smile", {"full": found}, 2)


@pytest.mark.heavy
def test_ways_of_editing_a_photograph_are_measured(script, smile, tmp_path, monkeypatch):
    real_table, tables = import_module("real_table"), import_module("tables")
    monkeypatch.setattr(real_table, "ITERATIONS", (1,))
    monkeypatch.setitem(real_table.EDITS, "smile", (24, (0.0, 0.1, 0.2, 0.3), 0.3))
    work = tmp_path / tables.digest(repr((tables.weights(), [])))
    (face,) = real_table.faces(1, work / "faces")
    for name, role in (("smile", "semantic"), (face.stem, "content")):
        place = work / name / name
        place.mkdir(parents=True)
        shutil.copy(smile, place / f"{role}.safetensors")
        shutil.copy(smile.parent / "metrics.jsonl", place)
    ways = ["ode, iterations=1", "published"]
    words = ["--faces", 1, "--edits", "smile", "--ways", *ways, "--work", tmp_path]
    page = script("real_table", tmp_path / "page.md", *words)
    ode, published = (json.loads(path.read_text()) for path in sorted(work.glob("smile-*.json")))
    steps, scales = 28 - 24, 4  # from skip on
    assert ode["passes"] == 2 * steps + scales * steps
    assert published["passes"] == 24 + (2 * scales - 1) * steps
    assert ode["decibel"] > [40] > published["decibel"], "a LoRA of a smile is no content LoRA"
    assert f"| `published` | {published['passes']:.0f} |" in page
    assert "30 steps in" in page
    # What is known is not measured again, and needs no LoRA.
    shutil.rmtree(work / "smile")
    assert script("real_table", tmp_path / "again.md", *words, "--known") == page


def test_the_page_is_filled_from_an_evaluation():
    script = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "ablation_page.py"))
    page = "a\n<!-- methods table: begin -->\nold\n<!-- methods table: end -->\nz\n"
    expected = page.replace("old\n", "new\n")
    assert script["fill"](page, "table", "new\n") == expected
    assert script["fill"](page, "sheets", "new\n") == page
    text = (Path(__file__).parents[1] / "docs/ablation.md").read_text()
    filled = script["fill"](text, "table", "THE TABLE\n")
    assert filled.count("THE TABLE") == 1
    assert script["fill"](filled, "table", "THE TABLE\n") == filled


@pytest.mark.heavy
def test_the_shipped_pairs_are_what_the_renderer_draws():
    script = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "render_data.py"))
    from PIL import Image

    for path, image in script["pictures"]().items():
        assert Image.open(script["DATA"] / path).tobytes() == image.tobytes(), path


@pytest.mark.heavy
def test_the_edits_are_trained_and_measured_and_known_afterwards(tmp_path, monkeypatch, capsys):
    benchmark = import_module("edits_benchmark")
    slider = import_module("edits.slider")
    monkeypatch.setattr(slider, "SCALES", (0.0, 0.5, 4.0))
    words = ["--work", tmp_path, "--processes", 0, "--device", "cpu", "--methods", "full:2"]
    words += ["--one", "graded:2", "--edits", "smile", "--training-seeds", 0, "--seeds", 2]
    words += ["--rows", 8]

    def run(*more: object) -> str:
        monkeypatch.setattr(sys, "argv", ["edits_benchmark", *map(str, [*words, *more])])
        benchmark.main()
        return capsys.readouterr().out

    assert "0 of 6 results." in run("--minutes", 0), "the clock is looked at first"
    table = run()
    assert "6 of 6 results." in table
    assert table.count("skip=") == 2, "two sliders say how they chose to be used"
    assert "| a perfect edit | floor |" in table
    (graded,) = tmp_path.glob("*/graded-2-one-smile-0.json")
    found = json.loads(graded.read_text())
    assert len(found["plain"]["target"]) == 3
    assert found["plain"]["target"] != found["local"]["target"]
    assert found["plain"]["use"] == "local=false schedule=flat"
    assert "skip=" in found["chosen"]["use"]
    # Neither trained nor measured again; a measurement that is lost is made from the same LoRA.
    monkeypatch.setattr("pairedit.jobs.train.fit", None)
    evaluate = slider.evaluate
    monkeypatch.setattr(slider, "evaluate", None)
    assert run() == run("--known") == table
    page = tmp_path / "page.md"
    marks = ("benchmark", "benchmark by edit")
    empty = "".join(f"<!-- {mark}: begin -->\n<!-- {mark}: end -->\n" for mark in marks)
    page.write_text(f"above\n{empty}below\n")
    run("--known", "--write", page)
    written = page.read_text()
    above, *shown, below = written.splitlines()
    assert (above, below) == ("above", "below")
    assert any(line.startswith("| `graded`, 2 steps, one pair | chosen |") for line in shown)
    kept = tmp_path / "kept.json"
    run("--known", "--out", kept)
    page.write_text(f"above\n{empty}below\n")
    graded.unlink()
    assert run("--known", kept, "--write", page) == table
    assert page.read_text() == written, "one file says as much as the folder"
    assert "graded-2-one-smile-0: TypeError" in run()
    monkeypatch.setattr(slider, "evaluate", evaluate)
    assert run() == table, "what went wrong once is forgotten"


def test_processes_are_spread_over_the_gpus_that_there_are(monkeypatch):
    benchmark = import_module("edits_benchmark")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert benchmark.cards(4) == ["0", "1", "2", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,9")
    assert benchmark.cards(2) == ["5", "7"]


def test_jobs_without_which_there_is_no_comparison_come_first():
    edits = import_module("edits.jobs")
    from argparse import Namespace

    asked = {"methods": ["full:500", "graded:150"], "one": ["graded:150"], "training_seeds": [0, 1]}
    listed = edits.jobs(Namespace(**asked, edits=[*edits.EDITS, edits.FAILS]))
    count = len(edits.EDITS)
    assert {(job.method, job.seed, job.pairs) for job in listed[: 2 * count]} == {
        ("full", 0, 3),
        ("graded", 0, 3),
    }
    assert [job.seed for job in listed] == sorted(job.seed for job in listed)
    assert len({job.name for job in listed}) == len(listed) == 2 * (3 * count + 2)


def test_calibrated_sliders_miss_less_the_more_seeds_found_their_scale(monkeypatch):
    import math

    import torch

    slider = import_module("edits.slider")

    class Seen:
        def __init__(self, values):
            self.distance = values

        def pick(self, part):
            return Seen(self.distance[part])

    monkeypatch.setattr(slider, "effect", lambda seen: seen.distance)
    straight = torch.tensor(slider.SCALES).expand(64, -1)
    assert slider.misses(Seen(straight), 12) == pytest.approx(0, abs=1e-6)
    people = torch.rand((64, 1), generator=torch.Generator().manual_seed(1)) * 1.2 + 0.4
    few, more = (slider.misses(Seen(straight * people), seeds) for seeds in (12, 32))
    assert few > more > 0.02
    assert math.isnan(slider.misses(Seen(straight * 0.1), 12)), "no scale is worth one pair"
