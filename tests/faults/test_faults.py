"""Machine faults: what a user reads, what is kept, and that the run can go on."""

import json
import os
import shlex

import figures
import pytest
from child import Child, run
from folders import check_same, check_untouched, contents

from tiny import write_pairs

STEPS = 12
long_only = pytest.mark.skipif("not figures.long", reason="in the long part")


@pytest.fixture(scope="module")
def words(tiny_overrides, pair_folder) -> list[str]:
    return [
        "dataset=folder",
        f"pairs={pair_folder}",
        f"steps={STEPS}",
        "save_every=4",
        "lora.rank=3",
        "preview=false",
        "report=false",
        *tiny_overrides,
    ]


@pytest.fixture(scope="module")
def unbroken(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    outcome = figures.see(run("train", [*words, "hydra.run.dir=run"], folder))
    assert outcome.code == 0, outcome.err
    return contents(folder / "run")


def fail(words, place, *needed, command="train", **faults):
    """Run a command that must fail with one readable line; return the line."""
    outcome = figures.see(run(command, words, place, **faults))
    figures.COUNTS["faults"] += 1
    assert outcome.code == 1, outcome.out + outcome.err
    (line,) = [line for line in outcome.err.splitlines() if "WARNING" not in line]
    assert line.startswith("error: ")
    for text in needed:
        assert text in line
    return line


def go_on(line, place, expected):
    """Paste the command that an error printed, and compare with an unbroken run."""
    pasted = shlex.split(line.split("continue with: ")[1])
    outcome = figures.see(run("train", pasted[1:], place))
    assert outcome.code == 0, outcome.err
    check_same(place / "run", expected, STEPS)


def test_a_full_disk_stops_with_the_last_checkpoint_kept(words, unbroken, tmp_path):
    # The LoRA files fit, a checkpoint does not.
    line = fail(
        [*words, "hydra.run.dir=run"], tmp_path, "checkpoints/000004-", "too large", file_size=80000
    )
    assert not list(tmp_path.glob("run/disc/.*"))
    go_on(line, tmp_path, unbroken)


@long_only
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
def test_a_full_disk_under_the_metrics(words, unbroken, tmp_path):
    metrics = tmp_path / "run/disc/metrics.jsonl"
    metrics.parent.mkdir(parents=True)
    metrics.symlink_to("/dev/full")
    line = fail(
        [*words, "hydra.run.dir=run"],
        tmp_path,
        f"{metrics.relative_to(tmp_path)}: no space left on device; free some space",
    )
    metrics.unlink()
    go_on(line, tmp_path, unbroken)


@pytest.mark.parametrize("new", [pytest.param(True, marks=long_only), False], ids=str)
def test_a_folder_that_may_not_be_written(new, words, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "note.txt").write_text("mine")
    (tmp_path / "out").chmod(0o555)
    target = "out/run" if new else "out"
    words = [*words, f"hydra.run.dir={target}"]
    fail(words, tmp_path, "out", "permission denied", powerless=True)
    assert (tmp_path / "out" / "note.txt").read_text() == "mine"


def test_too_little_memory_names_the_keys(words, tmp_path):
    words = [word for word in words if not word.startswith("resolution")]
    line = fail(
        [*words, "hydra.run.dir=run", "resolution=4096"],
        tmp_path,
        "memory does not suffice: try gradient_checkpointing=true, batch_terms=false",
        memory=700 << 20,
    )
    assert "resume=" in line


def test_two_runs_in_one_folder(words, unbroken, tmp_path):
    long = [word for word in words if not word.startswith("steps=")]
    first = Child("train", [*long, "steps=100000", "hydra.run.dir=run"], tmp_path)
    first.kill(file="run/disc/metrics.jsonl", lines=6, number=0)  # only waits
    again = [*words, "hydra.run.dir=run", "resume=auto"]
    fail(again, tmp_path, "run: another run is at work here")
    first.kill()
    assert figures.see(first.finish()).code == -9
    # Nothing stale is left: a run is only refused for what it would overwrite.
    before = contents(tmp_path / "run")
    fail([*words, "hydra.run.dir=run"], tmp_path, "run: holds a run already; continue it with")
    fail(again, tmp_path, "started with another configuration: steps: 100000 there, 12 now")
    fail(["resume=run", "seed=5"], tmp_path, "configuration: seed: 0 there, 5 now")
    check_untouched(tmp_path / "run", before)


def test_no_command_works_in_the_folder_of_another(words, tiny_overrides, tmp_path):
    figures.see(run("train", [*words, "hydra.run.dir=run"], tmp_path))
    figures.see(run("gen", [*tiny_overrides, "skip=1", "seeds=[1]", "hydra.run.dir=gen"], tmp_path))
    lora = f"lora={tmp_path}/run/disc/semantic.safetensors"
    before = contents(tmp_path)
    short = [*tiny_overrides, "skip=1", lora]
    fail([*short, "hydra.run.dir=run"], tmp_path, "run: holds a training", command="gen")
    fail([*short, "hydra.run.dir=run"], tmp_path, "run: holds a training", command="eval")
    fail([*short, "hydra.run.dir=gen"], tmp_path, "gen: holds a rendering", command="eval")
    fail([*words, "hydra.run.dir=gen"], tmp_path, "gen: holds a rendering")
    check_untouched(tmp_path, before)


@long_only
def test_a_data_file_that_vanishes_or_changes(words, tmp_path):
    pairs = write_pairs(tmp_path / "disc")
    words = [f"pairs={pairs}" if word.startswith("pairs=") else word for word in words]
    words = ["steps=100000" if word.startswith("steps=") else word for word in words]
    child = Child("train", [*words, "hydra.run.dir=run"], tmp_path)
    child.kill(file="run/disc/metrics.jsonl", lines=6)
    child.finish()
    before = contents(tmp_path / "run")
    image = pairs / "target/p1.png"
    content = image.read_bytes()
    image.unlink()
    fail(["resume=run"], tmp_path, "source/p1.png: no image of that name in target/")
    write_pairs(pairs, side=48)
    fail(["resume=run"], tmp_path, "target/p1.png has changed")
    image.write_bytes(content)
    check_untouched(tmp_path / "run", before)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("truncated", marks=long_only),
        "altered",
        pytest.param("emptied", marks=long_only),
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, words, unbroken, tmp_path):
    child = Child("train", [*words, "hydra.run.dir=run"], tmp_path)
    child.kill(file="run/disc/metrics.jsonl", lines=10)
    child.finish()
    old, new = sorted((tmp_path / "run/disc/checkpoints").iterdir())
    content = new.read_bytes()
    middle = len(content) // 2
    new.write_bytes(
        {
            "truncated": content[:-1],
            "altered": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "emptied": b"",
        }[damage]
    )
    outcome = figures.see(run("train", ["resume=run"], tmp_path))
    figures.COUNTS["faults"] += 1
    assert outcome.code == 0, outcome.err
    assert f"{new.name}: truncated or altered (its checksum differs)" in outcome.out
    assert f"goes on after step {int(old.name[:6])} of {STEPS}" in outcome.out
    check_same(tmp_path / "run", unbroken, STEPS)


