"""The kernel of the attention heads gives what plain torch gives."""

import pytest
import torch

from layers import draw, near, needs
from pairedit.bases.flux1.heads import to_heads


@pytest.mark.gpu
@needs((8, 0))
# Text before image, by their own ranks of query, key and value.
@pytest.mark.parametrize(
    "ranks", [(0, 0, 0, 0, 0, 0), (5, 0, 3, 0, 0, 0), (16, 16, 16, 1, 2, 3), (1, 1, 1, 4, 160, 4)]
)
@pytest.mark.parametrize("lengths", [(70,), (37, 64)])
@pytest.mark.parametrize("count", [6, 24])
def test_the_gpu_kernel_of_the_heads_agrees_with_torch(ranks, lengths, count):
    features = 32
    width = count * features
    ranks = ranks[-3 * len(lengths) :]
    streams = []
    for number, length in enumerate(lengths):
        own = ranks[3 * number : 3 * number + 3]
        up = torch.block_diag(*(draw(width, rank, seed=length + 2) for rank in own)).bfloat16()
        inner = draw(2, length, 2 * sum(own), seed=length + 1)[..., ::2]
        streams.append((draw(2, length, 3 * width, seed=length), inner, up))
    norms = [draw(features, seed=10 + number) for number in range(2 * len(lengths))]
    angles = torch.linspace(0, 90, sum(lengths) * features // 2).reshape(sum(lengths), -1)
    angles = angles.repeat_interleave(2, dim=1)

    def run(device):
        parts = ([part.to(device) for part in kind] for kind in zip(*streams, strict=True))
        weights = [norm.to(device) for norm in norms]
        rotation = (angles.cos().to(device), angles.sin().to(device))
        return to_heads(*parts, [*ranks], weights, *rotation, 1e-6)

    for found, expected in zip(run("cuda"), run("cpu"), strict=True):
        assert near(found.cpu(), expected, 1e-2)
