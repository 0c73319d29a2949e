"""Kill trainings at any moment, go on, and compare every byte with a run that nobody killed."""

import json
import random
import re
import shlex
import signal

import figures
import pytest
from child import Child, run
from folders import check_same, contents

STEPS, EVERY = 30, 8
long_only = pytest.mark.skipif("not figures.long", reason="in the long part")


@pytest.fixture(scope="module")
def words(tiny_overrides, pair_folder) -> list[str]:
    """A command whose run writes every kind of file."""
    return [
        "dataset=folder",
        f"pairs={pair_folder}",
        f"steps={STEPS}",
        f"save_every={EVERY}",
        "snapshots=true",
        "lora.rank=3",
        "lora.targets=[attn.to_q]",
        *tiny_overrides,
    ]


@pytest.fixture(scope="module")
def unbroken(words, tmp_path_factory):
    """What an unbroken run leaves, how long it takes, how often it changes the file system."""
    folder = tmp_path_factory.mktemp("unbroken")
    outcome = figures.see(run("train", [*words, "hydra.run.dir=run"], folder))
    assert outcome.code == 0, outcome.err
    count = folder.parent / "count"
    # The first one also waited for the server that commands are forked from.
    again = [*words, "hydra.run.dir=again"]
    outcome = figures.see(run("train", again, folder, count_in=str(count)))
    assert outcome.code == 0, outcome.err
    expected = contents(folder / "run")
    assert contents(folder / "again") == expected
    assert {"disc/semantic.safetensors", "disc/preview.png", "config.yaml"} <= expected.keys()
    return expected, outcome.seconds, json.loads(count.read_text())


def resume_words(words, folder, number):
    """Go on in turns by the folder alone and by the same command."""
    if number % 2 and (folder / "overrides.yaml").exists():
        return ["resume=run"]
    return [*words, "hydra.run.dir=run", "resume=auto"]


def draw_moment(chance, seconds, *, training):
    """Draw a moment of a run, anywhere or while it trains."""
    if not training:
        return {"after": chance.uniform(0, seconds)}
    file, lines = "run/disc/metrics.jsonl", chance.randrange(STEPS)
    return {"file": file, "lines": lines, "after": chance.uniform(0, 0.05)}


def test_runs_killed_at_random_moments_end_with_the_same_bytes(words, unbroken, tmp_path):
    expected, seconds, _ = unbroken
    chance = random.Random(6)
    wanted = figures.COUNTS["kills"] + (60 if figures.long else 2)
    number = 0
    while figures.COUNTS["kills"] < wanted:
        number += 1
        place = tmp_path / str(number)
        command = [*words, "hydra.run.dir=run"]
        for attempt in range(chance.randint(1, 3)):
            child = Child("train", command, place)
            child.kill(**draw_moment(chance, seconds, training=(number + attempt) % 3))
            code = figures.see(child.finish()).code
            assert code in (0, -signal.SIGKILL)
            figures.COUNTS["kills"] += code != 0
            command = resume_words(words, place / "run", number)
        outcome = figures.see(run("train", command, place))
        assert outcome.code == 0, outcome.err
        check_same(place / "run", expected, STEPS)


def test_runs_killed_before_a_change_of_the_file_system_end_with_the_same_bytes(
    words, unbroken, tmp_path
):
    expected, _, changes = unbroken
    assert changes > 40
    points = range(1, changes + 1)
    for number in points if figures.long else random.Random(7).sample(points, 1):
        place = tmp_path / str(number)
        outcome = run("train", [*words, "hydra.run.dir=run"], place, kill_at=number)
        assert figures.see(outcome).code == -signal.SIGKILL
        figures.COUNTS["kills between"] += 1
        outcome = run("train", resume_words(words, place / "run", number), place)
        assert figures.see(outcome).code == 0, outcome.err
        check_same(place / "run", expected, STEPS)


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=long_only)])
def test_a_signal_saves_stops_and_prints_how_to_go_on(name, words, unbroken, tmp_path):
    expected, seconds, _ = unbroken
    number = getattr(signal, name)
    chance = random.Random(number)
    saved = 0
    for attempt in range(10 if figures.long else 1):
        place = tmp_path / str(attempt)
        child = Child("train", [*words, "hydra.run.dir=run"], place)
        moment = draw_moment(chance, seconds, training=attempt % 3 == 0)
        child.kill(number=number, **moment)
        outcome = figures.see(child.finish())
        if outcome.code == 0:
            continue
        figures.COUNTS["stops"] += 1
        assert outcome.code == 128 + number, outcome.err
        stop, *more = outcome.err.strip().splitlines()[-2:]
        if not more:  # before there was anything to continue
            assert stop == f"stopped by {name}"
            continue
        if found := re.fullmatch(rf"stopped by {name} after step (\d+) of {STEPS}", stop):
            names = [path.name for path in (place / "run/disc/checkpoints").iterdir()]
            assert any(name.startswith(f"{int(found[1]):06d}-") for name in names)
            saved += 1
        else:
            assert stop == f"stopped by {name}", outcome.err
        pasted = shlex.split(more[0].removeprefix("continue with: "))
        assert pasted[0] == "pairedit-train"
        outcome = figures.see(run("train", pasted[1:], place))
        assert outcome.code == 0, outcome.err
        check_same(place / "run", expected, STEPS)
    assert saved


@long_only
def test_a_killed_sweep_skips_what_is_finished(words, tmp_path):
    sweep = ["-m", "seed=1,2", "hydra.sweep.dir=sweep", *words]
    outcome = figures.see(run("train", sweep, tmp_path / "whole"))
    assert outcome.code == 0, outcome.err
    child = Child("train", sweep, tmp_path / "killed")
    child.kill(file="sweep/seed-2*/disc/metrics.jsonl", lines=EVERY + 4)
    assert figures.see(child.finish()).code == -signal.SIGKILL
    figures.COUNTS["kills"] += 1
    (done,) = tmp_path.glob("killed/sweep/*/disc/preview.png")
    before = done.stat().st_mtime_ns
    outcome = figures.see(run("train", ["resume=sweep"], tmp_path / "killed"))
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("finished already") == 1
    assert f"goes on after step {EVERY} of {STEPS}" in outcome.out
    assert done.stat().st_mtime_ns == before
    found, expected = (contents(tmp_path / name / "sweep") for name in ("killed", "whole"))
    # Hydra's note of the command has the time in it.
    found.pop("multirun.yaml"), expected.pop("multirun.yaml")
    assert found == expected