@long_only
def test_a_finished_run_is_not_trained_again(words, unbroken, tmp_path):
    command = [*words, "hydra.run.dir=run"]
    figures.see(run("train", command, tmp_path))
    before = contents(tmp_path / "run")
    outcome = figures.see(run("train", ["resume=run"], tmp_path))
    assert outcome.code == 0, outcome.err
    assert "disc: finished already" in outcome.out
    fail(command, tmp_path, "holds a run already")
    check_untouched(tmp_path / "run", before)
    # A LoRA that was damaged since is not passed off as trained.
    path = tmp_path / "run/disc/semantic.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    fail(["resume=run"], tmp_path, "semantic.safetensors: not a readable safetensors file")


def test_the_same_command_finds_its_folder(words, tmp_path):
    child = Child("train", words, tmp_path)
    child.kill(file="outputs/train/*/disc/metrics.jsonl", lines=6)
    child.finish()
    outcome = figures.see(run("train", [*words, "resume=auto"], tmp_path))
    assert outcome.code == 0, outcome.err
    assert "goes on after step 4 of 12" in outcome.out
    assert len(list((tmp_path / "outputs/train").iterdir())) == 1


def test_a_stranger_s_folder_runs_no_code(words, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for word in (
        "method._target_=os.system",
        "hydra.callbacks.x._target_=os.system",
        "--config-dir=evil",
        "+hydra/launcher=evil",
    ):
        (folder / "overrides.yaml").write_text(json.dumps([*words, word]))
        fail(["resume=run"], tmp_path, "overrides.yaml", word, "would choose the code that runs")


@long_only
def test_training_goes_on_without_a_wandb_server(words, tmp_path, monkeypatch):
    words = [*words, "hydra.run.dir=run", "tracker=wandb", "tracker.mode=online"]
    outcome = figures.see(
        run(
            "train",
            words,
            tmp_path,
            variables={"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40},
        )
    )
    figures.COUNTS["faults"] += 1
    assert outcome.code == 0, outcome.err
    assert "wandb cannot be reached" in outcome.out
    assert (tmp_path / "run/disc/semantic.safetensors").exists()
    assert list(tmp_path.glob("run/disc/wandb/offline-run-*/*.wandb"))
