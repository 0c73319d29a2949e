"""Configurations that share what was composed are what Hydra composes."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from composing import composed
from pairedit.files import CONF


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
