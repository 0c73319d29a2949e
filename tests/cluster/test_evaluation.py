"""An evaluation whose sliders are measured elsewhere, side by side, ends with the same bytes."""

import subprocess
import sys

import pytest
from afar import needs

from pairedit.bases.flux1.load import load
from tiny import strong_lora

pytestmark = pytest.mark.cluster

EVAL = "from pairedit.cli import eval; eval()"
SLURM = ["hydra/launcher=submitit", "hydra.launcher.mem_gb=3", "hydra.launcher.cpus_per_task=1"]
RAY = ["hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2"]
ENGINES = {
    "joblib": (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], "joblib"),
    "ray": ([*RAY, "hydra.launcher.ray.remote.num_cpus=1"], "ray"),
    "slurm": (SLURM, "submitit"),
}


def run(folder, sliders, words, env=None):
    """Evaluate a sweep as a command of its own; return the bytes of what it writes."""
    command = [sys.executable, "-c", EVAL, f"sweep={sliders}", f"hydra.run.dir={folder}", *words]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, cwd=folder.parent, timeout=400
    )
    assert done.returncode == 0, done.stderr
    names = ("report.html", "eval.json", "eval.csv", "curves.png", "config.yaml")
    paths = [*(folder / name for name in names), *folder.glob("sheets/*.png")]
    assert len(paths) == len(names) + 2
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def words(tiny_overrides):
    return ["seeds=[3,5]", "scales=[0.5,1]", "reader=[probe]", *tiny_overrides]


@pytest.fixture(scope="module")
def sliders(tiny_flux_folder, tmp_path_factory):
    """Write four sliders of two edits, as a sweep leaves them."""
    flux = load(str(tiny_flux_folder), device="cpu", precision="float32", max_sequence_length=32)
    folder = tmp_path_factory.mktemp("sliders")
    for number, name in enumerate(("a/disc", "a/ring", "b/disc", "b/ring")):
        strong_lora(flux, folder / name / "semantic.safetensors", seed=number)
    return folder


@pytest.fixture(scope="module")
def alone(sliders, words, tmp_path_factory):
    """Return what an evaluation writes that measures one slider after the other."""
    return run(tmp_path_factory.mktemp("alone") / "eval", sliders, words)


@pytest.mark.parametrize("engine", ENGINES)
def test_sliders_measured_side_by_side_leave_the_same_bytes(
    engine, sliders, words, alone, tmp_path, request
):
    launcher, module = ENGINES[engine]
    needs(module, f"hydra_plugins.hydra_{module}_launcher")
    env = request.getfixturevalue("slurm") if engine == "slurm" else None
    assert run(tmp_path / "eval", sliders, [*words, *launcher], env) == alone
