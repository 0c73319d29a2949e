"""The trainer: reproducible bytes, batching, checkpoints, what it refuses."""

import json
from dataclasses import replace

import pytest
import torch

from pairedit.bases.base import velocity
from pairedit.data.examples import find_pairs
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora
from pairedit.lora.rows import Row
from pairedit.methods import Graded, PairEdit, Term, VisualConcept, VisualSlider
from pairedit.runs.tracking import JsonLines, Silent
from pairedit.settings import Training
from pairedit.train import encode_pairs, fit
from tiny import running

SETTINGS = Training(
    steps=4,
    rank=2,
    size=(32, 32),
    num_inference_steps=6,
    end_step=5,
    learning_rate=1e-2,
)


@pytest.fixture
def train(flux, pair_folder, tmp_path):
    """Train with a few settings changed; return the files by role."""

    def run(name="run", *, method=None, pairs=None, tracker=None, hardware=(), **changes):
        return fit(
            base=running(flux, **dict(hardware)),
            method=method or PairEdit(),
            pairs=pairs or find_pairs(pair_folder),
            settings=replace(SETTINGS, **changes),
            folder=tmp_path / name,
            run=tracker or Silent(),
            metadata={"method": "full"},
        )

    return run


def weights(path):
    return torch.cat([t.flatten() for pair in read_lora(path).weights.values() for t in pair])


def test_same_seed_same_bytes(train):
    first, second = train("a"), train("b")
    assert set(first) == {"content", "semantic"}
    for role in first:
        assert first[role].read_bytes() == second[role].read_bytes()
    other = train("c", seed=1)
    assert not torch.equal(weights(first["semantic"]), weights(other["semantic"]))


def test_graded_draws_its_scales_from_the_one_generator(train):
    seen = []

    class Spy:
        roles = Graded().roles

        def terms(self, step):
            terms = Graded().terms(step)
            seen.append((step.sigma, terms[1].scales["semantic"]))
            return terms

    first, again = train("a", method=Graded()), train("b", method=Spy())
    assert first["semantic"].read_bytes() == again["semantic"].read_bytes()
    scales = [scale for _, scale in seen]
    assert len(set(scales)) == len(scales)
    assert all(0.1 <= scale < 1 for scale in scales)
    # A drawn scale comes after what every method draws: the first step is that of the others.
    sigmas = []

    class Published:
        roles = PairEdit().roles

        def terms(self, step):
            sigmas.append(step.sigma)
            return PairEdit().terms(step)

    train("c", method=Published())
    assert sigmas[0] == seen[0][0]


