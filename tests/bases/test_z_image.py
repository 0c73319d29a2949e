"""Z-Image: pictures, velocities, text and latents as in diffusers' own pipeline; gradients."""

from itertools import pairwise

import pytest
import torch

from pairedit.bases.base import velocity
from pairedit.bases.z_image.load import load
from pairedit.bases.z_image.names import NAMES
from pairedit.data.examples import find_pairs
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora
from pairedit.lora.rows import Row
from pairedit.methods import PairEdit
from pairedit.noising import ContentPreserving, Rectified
from pairedit.runs.tracking import Silent
from pairedit.sample import Slider
from pairedit.settings import Training
from pairedit.train import fit
from tiny import check_latents, random_lora, running
from tiny_z_image import LENGTH, NEGATIVE, PROMPTS, STEPS, apart, drawn, ours

WEIGHTS = {"rtol": 1e-3, "atol": 1e-6}


@pytest.mark.parametrize("size", [(32, 32), (48, 32), (32, 64)])
@pytest.mark.parametrize(("scale", "negative"), [(0.0, ""), (4.0, ""), (1.0, NEGATIVE)])
def test_our_sampler_draws_the_image_of_diffusers(z_image, z_image_pipeline, size, scale, negative):
    together = ours(z_image, PROMPTS, size, scale, negative)
    for prompt in PROMPTS:
        expected = drawn(z_image_pipeline, prompt, size, scale, negative)
        ((alone, image),) = ours(z_image, [prompt], size, scale, negative).values()
        # c + g (c - u) and (1 + g) c - g u round otherwise.
        assert apart(alone, expected) <= (1e-6 if scale else 0)
        shown = drawn(z_image_pipeline, prompt, size, scale, negative, kind="np")
        assert abs(image - shown).max() <= 0.5001 / 255, "but for rounding to 8 bits"
        # Beside a longer prompt a row is padded and masked inside.
        assert apart(together[(prompt,)][0], expected) <= 5e-6
    if scale:
        assert apart(expected, drawn(z_image_pipeline, prompt, size)) > 1e-2, (
            "guidance does something"
        )


@torch.no_grad()
def test_the_forked_sampler_is_the_naive_loop_with_guidance(z_image, tmp_path):
    lora = random_lora(z_image, tmp_path / "x.safetensors")
    found = ours(
        z_image, PROMPTS, guidance_scale=3.0, sliders=[Slider(lora=lora, scales=(0.0, 0.7))]
    )
    adapters = Adapters(z_image)
    adapters.load("x", lora)
    for prompt in PROMPTS:
        text, nothing = z_image.text([prompt]), z_image.text([""])
        x = z_image.noise(7, (32, 32))[None]
        with adapters.rows([Row(scales={"x": 0.7})]):
            for sigma, following in pairwise(z_image.sigmas((32, 32), STEPS)):
                c, u = (velocity(z_image, x, sigma, one, 3.0) for one in (text, nothing))
                x = x + (following - sigma) * (c + 3.0 * (c - u))
        assert apart(found[prompt, 0.7][0], x[0]) <= 1e-5
        assert apart(found[prompt, 0.7][0], found[prompt, 0.0][0]) > 0.1
    adapters.remove()


def test_scale_zero_is_the_base_bit_for_bit_with_guidance(z_image, tmp_path):
    lora = random_lora(z_image, tmp_path / "x.safetensors")
    for prompt in PROMPTS:
        slider = Slider(lora=lora, scales=(0.0,))
        (found,) = ours(z_image, [prompt], guidance_scale=3.0, sliders=[slider]).values()
        (plain,) = ours(z_image, [prompt], guidance_scale=3.0).values()
        assert torch.equal(found[0], plain[0])


