"""Commands that a run proposes can be typed as they stand: they keep what its sliders need."""

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pairedit.plan.further import about

LORA = Path("outputs/a/semantic.safetensors")
WORDS = ["--config-dir=/home/me/conf", "model=tuned", "model.path=/m", "device=cpu"]
TRAINED = [*WORDS, "dataset=folder", "pairs=my_edit", "steps=9", "hydra.run.dir=outputs/a"]
MEASURED = [*WORDS, "reader=[brightness]", "pairs=my edit", "lora=[a,b]", "seeds=[1]"]


def test_another_command_keeps_the_options_the_base_model_and_the_machine():
    kept = "--config-dir=/home/me/conf model=tuned model.path=/m device=cpu"
    assert about(LORA, TRAINED) == f"{kept} lora={LORA}"
    assert about(LORA, []) == f"lora={LORA}"


def test_the_same_command_keeps_all_but_what_is_said_anew():
    found = about(LORA, [*MEASURED, "hydra.run.dir=outputs/b"], ("lora", "seeds", "hydra"))
    assert found.endswith(f" 'reader=[brightness]' 'pairs=my edit' lora={LORA}")
    assert "seeds" not in found
    assert "outputs/b" not in found


@pytest.mark.parametrize("name", ["my slider", "it's", "a(1)"])
def test_any_name_of_a_file_is_quoted_for_hydra_and_for_the_shell(name):
    (word,) = shlex.split(about(Path(name), []))
    assert OverridesParser.create().parse_override(word).value() == name


def test_an_evaluation_proposes_renderings_of_its_own_base_model(trained, command, tmp_path):
    run = trained(tmp_path / "run", "learning_rate=1e-9", "preview=false", "report=false")
    lora = run / "disc/semantic.safetensors"
    code, out, err = command("eval", f"lora={lora}", "reader=[probe]", "seeds=[0]")
    assert code == 0, err
    (model,) = re.findall(r"pairedit-gen (.+?) 'scales=", out)
    assert model.startswith("model.path=")
    assert model.endswith(f" resolution=32 device=cpu lora={lora}")
