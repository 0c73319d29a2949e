"""Photographs are found with their content LoRAs, and mistakes are named."""

import re
from functools import partial

import pytest

from composing import composed
from pairedit.data.examples import find_images, pick_images
from pairedit.data.images import read_image
from pairedit.edits import Photo
from pairedit.files import locate
from pairedit.plan.gen import plan_gen
from pairedit.plan.photos import find_photos, match_content, match_masks
from pairedit.plan.train import plan_train
from tiny import picture, strong_lora

SHIPPED = locate("pkg://data/real")
GEN = ["edit=real", "image={shipped}/610.png"]
MISTAKES = {
    "no image": (["edit=real"], "needs image="),
    "no such image": (["edit=real", "image=/nowhere.png"], "image=/nowhere.png: no such file"),
    "image without edit": (["image={shipped}/610.png"], "has no effect; add edit=real"),
    "inversion without edit": (["inversion=ode"], "inversion=ode: has no effect"),
    "unknown inversion": ([*GEN, "inversion=odd"], "expected auto, ode, lora, both"),
    "content LoRA missing": ([*GEN, "inversion=lora"], "inversion=lora: needs content_lora="),
    "published without one": (["edit=real_published", *GEN[1:]], "needs content_lora="),
    "published ode": (["edit=real_published", "inversion=ode", *GEN[1:]], "expected lora or both"),
    "content LoRA unused": (
        [*GEN, "inversion=ode", "content_lora=x"],
        "content_lora=x: has no effect",
    ),
    "a prompt for each seed": (
        [*GEN, "prompts_per_seed=one"],
        "prompts_per_seed=one: has no effect; inversion=ode",
    ),
    "seeds unused": ([*GEN, "seeds=[1]"], "seeds=[1]: has no effect"),
    "too few content LoRAs": (
        ["edit=real", "image={shipped}", "content_lora=[a,b]"],
        "2 files for 6 images",
    ),
    "folder without the LoRA": ([*GEN, "content_lora={shipped}"], "610/content.safetensors"),
    "no weight": ([*GEN, "semantic_cfg_scale=0"], "semantic_cfg_scale=0.0: expected"),
}
TRAIN_MISTAKES = {
    "unknown id": (["method=inversion", "dataset=real", "image_ids=[611]"], "no 611 in"),
    "ids of pairs": (["dataset=age", "image_ids=[1]"], "image_ids=[1]: has no effect"),
    "pairs for inversion": (["method=inversion", "dataset=age"], "expected dataset=real"),
    "images for an edit": (
        ["dataset=real"],
        "learns from image pairs, but dataset real holds single images",
    ),
    "no folder": (["method=inversion", "dataset=images"], "images=/path"),
}


@pytest.mark.parametrize("name", [*MISTAKES, *TRAIN_MISTAKES])
def test_mistakes_are_one_clear_line(name):
    words, message = {**MISTAKES, **TRAIN_MISTAKES}[name]
    words = [word.replace("{shipped}", str(SHIPPED)) for word in words]
    config = composed("gen" if name in MISTAKES else "train", *words)
    check = plan_gen if name in MISTAKES else partial(plan_train, method_name="?")
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        check(config)
    assert "\n" not in str(caught.value)


def test_the_inversion_is_chosen_by_what_is_given(tmp_path, flux, tiny_flux_folder):
    content = strong_lora(flux, tmp_path / "610" / "content.safetensors").path
    words = ["edit=real", f"image={SHIPPED}/610.png", f"model.path={tiny_flux_folder}"]
    plan = plan_gen(composed("gen", *words))
    assert (plan.edit.inversion, plan.seeds, plan.prompts) == ("ode", [None], [""])
    plan = plan_gen(composed("gen", *words, f"content_lora={content}"))
    assert (plan.edit.inversion, plan.seeds) == ("both", [None])
    assert plan.photos == [(SHIPPED / "610.png", content)]
    words[0] = "edit=real_published"
    plan = plan_gen(composed("gen", *words, f"content_lora={tmp_path}"))
    assert (plan.edit.inversion, plan.edit.semantic_cfg_scale) == ("lora", 0.75)
    assert (plan.seeds, plan.resolved["seeds"]) == ([0], [0])
    assert plan.photos == [(SHIPPED / "610.png", content)]


def test_images_are_found_by_file_folder_and_list(tmp_path):
    one, two = (picture(tmp_path / f"{name}.png") for name in ("a b", "c"))
    assert find_photos(str(tmp_path)) == [one, two]
    assert find_photos([str(two), str(one)]) == [two, one]
    assert match_content(None, [one, two]) == [None, None]
    assert list(pick_images(tmp_path, "c")) == ["c"]
    assert list(pick_images(tmp_path, None)) == ["a b", "c"]
    assert Photo(path=one, image=read_image(one)).name == "a-b"
    with pytest.raises(ValueError, match=r"a b\.png is there 2 times"):
        find_photos([str(one), str(one)])
    (tmp_path / "torn.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"torn\.png: not a readable"):
        find_images(tmp_path)
    with pytest.raises(ValueError, match=r"^image=.*torn\.png: not a readable"):
        find_photos(str(tmp_path / "torn.png"))
    with pytest.raises(ValueError, match=r"^image=.*did you mean .*/a b\.png\?$"):
        find_photos(str(tmp_path / "bb.png"))


def test_a_missing_mask_is_named_with_its_key():
    with pytest.raises(ValueError, match=r"^mask=/nowhere\.png: no such file or folder$"):
        match_masks("/nowhere.png", [SHIPPED / "610.png"], [])
    with pytest.raises(ValueError, match=r"^mask=.*610\.png: a mask in colours"):
        match_masks(str(SHIPPED / "610.png"), [SHIPPED / "610.png"], [])
