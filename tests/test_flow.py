"""Steps backwards undo steps forwards; blends are the formulas written out."""

import math
from itertools import pairwise

import pytest
import torch
from tqdm import tqdm

from pairedit.bases.base import velocity
from pairedit.edits import Edit, Lane, RealImage, TextToImage
from pairedit.flow import Flow, euler, invert
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.settings import step_of
from tiny import strong_lora

SIGMAS = torch.linspace(1, 0, 9)
W = 0.6


def drawn(seed: int, rows: int = 3) -> torch.Tensor:
    return torch.randn(rows, 4, 4, 4, generator=torch.Generator().manual_seed(seed))


def bent(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Give a velocity that depends on both arguments, with slopes up to about 3."""
    return 3 * torch.sin(x + 2 * sigma) - x.roll(1, -1)


def test_without_iterations_a_constant_velocity_is_undone():
    constant = drawn(1)
    start = invert(lambda *_: constant, drawn(2), SIGMAS, 0)
    torch.testing.assert_close(start, drawn(2) + constant)


@pytest.mark.parametrize(("iterations", "error"), [(2, 0.05), (12, 1e-4)])
def test_backwards_is_the_inverse_of_forwards(iterations, error):
    end = drawn(2)
    again = euler(bent, invert(bent, end, SIGMAS, iterations), SIGMAS)
    assert (again - end).abs().max() < error


def test_it_also_converges_where_the_plain_iteration_swings_away():
    def steep(x, sigma):
        return 12 * x

    end = drawn(3)
    # |step| * slope = 1.5: each plain iteration would make the error half as large again.
    again = euler(steep, invert(steep, end, SIGMAS, 1), SIGMAS)
    torch.testing.assert_close(again, end, rtol=1e-3, atol=1e-3)


def test_rows_do_not_influence_each_other():
    end = drawn(4)
    together = invert(bent, end, SIGMAS, 3)
    alone = torch.cat([invert(bent, row[None], SIGMAS, 3) for row in end])
    torch.testing.assert_close(together, alone)


def test_a_step_costs_one_velocity_more_than_its_iterations():
    calls = []

    def counted(x, sigma):
        calls.append(float(sigma))
        return bent(x, sigma)

    invert(counted, drawn(5), SIGMAS, 2)
    assert calls == [float(sigma) for sigma in reversed(SIGMAS[:-1]) for _ in range(3)]


def test_a_path_may_start_on_the_way():
    """Going back to step 3 is the first part of going back to the start."""
    end = drawn(6)
    middle = invert(bent, end, SIGMAS[3:], 30)
    start = invert(bent, end, SIGMAS, 30)
    torch.testing.assert_close(euler(bent, start, SIGMAS[:4]), middle, rtol=1e-3, atol=1e-3)


# edit, content LoRA: weights of (content, slider, base) with the slider on.
BLENDS = [
    (TextToImage(), None, (0, 1, 0)),
    (RealImage(inversion="ode"), None, (0, 1, 0)),
    (RealImage(inversion="ode", semantic_cfg_scale=W), None, (0, W, 1 - W)),
    (RealImage(inversion="lora", semantic_cfg_scale=W), "c", (1, W, -W)),
    (RealImage(inversion="both"), "c", (1, 1, -1)),
    (RealImage(inversion="lora", semantic_cfg_scale=W, published=True), "c", (1 - W, W, 0)),
]


@pytest.mark.parametrize(("edit", "content", "weights"), BLENDS)
def test_blends_are_the_formulas(flux, tmp_path, edit, content, weights):
    adapters = Adapters(flux)
    loras = {name: strong_lora(flux, tmp_path / f"{name}.safetensors", i) for i, name in
             enumerate("cs")}  # fmt: skip
    for name, lora in loras.items():
        adapters.load(name, lora)
    latents, text, sigma = flux.noise(1, (32, 32))[None], flux.text(["old"]), torch.tensor(0.6)

    def alone(row: Row) -> torch.Tensor:
        with torch.no_grad(), adapters.rows([row]):
            return velocity(flux, latents, sigma, text, 3.5)

    c, s, base = alone(Row(scales={"c": 1.0})), alone(Row(scales={"s": 0.7})), alone(Row())
    lane = Lane(prompt="old", content=content)
    rows = [edit.blend({"s": 0.0}, lane), edit.blend({"s": 0.7}, lane)]
    progress = tqdm(disable=True)
    with flux.sampling() as run:
        flow = Flow(
            base=flux,
            adapters=adapters,
            text=text,
            sigmas=torch.tensor([0.6, 0.4]),
            guidance_scale=3.5,
            run=run,
            progress=progress,
        )
        found = flow.forwards(latents.repeat(2, 1, 1, 1), rows, 0, 1)
    adapters.remove()
    zero, on = (found - latents) / -0.2
    torch.testing.assert_close(zero, (c if content else base)[0], rtol=1e-4, atol=1e-5)
    expected = sum(weight * v for weight, v in zip(weights, (c, s, base), strict=True))
    torch.testing.assert_close(on, expected[0], rtol=1e-4, atol=1e-5)
    assert len(rows[1]) == sum(weight != 0 for weight in weights), "no pass is wasted"


def test_every_edit_is_an_edit():
    assert all(isinstance(edit, Edit) for edit, _, _ in BLENDS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inversion": "odd"}, "inversion=odd: expected auto, ode, lora, both"),
        ({"iterations": -1}, "iterations=-1"),
        ({"semantic_cfg_scale": 0.0}, "semantic_cfg_scale=0.0"),
        ({"published": True, "inversion": "ode"}, "inversion=ode"),
    ],
)
def test_values_without_meaning_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        RealImage(**values)


def test_euler_is_euler():
    x = drawn(7)
    for sigma, following in pairwise(SIGMAS):
        x = x + (following - sigma) * bent(x, sigma)
    assert torch.equal(euler(bent, drawn(7), SIGMAS), x)


@pytest.mark.parametrize(
    ("skip", "step"), [(0, 0), (7, 7), (0.744, 11), (0.75, 11), (0.9999, 0), (0.001, 27)]
)
def test_skip_is_a_step_or_the_noise_level_nearest_to_one(skip, step):
    """FLUX.1-dev at 512 px: after 11 of 28 steps the level is .744."""
    t = 1 - torch.arange(29) / 28
    shift = math.exp(0.63)
    sigmas = shift / (shift + 1 / t.clamp(min=1e-9) - 1)
    assert step_of(skip, sigmas) == step
