"""Run the commands on the tiny model and write down, as hashes, what they leave behind.

Nothing of the package is named but its commands, so that modules and classes may move. A case is
a function from `Workshop` to the folder of its run; `CASES` lists them by name.
"""

import re
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_post_hook

import pairedit
from pairedit import cli
from tiny import RESOLUTION, write_flux, write_pairs

EXPECTED = Path(__file__).with_name("expected.json")
FINGERPRINT = "fingerprint"
STEPS = ["steps=3", "lora.rank=2", "learning_rate=0.05", "preview=false", "report=false"]
DISC, IMAGE = ("dataset=folder", "pairs={pairs}"), ("dataset=images", "images={photos}")
METHODS = {
    "full": ["method=full", *DISC],
    "wocontent": ["method=wocontent", *DISC],
    "wocfg": ["method=wocfg", *DISC],
    "two_sided": ["method=wocfg", "method.two_sided=true", *DISC],
    "fm": ["method=fm", *DISC],
    "graded": ["method=graded", *DISC],
    "sliders": ["method=sliders", *DISC],
    "inversion": ["method=inversion", *IMAGE],
    "slider_text": ["method=slider_text", "dataset=text_age"],
}
EVERY_NUMBER = [
    "cfg_eta=3",
    "noise_scale=1.5",
    "lora.alpha=3",
    "lora.targets=attention_mlp",
    "latents=sample",
    "start_step=1",
    "end_step=2",
    "guidance_scale=2",
    "seed=5",
    "gradient_checkpointing=true",
    "preview=true",
    "snapshots=true",
    "save_every=1",
]


