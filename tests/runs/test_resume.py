"""resume= becomes the command that started the run."""

import pytest
import yaml

from pairedit.runs.resume import ANY_RUN, expand_resume, resume_command, training_of


def test_resume_becomes_the_command_that_started_the_run(tmp_path, monkeypatch):
    folder = tmp_path / "my run"
    folder.mkdir()
    with pytest.raises(ValueError, match="no run to continue there"):
        expand_resume([f"resume={folder}"])
    with pytest.raises(ValueError, match=r"again=.*: no run to repeat there"):
        expand_resume([f"again={folder}"])
    with pytest.raises(
        ValueError, match=r"no such folder\); resume= goes on with a run, and needs"
    ):
        expand_resume([f"resume={tmp_path}/nope"])
    with pytest.raises(
        ValueError, match=r"again= starts a run once more, in a new folder, and needs"
    ):
        expand_resume([f"again={tmp_path}/nope"])
    (folder / "overrides.yaml").write_text(yaml.safe_dump(["method=fm", "steps=3", "resume=auto"]))
    for near in (folder / "disc", tmp_path / "my rnu"):
        with pytest.raises(ValueError, match=rf"; did you mean {folder}\?$"):
            expand_resume([f"resume={near}"])
    place = f'hydra.run.dir="{folder}"'
    assert expand_resume([f"resume={folder}"]) == ["method=fm", "steps=3", "resume=auto", place]
    # Words that are given again replace the old ones, for the comparison to find.
    given = expand_resume([f"resume='{folder}'", "steps=4"])
    assert given == ["method=fm", "steps=4", "resume=auto", place]
    with pytest.raises(ValueError, match="names the folder already"):
        expand_resume([f"resume={folder}", "hydra.run.dir=x"])
    assert resume_command(folder) == f"pairedit-train resume='\"{folder}\"'"
    assert training_of(folder / "disc/semantic.safetensors") == resume_command(folder)
    assert training_of(folder / "semantic.safetensors") == ANY_RUN, "of a file that was copied"
    assert expand_resume(["steps=3"]) == ["steps=3"]

    monkeypatch.chdir(tmp_path)
    assert expand_resume(["steps=3", "resume=auto"]) == ["steps=3", "resume=auto"]
    for name, words in (("1", ["a=1", "b=2"]), ("2", ["b=2", "a=1"]), ("3", ["a=9"])):
        run = tmp_path / "outputs/train" / name
        run.mkdir(parents=True)
        (run / "overrides.yaml").write_text(yaml.safe_dump(words))
    found = expand_resume(["a=1", "resume=auto", "b=2"])
    assert found[-1] == f"hydra.run.dir={tmp_path / 'outputs/train/2'}"
