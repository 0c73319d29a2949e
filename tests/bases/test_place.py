"""However a transformer is placed on its hardware, the result stays the same."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pairedit.bases.base import velocity
from pairedit.bases.flux1 import heads
from pairedit.bases.flux1 import place as placing
from pairedit.bases.flux1.load import load
from pairedit.bases.flux1.place import training_blocks
from pairedit.data.examples import find_pairs
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora
from pairedit.lora.rows import Row
from pairedit.machine.hardware import Hardware
from pairedit.methods import PairEdit
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering, Training
from pairedit.train import fit
from tiny import open_flux, running, write_pairs

FUSED = Hardware(name="fused", fused=True)


class Record:
    def __init__(self):
        self.losses = []

    def log(self, step, values):
        self.losses.append(values["loss"])

    def rewind(self, step):
        pass


@pytest.fixture
def results(tiny_flux_folder, tmp_path):
    write_pairs(tmp_path / "pairs")

    def run(hardware, targets="attention"):
        """Train and sample with one hardware; return losses, LoRA weights and latents."""
        flux = open_flux(tiny_flux_folder, hardware)
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        record = Record()
        files = fit(
            base=flux,
            method=PairEdit(),
            pairs=find_pairs(tmp_path / "pairs"),
            settings=Training(
                steps=3,
                rank=4,
                targets=targets,
                size=(32, 32),
            ),
            folder=folder,
            run=record,
            metadata={},
        )
        lora, latents, decode = read_lora(files["semantic"]), [], flux.decode
        flux.decode = lambda x: latents.append(x) or decode(x)
        # Three columns and two seeds: batches that a power of two does not fit.
        for _ in generate(
            running(flux, batch_size=3),
            sliders=[Slider(lora=lora, scales=(-0.5, 0.0, 0.8))],
            prompts=["", "a"],
            seeds=[0],
            rendering=Rendering(skip=2, num_inference_steps=4, guidance_scale=3.5, size=(32, 32)),
        ):
            pass
        weights = torch.cat([part.flatten() for pair in lora.weights.values() for part in pair])
        load.cache_clear()
        return torch.tensor(record.losses), weights, torch.cat(latents)

    return run


@pytest.mark.parametrize(
    "hardware", [FUSED, replace(FUSED, name="again", gradient_checkpointing=0.5)]
)
def test_the_fused_path_gives_the_plain_result(results, hardware):
    for found, expected in zip(results(hardware), results(Hardware()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_loras_on_a_few_of_the_joint_projections_act_all_the_same(results):
    targets = (r"attn\.to_(k|out\.0)", r"attn\.add_v_proj")
    found, expected = (results(hardware, targets) for hardware in (FUSED, Hardware()))
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


def test_projections_that_stay_apart_give_the_plain_result(results, monkeypatch):
    fuse = placing._fuse
    # As 4-bit ones do.
    monkeypatch.setattr(placing, "_fuse", lambda *given, wanted: fuse(*given, wanted=False))
    for found, expected in zip(results(FUSED), results(Hardware()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def open_fused(folder, **more):
    flux = open_flux(folder, replace(FUSED, **more))
    sigmas, text = flux.sigmas((32, 32), 4), flux.text([""])
    flux.prepare(sigmas, text, 3.5)
    adapters = Adapters(flux)
    adapters.add(
        "semantic", rank=2, alpha=1, targets="attention", generator=torch.Generator().manual_seed(0)
    )
    adapters.parameters("semantic")
    latents = torch.randn(
        1, *flux.latent_shape((32, 32)), generator=torch.Generator().manual_seed(0)
    )
    rows = [Row(scales={"semantic": 1.0}, learns=frozenset({"semantic"}))]

    def step():
        with adapters.rows(rows):
            velocity(flux, latents, sigmas[1], text, 3.5).square().sum().backward()

    return flux, step


# torch warns of itself while it traces.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.heavy
@pytest.mark.parametrize("swapped", [0.0, 0.5])
def test_one_compilation_serves_all_blocks_of_a_kind(tiny_flux_folder, monkeypatch, swapped):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph

    whole = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **options: whole(function, backend=backend, **options)
    )
    flux, step = open_fused(tiny_flux_folder, compile=True, swapped=swapped)
    with training_blocks(flux.transformer, flux.hardware):
        step()
        step()
    load.cache_clear()
    blocks = flux.transformer
    assert min(len(blocks.transformer_blocks), len(blocks.single_transformer_blocks)) >= 2
    assert len(compiled) == 2


@pytest.mark.parametrize("invertible", [True, False])
def test_the_backward_pass_keeps_each_head_once(tiny_flux_folder, monkeypatch, invertible):
    def kept():
        sizes = {}
        note = lambda part: sizes.setdefault(part.data_ptr(), part.nbytes) and part  # noqa: E731
        _, step = open_fused(tiny_flux_folder)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda part: part):
            step()
        load.cache_clear()
        return sum(sizes.values())

    if not invertible:
        monkeypatch.setattr(heads, "SMALL", 2.0)
    found = kept()
    monkeypatch.setattr(heads, "SMALL", 2.0)
    monkeypatch.setattr(heads, "checkpoint", lambda function, *inputs, **_: function(*inputs))
    assert found < 0.9 * kept()


# torch warns of itself while it traces.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.heavy
def test_the_traced_path_gives_the_plain_result(results, monkeypatch):
    whole = torch.compile
    # Traced in full as on a GPU; generating code for a CPU would take minutes.
    monkeypatch.setattr(
        torch,
        "compile",
        lambda function, **options: whole(function, backend="aot_eager", **options),
    )
    compiled = results(replace(FUSED, name="compiled", compile=True))
    for found, expected in zip(compiled, results(Hardware()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("precision", "library"), [("int8", "torchao"), ("nf4", "bitsandbytes")])
def test_quantised_bases_are_near_the_full_one_or_ask_for_their_library(
    results, precision, library
):
    quantised = replace(FUSED, name=precision, precision=precision)
    try:
        __import__(library)
    except ImportError:
        with pytest.raises(ValueError, match=rf"precision={precision}: .*pairedit\[quantization\]"):
            results(quantised)
        return
    losses, _, latents = results(quantised)
    expected, _, plain = results(Hardware())
    torch.testing.assert_close(losses, expected, rtol=0.05, atol=0)
    assert (latents - plain).norm() < 0.2 * plain.norm()
