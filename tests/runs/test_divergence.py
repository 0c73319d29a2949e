"""A loss that runs away is noticed, a restless one is not."""

import json
import math

from pairedit.runs.divergence import GROWTH, WINDOW, LossWatch, calmer


def test_a_loss_that_grows_has_diverged():
    watch, sound = LossWatch(), [1.0 + 0.5 * (-1) ** step for step in range(60)]
    assert not any(watch.diverged(loss) for loss in sound)
    again = LossWatch(**json.loads(json.dumps(watch.state())))
    grown = [again.diverged(3 * GROWTH) for _ in range(WINDOW)]
    assert grown[0] is None
    assert "has grown from 1 to" in grown[-1]
    assert LossWatch().diverged(math.inf) == "is inf"


def test_the_rate_to_try_is_never_above_the_default():
    assert calmer(100.0) == calmer(1e-2) == "learning_rate=0.002, the default"
    assert calmer(2e-3) == "learning_rate=0.0005"
