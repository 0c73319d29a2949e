"""Going on exactly where a run stopped: fit, the folder, the words, the metrics."""

import json
import math
import random
import signal
from contextlib import ExitStack
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import yaml

from pairedit.data.examples import Single, find_pairs
from pairedit.files import remove_temporaries, replacing
from pairedit.lora.file import read_lora
from pairedit.methods import Inversion, PairEdit, VisualSlider
from pairedit.runs.checkpoints import finite, has_checkpoints, read_checkpoint
from pairedit.runs.divergence import GROWTH, WINDOW, LossWatch
from pairedit.runs.folder import begin, differences, locked
from pairedit.runs.resume import expand_resume, resume_command
from pairedit.runs.stopping import Stopped, Stopping
from pairedit.runs.tracking import JsonLines, Silent
from pairedit.settings import Settings
from pairedit.train import fit

SETTINGS = Settings(
    steps=9,
    rank=3,
    targets=("attn.to_q",),
    resolution=32,
    num_inference_steps=6,
    end_step=5,
    learning_rate=1e-2,
    save_every=2,
    latents="sample",
)


class StopAfter(Stopping):
    """Behave as if a signal came during step `step`."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def watch(self, method):
        class Watched(type(method)):
            def terms(watched, step):
                self.left -= 1
                if self.left == 0:
                    self._receive(signal.SIGTERM, None)
                return super().terms(step)

        Watched.__qualname__ = type(method).__qualname__
        return Watched(**vars(method))


@pytest.fixture
def train(flux, pair_folder, tmp_path):
    def run(name, *, method=None, stop=None, resume=False, tracker=None, image="p0", **changes):
        method, stopping = method or PairEdit(), StopAfter(stop) if stop else None
        single = [Single(path=pair_folder / f"source/{image}.png")]
        return fit(
            flux=flux,
            method=stopping.watch(method) if stopping else method,
            pairs=single if method.learns_from is Single else find_pairs(pair_folder),
            settings=replace(SETTINGS, **changes),
            folder=tmp_path / name,
            run=tracker or Silent(),
            metadata={},
            resume=resume,
            stopping=stopping,
        )

    return run


@pytest.mark.parametrize(
    ("method", "step"),
    [*product([PairEdit(), VisualSlider()], [1, 4, 8]), (Inversion(), 4)],
    ids=lambda value: None if isinstance(value, int) else type(value).__name__,
)
def test_a_stopped_run_goes_on_to_the_same_bytes(train, tmp_path, method, step):
    whole = train("whole", method=method)
    with pytest.raises(Stopped, match=rf"stopped by SIGTERM after step {step} of 9"):
        train("parts", method=method, stop=step)
    assert read_checkpoint(tmp_path / "parts/checkpoints").step == step
    parts = train("parts", method=method, resume=True)
    for role in whole:
        assert parts[role].read_bytes() == whole[role].read_bytes()
    assert not (tmp_path / "parts/checkpoints").exists()


def test_nothing_random_comes_from_outside_the_one_generator(train):
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        found.append(train(str(seed))["semantic"].read_bytes())
    assert found[0] == found[1]


def test_the_last_two_checkpoints_are_kept_until_the_end(train, tmp_path):
    with pytest.raises(Stopped):
        train("a", stop=7)
    names = sorted(path.name for path in (tmp_path / "a/checkpoints").iterdir())
    assert [name[:6] for name in names] == ["000006", "000007"]
    train("a", resume=True)
    assert not has_checkpoints(tmp_path / "a/checkpoints")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 2e-2}, "learning_rate=0.01 there, 0.02 now"),
        ({"method": PairEdit(eta=3.0)}, r"method PairEdit.*eta=4.0.*there, PairEdit.*eta=3.0"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(train, change, words):
    with pytest.raises(Stopped):
        train("a", stop=3)
    with pytest.raises(ValueError, match=words):
        train("a", resume=True, **change)


def test_a_checkpoint_of_another_image_is_refused(train):
    with pytest.raises(Stopped):
        train("a", method=Inversion(), stop=3)
    with pytest.raises(ValueError, match=r"source/p0\.png has changed; source/p1\.png has changed"):
        train("a", method=Inversion(), image="p1", resume=True)


def test_a_run_that_diverges_keeps_its_last_good_state(train, tmp_path):
    class Ruined(PairEdit):
        """Ask for nonsense from step 6 on."""

        steps = 0

        def terms(self, step):
            type(self).steps += 1
            terms = super().terms(step)
            wrong = math.nan if type(self).steps > 5 else 1.0
            return [replace(term, target=term.target * wrong) for term in terms]

    with pytest.raises(ValueError, match=r"loss is nan at step 6; try learning_rate=0\.0025"):
        train("a", method=Ruined())
    path = tmp_path / "a/semantic-000004.safetensors"
    assert read_lora(path).metadata["step"] == 4
    assert read_checkpoint(tmp_path / "a/checkpoints").step == 4
    short = train("b", steps=4)["semantic"]
    for module, parts in read_lora(path).weights.items():
        for one, other in zip(parts, read_lora(short).weights[module], strict=True):
            assert torch.equal(one, other)


def test_one_bad_weight_is_enough():
    sound = {"content": [torch.zeros(2)], "semantic": [torch.zeros(2), torch.ones(1)]}
    assert finite(sound)
    assert not finite({**sound, "semantic": [torch.zeros(2), torch.tensor([math.nan])]})


def test_a_loss_that_grows_has_diverged():
    watch, sound = LossWatch(), [1.0 + 0.5 * (-1) ** step for step in range(60)]
    assert not any(watch.diverged(loss) for loss in sound)
    again = LossWatch(**json.loads(json.dumps(watch.state())))
    grown = [again.diverged(3 * GROWTH) for _ in range(WINDOW)]
    assert grown[0] is None
    assert "has grown from 1 to" in grown[-1]
    assert LossWatch().diverged(math.inf) == "is inf"


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


def test_a_folder_says_what_differs(tmp_path):
    (tmp_path / "disc").mkdir()

    def start(*, b=1.0, names=("disc",), resume=True):
        resolved = {"a": {"b": b}, "c": 2}
        begin(tmp_path, names=names, resolved=resolved, words=["c=2"], resume=resume)

    with locked(tmp_path):
        start(resume=False)
        (tmp_path / "disc/semantic.safetensors").touch()
        with pytest.raises(ValueError, match="holds a run already; continue it with pairedit-"):
            start(resume=False)
        start()
        with pytest.raises(ValueError, match=r"another configuration: a\.b: 1\.0 there, 2\.0 now"):
            start(b=2.0)
        # Another dataset may move in beside a finished one, not beside one that is half done.
        start(names=["other"], resume=False)
        (tmp_path / "disc/checkpoints").mkdir()
        (tmp_path / "disc/checkpoints/000001-0.safetensors").touch()
        with pytest.raises(ValueError, match="holds a run already"):
            start(names=["other"], resume=False)
        (tmp_path / "config.yaml").write_text("[")
        with pytest.raises(ValueError, match=r"config\.yaml: cannot be read"):
            start()
    # A key that a newer version has added is no difference; one that it has lost is.
    assert differences({"a": 1}, {"a": 1, "new": 0}) == []
    assert differences({"a": 1, "old": 0}, {"a": 1}) == ["old: 0 there, nothing now"]


def test_resume_becomes_the_command_that_started_the_run(tmp_path, monkeypatch):
    folder = tmp_path / "my run"
    folder.mkdir()
    with pytest.raises(ValueError, match="no run to continue there"):
        expand_resume([f"resume={folder}"])
    (folder / "overrides.yaml").write_text(yaml.safe_dump(["method=fm", "steps=3", "resume=auto"]))
    place = f'hydra.run.dir="{folder}"'
    assert expand_resume([f"resume={folder}"]) == ["method=fm", "steps=3", "resume=auto", place]
    # Words that are given again replace the old ones, for the comparison to find.
    given = expand_resume([f"resume='{folder}'", "steps=4"])
    assert given == ["method=fm", "steps=4", "resume=auto", place]
    with pytest.raises(ValueError, match="names the folder already"):
        expand_resume([f"resume={folder}", "hydra.run.dir=x"])
    assert resume_command(folder) == f"pairedit-train resume='\"{folder}\"'"
    assert expand_resume(["steps=3"]) == ["steps=3"]

    monkeypatch.chdir(tmp_path)
    assert expand_resume(["steps=3", "resume=auto"]) == ["steps=3", "resume=auto"]
    for name, words in (("1", ["a=1", "b=2"]), ("2", ["b=2", "a=1"]), ("3", ["a=9"])):
        run = tmp_path / "outputs/train" / name
        run.mkdir(parents=True)
        (run / "overrides.yaml").write_text(yaml.safe_dump(words))
    found = expand_resume(["a=1", "resume=auto", "b=2"])
    assert found[-1] == f"hydra.run.dir={tmp_path / 'outputs/train/2'}"


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    kept = tmp_path / "disc/.hidden.png"
    kept.parent.mkdir()
    kept.touch()
    with ExitStack() as killed:
        for path in (tmp_path / "a.png", tmp_path / "disc/b"):
            killed.enter_context(replacing(path)).touch()
        left = {path: path.stat() for path in tmp_path.rglob(".*") if path != kept}
        killed.pop_all()  # never comes back, as after SIGKILL
    assert len(left) == 2
    for path in left:
        path.touch()
    remove_temporaries(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]


@pytest.fixture
def heeded():
    """Undo that a shell lets jobs in the background ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_signals_wait_only_where_they_are_held():
    with Stopping() as stopping:
        with pytest.raises(Stopped, match=r"^stopped by SIGTERM$"):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            _held(stopping)
        assert stopping.pending == signal.SIGINT


def _held(stopping):
    with stopping.held():
        signal.raise_signal(signal.SIGINT)
        assert stopping.pending == signal.SIGINT
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGINT)
