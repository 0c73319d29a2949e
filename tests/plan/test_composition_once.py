"""A command composes its configuration once, and a sweep is still told by its words."""

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from composing import composed
from pairedit import cli
from pairedit.files import CONF
from pairedit.plan.composition import SAYS_MODE, composed_once


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


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["steps=3", "lora.rank=2"],
        ["method=full", "method.eta=2", "+method.content=false", "dataset=[age,smile]"],
        ["model=flux2-klein", "model.path=/x", "resolution=32", "datasets.age.name=x"],
        ["~tracker", "lora.targets=[a,b]", "dataset=text", "datasets.text.preserve=[young]"],
    ],
)
def test_what_is_composed_from_a_shared_part_is_what_hydra_composes(words):
    def plainly():
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return OmegaConf.to_container(compose("train", overrides=words), resolve=False)

    for _ in range(2):
        try:
            expected = plainly()
        except HydraException as error:
            with pytest.raises(type(error)):
                composed("train", *words)
        else:
            assert OmegaConf.to_container(composed("train", *words), resolve=False) == expected
