"""Metrics on disk: every step once, whatever was interrupted."""

import json

from pairedit.runs.tracking import JsonLines


def test_metrics_are_cut_at_the_checkpoint(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    run = JsonLines(path)
    for step in range(1, 6):
        run.log(step, {"loss": 1.0})
    run.finish()
    path.write_bytes(path.read_bytes()[:-4])  # the last line is torn
    run = JsonLines(path, resume=True)
    run.rewind(3)
    run.log(4, {"loss": 2.0})
    run.finish()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4]
    assert not caplog.records
    run = JsonLines(path, resume=True)
    run.rewind(6)
    run.finish()
    assert "the lines of steps 5 to 6 are lost" in caplog.text
