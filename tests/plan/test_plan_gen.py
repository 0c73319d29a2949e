"""Plans of renderings."""

import pytest

from composing import composed
from pairedit.plan.gen import plan_gen


def test_random_seeds_and_prompt_files_are_written_down(tiny_overrides, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("old man\n")
    plan = plan_gen(
        composed("gen", "seeds={random: 3}", f"prompts_file={file}", "skip=1", *tiny_overrides)
    )
    assert plan.resolved["seeds"] == plan.seeds
    assert len(plan.seeds) == 3
    assert plan.resolved["prompts"] == ["old man"]
    assert plan.resolved["prompts_file"] is None


def test_what_needs_a_slider_is_said_in_one_line_where_there_is_none(tiny_overrides):
    words = ["scales=[0,1]", "calibrated=true", "grid=true", "differences=true", "animate=true"]
    with pytest.raises(ValueError, match="no lora is given") as error:
        plan_gen(composed("gen", *words, *tiny_overrides))
    assert str(error.value) == (
        "scales=[0.0, 1.0], grid=true, calibrated=true, animate=true, differences=true: "
        "have no effect, because no lora is given; add lora=PATH"
    )
    (note,) = plan_gen(composed("gen", "skip=1", *tiny_overrides)).notes
    assert note == "skip=1: has no effect, because no lora is given"
