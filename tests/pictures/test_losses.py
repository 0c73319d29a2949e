"""The curve of losses shows what there is, whatever there is."""

import numpy as np
import pytest

from pairedit.pictures.losses import LINE, draw_losses


@pytest.mark.parametrize(
    "losses",
    [[], [0.3], [0.2, 0.2], [1e-5, 3.0, float("nan"), 0.0, float("inf"), 2e4]],
    ids=["none", "one", "level", "wild"],
)
def test_any_losses_can_be_drawn(losses):
    steps = range(1, len(losses) + 1)
    assert draw_losses(steps, losses, title="disc: loss").size == (960, 540)


def test_a_falling_loss_falls():
    losses = np.geomspace(1.0, 0.01, 200)
    image = np.asarray(draw_losses(range(1, 201), losses, title="").convert("RGB")).astype(int)
    colour = [int(LINE[i : i + 2], 16) for i in (1, 3, 5)]
    rows, columns = np.nonzero(abs(image - colour).sum(-1) < 60)
    assert rows[columns < 300].mean() + 100 < rows[columns > 700].mean()
    same = draw_losses(range(1, 201), losses, title="")
    assert (np.asarray(same) == image).all()