def test_the_velocity_of_a_row_does_not_depend_on_the_others(z_image):
    """Prompts of unlike lengths are padded inside; the padding must be without effect."""
    noisy = torch.stack([z_image.noise(seed, (32, 32)) for seed in (1, 2)])
    sigma = torch.tensor(0.6)
    text = z_image.text(PROMPTS)
    lengths = [-(-len(tokens) // 32) for tokens in text.tokens]
    assert len(set(lengths)) == 2, "they differ after padding to multiples of 32 too"
    with torch.no_grad():
        both = velocity(z_image, noisy, sigma, text, None)
        for index, prompt in enumerate(PROMPTS):
            one = velocity(z_image, noisy[index : index + 1], sigma, text.of([prompt]), None)
            torch.testing.assert_close(both[index], one[0], rtol=1e-5, atol=2e-6)


def test_the_clock_runs_backwards_and_the_sign_is_turned(z_image, z_image_pipeline):
    x, text = z_image.noise(1, (32, 32))[None], z_image.text(PROMPTS[:1])
    with torch.no_grad():
        found = velocity(z_image, x, torch.tensor(0.75), text, None)
        output = z_image_pipeline.transformer(
            [x[0][:, None]], torch.tensor([0.25]), list(text.tokens)
        )
    torch.testing.assert_close(found[0], -output.sample[0][:, 0], rtol=1e-5, atol=1e-6)


def test_prompts_are_encoded_as_by_diffusers_without_their_padding(z_image, z_image_pipeline):
    text = z_image.text([*PROMPTS, ""])
    for tokens, prompt in zip(text.tokens, text.prompts, strict=True):
        expected, _ = z_image_pipeline.encode_prompt(prompt, max_sequence_length=LENGTH)
        assert torch.equal(tokens, expected[0])
    assert [len(t) for t in text.of(["", "old", ""]).tokens] == [
        len(text.tokens[2]), len(text.tokens[0]), len(text.tokens[2])
    ]  # fmt: skip


def test_latents_are_normalised_and_decode_inverts_it(z_image):
    check_latents(z_image, (32, 48))
    with pytest.raises(ValueError, match=r"32 x 24 px: expected multiples of 16 px"):
        z_image.latent_shape((24, 32))


def test_the_noise_levels_are_shifted_by_three_whatever_the_size(z_image):
    t = torch.linspace(1, 1 / 28, 28)
    for size in ((32, 32), (512, 512)):
        found = z_image.sigmas(size, 28)
        torch.testing.assert_close(found[:-1], 3 * t / (1 + 2 * t))
        assert found[-1] == 0


def test_bfloat16_keeps_latents_and_vae_in_float32(z_image_folder):
    base = load(str(z_image_folder), device="cpu", precision="bf16", max_sequence_length=LENGTH)
    assert base.transformer.dtype == torch.bfloat16
    assert base.pipeline.vae.dtype == torch.float32
    x, text = base.noise(0, (32, 32))[None], base.text(["a"])
    with torch.no_grad():
        assert velocity(base, x, torch.tensor(0.5), text, None).dtype == torch.float32


def gradients(base, rows, targets="attention"):
    """Return the gradients of a LoRA with every weight drawn, from these rows of two, summed."""
    adapters = Adapters(base)
    generator = torch.Generator().manual_seed(3)
    adapters.add("x", rank=2, alpha=2.0, targets=targets, generator=generator)
    weights = adapters.parameters("x")
    for weight in weights:
        weight.data = torch.randn(weight.shape, generator=generator) / 8
    noisy = torch.stack([base.noise(seed, (32, 32)) for seed in (1, 2)])
    with base.training():
        for part in rows:
            text = base.text([PROMPTS[index] for index in part])
            with adapters.rows([Row(scales={"x": 1.0}, learns={"x"}) for _ in part]):
                output = velocity(base, noisy[part], torch.tensor(0.6), text, None)
                output.square().mean((1, 2, 3)).sum().backward()
    found = [weight.grad for weight in weights]
    adapters.remove()
    return found


def test_gradients_batched_equal_one_by_one_and_checkpointed(z_image):
    batched = gradients(z_image, [[0, 1]])
    for other in (
        gradients(z_image, [[0], [1]]),
        gradients(running(z_image, gradient_checkpointing=1.0), [[0, 1]]),
        gradients(running(z_image, gradient_checkpointing=0.5), [[0, 1]]),
    ):
        for one, two in zip(batched, other, strict=True):
            torch.testing.assert_close(one, two, **WEIGHTS)


def test_checkpointing_runs_its_share_of_the_blocks_again(z_image):
    counts = dict.fromkeys(z_image.blocks(), 0)

    def count(block, _):
        counts[block] += 1

    hooks = [block.register_forward_pre_hook(count) for block in counts]
    gradients(running(z_image, gradient_checkpointing=0.5), [[0, 1]])
    for hook in hooks:
        hook.remove()
    assert list(counts.values()) == [2, 2, 1, 1]


@pytest.mark.parametrize("targets", ["attention", "attention_mlp", (r".*",)])
def test_every_module_that_a_lora_sits_on_gets_a_gradient(z_image, targets):
    """Those of the text too: what `context_refiner` makes of it is seen by every later block."""
    found = gradients(z_image, [[0, 1]], targets)
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in found)
    count = {"attention": 16, "attention_mlp": 28}.get(targets, 31)
    assert len(found) == 2 * count


@pytest.mark.parametrize("noising", [ContentPreserving(noise_scale=1.0), Rectified()])
def test_training_is_the_same_batched_and_one_by_one(z_image, pair_folder, tmp_path, noising):
    settings = Training(
        steps=3, rank=2, size=(32, 32), num_inference_steps=4, end_step=3, guidance_scale=4.0
    )

    def weights(name, **changes):
        files = fit(
            base=running(z_image, **changes),
            method=PairEdit(noising=noising),
            pairs=find_pairs(pair_folder),
            settings=settings,
            folder=tmp_path / name,
            run=Silent(),
            metadata={},
        )
        loras = [read_lora(path, NAMES) for path in files.values()]
        return torch.cat([t.flatten() for x in loras for pair in x.weights.values() for t in pair])

    batched, single = weights("batched"), weights("single", batch_terms=False)
    # AdamW turns a gradient near zero into a step of either sign.
    assert (batched - single).norm() < 1e-3 * batched.norm()