@pytest.mark.parametrize("method", [PairEdit(), Graded()], ids=["full", "graded"])
def test_training_is_adamw_on_the_sum_of_the_terms(flux, train, method):
    """Replay the steps of a run in the plainest loop there is."""
    seen = []

    class Spy:
        roles = method.roles

        def terms(self, step):
            seen.append((step.sigma, method.terms(step)))
            return seen[-1][1]

    trained = train(method=Spy(), steps=3)
    adapters = Adapters(flux)
    generator = torch.Generator().manual_seed(SETTINGS.seed)
    for role in Spy.roles:
        adapters.add(role, rank=2, alpha=1.0, targets="attention", generator=generator)
    weights = [weight for role in Spy.roles for weight in adapters.parameters(role)]
    optimizer = torch.optim.AdamW(weights, lr=1e-2)
    for sigma, terms in seen:
        optimizer.zero_grad()
        for term in terms:
            place = term.noisy[None], torch.tensor(sigma), flux.text([""]), 3.5
            ground = 0.0
            if term.onto is not None:
                with torch.no_grad(), adapters.rows([Row(scales=term.onto)]):
                    ground = velocity(flux, *place)[0]
            with adapters.rows([Row(scales=term.scales, learns=term.learns)]):
                output = velocity(flux, *place)
                ((output[0] - ground - term.target) ** 2).mean().backward()
        optimizer.step()
    expected = {role: adapters.weights(role) for role in Spy.roles}
    adapters.remove()
    for role, path in trained.items():
        for module, (down, up) in read_lora(path).weights.items():
            torch.testing.assert_close(down, expected[role][module][0], rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(up, expected[role][module][1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "method", [PairEdit(), VisualConcept(two_sided=True), VisualSlider(), Graded()]
)
def test_terms_one_by_one_train_the_same(train, method):
    batched = train("a", method=method)
    single = train("b", method=method, hardware={"batch_terms": False})
    for role in batched:
        torch.testing.assert_close(
            weights(batched[role]), weights(single[role]), rtol=1e-3, atol=1e-5
        )


def test_checkpointing_trains_the_same(train):
    plain, checkpointed = train("a"), train("b", hardware={"gradient_checkpointing": 1.0})
    for role in plain:
        torch.testing.assert_close(weights(plain[role]), weights(checkpointed[role]))


def test_a_snapshot_has_seen_exactly_its_updates(train, tmp_path):
    train("long", steps=5, save_every=2, snapshots=True)
    names = sorted(path.name for path in (tmp_path / "long").iterdir())
    assert names == [
        f"{role}{suffix}.safetensors"
        for role in ("content", "semantic")
        for suffix in ("-000002", "-000004", "")
    ] + ["state"]
    for steps in (2, 4, 5):
        short = train(f"short{steps}", steps=steps)["semantic"]
        suffix = "" if steps == 5 else f"-{steps:06d}"
        lora = read_lora(tmp_path / "long" / f"semantic{suffix}.safetensors")
        assert lora.metadata["step"] == steps
        assert torch.equal(weights(lora.path), weights(short))


def test_metadata_tells_where_a_lora_comes_from(train):
    metadata = read_lora(train()["content"]).metadata
    assert metadata["method"] == "full"
    assert metadata["role"] == "content"
    assert metadata["rank"] == 2
    assert metadata["step"] == 4
    assert metadata["version"]


def test_every_step_is_logged(train, tmp_path):
    path = tmp_path / "metrics.jsonl"
    tracker = JsonLines(path)
    train(tracker=tracker)
    tracker.finish()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for line in lines:
        terms = line["loss/content"] + line["loss/semantic"]
        assert line["loss"] == pytest.approx(terms)
        assert line["lr"] == 1e-2
        assert line["seconds"] >= 0


def test_training_lowers_the_loss_on_what_it_sees(train, tmp_path):
    tracker = JsonLines(tmp_path / "metrics.jsonl")
    # One pair, one noise level: only the noise still varies.
    train(tracker=tracker, steps=60, start_step=3, end_step=3, rank=8)
    tracker.finish()
    losses = [
        json.loads(line)["loss/semantic"]
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_steps_come_from_the_asked_range(flux, train):
    seen = []

    class Spy:
        roles = ("semantic",)

        def terms(self, step):
            seen.append(step.sigma)
            return PairEdit(content=False).terms(step)

    train(method=Spy(), steps=16, start_step=2, end_step=4)
    grid = flux.sigmas((32, 32), 6)
    assert set(seen) == {float(grid[index]) for index in (2, 3, 4)}


def test_a_method_may_ask_the_model_and_use_prompts(flux, train):
    asked = []

    class Prompted:
        roles = ("semantic",)

        def terms(self, step):
            base = step.velocity(step.noise, step.sigma, "old", {})
            scaled = step.velocity(step.noise, step.sigma, "old", {"semantic": 1.0})
            assert not base.requires_grad
            asked.append((base, scaled))
            on = {"scales": {"semantic": 1.0}, "learns": frozenset({"semantic"})}
            return [Term(name="x", noisy=step.noise, target=-base, prompt="old", **on)]

    train(method=Prompted(), steps=3)
    base, scaled = asked[0]
    assert torch.equal(base, scaled), "B is zero before the first update"
    assert not torch.equal(*asked[-1])


def test_latents_are_the_mode_or_drawn(flux, train, pair_folder):
    seen = []

    class Spy:
        roles = ("semantic",)

        def terms(self, step):
            seen.append(step.source)
            return PairEdit(content=False).terms(step)

    one = find_pairs(pair_folder)[:1]
    ((source, _),) = (example.sides for example in encode_pairs(flux, one, (32, 32)))
    train(method=Spy(), pairs=one)
    assert all(torch.equal(latent, source.mean[0]) for latent in seen)
    seen.clear()
    train(method=Spy(), pairs=one, latents="sample")
    assert len({float(latent.sum()) for latent in seen}) == len(seen)
    deviation = (torch.stack(seen) - source.mean[0]) / source.std[0]
    assert 0.8 < deviation.std() < 1.2


def test_a_diverging_run_stops_with_advice(train):
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) at step \d+.*learning_rate"):
        train(learning_rate=1e30, steps=10)


def test_targets_that_training_does_not_reach_are_refused(flux, train):
    # The text stream of the last double block feeds the single blocks; cut those off.
    blocks = flux.transformer.single_transformer_blocks
    flux.transformer.single_transformer_blocks = torch.nn.ModuleList()
    try:
        with pytest.raises(ValueError, match=r"targets: \d+ weights of content, \d+ weights"):
            train(targets=("attn.to_add_out",))
    finally:
        flux.transformer.single_transformer_blocks = blocks


def test_a_failed_run_leaves_the_model_clean(flux, train):
    names = [name for name, _ in flux.transformer.named_modules()]
    with pytest.raises(ValueError, match="matches no module"):
        train(targets=("no_such_layer",))
    with pytest.raises(ValueError, match="loss is"):
        train(learning_rate=1e30, steps=10, hardware={"gradient_checkpointing": 1.0})
    assert [name for name, _ in flux.transformer.named_modules()] == names
