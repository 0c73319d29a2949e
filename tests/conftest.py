"""Fixtures: the tiny FLUX, its LoRAs, pairs on disk, commands in this process, flux-mini."""

from __future__ import annotations

import gc
import hashlib
import logging
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch

# Hardly anything that is imported is garbage, and it is much: walking over it again and again took
# a tenth of the suite's time. `pytest_collection_finish` ends the rest.
gc.disable()

# A shell starts what runs in the background deaf to Ctrl-C, and so is all that this starts. Tests
# that send one would wait for good.
signal.signal(signal.SIGINT, signal.default_int_handler)

from pairedit.bases import base as base_models  # noqa: E402
from parsing import compose_once, parse_once  # noqa: E402
from tiny import QUICK, RESOLUTION, strong_lora, write_flux, write_pairs  # noqa: E402

parse_once()
compose_once()
base_models.KEPT = 8  # tests take turns with a few tiny ones

# Fixtures that take seconds and serve many tests: with `--dist loadgroup` one process runs those.
SHARED = ("smile", "outcomes", "shop", "site", "wheel", "measured", "unbroken", "whole")


def pytest_configure(config):
    """Import torch where tests run: the process that spreads them over others needs none."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        import torch

        torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Keep the tests of a shared fixture in one process, if xdist spreads them."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if group := _group_of(item):
                item.add_marker(pytest.mark.xdist_group(group))


def _group_of(item):
    """Name what a test shares with others; None where it shares nothing that takes long."""
    shared = [name for name in SHARED if name in item.fixturenames]
    if "smile" in shared:
        return "smile"
    folder, stem = item.path.parent.name, item.path.stem
    # Their commands are forked from one server, which imports all that there is.
    return folder if folder == "faults" else stem if shared else None


def pytest_collection_finish():
    """Leave what was imported alone, and look for garbage from here on, less often."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.fixture(scope="session")
def tiny_flux_folder(tmp_path_factory) -> Path:
    return write_flux(tmp_path_factory.mktemp("tiny") / "flux")


@pytest.fixture
def flux(tiny_flux_folder):
    """The tiny model with every LoRA off; fails a test that leaves one attached."""
    from pairedit.bases.flux1.load import load

    flux = load(str(tiny_flux_folder), device="cpu", precision="float32", max_sequence_length=32)
    yield flux
    assert not getattr(flux.transformer, "peft_config", None)
    assert not flux.transformer.gradient_checkpointing


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "disc")


@pytest.fixture(scope="session")
def tiny_overrides(tiny_flux_folder, pair_folder) -> list[str]:
    """Command-line words that point a command at the tiny model, for a CPU."""
    return [
        f"model.path={tiny_flux_folder}",
        "model.max_sequence_length=32",
        f"resolution={RESOLUTION}",
        "num_inference_steps=4",
        "device=cpu",
    ]


@pytest.fixture
def lora(flux, tmp_path):
    """A LoRA that visibly changes what the tiny model draws."""
    return strong_lora(flux, tmp_path / "semantic.safetensors")


@pytest.fixture
def loras(flux, tmp_path):
    return [
        strong_lora(flux, tmp_path / name / "semantic.safetensors", seed=seed, rank=rank)
        for name, seed, rank in (("age", 0, 3), ("smile", 9, 5))
    ]


@pytest.fixture
def command(monkeypatch, tmp_path, capfd, tiny_overrides):
    """Run a command on the tiny model; return its exit code and output."""
    from pairedit import cli

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [f"pairedit-{name}", *words, *tiny_overrides])
        monkeypatch.chdir(tmp_path)
        code = 0
        try:
            getattr(cli, name)()
        except SystemExit as leave:
            code = leave.code
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def train_disc(command, pair_folder):
    """Train on the discs for two steps; return the exit code and output."""

    def run(folder, *words):
        place = f"hydra.run.dir={folder}"
        return command("train", "dataset=folder", f"pairs={pair_folder}", place, *QUICK, *words)

    return run


@pytest.fixture(scope="session")
def kept(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def trained(train_disc, kept):
    """Lay the folder of a training on the discs somewhere; it is trained once, then copied."""

    def lay(folder: Path, *words: str) -> Path:
        run = kept / hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
        if not run.exists():
            code, _, err = train_disc(run, *words)
            assert (code, err) == (0, "")
        shutil.copytree(run, folder)
        return folder

    return lay


@pytest.fixture
def mini():
    """Open flux-mini, once in a process."""
    from pairedit.bases.flux1.load import load
    from pairedit.files import locate

    folder = str(locate("pkg://flux_mini"))
    return load(folder, device="cpu", precision="float32", max_sequence_length=32)


@pytest.fixture(scope="session")
def unseen() -> tuple[torch.Tensor, torch.Tensor]:
    """Attributes and images in [-1, 1] of faces that no training saw."""
    import torch

    from pairedit.mini.faces import render, sample_attributes

    held_out = 20_000_000  # the training script draws its faces from smaller seeds
    attributes = sample_attributes(12, torch.Generator().manual_seed(held_out))
    attributes = attributes.float()  # a third of the time, and all but a few pixels the same
    return attributes, (render(attributes) * 255).round() / 127.5 - 1


@pytest.fixture(scope="session")
def smile(tmp_path_factory) -> Path:
    """A smile slider of flux-mini after 30 long steps of the published method."""
    from pairedit.bases.flux1.load import load
    from pairedit.data.examples import find_pairs
    from pairedit.files import locate
    from pairedit.methods import PairEdit
    from pairedit.noising import ContentPreserving
    from pairedit.runs.tracking import JsonLines
    from pairedit.settings import Training
    from pairedit.train import fit

    place = tmp_path_factory.mktemp("smile")
    run = JsonLines(place / "metrics.jsonl")
    folder = str(locate("pkg://flux_mini"))
    files = fit(
        base=load(folder, device="cpu", precision="float32", max_sequence_length=32),
        method=PairEdit(noising=ContentPreserving(noise_scale=1.0), eta=4.0, content=True),
        pairs=find_pairs(locate("pkg://data/smile")),
        settings=Training(steps=30, learning_rate=6e-3, size=(128, 128)),
        folder=place,
        run=run,
        metadata={"base_model": "flux-mini"},
    )
    run.finish()
    return files["semantic"]


@pytest.fixture
def export(monkeypatch, capfd):
    """Run pairedit-export; return its exit code and output."""
    import sys

    from pairedit import cli

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["pairedit-export", *map(str, words)])
        code = 0
        try:
            cli.export()
        except SystemExit as leave:
            code = leave.code
        return code, *capfd.readouterr()

    return run


@pytest.fixture(autouse=True)
def _keep_logging():
    """Undo what Hydra does to the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:], root.level = handlers, level
