"""A run that stopped goes on exactly where it was."""

import math
import random
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from interrupting import StopDuring
from pairedit.data.examples import Single, find_pairs
from pairedit.lora.file import read_lora
from pairedit.methods import Graded, Inversion, PairEdit, VisualSlider
from pairedit.runs.checkpoints import has_checkpoints, read_checkpoint
from pairedit.runs.stopping import Stopped
from pairedit.runs.tracking import Silent
from pairedit.settings import Training
from pairedit.train import fit

SETTINGS = Training(
    steps=9,
    rank=3,
    targets=("attn.to_q",),
    size=(32, 32),
    num_inference_steps=6,
    end_step=5,
    learning_rate=1e-2,
    save_every=2,
    latents="sample",
)


@pytest.fixture
def train(flux, pair_folder, tmp_path):
    def run(name, *, method=None, stop=None, resume=False, tracker=None, image="p0", **changes):
        method, stopping = method or PairEdit(), StopDuring(stop) if stop else None
        single = [Single(path=pair_folder / f"source/{image}.png")]
        return fit(
            base=flux,
            method=stopping.watch(method) if stopping else method,
            pairs=single if method.learns_from is Single else find_pairs(pair_folder),
            settings=replace(SETTINGS, **changes),
            folder=tmp_path / name,
            run=tracker or Silent(),
            metadata={},
            resume=resume,
            stopping=stopping,
        )

    return run


@pytest.mark.parametrize(
    ("method", "step"),
    [*product([PairEdit(), Graded(), VisualSlider()], [1, 4, 8]), (Inversion(), 4)],
    ids=lambda value: None if isinstance(value, int) else type(value).__name__,
)
def test_a_stopped_run_goes_on_to_the_same_bytes(train, tmp_path, method, step):
    whole = train("whole", method=method)
    with pytest.raises(Stopped, match=rf"stopped by SIGTERM after step {step} of 9"):
        train("parts", method=method, stop=step)
    assert read_checkpoint(tmp_path / "parts/checkpoints").step == step
    parts = train("parts", method=method, resume=True)
    for role in whole:
        assert parts[role].read_bytes() == whole[role].read_bytes()
    assert not (tmp_path / "parts/checkpoints").exists()


def test_nothing_random_comes_from_outside_the_one_generator(train):
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        found.append(train(str(seed))["semantic"].read_bytes())
    assert found[0] == found[1]


def test_the_last_two_checkpoints_are_kept_until_the_end(train, tmp_path):
    with pytest.raises(Stopped):
        train("a", stop=7)
    names = sorted(path.name for path in (tmp_path / "a/checkpoints").iterdir())
    assert [name[:6] for name in names] == ["000006", "000007"]
    train("a", resume=True)
    assert not has_checkpoints(tmp_path / "a/checkpoints")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 2e-2}, "learning_rate=0.01 there, 0.02 now"),
        ({"method": PairEdit(eta=3.0)}, r"method PairEdit.*eta=4.0.*there, PairEdit.*eta=3.0"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(train, change, words):
    with pytest.raises(Stopped):
        train("a", stop=3)
    with pytest.raises(ValueError, match=words):
        train("a", resume=True, **change)


def test_a_checkpoint_of_another_image_is_refused(train):
    with pytest.raises(Stopped):
        train("a", method=Inversion(), stop=3)
    with pytest.raises(ValueError, match=r"source/p0\.png has changed; source/p1\.png has changed"):
        train("a", method=Inversion(), image="p1", resume=True)


def test_a_run_that_diverges_keeps_its_last_good_state(train, tmp_path):
    class Ruined(PairEdit):
        """Ask for nonsense from step 6 on."""

        steps = 0

        def terms(self, step):
            type(self).steps += 1
            terms = super().terms(step)
            wrong = math.nan if type(self).steps > 5 else 1.0
            return [replace(term, target=term.target * wrong) for term in terms]

    with pytest.raises(
        ValueError, match=r"loss is nan at step 6; try learning_rate=0\.002, the default"
    ):
        train("a", method=Ruined())
    path = tmp_path / "a/semantic-000004.safetensors"
    assert read_lora(path).metadata["step"] == 4
    assert read_checkpoint(tmp_path / "a/checkpoints").step == 4
    short = train("b", steps=4)["semantic"]
    for module, parts in read_lora(path).weights.items():
        for one, other in zip(parts, read_lora(short).weights[module], strict=True):
            assert torch.equal(one, other)
