"""Text sliders: the formula, its latents, prompts to preserve, and flux-mini obeying."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hydra import compose, initialize_config_dir

from pairedit.bases.flux1.flux import load
from pairedit.data.examples import Contrast
from pairedit.data.images import to_tensor
from pairedit.data.sets import TextDataset
from pairedit.files import CONF, locate
from pairedit.lora.file import read_lora
from pairedit.methods import Method, Step, TextSlider
from pairedit.mini.faces import INDEX
from pairedit.mini.probe import read
from pairedit.plan.build import build
from pairedit.plan.eval import attribute_of
from pairedit.plan.keys import register
from pairedit.plan.train import plan_train
from pairedit.runs.tracking import Silent
from pairedit.sample import Slider, generate
from pairedit.settings import Settings
from pairedit.train import fit
from test_jobs import command  # noqa: F401

AGE = Contrast(target="person", positive="old person", negative="young person")
SETTINGS = Settings(steps=3, rank=2, resolution=32, num_inference_steps=6, end_step=5)


def composed(*overrides):
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def test_the_term_is_the_formula():
    vectors = {prompt: torch.randn(2, 2, 2) for prompt in (AGE.target, AGE.positive, AGE.negative)}
    calls = []

    def velocity(noisy, sigma, prompt, scales):
        calls.append((sigma, prompt, dict(scales)))
        return vectors[prompt] + (noisy if scales else 0)

    noise = torch.randn(2, 2, 2)
    path = (1.0, 0.8, 0.5)
    config = composed("method=slider_text", "dataset=text_age", "cfg_eta=3")
    method = build(config.method, "method", Method)
    step = Step(noise=noise, sigma=0.5, velocity=velocity, prompts=AGE, path=path)
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
    assert composed("method=slider_text", "dataset=text_age").method.eta == 2
    assert composed("method=slider_text", "dataset=text_age", "cfg_eta=1").method.eta == 1
    assert composed().method.eta == 4


def test_latents_come_from_the_models_own_run(flux, tmp_path):
    """Replay what a step sees with nothing but the sampler's own loop."""
    seen = []

    class Spy:
        roles = TextSlider().roles

        def terms(self, step):
            seen.append((step, TextSlider().terms(step)[0]))
            return [seen[-1][1]]

    fit(
        flux=flux,
        method=Spy(),
        pairs=[AGE],
        settings=replace(SETTINGS, steps=1, start_step=3, end_step=3),
        folder=tmp_path,
        run=Silent(),
        metadata={},
    )
    ((step, term),) = seen
    sigmas = flux.sigmas(32, 6)
    assert step.path == tuple(sigmas[:4].tolist())
    assert (step.sigma, step.prompts, step.source) == (float(sigmas[3]), AGE, None)
    # The LoRA is still zero, so the way down is the base model's.
    text, x = flux.encode_prompt([AGE.target]), step.noise[None]
    for sigma, following in pairwise(sigmas[:4]):
        with torch.no_grad():
            x = x + (following - sigma) * flux.velocity(x, sigma, text, 3.5)
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
            flux=flux,
            method=TextSlider(),
            pairs=[AGE],
            settings=replace(SETTINGS, **changes),
            folder=tmp_path / name,
            run=run,
            metadata={},
        )
        return files["semantic"].read_bytes(), run.values

    assert train("a")[0] == train("b")[0]
    assert train("a")[0] != train("c", seed=1)[0]
    # At step 0 every latent is pure noise, so the loss is of one function.
    _, losses = train("d", steps=60, start_step=0, end_step=0, learning_rate=1e-2, rank=8)
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_words_to_preserve_are_shared_by_all_prompts():
    data = TextDataset(
        name="x", target="a", positive="old a", negative="young a", preserve=["red hair", "hat"]
    )
    assert data.read()["x"] == [
        Contrast(target=f"a, {w}", positive=f"old a, {w}", negative=f"young a, {w}")
        for w in ("red hair", "hat")
    ]
    data = TextDataset(name="x", target="a", positive="b", negative="c")
    assert len(data.read()["x"]) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["method=slider_text", "dataset=age"], "slider_text: learns from prompts, .* image pairs"),
        (["method=full", "dataset=text_age"], "full: learns from image pairs, .* holds prompts"),
        (["method=slider_text", "dataset=text"], r"needs datasets\.text\.positive and"),
        (
            ["method=slider_text", "dataset=text_age", "datasets.text_age.negative=${.positive}"],
            "positive and negative are equal",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_weights_load(words, reason):
    with pytest.raises(ValueError, match=reason):
        plan_train(composed(*words), method_name=words[0].split("=")[1])


def test_the_command_trains_from_prompts(command, tmp_path):  # noqa: F811
    words = ["method=slider_text", "steps=2", "lora.rank=2", f"hydra.run.dir={tmp_path / 'a'}"]
    positive = "datasets.text.positive='very old'"
    code, _, err = command(
        "train",
        "dataset=[text_smile,text]",
        positive,
        "datasets.text.negative=young",
        "datasets.text.preserve=[hat]",
        *words,
    )
    assert (code, err) == (0, "")
    for name in ("text_smile", "text"):
        lora = read_lora(tmp_path / f"a/{name}/semantic.safetensors")
        assert lora.metadata["method"] == "slider_text"
        assert any(up.any() for _, up in lora.weights.values())
        assert (tmp_path / f"a/{name}/preview.png").exists()
    assert lora.metadata["config"]["datasets"]["text"]["preserve"] == ["hat"]
    assert attribute_of(lora.metadata) is None
    smile = read_lora(tmp_path / "a/text_smile/semantic.safetensors")
    assert attribute_of(smile.metadata) == "smile"


@pytest.mark.slow
def test_flux_mini_learns_age_from_words(tmp_path):
    """Both ways: older at a positive scale, younger at a negative one."""
    mini = load(
        str(locate("pkg://flux_mini")), device="cpu", precision="float32", max_sequence_length=32
    )
    data = build(composed("dataset=text_age").datasets.text_age, "x", TextDataset)
    examples = data.read()["text_age"]
    files = fit(
        flux=mini,
        method=TextSlider(),
        pairs=examples,
        settings=Settings(steps=16, resolution=128, end_step=6),
        folder=tmp_path,
        run=Silent(),
        metadata={},
    )
    samples = generate(
        mini,
        sliders=[Slider(lora=read_lora(files["semantic"]), scales=(-1.0, 0.0, 1.0))],
        prompts=[examples[0].target],
        seeds=range(1000, 1004),
        skip=4,
        num_inference_steps=28,
        guidance_scale=3.5,
        resolution=128,
    )
    values = read(torch.stack([to_tensor(sample.image) for sample in samples]))
    younger, base, older = values.unflatten(0, (4, 3))[..., INDEX["age"]].mean(0)
    assert younger + 0.02 < base < older - 0.02
