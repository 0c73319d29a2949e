"""Local sampling and schedules draw the same wherever they run: fused, as graphs, compiled.

The plain path on the same device is what the others are compared with.
"""

import numpy as np
import pytest
import torch

from layers import compiles
from pairedit.bases.flux1.load import load
from pairedit.machine.hardware import Hardware
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering
from tiny import strong_lora

SIDE, STEPS, SKIP = 64, 6, 2
SCALES = (0.0, 0.4, 0.8)
# (local, lean, with a second slider that sets in later and is not local)
USES = {
    "plain": (False, 0.0, False),
    "local": (True, 0.0, False),
    "early": (False, 1.0, False),
    "local and late": (True, -1.0, False),
    "two sliders": (True, 1.0, True),
}
FUSED = Hardware(fused=True)
# Rows are cut where they do not fit into one pass: the row at scale 0 may come in one before.
PATHS = {
    "fused": FUSED,
    "fused, few rows": Hardware(fused=True, batch_size=2),
    "graphs": Hardware(fused=True, graphs=True),
    "compiled": Hardware(fused=True, compile=True),
    "compiled graphs": Hardware(fused=True, compile=True, graphs=True),
}


def drawn(folder, hardware, device, loras) -> dict[str, np.ndarray]:
    """Render every use, [rows, H, W, 3], on hardware of its own."""
    load.cache_clear()  # a transformer that was placed for one hardware serves no other
    base = load(
        str(folder), device=device, precision="float32", max_sequence_length=32, hardware=hardware
    )
    found = {}
    for name, (local, lean, second) in USES.items():
        sliders = [Slider(lora=loras[0], scales=SCALES, local=local, lean=lean)]
        if second:
            sliders.append(Slider(lora=loras[1], scales=SCALES, skip=SKIP + 1, lean=-1.0))
        samples = generate(
            base,
            sliders=sliders,
            prompts=["old"],
            seeds=[3, 1],
            rendering=Rendering(skip=SKIP, num_inference_steps=STEPS, size=(SIDE, SIDE)),
        )
        found[name] = np.stack([np.asarray(sample.image).astype(int) for sample in samples])
    load.cache_clear()
    return found


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean difference in levels of 255."""
    return float(np.abs(one - other).mean())


def agree(folder, path, device, loras) -> None:
    plain = drawn(folder, Hardware(), device, loras)
    # What is compared is there: each use draws something else.
    for name in USES:
        assert name == "plain" or distance(plain[name], plain["plain"]) > 0.5, name
    found = drawn(folder, PATHS[path], device, loras)
    for name in USES:
        assert distance(found[name], plain[name]) < 0.1, f"{name}, {path} on {device}"
        assert np.abs(found[name] - plain[name]).max() <= 4, f"{name}, {path} on {device}"


@pytest.fixture
def two(flux, tmp_path):
    return [strong_lora(flux, tmp_path / f"{seed}.safetensors", seed=seed) for seed in (0, 9)]


@pytest.mark.parametrize("path", ["fused", "fused, few rows"])
def test_uses_agree_with_the_plain_path(tiny_flux_folder, two, path):
    agree(tiny_flux_folder, path, "cpu", two)


@compiles
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("path", PATHS)
def test_uses_agree_with_the_plain_path_on_a_gpu(tiny_flux_folder, two, path):
    agree(tiny_flux_folder, path, "cuda", two)
