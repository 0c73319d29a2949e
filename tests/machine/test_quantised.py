"""8-bit layers multiply and learn like full ones, and keep no full weights."""

import copy
from types import SimpleNamespace

import pytest
import torch
from functorch.compile import min_cut_rematerialization_partition
from torch._dynamo.backends.common import aot_autograd

from layers import draw, near, quantise
from pairedit.machine.product import multiply
from pairedit.machine.quantised import EightBit, Float8


@pytest.mark.parametrize("kind", [Float8, EightBit])
def test_eight_bit_layers_multiply_and_pass_gradient_like_the_full_one(kind):
    generator = torch.Generator().manual_seed(0)
    full = torch.nn.Linear(64, 48)
    layer = copy.deepcopy(full)
    quantise(layer, kind)
    inputs = torch.randn(2, 5, 64, generator=generator)
    # Large in one token, small in another: each has its own scale.
    inputs = (inputs * torch.logspace(-3, 3, 5)[:, None]).bfloat16().requires_grad_()
    layer.bias.data = layer.bias.data.bfloat16()
    output = layer(inputs)
    expected = full.bfloat16()(inputs)
    errors = (output - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert errors.max() < 0.06
    # Gradients of any size, too: what is left of a token's must not depend on its neighbour's.
    upstream = draw(2, 5, 48) * torch.logspace(4, -4, 5)[:, None]
    (found,) = torch.autograd.grad(output, inputs, upstream.bfloat16())
    (gradient,) = torch.autograd.grad(expected, inputs, upstream.bfloat16())
    errors = (found - gradient).norm(dim=-1) / gradient.norm(dim=-1)
    assert errors.max() < 0.06


@pytest.mark.parametrize("kind", [Float8, EightBit])
def test_a_lora_on_an_eight_bit_layer_learns_like_one_on_the_full_layer(kind):
    full = torch.nn.Linear(64, 48).bfloat16()
    layer = copy.deepcopy(full)
    quantise(layer, kind)
    x, upstream = draw(2, 5, 64).requires_grad_(), draw(2, 5, 48, seed=1)
    down, up = draw(4, 64, seed=2).requires_grad_(), draw(48, 4, seed=3).requires_grad_()
    one = torch.ones(2, 1, 4, dtype=torch.bfloat16)

    def gradients(base):
        output = multiply(base, x, down, up, one, one)
        return torch.autograd.grad(output, (x, down, up), upstream)

    for found, expected in zip(gradients(layer), gradients(full), strict=True):
        assert near(found, expected, 0.06)


# torch warns of itself while it traces.
@pytest.mark.filterwarnings("ignore")
def test_compiled_eight_bit_layers_keep_no_full_weights_for_the_way_back():
    kept = []

    def forward(graph, inputs):
        (result,) = [node for node in graph.graph.nodes if node.op == "output"]
        kept.extend(node.meta["val"] for node in result.args[0] if hasattr(node, "meta"))
        return graph

    layer = torch.nn.Linear(64, 48, bias=False)
    layer.__class__ = EightBit
    whole = torch.zeros(48, 64, dtype=torch.int8)
    layer.take(SimpleNamespace(qdata=whole, scale=torch.ones(48, 1), dtype=torch.bfloat16))
    backend = aot_autograd(
        fw_compiler=forward,
        bw_compiler=lambda graph, inputs: graph,
        partition_fn=min_cut_rematerialization_partition,
    )
    x = draw(2, 5, 64).requires_grad_()
    torch.compile(layer, backend=backend, fullgraph=True)(x).sum().backward()
    sizes = [(tuple(value.shape), value.dtype) for value in kept]
    assert ((48, 64), torch.int8) in sizes
    assert all(size != (48, 64) or kind == torch.int8 for size, kind in sizes)
