"""A real Slurm, a sweep of eight small trainings, and the bytes of one that nothing interrupted."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from afar import Sweep, loras, needs

HERE = Path(__file__).parent
DAEMONS = ("slurmctld", "slurmd", "munged", "squeue")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """Start a Slurm of two nodes; yield the environment that its commands need."""
    needs("hydra_plugins.hydra_submitit_launcher", "submitit")
    places = f"{os.environ['PATH']}:/usr/sbin"
    absent = [name for name in DAEMONS if shutil.which(name, path=places) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)}: not installed; make test-cluster installs it")
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons are started as root")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run(["bash", HERE / "slurm.sh", "start", folder], check=True)
    yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run(["bash", HERE / "slurm.sh", "stop", folder], check=True)


@pytest.fixture(scope="session")
def sweep(tiny_overrides) -> Sweep:
    words = ["sweep=ablation", "method=full,wocontent,wocfg,fm", "dataset=age,smile", "steps=20"]
    return Sweep([*words, "lora.rank=2", "report=false", *tiny_overrides])


@pytest.fixture(scope="session")
def unbroken(sweep, tmp_path_factory) -> dict[str, bytes]:
    """Return the bytes of every LoRA of a sweep that ran here, one job after the other."""
    folder = tmp_path_factory.mktemp("here") / "sweep"
    code, _, err = sweep.run(folder)
    assert (code, err) == (0, "")
    return loras(folder)
