"""Plans of renderings."""

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
