"""A sweep under a real Slurm of two nodes: completed, and with jobs killed and nodes taken away."""

import os
import signal
import subprocess

import pytest
from afar import at_work, eventually, loras

from pairedit.sweeps import outcome

pytestmark = pytest.mark.cluster

LAUNCHER = ["hydra/launcher=submitit", "hydra.launcher.mem_gb=3", "hydra.launcher.cpus_per_task=1"]
# Few and slow, so that there is a middle.
LONG = ["method=fm", "steps=300", "save_every=20"]


def state(job, env):
    """Say where Slurm has a job, and why there."""
    ask = ["squeue", "--noheader", f"--jobs={job}", "--format=%T %r"]
    return subprocess.run(ask, env=env, capture_output=True, text=True).stdout.strip()


def test_eight_jobs_of_the_ablation_sweep_complete(slurm, sweep, unbroken, tmp_path):
    code, _, err = sweep.run(tmp_path / "sweep", *LAUNCHER, env=slurm)
    assert (code, err) == (0, "")
    assert loras(tmp_path / "sweep") == unbroken


def test_a_job_that_is_killed_and_one_whose_node_is_drained_end_with_the_bytes_of_an_unbroken_run(
    slurm, sweep, tmp_path
):
    whole = tmp_path / "whole"
    assert sweep.run(whole, *LONG)[0] == 0
    folder = tmp_path / "sweep"
    process = sweep.start(folder, *LONG, *LAUNCHER, env=slurm)
    two = dict(eventually(lambda: found if len(found := at_work(folder)) == 2 else None))
    os.kill(two[folder / "age"].process, signal.SIGKILL)
    lines = subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%i %N", "--states=running"],
        env=slurm, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    ((job, node),) = [line.split() for line in lines if line.split()[0].endswith("_1")]
    subprocess.run(
        ["scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test"],
        env=slurm, check=True,
    )  # fmt: skip
    subprocess.run(["scontrol", "requeue", job], env=slurm, check=True)
    eventually(lambda: outcome.read(folder / "smile").status == outcome.STOPPED)
    # Slurm lets a job that is put back wait for two minutes, once it has taken it in.
    eventually(lambda: state(job, slurm) == "PENDING BeginTime")
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], env=slurm, check=True)
    _, err = process.communicate(timeout=500)
    subprocess.run(
        ["scontrol", "update", f"NodeName={node}", "State=RESUME"], env=slurm, check=True
    )
    assert process.returncode == 0, err
    assert loras(folder) == loras(whole)
    starts = [outcome.read(path.parent).starts for path in folder.glob(f"*/{outcome.NAME}")]
    assert sorted(starts) == [2, 2]


def test_a_job_that_fails_by_itself_is_named_and_the_rest_done(slurm, sweep, tmp_path):
    folder = tmp_path / "sweep"
    words = ["method=fm", "dataset=age", "learning_rate=0.001,1e30"]
    code, _, err = sweep.run(folder, *LAUNCHER, *words, env=slurm)
    assert code == 1
    assert "1 job failed" in err
    assert "learning_rate-1e+30" in err
    assert {path.split("/")[0] for path in loras(folder)} == {"learning_rate-0.001"}
