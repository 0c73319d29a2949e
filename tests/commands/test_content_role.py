"""A content LoRA that is given as the slider is told of, by every command that takes one."""

import pytest

from pairedit.bases.flux1.names import NAMES
from pairedit.lora.file import annotate_lora, write_lora
from tiny import strong_lora


@pytest.fixture
def content(flux, tmp_path):
    """Give a content LoRA beside its slider, as a training leaves them."""
    lora = strong_lora(flux, tmp_path / "run/disc/semantic.safetensors")
    path = tmp_path / "run/disc/content.safetensors"
    write_lora(path, lora.weights, {"role": "content", "base_model": "tiny"}, names=NAMES)
    annotate_lora(tmp_path / "run/disc/semantic.safetensors", role="semantic")
    return path


def test_export_and_eval_know_a_content_lora_by_its_role(command, export, content, pair_folder):
    slider = content.with_name("semantic.safetensors")
    told = f"{content} is a content LoRA by its metadata"
    meant = f"the slider is probably {slider}"
    words = [f"pairs={pair_folder}", "seeds=[3]", "scales=[1]", "skip=1", "reader=[probe]"]
    code, out, err = command("eval", f"lora={content}", *words)
    assert (code, err) == (0, "")
    assert out.count(told) == 1
    assert meant in out
    code, out, err = export(f"lora={content}", "layout=kohya")
    assert (code, err) == (0, "")
    assert out.count(told) == 1
    assert meant in out
    # By its name alone, as the published code calls it.
    _, out, _ = export(f"lora={content}", "layout=published", f"out={content.with_name('a_0.pt')}")
    code, out, _ = export(f"lora={content.with_name('a_0.pt')}", "layout=diffusers")
    assert code == 0
    assert "a_0.pt is a content LoRA by its name" in out
    assert "content LoRA" not in export(f"lora={slider}", "layout=kohya")[1]
