"""Plans of trainings: folders are found, what is ignored or does not fit is named."""

import shutil

import pytest

from composing import composed
from pairedit.bases.base import Loadable
from pairedit.plan.build import build
from pairedit.plan.train import plan_train
from tiny import write_pairs


def test_plan_of_a_folder_is_named_after_it(tiny_overrides, tmp_path):
    write_pairs(tmp_path / "my edit")
    config = composed("train", "dataset=folder", f"pairs='{tmp_path}/my edit'", *tiny_overrides)
    plan = plan_train(config, method_name="full")
    assert list(plan.pairs) == ["my edit"]
    assert len(plan.pairs["my edit"]) == 2
    assert plan.training.end_step == plan.training.num_inference_steps - 1 == 3
    assert plan.notes == []


def test_options_that_a_method_ignores_are_named(tiny_overrides, pair_folder):
    words = ["dataset=folder", f"pairs={pair_folder}", "cfg_eta=2", "noise_scale=2"]
    used = {"full": 2, "wocontent": 2, "wocfg": 1, "fm": 1, "sliders": 0}
    for name, count in used.items():
        config = composed("train", f"method={name}", *words, *tiny_overrides)
        plan = plan_train(config, method_name=name)
        assert len(plan.notes) == 2 - count, plan.notes
        assert all(f"method={name} does not use" in note for note in plan.notes)


def test_steps_of_an_inversion_follow_the_model():
    words = ["method=inversion", "dataset=real"]
    assert composed("train", *words).steps < 1500
    assert composed("train", *words, "model=flux-dev").steps == 1500
    assert composed("train", *words, "steps=7").steps == 7


def plan(tiny_overrides, pair_folder, *words):
    words = ["dataset=folder", f"pairs={pair_folder}", *tiny_overrides, *words]
    return plan_train(composed("train", *words), method_name="full")


def test_patterns_are_tried_before_weights_load(tiny_overrides, pair_folder):
    # The tiny model has two double blocks.
    words = [r"lora.targets=['transformer_blocks.1.attn.to_q']"]
    assert plan(tiny_overrides, pair_folder, *words).training.targets
    words = [r"lora.targets=['transformer_blocks.2.attn.to_q']"]
    with pytest.raises(ValueError, match=r"matches no module; near it: transformer_blocks"):
        plan(tiny_overrides, pair_folder, *words)
    with pytest.raises(ValueError, match="no pattern"):
        plan(tiny_overrides, pair_folder, "lora.targets=[3]")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["method=slider_text", "dataset=age"], "slider_text: learns from prompts, .* image pairs"),
        (["method=full", "dataset=text_age"], "full: learns from image pairs, .* holds prompts"),
        (["method=slider_text", "dataset=text"], r"datasets\.text\.positive=null: expected a"),
        (
            ["method=slider_text", "dataset=text_age", "datasets.text_age.negative=${.positive}"],
            r"datasets\.text_age\.negative=.*, old: expected .* another than positive",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_weights_load(words, reason):
    with pytest.raises(ValueError, match=reason):
        plan_train(composed("train", *words), method_name=words[0].split("=")[1])


def test_sides_of_other_names_are_told_by_the_keys_of_their_dataset(tmp_path):
    for side in ("before", "after"):
        (tmp_path / side).mkdir()
    words = ["dataset=folder", f"pairs={tmp_path}"]
    with pytest.raises(ValueError, match=r"there is after/, before/\. Pairs") as error:
        plan_train(composed("train", *words), method_name="graded")
    assert "say datasets.folder.source=.. datasets.folder.target=.." in str(error.value)


def test_what_a_model_folder_lacks_is_told_under_its_key(tmp_path, tiny_flux_folder):
    from pairedit.jobs.opening import open_model

    shutil.copytree(tiny_flux_folder, tmp_path / "torn", ignore=shutil.ignore_patterns("*.json"))
    config = composed("gen", f"model.path={tmp_path / 'torn'}")
    model = build(config.model, "model", Loadable)
    with pytest.raises(ValueError, match=r"^model\.path=.*torn: not a readable FLUX model"):
        open_model(model, device="cpu")
