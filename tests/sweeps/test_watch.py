"""What a sweep says of how far it is."""

import json
import time

import pytest

from pairedit.files import write_yaml
from pairedit.sweeps import outcome
from pairedit.sweeps.composed import Planned
from pairedit.sweeps.watch import Watch, duration


def job(folder, number, steps=0, status=None):
    place = folder / f"seed-{number}"
    write_yaml(place / "config.yaml", {"steps": 100})
    if status:
        begun = outcome.begin(place, "now")
        if status != outcome.BEGUN:
            outcome.end(place, begun, status)
    if steps:
        (place / "smile").mkdir()
        lines = [json.dumps({"step": step}) for step in range(1, steps + 1)]
        (place / "smile/metrics.jsonl").write_text("\n".join(lines) + "\n")
    return Planned(number=number, overrides=(), folder=place)


def test_a_line_says_what_is_done_and_what_is_left(tmp_path):
    jobs = [job(tmp_path, n) for n in range(4)]
    watch = Watch(jobs, "now")
    watch._started = time.monotonic() - 100
    job(tmp_path, 0, 100, outcome.DONE)
    job(tmp_path, 1, 10, outcome.FAILED)
    job(tmp_path, 2, 50, outcome.BEGUN)
    # Two and a half jobs in 100 s: one and a half in 60.
    line = watch.line()
    assert line == "sweep: 2 of 4 jobs done, 1 at work, 1 failed, about 60 s left"


def test_of_jobs_that_measure_after_their_last_step_no_time_is_guessed(tmp_path):
    watch = Watch([job(tmp_path, n, 100, outcome.BEGUN) for n in range(2)], "now")
    assert watch.line() == "sweep: 0 of 2 jobs done, 2 at work, all steps are done"


def test_what_an_earlier_launch_left_is_not_counted(tmp_path):
    jobs = [job(tmp_path, 0, 50, outcome.DONE)]
    assert Watch(jobs, "another").line().startswith("sweep: 0 of 1 jobs done, 0 at work")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (75, "75 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_a_time_is_as_exact_as_it_is_known(seconds, text):
    assert duration(seconds) == text
