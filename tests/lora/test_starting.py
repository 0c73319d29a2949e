"""A LoRA that starts from another has its update, whatever the ranks and modules."""

import pytest
import torch

from pairedit.lora.file import LoraFile
from pairedit.lora.starting import fitted, start_from


def lora(path, *modules, rank=4):
    generator = torch.Generator().manual_seed(rank)
    weights = {
        module: (
            torch.randn(rank, 12, generator=generator),
            torch.randn(10, rank, generator=generator),
        )
        for module in modules
    }
    return LoraFile(path=path, weights=weights, metadata={}, sha256="")


def new(*modules, rank):
    weights = []
    for _ in modules:
        weights += [torch.rand(rank, 12), torch.rand(10, rank)]
    return weights


@pytest.mark.parametrize("rank", [4, 7, 16])
def test_no_smaller_rank_is_exact_and_can_learn_all_over(tmp_path, rank):
    there, weights = lora(tmp_path, "a", "b"), new("a", "b", rank=rank)
    drawn = [weight.clone() for weight in weights]
    start = start_from(there, ["a", "b"], weights, scaling=0.25)
    for index, module in enumerate("ab"):
        down, up = weights[2 * index], weights[2 * index + 1]
        torch.testing.assert_close(
            0.25 * up @ down, there.weights[module][1] @ there.weights[module][0]
        )
        # Rows without weight in B are those of a new LoRA: zeros on both sides never learn.
        assert torch.equal(down[4:], drawn[2 * index][4:])
        assert not up[:, 4:].any()
    assert (start.taken, start.new, start.left, start.lost) == (2, 0, 0, 0.0)
    said = {4: "2 modules", 7: "2 modules, rank 4 becomes 7, which loses nothing"}
    assert start.text(rank) == said.get(rank, "2 modules, rank 4 becomes 16, which loses nothing")


def test_a_smaller_rank_keeps_the_largest_singular_values(tmp_path):
    there, weights = lora(tmp_path, "a"), new("a", rank=2)
    start = start_from(there, ["a"], weights, scaling=2.0)
    down, up = there.weights["a"]
    u, values, v = torch.linalg.svd(up @ down)
    best = u[:, :2] * values[:2] @ v[:2]
    torch.testing.assert_close(2.0 * weights[1] @ weights[0], best)
    lost = float((up @ down - best).norm() / (up @ down).norm())
    assert start.lost == pytest.approx(lost, rel=1e-5)
    assert (
        start.text(2)
        == f"1 modules, rank 4 becomes 2, which loses {100 * lost:.2g} % of the update"
    )


def test_a_rank_that_is_not_used_up_is_cut_without_loss():
    down, up = torch.randn(2, 12), torch.randn(10, 2)
    wide = torch.cat([down, down]), torch.cat([up, 0 * up], dim=1)
    new_down, new_up, share = fitted(*wide, rank=2)
    torch.testing.assert_close(new_up @ new_down, up @ down)
    assert share == pytest.approx(1)


def test_modules_on_one_side_only_are_counted(tmp_path):
    there, weights = lora(tmp_path, "a", "x", "y"), new("a", "b", rank=4)
    drawn = [weight.clone() for weight in weights]
    start = start_from(there, ["a", "b"], weights, scaling=1.0)
    assert torch.equal(weights[2], drawn[2])
    assert torch.equal(weights[3], drawn[3])
    assert start.text(4) == (
        "1 modules, 1 of the targets are not in it and start new, "
        "2 of its modules are not among the targets and are left out"
    )
    with pytest.raises(ValueError, match="none of its modules is among the targets"):
        start_from(there, ["b"], weights[2:], scaling=1.0)
    with pytest.raises(ValueError, match="a is of another size in this model"):
        start_from(there, ["a"], [torch.rand(4, 5), torch.rand(10, 4)], scaling=1.0)
