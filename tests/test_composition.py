"""Several sliders at once: own scales, skips and ranks, zipped or as a grid."""

from itertools import product

import numpy as np
import pytest
import torch

from pairedit.bases.base import velocity
from pairedit.data.images import to_image
from pairedit.lora.rows import Row
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering
from tiny import attached, running

STEPS, SKIPS = 6, (1, 4)
COMMON = {"num_inference_steps": STEPS, "guidance_scale": 3.5, "size": (32, 32)}


@torch.no_grad()
def naive(flux, adapters, scales, seed, skips):
    """Sample one image alone: each LoRA is on from its own step."""
    sigmas, text = flux.sigmas((32, 32), STEPS), flux.text(["old"])
    x = flux.noise(seed, (32, 32))[None]
    for step in range(STEPS):
        on = {f"x{i}": s for i, s in enumerate(scales) if step >= skips[i]}
        with adapters.rows([Row(scales=on)]):
            x = x + (sigmas[step + 1] - sigmas[step]) * velocity(flux, x, sigmas[step], text, 3.5)
    return np.asarray(to_image(flux.decode(x)[0])).astype(int)


@pytest.mark.parametrize(
    ("skips", "batch_size"), [(SKIPS, 2), (SKIPS[::-1], 16), ((None, 4), 4), ((0, 0), 16)]
)
def test_each_slider_acts_from_its_own_skip_on(flux, loras, skips, batch_size):
    grid = list(product((0.0, 0.5), (-0.4, 0.8)))
    sliders = [
        Slider(lora=lora, scales=tuple(cell[i] for cell in grid), skip=skips[i])
        for i, lora in enumerate(loras)
    ]
    samples = list(
        generate(
            running(flux, batch_size=batch_size),
            sliders=sliders,
            prompts=["old"],
            seeds=[3, 5],
            rendering=Rendering(skip=2, **COMMON),
        )
    )
    assert [(s.seed, s.scales) for s in samples] == list(product([3, 5], grid))
    acts = [2 if skip is None else skip for skip in skips]
    with attached(flux, {"x0": loras[0], "x1": loras[1]}) as adapters:
        for sample in samples:
            expected = naive(flux, adapters, sample.scales, sample.seed, acts)
            found = np.asarray(sample.image).astype(int)
            assert abs(found - expected).max() <= 1, (sample.seed, sample.scales)
        late = naive(flux, adapters, (0.5, 0.8), 3, [skip + 1 for skip in acts])
    last = np.asarray(samples[len(grid) - 1].image).astype(int)
    assert abs(late - last).max() > 4, "one step more or less shows"
