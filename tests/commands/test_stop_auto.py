"""stop=auto from the command line: it says its cost, and is nowhere where it was not asked for."""

import yaml

from pairedit.lora.file import read_lora
from pairedit.runs.settling import Settling


def test_stop_auto_says_its_cost_and_why_it_ended(train_disc, tmp_path, monkeypatch):
    # The disc's LoRA has not settled after so few steps: the rule is asked at every one.
    monkeypatch.setattr(Settling, "settled_by", lambda self, step: step == 3)
    monkeypatch.setattr(Settling, "why", "the size of the edit no longer rises")
    code, out, err = train_disc(tmp_path / "a", "stop=auto", "steps=9")
    assert (code, err) == (0, "")
    assert "stop=auto: every 25 steps the size of the edit is measured, in 2 passes" in out
    assert "disc: stops after step 3 of at most 9: the size of the edit no longer rises" in out
    metadata = read_lora(tmp_path / "a/disc/semantic.safetensors").metadata
    assert (metadata["step"], metadata["config"]["stop"]) == (3, "auto")


def test_a_run_that_is_not_asked_to_stop_knows_nothing_of_it(train_disc, tmp_path):
    code, out, _ = train_disc(tmp_path / "a")
    assert code == 0
    assert "stop" not in out
    assert "stop" not in yaml.safe_load((tmp_path / "a/config.yaml").read_text())


def test_another_word_is_refused(train_disc, tmp_path):
    code, _, err = train_disc(tmp_path / "a", "stop=soon")
    assert code == 1
    assert "stop=soon: expected auto, or null" in err
