"""A command composes its configuration once, and a sweep is still told by its words."""

import hydra
import pytest
from hydra._internal.hydra import Hydra

from pairedit import cli
from pairedit.plan.once import SAYS_MODE, TRIED, composed_once


def test_the_hydra_that_is_changed_is_one_that_was_tried():
    """Try a new one with this file, and add it to the others."""
    assert hydra.__version__ in TRIED


@pytest.mark.parametrize(
    ("words", "count"), [(["steps=3"], 1), (["sweep=ablation", "steps=3"], 2), (["-m"], 1)]
)
def test_what_names_no_mode_is_composed_once(monkeypatch, tmp_path, words, count):
    composed = []
    compose = Hydra.compose_config

    def counted(self, **options):
        composed.append(options)
        return compose(self, **options)

    monkeypatch.setattr(Hydra, "compose_config", counted)
    monkeypatch.setattr(Hydra, "multirun", lambda self, **_: composed.append("multirun"))
    monkeypatch.setattr(cli, "_train", lambda *_, **__: None)
    monkeypatch.setattr("sys.argv", ["pairedit-train", *words, f"hydra.run.dir={tmp_path}"])
    cli.train()
    several = any(not word.startswith("steps") for word in words)
    assert ("multirun" in composed) == several
    assert len([one for one in composed if one != "multirun"]) == count - several
    assert Hydra.get_mode.__name__ == "get_mode"


def test_words_that_may_set_the_mode_are_known():
    for word in (
        "sweep=ablation",
        "hydra.mode=MULTIRUN",
        "+hydra.mode=RUN",
        "--config-dir=x",
        "-cd",
    ):
        assert SAYS_MODE.match(word), word
    for word in ("hydra.run.dir=x", "-m", "--multirun", "steps=3", "hydra/launcher=basic"):
        assert not SAYS_MODE.match(word), word
    with pytest.raises(RuntimeError), composed_once(["steps=3"]):
        raise RuntimeError
    assert Hydra.get_mode.__name__ == "get_mode"
