"""pairedit-export end to end: files of every layout, and what it refuses."""

import pytest
from safetensors.torch import load_file

from pairedit.bases.flux1.names import NAMES
from pairedit.lora.file import read_lora
from tiny import assert_same_edit, random_lora


def test_the_command(export, flux, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lora = random_lora(flux, tmp_path / "age.safetensors")
    code, out, err = export("lora=age.safetensors", "layout=published")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"published: {tmp_path / 'age-published.pt'}"
    code, _, err = export(
        "lora=age-published.pt", "layout=kohya", f"out={tmp_path / 'b/x.safetensors'}"
    )
    assert (code, err) == (0, "")
    assert_same_edit(lora, read_lora(tmp_path / "b/x.safetensors", NAMES))
    code, _, err = export("-m", "lora=b/x.safetensors", "layout=diffusers,kohya")
    assert (code, err) == (0, "")
    assert_same_edit(lora, read_lora(tmp_path / "b/x-diffusers.safetensors", NAMES))
    assert set(load_file(tmp_path / "b/x-kohya.safetensors")) == set(
        load_file(tmp_path / "b/x.safetensors")
    )
    stray = {path.name for path in tmp_path.iterdir()} - {"age.safetensors", "age-published.pt"}
    assert stray <= {"b", "outputs"}


@pytest.mark.parametrize(
    ("words", "reasons"),
    [
        ([], ["lora=: expected"]),
        (
            ["lora=/nowhere.safetensors", "layout=comfy"],
            ["no such LoRA", "layout=comfy: expected one of", "ComfyUI reads layout=kohya"],
        ),
        (["lora={lora}", "out=x.bin"], ["out=x.bin"]),
        (["lora={lora}", "out={lora}"], ["is the file to export"]),
        (["lora={lora}", "layout=published"], ["attention projections only, not", "proj_mlp"]),
        (["lora={lora}", "scales=[1]"], ["scales: no such key"]),
    ],
)
def test_what_cannot_be_exported_is_said_at_once(export, flux, tmp_path, words, reasons):
    path = tmp_path / "mlp.safetensors"
    random_lora(flux, path, "attention_mlp")
    code, _, err = export(*(word.replace("{lora}", str(path)) for word in words))
    assert code == 1
    assert err.startswith("error: ")
    assert all(reason in err for reason in reasons), err
    assert (" out=" in err) == any(word.startswith("out=") for word in words), err
    assert len(list(tmp_path.iterdir())) == 1
