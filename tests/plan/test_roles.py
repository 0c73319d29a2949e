"""A file that is no slider is told of where it is named as one."""

import torch

from pairedit.bases.flux1.names import NAMES
from pairedit.lora.file import write_lora
from pairedit.plan.roles import inspect_role

WEIGHTS = {"transformer_blocks.0.attn.to_q": (torch.ones(1, 4), torch.ones(4, 1))}


def notes_on(path):
    notes = []
    inspect_role(path, NAMES, notes)
    return notes


def test_a_content_lora_named_as_slider_gets_a_note(tmp_path):
    content, semantic = (tmp_path / f"{role}.safetensors" for role in ("content", "semantic"))
    for path in (content, semantic):
        write_lora(path, WEIGHTS, {"role": path.stem})
    assert notes_on(semantic) == []
    (note,) = notes_on(content)
    assert note == (
        f"{content} is a content LoRA by its metadata: it holds the looks of what it was trained "
        f"on, not an edit; the slider is probably {semantic}"
    )


def test_a_published_content_lora_is_known_by_its_name(tmp_path):
    path = tmp_path / "last_0.pt"
    write_lora(path, WEIGHTS, {}, "published", NAMES)
    (note,) = notes_on(path)
    assert note.endswith(
        "is a content LoRA by its name: it holds the looks of what it was trained on, not an edit"
    )
    write_lora(tmp_path / "last_1.pt", WEIGHTS, {}, "published", NAMES)
    assert notes_on(path)[0].endswith(f"the slider is probably {tmp_path / 'last_1.pt'}")
    assert notes_on(tmp_path / "last_1.pt") == []


def test_the_command_says_it(command, flux, tmp_path):
    from tiny import strong_lora

    lora = strong_lora(flux, tmp_path / "x.safetensors")
    write_lora(tmp_path / "c.safetensors", lora.weights, {"role": "content"})
    words = ["skip=1", "seeds=[1]", f"lora={tmp_path / 'c.safetensors'}"]
    code, out, err = command("gen", *words, "scales=[1]", f"hydra.run.dir={tmp_path / 'out'}")
    assert (code, err) == (0, "")
    assert "c.safetensors is a content LoRA by its metadata" in out
