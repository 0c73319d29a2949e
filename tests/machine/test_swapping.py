"""Blocks that come for their turn compute what blocks that stay do, and no more is moved."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from layers import needs, quantise
from pairedit.bases.base import velocity
from pairedit.bases.flux1.load import load
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.machine import lending, swapping
from pairedit.machine.blocks import run_again
from pairedit.machine.hardware import Hardware
from pairedit.machine.quantised import EightBit
from tiny import open_flux

CPU = torch.device("cpu")


@pytest.fixture
def copies(monkeypatch):
    """Note the size of each block that is copied."""
    noted = []
    plain = swapping._Home.copy_to
    monkeypatch.setattr(
        swapping._Home, "copy_to", lambda self, place: noted.append(self) or plain(self, place)
    )
    return noted


def chain(count):
    torch.manual_seed(0)
    return nn.ModuleList(nn.Linear(8, 8) for _ in range(count))


def swapped(blocks, share=1.0, device=CPU):
    take = swapping.swapping(list(blocks), share, device)
    for block in blocks:
        take(block)
    return blocks


def test_blocks_there_and_back_give_the_gradient_of_blocks_that_stay(copies):
    whole = chain(6)
    blocks = swapped(copy.deepcopy(whole), 0.5)

    def run(blocks):
        model = nn.Module()
        model.enable_gradient_checkpointing = lambda run: setattr(model, "run", run)
        model.disable_gradient_checkpointing = lambda: None
        x = start = torch.ones(2, 8, requires_grad=True)
        with run_again(model, blocks, 1.0):
            for block in blocks:
                x = model.run(block, x).tanh()
            (gradient,) = torch.autograd.grad(x.sum(), start)
        return x, gradient

    for _ in range(3):
        for found, expected in zip(run(blocks), run(whole), strict=True):
            assert torch.equal(found, expected)
    # The last one is there when the way back begins, and so is the first one of the next step.
    assert len(copies) == 3 + 1 + 2 * (1 + 1)


class Slow(nn.Linear):
    def forward(self, x):
        for _ in range(30):
            x = super().forward(x).tanh()
        return x


@pytest.mark.gpu
@needs((8, 0))
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_copies_wait_for_products_and_products_for_copies(share):
    device = torch.device("cuda")
    torch.manual_seed(0)
    whole = nn.ModuleList(Slow(2048, 2048) for _ in range(8)).to(device)
    blocks = swapped(copy.deepcopy(whole), share, device)
    x = torch.randn(512, 2048, device=device)
    orders = [range(8), range(7, -1, -1), [0, 0, 3, 1, 7, 2], range(8)]
    for order in [*orders, *orders]:
        found = expected = x
        for number in order:
            found, expected = blocks[number](found), whole[number](expected)
        assert torch.equal(found, expected)


def test_the_next_block_comes_while_one_runs(copies):
    blocks = swapped(chain(5))
    (swap,) = {block.swap for block in blocks}
    for _ in range(2):
        for block in blocks:
            block(torch.ones(8))
    del copies[:]
    for number, block in enumerate(blocks):
        block(torch.ones(8))
        assert copies[-1] is swap._homes[blocks[(number + 1) % 5]]
    assert len(copies) == 5


def test_a_weight_that_is_away_is_no_number_and_takes_no_memory():
    blocks = swapped(chain(3))
    for block in blocks:
        block(torch.ones(8))
    away = blocks[0].weight
    assert away.isnan().all()
    assert (away.shape, away.untyped_storage().nbytes()) == ((8, 8), 4)
    assert not blocks[2].weight.isnan().any()


def test_layers_of_fewer_bits_keep_their_types_and_what_shares_memory_shares_it_again():
    torch.manual_seed(0)
    full, block = nn.Linear(64, 96), nn.Module()
    joint = nn.Linear(64, 96)
    joint.load_state_dict(full.state_dict())
    block.parts = nn.ModuleList(nn.Linear(64, 32) for _ in range(3))
    for part, weight, bias in zip(
        block.parts, joint.weight.chunk(3), joint.bias.chunk(3), strict=True
    ):
        part.weight.data, part.bias.data = weight.data, bias.data
    block.eight = nn.Linear(64, 96)
    quantise(block.eight, EightBit)
    x = torch.ones(2, 64, dtype=torch.bfloat16)
    block.eight.bias.data = block.eight.bias.data.bfloat16()
    expected = block.eight(x)
    swap = swapping.Swap(CPU)
    swap.take(block, joint)
    assert joint.weight.isnan().all()
    swap.turn(block)
    assert torch.equal(joint.weight, full.weight)
    assert torch.equal(torch.cat([part.weight for part in block.parts]), full.weight)
    assert block.parts[1].weight.data_ptr() == joint.weight[32:].data_ptr()
    assert block.eight.weight.dtype == torch.int8
    assert torch.equal(block.eight(x), expected)
    size = swap._homes[block].size
    assert size < full.weight.nbytes + full.bias.nbytes + block.eight.weight.nbytes + 6 * 256


HARDWARE = [Hardware(), Hardware(name="fused", fused=True)]


@pytest.mark.parametrize("hardware", HARDWARE, ids=["plain", "fused"])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_step_of_the_tiny_flux_is_the_same_to_the_bit(tiny_flux_folder, hardware, share, copies):
    hardware = replace(hardware, gradient_checkpointing=1.0)

    def run(hardware):
        flux = open_flux(tiny_flux_folder, hardware)
        load.cache_clear()
        sigmas, text = flux.sigmas((32, 32), 4), flux.text(["", "a"])
        flux.prepare(sigmas, text, 3.5)
        adapters, generator = Adapters(flux), torch.Generator().manual_seed(0)
        adapters.add("x", rank=2, alpha=1, targets="attention_mlp", generator=generator)
        weights = adapters.parameters("x")
        for up in weights[1::2]:
            up.data.normal_(generator=generator)
        latents = torch.randn(2, *flux.latent_shape((32, 32)), generator=generator)
        rows = [Row(scales={"x": 1.0}, learns=frozenset({"x"})), Row(scales={"x": 0.5})]
        found = []
        with flux.training(), adapters.rows(rows):
            for level in sigmas[1:3]:
                output = velocity(flux, latents, level, text, 3.5)
                found += [output, *torch.autograd.grad(output.square().sum(), weights)]
        with flux.sampling(), adapters.rows(rows), torch.no_grad():
            found.append(velocity(flux, latents, sigmas[1], text, 3.5))
        return found

    for found, expected in zip(run(replace(hardware, swapped=share)), run(hardware), strict=True):
        assert torch.equal(found, expected)
    assert copies


@pytest.mark.parametrize("full", ["whole", "layers"])
def test_encoders_that_do_not_fit_come_layer_by_layer(flux, monkeypatch, full, copies, caplog):
    words = ["a face", "an old face"]
    expected = flux.text(words)
    plain, tries = lending.bring, []

    def bring(values, device):
        tries.append(1)
        if len(tries) == 1 or full == "layers":
            raise torch.OutOfMemoryError("none left")
        return plain(values, device)

    monkeypatch.setattr(lending, "bring", bring)
    found = flux.text(words)
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.equal(found.pooled, expected.pooled)
    assert bool(copies) == (full == "whole")
    assert ("has no room for CLIPTextModel, T5EncoderModel" in caplog.text) == (full == "layers")
    monkeypatch.undo()
    assert torch.equal(flux.text(words).tokens, expected.tokens)
    assert type(flux.pipeline.text_encoder_2.encoder.block[0]).__call__ is nn.Module.__call__
