"""What a job notes of its end can be read by any program, and says as much as the job knew."""

import json
import math

import pytest

from pairedit.runs.losses import means, read_losses
from pairedit.runs.tracking import JsonLines
from pairedit.sweeps import outcome


@pytest.mark.parametrize(
    ("score", "noted", "short"), [(math.nan, None, True), (0.03, 0.03, False), (None, None, False)]
)
def test_a_score_comes_back_as_it_was_and_the_note_holds_no_nan(tmp_path, score, noted, short):
    outcome.end(tmp_path, outcome.begin(tmp_path, "now"), outcome.DONE, score=score)
    text = (tmp_path / "job.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=pytest.fail)
    assert (found["score"], found["short"]) == (noted, short)
    back = outcome.read(tmp_path).result
    assert back == score or (math.isnan(back) and math.isnan(score))


def test_losses_that_are_no_numbers_come_back_as_such(tmp_path):
    run = JsonLines(tmp_path / "metrics.jsonl")
    for step, loss in enumerate((0.5, math.inf, math.nan), 1):
        run.log(step, {"loss": loss})
    run.finish()
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    found = read_losses(tmp_path)
    assert found[0] == (1, 0.5)
    assert all(math.isnan(loss) for _, loss in found[1:])
    assert means(found)[0] == (1, 0.5)
