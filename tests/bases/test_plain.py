"""FLUX.2 klein and Z-Image on any hardware: the result stays that of the blocks of diffusers."""

from dataclasses import replace

import pytest
import torch

from klein import LENGTH, write_klein
from layers import compiles, needs
from pairedit.bases.base import velocity
from pairedit.bases.decoder import Resnet
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.machine.hardware import Hardware
from tiny_z_image import LENGTH as Z_LENGTH
from tiny_z_image import write_z_image

PLAIN = Hardware()
FUSED = Hardware(name="fused", fused=True)
# Of unlike lengths, so that Z-Image pads and masks the shorter one.
PROMPTS = ["a", "an old man with " + 40 * "x"]
SIZE = (32, 32)


@pytest.fixture(scope="module", params=["klein", "z_image"])
def opened(request, tmp_path_factory):
    """Give what opens one of the bases anew: its transformer serves one hardware."""
    write = {"klein": write_klein, "z_image": write_z_image}[request.param]
    folder = write(tmp_path_factory.mktemp("tiny") / request.param)

    def open_base(hardware, device="cpu"):
        from diffusers import Flux2KleinPipeline, ZImagePipeline

        from pairedit.bases.flux2.flux import Flux2Base
        from pairedit.bases.flux2.load import read_encoder
        from pairedit.bases.z_image.zimage import ZImageBase

        given = {"device": torch.device(device), "hardware": hardware}
        if request.param == "klein":
            encoder = read_encoder(str(folder), torch.float32)
            pipeline = Flux2KleinPipeline.from_pretrained(folder, text_encoder=encoder)
            return Flux2Base(pipeline, max_sequence_length=LENGTH, **given)
        pipeline = ZImagePipeline.from_pretrained(folder)
        return ZImageBase(pipeline, max_sequence_length=Z_LENGTH, **given)

    return open_base


def step(base, prompts=PROMPTS):
    """Return velocity and LoRA gradients of two rows, and their velocity without gradient."""
    sigmas, text = base.sigmas(SIZE, 4), base.text(prompts)
    base.prepare(sigmas, text, None)
    adapters, generator = Adapters(base), torch.Generator().manual_seed(0)
    adapters.add("x", rank=2, alpha=1, targets="attention_mlp", generator=generator)
    weights = adapters.parameters("x")
    for up in weights[1::2]:
        up.data = 0.3 * torch.randn(up.shape, generator=generator)
    latents = torch.randn(2, *base.latent_shape(SIZE), generator=generator)
    rows = [Row(scales={"x": 1.0}, learns=frozenset({"x"})), Row(scales={"x": 0.5})]
    with base.training() as run, adapters.rows(rows):
        assert not run.enabled
        output = velocity(base, latents, sigmas[1], text, None)
        found = [output.detach(), *torch.autograd.grad(output.square().sum(), weights)]
    with base.sampling(), adapters.rows(rows), torch.no_grad():
        found.append(velocity(base, latents, sigmas[2], text, None))
    return found


@pytest.mark.parametrize("prompts", [PROMPTS, PROMPTS[:1] * 2], ids=["unlike", "alike"])
@pytest.mark.parametrize("again", [0.0, 1.0])
def test_the_fused_path_gives_the_plain_result(opened, again, prompts):
    found = step(opened(replace(FUSED, gradient_checkpointing=again)), prompts)
    for ours, plain in zip(found, step(opened(PLAIN), prompts), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hardware", [PLAIN, FUSED], ids=["plain", "fused"])
def test_swapped_blocks_give_the_same_to_the_bit(opened, hardware):
    whole = step(opened(replace(hardware, gradient_checkpointing=1.0)))
    for share in (0.5, 1.0):
        # All swapped blocks run again, without being asked to.
        for ours, plain in zip(step(opened(replace(hardware, swapped=share))), whole, strict=True):
            assert torch.equal(ours, plain)


def test_a_pass_depends_on_its_inputs_alone(opened):
    base = opened(FUSED)
    sigmas, text = base.sigmas(SIZE, 4), base.text(PROMPTS)
    other = text.of(PROMPTS[::-1])
    latents = torch.randn(2, *base.latent_shape(SIZE), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = base.at(sigmas[1], text, None), base.at(sigmas[2], text, None)
        assert first.key == second.key
        # As a graph does that was captured at another noise level.
        assert torch.equal(first(latents, *second.inputs), second(latents, *second.inputs))
        assert not torch.equal(first(latents, *first.inputs), second(latents, *second.inputs))
        turned = base.at(sigmas[1], other, None)
        shapes = [[tuple(part.shape) for part in each.inputs] for each in (first, turned)]
        if shapes[0] == shapes[1]:
            found, expected = (each(latents, *turned.inputs) for each in (first, turned))
            assert torch.equal(found, expected)


@compiles
@pytest.mark.gpu
@needs((8, 0))
@pytest.mark.parametrize("compiled", [False, True])
def test_a_graph_serves_every_level_and_learns(opened, compiled):
    base = opened(replace(FUSED, graphs=True, compile=compiled), "cuda")
    sigmas, text = base.sigmas(SIZE, 4), base.text(PROMPTS)
    base.prepare(sigmas, text, None)
    adapters, generator = Adapters(base), torch.Generator().manual_seed(0)
    adapters.add("x", rank=2, alpha=1, targets="attention_mlp", generator=generator)
    weights = adapters.parameters("x")
    for up in weights[1::2]:
        up.data = 0.3 * torch.randn(up.shape, generator=generator).to(base.device)
    latents = torch.randn(2, *base.latent_shape(SIZE), generator=generator).to(base.device)
    rows = [Row(scales={"x": 1.0}, learns=frozenset({"x"})), Row(scales={"x": 0.5})]

    def forget():
        for weight in weights:
            weight.grad = None

    for level in sigmas[:3]:
        one = base.at(level, text, None)
        with base.sampling() as run, adapters.rows(rows), torch.no_grad():
            for _ in range(2):
                found = run(one.key, one, latents, *one.inputs)
            torch.testing.assert_close(found, one(latents, *one.inputs), rtol=1e-3, atol=1e-4)
    with base.training() as run, adapters.rows(rows):
        for level in sigmas[:3]:
            one = base.at(level, text, None)

            def learn(noisy, *inputs, one=one):
                found = one(noisy, *inputs)
                found.square().sum().backward()
                return found.detach()

            run("step", learn, latents, *one.inputs, before=forget)
            replayed = [weight.grad.clone() for weight in weights]
            output = one(latents, *one.inputs)
            for ours, eager in zip(
                replayed, torch.autograd.grad(output.square().sum(), weights), strict=True
            ):
                torch.testing.assert_close(ours, eager, rtol=1e-2, atol=1e-3)
    adapters.remove()


@torch.no_grad()
def test_the_fused_decoder_gives_the_plain_pictures(opened):
    plain, fused = opened(PLAIN), opened(FUSED)
    kinds = {type(part) for part in fused.pipeline.vae.decoder.modules()}
    assert Resnet in kinds
    latents = torch.stack([plain.noise(seed, SIZE) for seed in range(2)])
    torch.testing.assert_close(fused.decode(latents), plain.decode(latents), rtol=1e-4, atol=1e-4)
