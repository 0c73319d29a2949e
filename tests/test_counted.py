"""The benchmarks note how often they compile and capture."""

import io
import json
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch

from pairedit.machine import graphs

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


class Doubled(torch.nn.Module):
    def forward(self, x):
        return x * 2


class Kept:
    """Stand for a captured graph where there is no GPU."""

    def __init__(self, function, inputs, before):
        self.function = function

    def __call__(self, *inputs):
        return self.function(*inputs)


def test_compilations_and_captures_are_counted_once(monkeypatch):
    monkeypatch.setattr(graphs, "_Captured", Kept)
    counted = import_module("measure").counted
    block = Doubled()
    block.compile(fullgraph=True, dynamic=False, backend="eager")
    block(torch.ones(7, 1))  # before: does not count
    with counted() as found:
        run = graphs.Graphs(enabled=True)
        for rows in (2, 2, 3):
            ones = torch.ones(rows, 4)
            block(ones)
            assert torch.equal(run("key", torch.neg, ones), -ones)
        assert torch.equal(graphs.Graphs(enabled=False)("key", torch.neg, ones), -ones)
    assert found == {"compiled": 2, "captured": 2}
    assert graphs._Captured is Kept


def test_every_variant_notes_both_counts(tmp_path, monkeypatch):
    full_size = import_module("full_size")
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", lambda on: None)
    call = {"name": "train-80gb", "base": "flux1", "size": "tiny", "device": "cpu"}
    call |= {"started": time.monotonic(), "folder": str(tmp_path)}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(call) + "\n"))
    full_size.measure()
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["compiled"], found["captured"]) == (0, 0), "on a CPU there is neither"
    assert "compiled" not in full_size.summary(found)
    counts = {"compiled": 2, "captured": 1}
    assert "2 compiled, 1 captured" in full_size.summary(found | counts)
    table = import_module("table")
    counts = table.counts({"ours": found | counts, "older": {"unit": "step"}, "none": found})
    assert counts.splitlines()[2:] == ["| ours | 2 | 1 |", "| none | 0 | 0 |"]
    assert table.counts({"older": {"unit": "step"}}) == ""


def test_a_default_run_is_compared_with_the_published_number_of_naive_steps():
    table = import_module("table")
    run = {"train-80gb-eager": {"naive": 0.8, "whole": 60.0}}
    (line,) = [line for line in table.targets(run).splitlines() if "500 naive" in line]
    assert line.endswith("| ≥ 5 | 6.67 | met |")
    del run["train-80gb-eager"]["naive"]
    (line,) = [line for line in table.targets(run).splitlines() if "500 naive" in line]
    assert line.endswith("| ≥ 5 | – | – |")
