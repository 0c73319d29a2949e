"""The named sweeps: every job of theirs can run, and one evaluation reads them all."""

import json
import re
from itertools import product

import pytest

from composing import composed
from pairedit.data.examples import Pair
from pairedit.plan.train import plan_train
from tiny import QUICK


@pytest.mark.parametrize(("name", "count"), [("ablation", 20), ("benchmark", 81)])
def test_every_job_of_a_named_sweep_can_be_planned(name, count):
    swept = composed("train", f"sweep={name}", hydra=True).hydra.sweeper.params
    values = {key: str(several).split(",") for key, several in swept.items()}
    assert len(list(product(*values.values()))) == count
    # Methods and datasets meet in all ways; so each once is enough.
    for method in values["method"]:
        datasets = values["dataset"] if method == values["method"][0] else ["smile"]
        chosen = f"dataset=[{','.join(datasets)}]"
        config = composed("train", f"sweep={name}", f"method={method}", chosen)
        plan = plan_train(config, method_name=method)
        assert plan.method.learns_from is Pair
        assert {name: len(pairs) for name, pairs in plan.pairs.items()} == dict.fromkeys(
            datasets, 3
        )
        assert not plan.notes


def test_the_benchmark_is_narrowed_down_and_read_by_one_evaluation(command, tmp_path):
    folder = tmp_path / "benchmark"
    words = ["sweep=benchmark", "dataset=smile", "method=fm,graded", "seed=0,1", *QUICK]
    code, _, err = command(
        "train", *words, "preview=false", "report=false", f"hydra.sweep.dir={folder}"
    )
    assert (code, err) == (0, "")
    assert len(list(folder.glob("*/smile/semantic.safetensors"))) == 4
    words = [f"sweep={folder}", "seeds=[3]", "scales=[1]", "skip=1"]
    words += [f"hydra.run.dir={tmp_path / 'eval'}"]
    code, out, err = command("eval", *words)
    assert (code, err) == (0, "")
    (heads,) = [line for line in out.splitlines() if line.startswith("edit ")]
    assert "off-target  floor" in heads
    rows = [line for line in out.splitlines() if line.startswith("smile ")]
    # Trainings that differ in their seed alone are one row.
    assert [re.split(r" {2,}", row)[1] for row in rows] == ["fm (n=2)", "graded (n=2)"]
    found = json.loads((tmp_path / "eval/eval.json").read_text())
    labels = [f"{method} seed={seed}" for method, seed in product(("fm", "graded"), (0, 1))]
    assert [slider["slider"] for slider in found["sliders"]] == labels
    assert [job.name for job in sorted(folder.glob("*/"))] == [
        f"{method}_seed-{seed}" for method, seed in product(("fm", "graded"), (0, 1))
    ]
