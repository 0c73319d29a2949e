"""Row-wise LoRAs: gradients, isolation, removal, files."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from pairedit.lora.adapters import Adapters, find_modules
from pairedit.lora.file import LoraFile, inspect_lora, read_lora, write_lora
from pairedit.lora.rows import Row

BOTH = {"content": 1.0, "semantic": 1.0}
ROWS = [
    Row(scales={"content": 1.0}, learns=frozenset({"content"})),
    Row(scales=BOTH, learns=frozenset({"semantic"})),
    Row(scales={"content": 0.5, "semantic": -1.0}, learns=frozenset({"semantic"})),
    Row(),
]


@pytest.fixture
def inputs(flux):
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(len(ROWS), *flux.latent_shape(32), generator=generator)
    text = flux.encode_prompt(["", "old", "young", ""])
    weights = torch.randn(latents.shape, generator=generator)
    return latents, text, weights


@pytest.fixture
def adapters(flux):
    adapters = Adapters(flux.transformer, names=flux.names)
    generator = torch.Generator().manual_seed(3)
    for name, rank in (("content", 4), ("semantic", 3)):
        adapters.add(name, rank=rank, alpha=2.0, targets="attention", generator=generator)
        for weight in adapters.parameters(name):
            # B starts at zero, where half of the gradients vanish.
            weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    yield adapters
    adapters.remove()


def gradients(flux, adapters, inputs, groups):
    """Accumulate the gradients of sum(weights * velocity), running `groups` of rows at a time."""
    latents, text, weights = inputs
    for name in BOTH:
        for weight in adapters.parameters(name):
            weight.grad = None
    for group in groups:
        with adapters.rows([ROWS[index] for index in group]):
            output = flux.velocity(latents[group], torch.tensor(0.6), text.rows(group), 3.5)
            (output * weights[group]).sum().backward()
    return {name: [weight.grad for weight in adapters.parameters(name)] for name in BOTH}


def assert_same(left, right, **tolerance):
    for name in BOTH:
        for a, b in zip(left[name], right[name], strict=True):
            torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_batched_gradients_equal_term_by_term(flux, adapters, inputs, checkpointing):
    expected = gradients(flux, adapters, inputs, [[0], [1], [2]])
    if checkpointing:
        flux.transformer.enable_gradient_checkpointing()
    try:
        batched = gradients(flux, adapters, inputs, [[0, 1, 2, 3]])
    finally:
        flux.transformer.disable_gradient_checkpointing()
    assert_same(batched, expected, rtol=1e-4, atol=1e-6)
    assert all(grad.abs().max() > 0 for part in batched.values() for grad in part)


def test_checkpointing_changes_no_gradient(flux, adapters, inputs):
    plain = gradients(flux, adapters, inputs, [[0, 1, 2, 3]])
    flux.transformer.enable_gradient_checkpointing()
    try:
        again = gradients(flux, adapters, inputs, [[0, 1, 2, 3]])
    finally:
        flux.transformer.disable_gradient_checkpointing()
    assert_same(plain, again, rtol=0, atol=0)


def test_content_learns_nothing_from_the_semantic_row(flux, adapters, inputs):
    found = gradients(flux, adapters, inputs, [[1, 2]])
    assert all(grad is None for grad in found["content"])
    assert all(grad.abs().max() > 0 for grad in found["semantic"])
    alone = gradients(flux, adapters, inputs, [[0]])
    together = gradients(flux, adapters, inputs, [[0, 1]])
    assert_same({**together, "semantic": []}, {**alone, "semantic": []}, rtol=1e-4, atol=1e-6)


def test_frozen_rows_still_pass_gradient_to_their_input(flux, adapters, inputs):
    latents, text, _ = inputs

    def slope(rows):
        noisy = latents[:1].clone().requires_grad_(True)
        with adapters.rows(rows):
            flux.velocity(noisy, torch.tensor(0.6), text.rows([0]), 3.5).square().sum().backward()
        return noisy.grad

    learning = slope([Row(scales=BOTH, learns=frozenset(BOTH))])
    frozen = slope([Row(scales=BOTH)])
    torch.testing.assert_close(frozen, learning)
    assert not torch.allclose(frozen, slope([Row()]))


def test_every_row_has_its_own_scale(flux, adapters, inputs):
    latents, text, _ = inputs
    with torch.no_grad(), adapters.rows(ROWS):
        together = flux.velocity(latents, torch.tensor(0.6), text, 3.5)
    for index, row in enumerate(ROWS):
        with torch.no_grad(), adapters.rows([row]):
            alone = flux.velocity(latents[[index]], torch.tensor(0.6), text.rows([index]), 3.5)
        torch.testing.assert_close(together[[index]], alone)


def test_removed_without_trace(flux, inputs):
    latents, text, _ = inputs

    def run():
        with torch.no_grad():
            return flux.velocity(latents, torch.tensor(0.6), text, 3.5)

    before, names = run(), [name for name, _ in flux.transformer.named_modules()]
    adapters = Adapters(flux.transformer, names=flux.names)
    adapters.add("semantic", rank=4, alpha=4, targets="attention", generator=torch.Generator())
    for weight in adapters.parameters("semantic"):
        weight.data += 1
    assert torch.equal(run(), before), "LoRAs are off outside rows()"
    with adapters.rows([Row(scales={"semantic": 0.0})] * len(ROWS)):
        assert torch.equal(run(), before), "scale 0 is the base"
    with adapters.rows([Row(scales={"semantic": 1.0})] * len(ROWS)):
        assert not torch.allclose(run(), before)
    adapters.remove()
    assert torch.equal(run(), before)
    assert [name for name, _ in flux.transformer.named_modules()] == names


def test_attention_is_eight_and_three_projections_a_block(flux):
    modules = find_modules(flux.transformer, "attention", flux.names)
    assert len(modules) == 2 * 8 + 2 * 3
    in_first = [name for name in modules if name.startswith("transformer_blocks.0.")]
    assert {name.removeprefix("transformer_blocks.0.attn.") for name in in_first} == {
        *("to_q", "to_k", "to_v", "to_out.0"),
        *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    }


def test_patterns_choose_modules(flux):
    assert len(find_modules(flux.transformer, ["proj_mlp"], flux.names)) == 2
    assert len(find_modules(flux.transformer, [r"to_(q|k)", r"ff\.net\.2"], flux.names)) == 8 + 2
    with pytest.raises(ValueError, match=r"'to_qq' matches no module; near it: attn.to_q"):
        find_modules(flux.transformer, ["to_q", "to_qq"], flux.names)
    with pytest.raises(ValueError, match="expected attention"):
        find_modules(flux.transformer, "attenton", flux.names)


def test_initial_weights_are_the_published_ones(flux):
    adapters = Adapters(flux.transformer, names=flux.names)
    adapters.add(
        "semantic",
        rank=64,
        alpha=1,
        targets="attention",
        generator=torch.Generator().manual_seed(0),
    )
    weights = adapters.weights("semantic")
    adapters.remove()
    for down, up in weights.values():
        reference = torch.empty_like(down)
        torch.nn.init.kaiming_uniform_(reference, a=1, generator=torch.Generator().manual_seed(0))
        bound = math.sqrt(3 / down.shape[1])
        assert 0.95 * bound < down.abs().max() <= bound
        torch.testing.assert_close(down.std(), reference.std(), rtol=0.1, atol=0)
        assert not up.any()


def test_file_holds_the_same_edit_with_alpha_folded_in(flux, adapters, inputs, tmp_path):
    latents, text, _ = inputs

    def run(adapters, scale):
        with torch.no_grad(), adapters.rows([Row(scales={"semantic": scale})] * len(ROWS)):
            return flux.velocity(latents, torch.tensor(0.6), text, 3.5)

    expected = run(adapters, 0.7)
    path = tmp_path / "semantic.safetensors"
    write_lora(path, adapters.weights("semantic"), {"step": 7})
    adapters.remove()
    lora = read_lora(path)
    assert lora.metadata["step"] == 7
    assert lora.rank == 3
    assert inspect_lora(path) == lora.metadata
    assert set(load_file(path)) >= {"transformer.transformer_blocks.0.attn.to_q.lora_A.weight"}
    loaded = Adapters(flux.transformer)
    loaded.load("semantic", lora)
    torch.testing.assert_close(run(loaded, 0.7), expected)
    loaded.remove()


def test_a_file_may_give_every_module_its_own_rank(flux, inputs, tmp_path):
    latents, text, _ = inputs
    generator = torch.Generator().manual_seed(1)
    ranks = {"transformer_blocks.0.attn.to_q": 2, "transformer_blocks.1.attn.to_q": 5}
    weights = {
        module: (
            torch.randn(rank, 32, generator=generator),
            torch.randn(32, rank, generator=generator),
        )
        for module, rank in ranks.items()
    }
    lora = LoraFile(path=tmp_path / "x", weights=weights, metadata={}, sha256="")
    adapters = Adapters(flux.transformer)
    adapters.load("semantic", lora)
    with torch.no_grad(), adapters.rows([Row(scales={"semantic": 1.0})] * len(ROWS)):
        found = flux.velocity(latents, torch.tensor(0.6), text, 3.5)
    back = adapters.weights("semantic")
    adapters.remove()
    for module, (down, up) in weights.items():
        torch.testing.assert_close(back[module], (down, up))
        flux.transformer.get_submodule(module).weight.data += up @ down
    with torch.no_grad():
        merged = flux.velocity(latents, torch.tensor(0.6), text, 3.5)
    for module, (down, up) in weights.items():
        flux.transformer.get_submodule(module).weight.data -= up @ down
    torch.testing.assert_close(found, merged, rtol=1e-4, atol=1e-5)


def test_loras_on_different_modules_act_together(flux, inputs):
    latents, text, _ = inputs
    targets = {"left": ["attn.to_q"], "right": ["attn.to_q", "attn.to_v"]}

    def run(names):
        adapters = Adapters(flux.transformer, names=flux.names)
        for name in names:
            generator = torch.Generator().manual_seed(len(name))
            adapters.add(name, rank=2, alpha=2, targets=targets[name], generator=generator)
            for weight in adapters.parameters(name):
                weight.data += 0.3
        with torch.no_grad(), adapters.rows([Row(scales=dict.fromkeys(names, 1.0))] * len(ROWS)):
            velocity = flux.velocity(latents, torch.tensor(0.6), text, 3.5)
        merged = {
            name: {module: up @ down for module, (down, up) in adapters.weights(name).items()}
            for name in names
        }
        adapters.remove()
        return velocity, merged

    found, merged = run(["left", "right"])
    assert len(merged["left"]) < len(merged["right"])
    changes = [change for part in merged.values() for change in part.items()]
    for module, change in changes:
        flux.transformer.get_submodule(module).weight.data += change
    with torch.no_grad():
        expected = flux.velocity(latents, torch.tensor(0.6), text, 3.5)
    for module, change in changes:
        flux.transformer.get_submodule(module).weight.data -= change
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_rows_are_checked(adapters):
    with (
        pytest.raises(ValueError, match=r"no LoRA \['inversion'\]"),
        adapters.rows([Row(scales={"inversion": 1.0})]),
    ):
        pass
    with (
        pytest.raises(ValueError, match="unscaled"),
        adapters.rows([Row(learns=frozenset({"content"}))]),
    ):
        pass
    with (
        adapters.rows([Row(scales={"content": 1.0})]),
        pytest.raises(ValueError, match="inside"),
        adapters.rows([Row()]),
    ):
        pass


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        ("attention", 42),
        ("attention_mlp", 66),
        ("image_stream", 12),
        ("text_stream", 12),
        (["attn.to_v", r"transformer_blocks\.0\..*"], 22),
    ],
)
def test_every_placement_finds_its_modules(mini, targets, count):
    assert len(find_modules(mini.transformer, targets, mini.names)) == count
    adapters = Adapters(mini.transformer, names=mini.names)
    generator = torch.Generator().manual_seed(0)
    assert adapters.add("x", rank=2, alpha=1, targets=targets, generator=generator) == count
    adapters.remove()
