"""The configuration tree: every leaf builds, with values of the right types."""

import pytest

from composing import composed
from pairedit.bases.base import Model
from pairedit.data.sets import Examples
from pairedit.edits import Edit
from pairedit.files import CONF
from pairedit.machine.hardware import Hardware
from pairedit.measure.readers import Reader
from pairedit.methods import Method
from pairedit.plan.build import build
from pairedit.runs.tracking import Tracker

KINDS = {
    "method": Method,
    "dataset": Examples,
    "model": Model,
    "edit": Edit,
    "tracker": Tracker,
    "reader": Reader,
    "hardware": Hardware,
}
LEAVES = sorted(
    (path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name in KINDS
)


def test_no_group_is_forgotten():
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert groups == {*KINDS, "sweep", "hydra"}
    assert {group for group, _ in LEAVES} == set(KINDS)


@pytest.mark.parametrize(("group", "option"), LEAVES)
def test_every_leaf_composes_and_builds(group, option):
    if option == "tensorboard":
        pytest.importorskip("tensorboard", reason="needs pip install 'pairedit[tensorboard]'")
    training = ["train", "pairs=/some/where", "images=/else/where"]
    words = {"edit": ["gen"], "reader": ["eval"]}.get(group, training)
    several = {"dataset": "datasets", "reader": "readers"}.get(group)
    if several:  # composed once, and so all of them together
        every = [name for kind, name in LEAVES if kind == group]
        node = composed(*words, f"{group}=[{','.join(every)}]")[several][option]
    else:
        node = composed(*words, f"{group}={option}")[group]
    assert isinstance(build(node, group, KINDS[group]), KINDS[group])


def test_types_inside_groups_are_checked_and_converted():
    config = composed("train", "method.eta=abc")
    with pytest.raises(ValueError, match=r"method\.eta=abc: expected a number"):
        build(config.method, "method", Method)
    config = composed("train", "method=full", "method.noising.noise_scale=x")
    with pytest.raises(ValueError, match=r"method\.noising\.noise_scale=x"):
        build(config.method, "method", Method)
    built = build(composed("train", "method.eta=3").method, "method", Method)
    assert isinstance(built.eta, float)
    config = composed("train", "method.noising._target_=pairedit.runs.tracking.NoTracker")
    with pytest.raises(ValueError, match="method"):
        build(config.method, "method", Method)
    with pytest.raises(ValueError, match="NoTracker is no Method"):
        build(composed("train").tracker, "method", Method)
