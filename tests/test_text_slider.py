"""Text sliders: the formula, and where its latents come from."""

from dataclasses import replace
from itertools import pairwise

import torch

from composing import composed
from pairedit.bases.base import velocity
from pairedit.data.examples import Contrast
from pairedit.methods import Method, Step, TextSlider
from pairedit.plan.build import build
from pairedit.runs.tracking import Silent
from pairedit.settings import Training
from pairedit.train import fit

AGE = Contrast(target="person", positive="old person", negative="young person")
SETTINGS = Training(steps=3, rank=2, size=(32, 32), num_inference_steps=6, end_step=5)


def test_the_term_is_the_formula():
    vectors = {prompt: torch.randn(2, 2, 2) for prompt in (AGE.target, AGE.positive, AGE.negative)}
    calls = []

    def velocity(noisy, sigma, prompt, scales):
        calls.append((sigma, prompt, dict(scales)))
        return vectors[prompt] + (noisy if scales else 0)

    noise = torch.randn(2, 2, 2)
    path = (1.0, 0.8, 0.5)
    config = composed("train", "method=slider_text", "dataset=text_age", "cfg_eta=3")
    method = build(config.method, "method", Method)
    step = Step(noise=noise, sigma=0.5, velocity=velocity, draw=float, prompts=AGE, path=path)
    (term,) = method.terms(step)
    noisy = noise
    for sigma, following in pairwise(path):
        noisy = noisy + (following - sigma) * (vectors[AGE.target] + noisy)
    torch.testing.assert_close(term.noisy, noisy)
    # The way down runs with the LoRA on, what is learnt from with it off.
    on, off = {"semantic": 1.0}, {}
    assert calls[:2] == [(1.0, AGE.target, on), (0.8, AGE.target, on)]
    assert sorted(calls[2:], key=str) == sorted([(0.5, p, off) for p in vectors], key=str)
    guided = vectors[AGE.target] + 3 * (vectors[AGE.positive] - vectors[AGE.negative])
    guided *= vectors[AGE.positive].norm() / guided.norm()
    torch.testing.assert_close(term.target, guided)
    assert (dict(term.scales), term.learns) == (on, frozenset(method.roles))
    assert term.prompt == AGE.target


def test_eta_is_two_unless_asked_otherwise():
    assert composed("train", "method=slider_text", "dataset=text_age").method.eta == 2
    assert composed("train", "method=slider_text", "dataset=text_age", "cfg_eta=1").method.eta == 1
    assert composed("train").method.eta == 4


def test_latents_come_from_the_models_own_run(flux, tmp_path):
    """Replay what a step sees with nothing but the sampler's own loop."""
    seen = []

    class Spy:
        roles = TextSlider().roles

        def terms(self, step):
            seen.append((step, TextSlider().terms(step)[0]))
            return [seen[-1][1]]

    fit(
        base=flux,
        method=Spy(),
        pairs=[AGE],
        settings=replace(SETTINGS, steps=1, start_step=3, end_step=3),
        folder=tmp_path,
        run=Silent(),
        metadata={},
    )
    ((step, term),) = seen
    sigmas = flux.sigmas((32, 32), 6)
    assert step.path == tuple(sigmas[:4].tolist())
    assert (step.sigma, step.prompts, step.source) == (float(sigmas[3]), AGE, None)
    # The LoRA is still zero, so the way down is the base model's.
    text, x = flux.text([AGE.target]), step.noise[None]
    for sigma, following in pairwise(sigmas[:4]):
        with torch.no_grad():
            x = x + (following - sigma) * velocity(flux, x, sigma, text, 3.5)
    torch.testing.assert_close(term.noisy, x[0], rtol=1e-4, atol=1e-5)


def test_training_lowers_the_loss_and_the_seed_decides(flux, tmp_path):
    class Losses(Silent):
        def __init__(self):
            self.values = []

        def log(self, step, metrics):
            self.values.append(metrics["loss"])

    def train(name, **changes):
        run = Losses()
        files = fit(
            base=flux,
            method=TextSlider(),
            pairs=[AGE],
            settings=replace(SETTINGS, **changes),
            folder=tmp_path / name,
            run=run,
            metadata={},
        )
        return files["semantic"].read_bytes(), run.values

    found = train("a")[0]
    assert found == train("b")[0]
    assert found != train("c", seed=1)[0]
    # At step 0 every latent is pure noise, so the loss is of one function.
    _, losses = train("d", steps=30, start_step=0, end_step=0, learning_rate=1e-2, rank=8)
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
