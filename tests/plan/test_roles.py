"""A file that is no slider, or that of another base model, is told of where it is named as one."""

import pytest
import torch

from composing import composed
from pairedit.bases.flux1.names import NAMES
from pairedit.lora.file import write_lora
from pairedit.plan.gen import plan_gen
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


def of_width(path, width, base, layout="diffusers"):
    """Write a LoRA of a FLUX.1 whose layers are so wide."""
    weights = {"transformer_blocks.0.attn.to_q": (torch.ones(1, width), torch.ones(width, 1))}
    write_lora(path, weights, {"base_model": base} if base else {}, layout, NAMES)
    return path


@pytest.mark.parametrize(
    ("width", "base", "model", "said"),
    [
        (256, "flux-mini", "flux-dev", "was trained on flux-mini, whose layers are 256 wide"),
        (3072, "flux-dev", "flux-mini", "model=flux-mini are 256 wide; write model=flux-dev"),
        (3072, None, "flux-mini", "belongs to another model, whose layers are 3072 wide"),
        (256, "mine", "flux-krea", "a LoRA works with the model it was trained on"),
    ],
)
@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_a_lora_of_another_width_is_refused_before_anything_is_loaded(
    tmp_path, width, base, model, said, layout
):
    path = of_width(tmp_path / "x.safetensors", width, base, layout)
    with pytest.raises(ValueError, match=f"^lora={path}: ") as caught:
        plan_gen(composed("gen", f"model={model}", f"lora={path}"))
    assert said in str(caught.value)


def test_bases_of_one_width_render_each_others_sliders_with_a_note(tmp_path):
    path = of_width(tmp_path / "x.safetensors", 3072, "flux-dev")
    plan = plan_gen(composed("gen", "model=flux-krea", f"lora={path}"))
    assert f"{path} was trained on flux-dev, but model=flux-krea is chosen" in plan.notes
    assert not plan_gen(composed("gen", "model=flux-dev", f"lora={path}")).notes
