"""8-bit layers multiply and learn like full ones, and keep no full weights."""

import copy
from types import SimpleNamespace

import pytest
import torch
from functorch.compile import min_cut_rematerialization_partition
from torch._dynamo.backends.common import aot_autograd

from layers import draw, quantise
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
    (found,) = torch.autograd.grad(output.sum(), inputs)
    (gradient,) = torch.autograd.grad(expected.sum(), inputs)
    assert (found - gradient).norm() < 0.06 * gradient.norm()


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
