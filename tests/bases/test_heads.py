"""Heads are made in one walk, and so are their gradients."""

import pytest
import torch
import torch.nn.functional as F

from pairedit.bases.flux1.heads import FusedAttention
from pairedit.machine import heads
from pairedit.machine.rotation import rotate

COUNTS = (5, 9)  # tokens of text and image
HEADS, FEATURES, RANK = 3, 8, 2


@pytest.fixture
def parts():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    angles = draw(sum(COUNTS), FEATURES // 2).repeat_interleave(2, 1)
    width = HEADS * FEATURES
    return {
        "projected": [draw(2, count, 3 * width).requires_grad_() for count in COUNTS],
        "inner": [draw(2, count, 3 * RANK) for count in COUNTS],
        "up": [torch.block_diag(*(draw(width, RANK) for _ in range(3))) for _ in COUNTS],
        "ranks": [RANK] * 6,
        "norms": [draw(FEATURES) for _ in range(4)],
        "cosine": angles.cos(),
        "sine": angles.sin(),
        "eps": 1e-6,
    }


def expected(parts, streams):
    """Make the heads by a sequence of operations that torch knows the gradients of."""
    made = []
    for number in range(streams):
        projected = parts["projected"][number]
        projected = projected + F.linear(parts["inner"][number], parts["up"][number])
        query, key, value = projected.unflatten(-1, (3, HEADS, FEATURES)).unbind(2)
        normed = [
            F.rms_norm(part, (FEATURES,), parts["norms"][2 * number + kind], 1e-6)
            for kind, part in enumerate((query, key))
        ]
        made.append((*normed, value))
    query, key, value = (torch.cat(part, dim=1) for part in zip(*made, strict=True))
    tokens = query.shape[1]
    rotation = parts["cosine"][:tokens], parts["sine"][:tokens]
    return rotate(query, rotation), rotate(key, rotation), value


@pytest.mark.parametrize("streams", [1, 2])
def test_heads_and_their_gradients_are_those_of_the_sequence_of_operations(parts, streams):
    wanted = expected(parts, streams)
    tokens = wanted[0].shape[1]
    names = ("projected", "inner", "up")
    cut = {name: parts[name][:streams] for name in names}
    cut |= {"ranks": parts["ranks"][: 3 * streams], "norms": parts["norms"][: 2 * streams]}
    cut |= {name: parts[name][:tokens] for name in ("cosine", "sine")}
    found = heads.to_heads(**cut, eps=parts["eps"])[:3]
    upstream = [torch.randn_like(part) for part in wanted]
    gradients = [torch.autograd.grad(made, cut["projected"], upstream) for made in (found, wanted)]
    # Rotations are float32.
    torch.testing.assert_close([*found], [*wanted], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_norms_that_hide_what_they_were_given_are_seen(parts):
    attn = torch.nn.Module()
    attn.norm_q, attn.norm_k = torch.nn.RMSNorm(FEATURES), torch.nn.RMSNorm(FEATURES)
    processor = FusedAttention(None, None, None)
    processor.settle(attn)
    assert processor.invertible
    attn.norm_k.weight.data[3] = 0
    processor.settle(attn)
    assert not processor.invertible
