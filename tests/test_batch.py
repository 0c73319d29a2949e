"""A step may learn from several draws: the mean of their losses, each with its noise level."""

from dataclasses import replace

import pytest
import torch

from pairedit.bases.base import velocity
from pairedit.data.examples import find_pairs
from pairedit.learner import Learner
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora
from pairedit.lora.rows import Row
from pairedit.methods import PairEdit
from pairedit.runs.tracking import Silent
from pairedit.settings import Training
from pairedit.train import fit

SETTINGS = Training(
    steps=2, rank=2, size=(32, 32), num_inference_steps=6, end_step=5, learning_rate=1e-2
)


def test_a_step_is_one_update_by_the_mean_over_its_draws(flux, pair_folder, tmp_path):
    seen = []

    class Spy:
        roles = ("semantic",)

        def terms(self, step):
            seen.append((step.sigma, PairEdit(content=False).terms(step)))
            return seen[-1][1]

    files = fit(
        base=flux,
        method=Spy(),
        pairs=find_pairs(pair_folder),
        settings=replace(SETTINGS, batch_size=3),
        folder=tmp_path,
        run=Silent(),
        metadata={},
    )
    assert len(seen) == 6
    assert len({sigma for sigma, _ in seen}) > 1
    adapters = Adapters(flux)
    generator = torch.Generator().manual_seed(SETTINGS.seed)
    adapters.add("semantic", rank=2, alpha=1.0, targets="attention", generator=generator)
    optimizer = torch.optim.AdamW(adapters.parameters("semantic"), lr=1e-2)
    for draws in (seen[:3], seen[3:]):
        optimizer.zero_grad()
        for sigma, terms in draws:
            for term in terms:
                with adapters.rows([Row(scales=term.scales, learns=term.learns)]):
                    level = torch.tensor(sigma)
                    output = velocity(flux, term.noisy[None], level, flux.text([""]), 3.5)
                    (((output[0] - term.target) ** 2).mean() / 3).backward()
        optimizer.step()
    expected = adapters.weights("semantic")
    adapters.remove()
    for module, parts in read_lora(files["semantic"]).weights.items():
        for found, wanted in zip(parts, expected[module], strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_graphs_that_write_over_gradients_are_refused(flux):
    class Replay:
        enabled = True

    with pytest.raises(ValueError, match="batch_size=2: expected 1 with CUDA graphs"):
        Learner(flux, Adapters(flux), flux.text, replace(SETTINGS, batch_size=2), Replay())
