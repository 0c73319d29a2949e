"""A sweep over a method of the user's own is broken off for real, and ends with the same bytes."""

import re
import shlex
import signal
from pathlib import Path

import pytest
from child import Child, run
from folders import contents

PAGE = (Path(__file__).parents[2] / "docs/own-parts.md").read_text()


@pytest.mark.heavy
def test_a_sweep_with_config_dir_goes_on_by_the_printed_command(
    tmp_path, pair_folder, tiny_overrides
):
    sweep = [
        *("--config-dir=my_conf", "-m", "method=between", "seed=1,2", "hydra.sweep.dir=sweep"),
        *("dataset=folder", f"pairs={pair_folder}", "steps=40", "save_every=4", "lora.rank=2"),
        *("preview=false", "report=false", *tiny_overrides),
    ]
    for place in (tmp_path / "whole", tmp_path / "broken"):
        for name, content in re.findall(r"Save as `(.+?)`:\n\n```\w+\n(.*?)```", PAGE, re.S):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(content)
    outcome = run("train", sweep, tmp_path / "whole")
    assert outcome.code == 0, outcome.err

    child = Child("train", sweep, tmp_path / "broken")
    child.kill(file="sweep/*seed-2*/disc/metrics.jsonl", lines=6, number=signal.SIGTERM)
    stopped = child.finish()
    assert stopped.code == 128 + signal.SIGTERM, stopped.err
    told = re.search(r"continue with: pairedit-train (.*)", stopped.err)[1]
    # Killed as well while it goes on, and then continued from another folder.
    child = Child("train", shlex.split(told), tmp_path / "broken")
    child.kill(file="sweep/*seed-2*/disc/metrics.jsonl", lines=16)
    assert child.finish().code == -signal.SIGKILL
    outcome = run("train", shlex.split(told), tmp_path / "broken")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("finished already") == 1

    found, expected = (contents(tmp_path / name / "sweep") for name in ("broken", "whole"))
    # Hydra's note of the command has the time in it; a job's own how long and how often it ran.
    for files in (found, expected):
        for name in [name for name in files if name.endswith(("multirun.yaml", "job.json"))]:
            del files[name]
    assert len([name for name in expected if name.endswith("semantic.safetensors")]) == 2
    assert found == expected
