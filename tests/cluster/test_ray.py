"""A sweep on a real Ray cluster of two workers on this machine."""

import os
import signal

import pytest
from afar import at_work, eventually, loras, needs

from pairedit.sweeps import outcome

pytestmark = pytest.mark.cluster

LAUNCHER = ["hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2"]
LAUNCHER += ["hydra.launcher.ray.remote.num_cpus=1"]
LONG = ["method=fm", "steps=300", "save_every=20"]


@pytest.fixture(autouse=True)
def _ray():
    needs("hydra_plugins.hydra_ray_launcher", "ray")


def test_eight_jobs_of_the_ablation_sweep_complete(sweep, unbroken, tmp_path):
    code, _, err = sweep.run(tmp_path / "sweep", *LAUNCHER)
    assert code == 0, err
    assert loras(tmp_path / "sweep") == unbroken


def test_a_lost_worker_s_job_goes_on_and_one_that_fails_is_named(sweep, tmp_path):
    words = [*LONG, "dataset=age", "learning_rate=0.001,1e30"]
    whole = tmp_path / "whole"
    assert sweep.run(whole, *words)[0] == 1
    folder = tmp_path / "sweep"
    process = sweep.start(folder, *words, *LAUNCHER)
    ((job, note),) = eventually(lambda: at_work(folder))
    os.kill(note.process, signal.SIGKILL)
    _, err = process.communicate(timeout=500)
    assert process.returncode == 1
    assert "1 job failed" in err
    assert loras(folder) == loras(whole)
    assert outcome.read(job).starts == 2
