"""What tests compose only once is what Hydra composes every time."""

import pytest
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import HydraException
from omegaconf import OmegaConf

from composing import composed

LINES = {
    "nothing": ("gen",),
    "a value": ("train", "seed=3"),
    "another value": ("train", "seed=4", "+method.new=1"),
    "an option": ("train", "method=full", "dataset=[age,smile]"),
    "its own value": ("train", "method=full", "method.eta=7"),
    "a sweep": ("train", "sweep=ablation"),
    "one taken away": ("train", "~tracker"),
    "one of Hydra's": ("train", "hydra.run.dir=x", "hydra/job_logging=none"),
    "another command": ("eval", "lora=x", "reader=[probe]"),
}
WRONG = {
    "no such option": ("train", "method=nope"),
    "not there to be taken away": ("train", "~method=fm"),
    "no such group": ("train", "+nope=x", "nope@y=z"),
}


def plain(monkeypatch, *line):
    """Compose as Hydra does without tests."""
    with monkeypatch.context() as patch:
        for owner, name in (
            (defaults_list, "_create_defaults_list"),
            (ConfigLoaderImpl, "_compose_config_from_defaults_list"),
        ):
            patch.setattr(owner, name, getattr(owner, name).__wrapped__)
        return composed(*line, hydra=True)


@pytest.mark.parametrize("name", LINES)
def test_it_is_composed_as_ever_however_often(name, monkeypatch):
    expected = plain(monkeypatch, *LINES[name])
    for _ in range(2):
        found = composed(*LINES[name], hydra=True)
        assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)
        assert found == expected
        found.hydra.job.name = "changed"  # in this one alone


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_stays_wrong(name, monkeypatch):
    with pytest.raises(HydraException) as expected:
        plain(monkeypatch, *WRONG[name])
    for _ in range(2):
        with pytest.raises(HydraException) as found:
            composed(*WRONG[name], hydra=True)
        assert str(found.value) == str(expected.value)


def test_a_place_of_the_users_own_is_read_each_time(tmp_path):
    method = tmp_path / "method/own.yaml"
    method.parent.mkdir()
    for eta in (1, 2):
        method.write_text(f"_target_: pairedit.methods.PairEdit\neta: {eta}\n")
        line = ("train", f"hydra.searchpath=[{tmp_path}]", "method=own")
        assert composed(*line, hydra=True).method.eta == eta
