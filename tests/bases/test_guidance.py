"""True guidance: two passes of one velocity, forked and blended as the rest is."""

import copy
from types import MappingProxyType

import pytest
import torch
from PIL import ImageChops

from pairedit.bases.base import velocity
from pairedit.bases.guidance import BEYOND, EMBEDDED, FROM_NEGATIVE
from pairedit.data.images import to_image
from pairedit.edits import Lane, TextToImage
from pairedit.flow import Guide, euler
from pairedit.flowedit import noise_of
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering

SIZE, STEPS = (32, 32), 4
NOTHING = MappingProxyType({})


@pytest.fixture
def guided(flux):
    """The tiny FLUX as if it were guided by two passes, on top of what it embeds."""
    other = copy.copy(flux)
    other.guidance = FROM_NEGATIVE
    return other


def rendering(**changes):
    return Rendering(
        num_inference_steps=STEPS, guidance_scale=3.0, size=SIZE, negative_prompt="bad", **changes
    )


def draw(base, sliders, **changes):
    return list(
        generate(
            base, sliders=sliders, prompts=["old"], seeds=[1, 2], rendering=rendering(**changes)
        )
    )


@pytest.mark.parametrize("guidance", [EMBEDDED, FROM_NEGATIVE, BEYOND])
@pytest.mark.parametrize("scale", [None, 0.0, 1.0, 3.5])
def test_the_weights_of_the_passes_add_up_to_one(guidance, scale):
    own, negative = guidance.weights(scale)
    assert own + negative == 1
    assert guidance.true or negative == 0


def test_a_guided_run_is_the_loop_that_is_written_out(guided, lora):
    """Forked after two steps, in one batch: no other picture than step by step, pass by pass."""
    found = draw(guided, [Slider(lora=lora, scales=(0.0, 0.8))], skip=2)
    sigmas = guided.sigmas(SIZE, STEPS)
    adapters = Adapters(guided)
    adapters.load("s", lora)

    def run(latents, start, end, scales):
        def both(latents, sigma):
            with torch.no_grad(), adapters.rows([Row(scales=scales)]):
                c, u = (
                    velocity(guided, latents, sigma, guided.text([prompt]), 3.0)
                    for prompt in ("old", "bad")
                )
            return u + 3.0 * (c - u)

        return euler(both, latents, sigmas[start : end + 1])

    for sample in found:
        trunk = run(guided.noise(sample.seed, SIZE)[None], 0, 2, {})
        latents = run(trunk, 2, STEPS, {"s": sample.scales[0]})
        assert sample.image.tobytes() == to_image(guided.decode(latents)[0]).tobytes()
    adapters.remove()
    assert found[0].image.tobytes() != found[1].image.tobytes()


def test_a_finished_picture_is_edited_by_guided_velocities(guided, lora):
    found = draw(guided, [Slider(lora=lora, scales=(0.0, 0.8), flowedit=True)], skip=2)
    sigmas, adapters = guided.sigmas(SIZE, STEPS), Adapters(guided)
    adapters.load("s", lora)

    def both(latents, sigma, scales=NOTHING):
        with torch.no_grad(), adapters.rows([Row(scales=scales)]):
            c, u = (
                velocity(guided, latents, sigma, guided.text([prompt]), 3.0)
                for prompt in ("old", "bad")
            )
        return u + 3.0 * (c - u)

    for zero, edited in (found[:2], found[2:]):
        finished = euler(both, guided.noise(zero.seed, SIZE)[None], sigmas)
        assert zero.image.tobytes() == to_image(guided.decode(finished)[0]).tobytes()
        moved = torch.zeros_like(finished)
        for step in (2, 3):
            noise = noise_of(guided, zero.seed, step, SIZE)
            z = (1 - sigmas[step]) * finished + sigmas[step] * noise
            change = both(z + moved, sigmas[step], {"s": 0.8}) - both(z, sigmas[step])
            moved = moved + (sigmas[step + 1] - sigmas[step]) * change
        drawn = to_image(guided.decode(finished + moved)[0])
        differs = ImageChops.difference(edited.image, drawn).getextrema()
        assert max(high for _, high in differs) <= 1
        assert edited.image.tobytes() != zero.image.tobytes()
    adapters.remove()


def test_scale_zero_is_the_base(guided, lora):
    zero = draw(guided, [Slider(lora=lora, scales=(0.0,))], skip=1)
    base = draw(guided, [])
    assert [sample.image.tobytes() for sample in zero] == [s.image.tobytes() for s in base]


def test_a_prompt_that_is_the_negative_prompt_takes_one_pass():
    blend = TextToImage().blend({"s": 1.0}, Lane(prompt="old"))
    guide = Guide(weights=FROM_NEGATIVE.weights(4.0), negative_prompt="old")
    assert list(guide(blend)) == blend
    other = Guide(weights=FROM_NEGATIVE.weights(4.0))
    assert list(other(blend)) == [(4.0, blend[0][1], "old"), (-3.0, blend[0][1], "")]


def test_a_negative_prompt_without_true_guidance_is_refused(command, tmp_path):
    code, _, err = command("gen", "negative_prompt=blurry", f"hydra.run.dir={tmp_path / 'out'}")
    assert code
    assert "negative_prompt=blurry: has no effect; model=flux-mini has no true guidance" in err