class Workshop:
    """Hold the tiny model, its data and the runs made so far."""

    def __init__(self, root):
        self.root = root.resolve()
        self.model = write_flux(self.root / "flux")
        self.pairs = write_pairs(self.root / "disc")
        self.photos = self.root / "photos"
        self.faint = self.root / "faint"  # pairs that differ little enough for a LoRA to reach
        for index, name in enumerate(("610", "1743")):
            image = picture(index)
            for folder in (self.photos, self.faint / "source"):
                save(image, folder / f"{name}.png")
            save(image.point(lambda v: v * 100 // 104), self.faint / "target" / f"{name}.png")
        self._done = {}

    def run(self, case):
        """Return the folder of a case, run at most once."""
        if case not in self._done:
            self._done[case] = CASES[case](shop=self, folder=self.root / "runs" / case)
        return self._done[case]

    def command(self, name, *words, code=0, resolution=RESOLUTION):
        """Run a command here, in this process; without a resolution, on no model."""
        if resolution:
            words += (f"model.path={self.model}", "model.max_sequence_length=32")
            words += (f"resolution={resolution}", "num_inference_steps=4", "device=cpu")
        names = r"\{(pairs|photos|faint)\}"
        filled = [re.sub(names, lambda name: str(getattr(self, name[1])), w) for w in words]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [f"pairedit-{name}", *filled])
            patch.chdir(self.root)
            found = 0
            try:
                getattr(cli, name)()
            except SystemExit as leave:
                found = leave.code
        assert found == code, f"pairedit-{name} {' '.join(filled)} left with {found}"

    def lora(self, case):
        """Return the LoRA to sample with of a training."""
        (path,) = self.run(case).glob("*/semantic.safetensors")
        return path


def picture(seed):
    """Draw a smooth picture, whose latents the tiny model's VAE keeps small."""
    small = np.random.default_rng(seed).integers(60, 200, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((RESOLUTION, RESOLUTION), Image.Resampling.BICUBIC)


def save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def train(*words, shop, folder):
    shop.command("train", *STEPS, *words, f"hydra.run.dir={folder}")
    return folder


def resumed(case, step, shop, folder):
    """Train a case again, stopped by a signal during a step and continued."""
    seen = []

    def interrupt(*_):
        seen.append(None)
        if len(seen) == step:
            signal.raise_signal(signal.SIGTERM)

    hook = register_optimizer_step_post_hook(interrupt)
    try:
        words = [*STEPS, *TRAININGS[case], f"hydra.run.dir={folder}"]
        shop.command("train", *words, code=128 + signal.SIGTERM)
    finally:
        hook.remove()
    assert len(seen) == step
    assert not list(folder.glob("*/*.safetensors"))
    shop.command("train", f"resume={folder}", resolution=None)
    return folder


def gen(*words, loras=("train-full-batched",), contents=None, shop, folder):
    paths = [shop.lora(case) for case in loras]
    words = [word.format(*paths) if "{0}" in word else word for word in words]
    if contents:
        words.append(f"content_lora={shop.run(contents)}")
    shop.command("gen", *words, f"hydra.run.dir={folder}")
    return folder


def evaluate(shop, folder):
    """Measure two sliders side by side, at the size of the shipped probe, which reads them."""
    paths = []
    for case in TWO:
        paths.append(folder / "sliders" / case / "semantic.safetensors")
        paths[-1].parent.mkdir(parents=True)
        shutil.copy(shop.lora(case), paths[-1])  # a calibration is noted in it
    (probe,) = Path(pairedit.__file__).parent.rglob("probe.safetensors")
    words = [f"lora=[{paths[0]},{paths[1]}]", "attribute=smile", "pairs={faint}", "seeds=[3,5]"]
    words += ["scales=[1,16]", "skip=1", "reader=[probe]", f"readers.probe.file={probe}"]
    shop.command("eval", *words, f"hydra.run.dir={folder}", resolution=128)
    return folder


def export(layout, suffix, shop, folder):
    """Write a LoRA in another layout, and read that layout back."""
    folder.mkdir(parents=True)
    first, back = folder / f"{layout}{suffix}", folder / "back.safetensors"
    lora = shop.lora("train-full-batched")
    shop.command("export", f"lora={lora}", f"layout={layout}", f"out={first}", resolution=None)
    shop.command("export", f"lora={first}", f"out={back}", resolution=None)
    return folder


TRAININGS = {
    f"train-{name}-{way}": [*words, f"batch_terms={way == 'batched'}".lower()]
    for way in ("batched", "single")
    for name, words in METHODS.items()
}
TRAININGS["train-numbers"] = [*METHODS["full"], *EVERY_NUMBER]
TWO = ("train-full-batched", "train-sliders-batched")
SHEET = ["seeds=[4,9]", "skip=1"]
REAL = ["lora={0}", "image={photos}", "scales=[-0.5,0,1]", "skip=1"]
CASES = {
    **{name: partial(train, *words) for name, words in TRAININGS.items()},
    "resumed-full": partial(resumed, "train-full-batched", 2),
    "resumed-wocfg": partial(resumed, "train-wocfg-single", 1),
    "gen-text": partial(gen, "lora={0}", "scales=[-0.5,0,1]", "prompts=[old,young]", *SHEET),
    "gen-local": partial(gen, "lora={0}", "local=true", "schedule=early", "scales=[0,1]", *SHEET),
    "gen-flowedit": partial(
        gen, "lora={0}", "flowedit=true", "local=true", "scales=[0,1]", "batch_size=3", *SHEET
    ),
    "gen-real-flowedit": partial(gen, "edit=real", "flowedit=true", "schedule=early", *REAL),
    "gen-two": partial(
        gen,
        "lora=[{{path: {0}, skip: 2}},{{path: {1}, scales: [0.5]}}]",
        "scales=[-1,0,1]",
        "batch_size=3",
        "guidance_scale=2",
        *SHEET,
        loras=TWO,
    ),
    "gen-grid": partial(gen, "lora=[{0},{1}]", "scales=[0,1]", "grid=true", *SHEET, loras=TWO),
    "gen-real-ode": partial(gen, "edit=real", "inversion=ode", "iterations=2", *REAL),
    **{
        f"gen-real-{way}": partial(
            gen, "edit=real", f"inversion={way}", *REAL, contents="train-inversion-batched"
        )
        for way in ("lora", "both")
    },
    "gen-published": partial(gen, "edit=real_published", *REAL, contents="train-inversion-batched"),
    "eval": evaluate,
    "export-diffusers": partial(export, "diffusers", ".safetensors"),
    "export-kohya": partial(export, "kohya", ".safetensors"),
    "export-published": partial(export, "published", ".pt"),
}
# A continued run ends with the bytes of an unbroken one.
SAME = {"resumed-full": "train-full-batched", "resumed-wocfg": "train-wocfg-single"}
