"""Sliders of two precisions are compared edit by edit, seed by seed."""

import json
import sys
from argparse import Namespace
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
pytestmark = pytest.mark.usefixtures("_importable")


@pytest.fixture
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


def figures(off, reach):
    return {"plain": {"off-target": off, "reach": reach}}


def jobs(**more):
    """Give two edits in both precisions, three training seeds each."""
    found = {}
    for seed, shift in enumerate((-0.01, 0.0, 0.01)):
        found[f"full-500-bf16-age-{seed}"] = figures(0.05 + shift, 1.0 + shift)
        found[f"full-500-fp8-age-{seed}"] = figures(0.055 + shift, 1.2 + shift)
        found[f"full-500-bf16-smile-{seed}"] = figures(0.03 + shift, None)
        found[f"full-500-fp8-smile-{seed}"] = figures(0.03, 0.9)
    return found | more


def test_a_cell_outside_of_the_spread_of_trainings_is_marked():
    table = import_module("precision_table").table(jobs(), "fp8", "bf16")
    off, reach = table.splitlines()[2:4]
    assert off.startswith("| full-500, plain | off-target | 0.055 / 0.050 | 0.030 / 0.030 |")
    assert off.endswith("| 0.0375 0.0425 0.0475 | 0.0300 0.0400 0.0500 |")
    assert reach.startswith("| full-500, plain | reach | **1.200 / 1.000** | -- |")
    assert "2 of 3 cells differ by no more" in table


def test_a_training_that_is_missing_leaves_its_seed_out_everywhere():
    known = jobs()
    del known["full-500-fp8-age-2"]
    table = import_module("precision_table").table(known, "fp8", "bf16")
    assert table.splitlines()[2].endswith("| 0.0375 0.0425 | 0.0300 0.0400 |")


def test_the_file_of_the_benchmark_is_read_and_written_into_a_page(tmp_path, monkeypatch, capsys):
    file, page = tmp_path / "found.json", tmp_path / "page.md"
    file.write_text(json.dumps({"jobs": jobs()}))
    page.write_text("above\n<!-- precision: begin -->\n<!-- precision: end -->\n")
    monkeypatch.setattr(sys, "argv", ["precision_table", str(file), "--write", str(page)])
    module = import_module("precision_table")
    module.main()
    assert capsys.readouterr().out.strip() in page.read_text()


def test_a_method_of_the_benchmark_names_its_precision():
    benchmark = import_module("edits.jobs")
    asked = Namespace(
        methods=["graded:150:bf16"], one=[], training_seeds=[0], edits=["age"], device="cpu",
        fast=True, rows=8,
    )  # fmt: skip
    (job,) = benchmark.jobs(asked)
    assert (job.name, job.precision) == ("graded-150-bf16-age-0", "bf16")
    slider, pages = import_module("edits.slider"), import_module("edits.pages")
    assert slider.plan_of(job, asked).hardware.precision == "bf16"
    assert pages.words(job.recipe) == "`graded`, 150 steps, three pairs, bf16"


@pytest.mark.parametrize("recipe", ["graded:150", "full:500"])
def test_without_a_precision_names_are_as_before(recipe):
    benchmark = import_module("edits.jobs")
    asked = Namespace(methods=[], one=[recipe], training_seeds=[1], edits=["age"])
    (job,) = benchmark.jobs(asked)
    assert job.name == f"{recipe.replace(':', '-')}-one-age-1"
