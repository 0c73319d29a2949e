"""The seam: another architecture is trained, rendered and measured, and no other file knows it."""

import pytest
from safetensors import safe_open

OPTION = """
defaults: [flux-mini, _self_]
_target_: second.Second
name: second
guidance_scale: null
skip: 1
"""


@pytest.fixture
def second(tmp_path, command):
    """Run a command on the second base."""
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/second.yaml").write_text(OPTION)

    def run(name, *words):
        code, out, err = command(name, f"--config-dir={tmp_path / 'conf'}", "model=second", *words)
        assert not code, err
        return out

    return run


def test_a_base_from_outside_is_trained_rendered_and_measured(second, pair_folder, tmp_path):
    folder = f"pairs={pair_folder}"
    second("train", "dataset=folder", folder, "steps=3", f"hydra.run.dir={tmp_path / 'run'}")
    lora = tmp_path / f"run/{pair_folder.name}/semantic.safetensors"
    with safe_open(lora, framework="pt") as file:
        assert "transformer.layers.1.qkv.lora_A.weight" in file.keys()  # noqa: SIM118
    second("gen", f"lora={lora}", "scales=[0,1]", f"hydra.run.dir={tmp_path / 'images'}")
    assert len(list((tmp_path / "images/images").iterdir())) > 1
    photo = pair_folder / "source"
    real = ["edit=real", f"image={photo}", "iterations=1", f"hydra.run.dir={tmp_path / 'real'}"]
    second("gen", f"lora={lora}", *real)
    second("eval", f"lora={lora}", "reader=[]", f"hydra.run.dir={tmp_path / 'report'}")
    assert (tmp_path / "report/report.html").is_file()
