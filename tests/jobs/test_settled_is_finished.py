"""A training that stopped by itself is finished, though more steps were allowed."""

from pairedit.lora.file import annotate_lora


def test_a_training_that_took_fewer_steps_than_allowed_is_not_done_again(
    command, trained, tmp_path
):
    folder = trained(tmp_path / "run", "preview=false", "report=false", "save_every=0")
    for role in ("content", "semantic"):
        annotate_lora(folder / f"disc/{role}.safetensors", step=1)
    code, out, err = command("train", f"resume={folder}")
    assert (code, err) == (0, "")
    assert "disc: finished already" in out
