"""With stop=auto a training ends where its measure rises no more, with a shorter one's bytes."""

import logging
from dataclasses import replace

import pytest
import torch

from interrupting import StopDuring
from pairedit.bases.flux1.load import load
from pairedit.data.examples import find_pairs
from pairedit.lora.file import read_lora
from pairedit.machine.hardware import Hardware
from pairedit.measure.gauge import size_gauge
from pairedit.methods import Graded
from pairedit.runs.checkpoints import has_checkpoints
from pairedit.runs.settling import Gauge, settled
from pairedit.runs.stopping import Stopped
from pairedit.runs.tracking import Silent
from pairedit.settings import Training
from pairedit.train import fit

SETTINGS = Training(
    steps=12,
    rank=3,
    targets=("attn.to_q",),
    size=(32, 32),
    num_inference_steps=6,
    end_step=5,
    learning_rate=1e-2,
    save_every=3,
)
RISING = (1.0, 2.0, 2.05, 2.06, 9.0, 9.0)  # at steps 2, 4, 6 and 8, where it has settled


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], False),
        ([1.0, 1.0], False),  # no value before the last ones
        ([1.0, 1.0, 1.0], True),
        ([1.0, 1.04, 1.05], True),
        ([1.0, 1.04, 1.06], False),
        ([1.0, 1.06, 1.0], False),  # one of the last two rose
        ([1.0, 3.0, 2.0, 2.0], True),  # it fell
        ([0.0, 0.0, 0.0], False),  # nothing has begun
        ([-0.1, -0.1, -0.1], False),
    ],
)
def test_a_measure_has_settled_when_its_last_values_do_not_rise(values, expected):
    assert settled(values) is expected


class Counted:
    """Read the values of a list in turn, by how often the LoRA was measured."""

    def __init__(self, values=RISING, done=0):
        self.values, self.read_so_far = values, done

    @property
    def gauge(self):
        return Gauge(name="a list", every=2, passes=0, read=self.read)

    def read(self, velocity):
        self.read_so_far += 1
        return self.values[self.read_so_far - 1]


@pytest.fixture
def train(flux, pair_folder, tmp_path):
    def run(name, gauge=None, *, stop=None, resume=False, tracker=None, **changes):
        stopping = StopDuring(stop) if stop else None
        return fit(
            base=flux,
            method=stopping.watch(Graded()) if stopping else Graded(),
            pairs=find_pairs(pair_folder),
            settings=replace(SETTINGS, **changes),
            folder=tmp_path / name,
            run=tracker or Silent(),
            metadata={},
            resume=resume,
            stopping=stopping,
            gauge=gauge,
        )

    return run


def same(found, other):
    return all(found[role].read_bytes() == other[role].read_bytes() for role in other)


def test_a_training_stops_where_its_measure_has_settled(train, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    eight = train("eight", steps=8)
    stopped = train("stopped", Counted().gauge)
    assert same(stopped, eight)
    assert read_lora(stopped["semantic"]).metadata["step"] == 8
    said = "stops after step 8 of at most 12: a list no longer rises (2, 2.05, 2.06)"
    assert said in caplog.text
    assert not has_checkpoints(tmp_path / "stopped/checkpoints")


def test_a_measure_that_rises_leaves_all_steps(train):
    whole, rising = train("whole"), train("rising", Counted((1, 2, 3, 4, 5, 6)).gauge)
    assert same(rising, whole)


def test_the_last_step_is_not_measured(train):
    counted = Counted((1, 2, 3, 4, 5))
    train("all", counted.gauge)
    assert counted.read_so_far == 5


@pytest.mark.parametrize(("step", "read"), [(1, 0), (4, 2), (5, 2), (7, 3)])
def test_a_run_resumed_across_the_decision_has_the_bytes_of_an_unbroken_one(train, step, read):
    whole = train("whole", Counted().gauge)
    with pytest.raises(Stopped):
        train("parts", Counted().gauge, stop=step)
    assert same(train("parts", Counted(done=read).gauge, resume=True), whole)


def test_a_signal_in_the_step_that_decides_changes_nothing(train, tmp_path):
    whole = train("whole", Counted().gauge)
    with pytest.raises(Stopped):
        train("parts", Counted().gauge, stop=8)
    assert not has_checkpoints(tmp_path / "parts/checkpoints")
    assert (tmp_path / "parts/semantic.safetensors").read_bytes() == whole["semantic"].read_bytes()


def test_a_run_without_the_measure_is_not_continued_with_it(train):
    with pytest.raises(Stopped):
        train("a", stop=3)
    with pytest.raises(ValueError, match="stop=None there, a list now"):
        train("a", Counted().gauge, resume=True)


def test_the_size_of_an_edit_is_measured_without_a_trace(flux, pair_folder, train):
    gauge = replace(size_gauge(flux, find_pairs(pair_folder), SETTINGS, "semantic"), every=5)
    seen = []

    def read(velocity):
        seen.append(gauge.read(velocity))
        return seen[-1] * 2 ** len(seen)

    assert same(train("measured", replace(gauge, read=read)), train("plain"))
    assert 0 < seen[0] < seen[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("changes", [{}, {"fused": True, "graphs": True}], ids=["plain", "graphs"])
def test_measuring_leaves_a_training_on_a_gpu_alone(
    tiny_flux_folder, pair_folder, tmp_path, changes
):
    load.cache_clear()  # a transformer that was placed for one hardware serves no other
    base = load(
        str(tiny_flux_folder),
        device="cuda",
        precision="float32",
        max_sequence_length=32,
        hardware=Hardware(**changes),
    )
    pairs, found = find_pairs(pair_folder), []
    gauge, read = size_gauge(base, pairs, SETTINGS, "semantic"), []

    def rising(velocity):
        read.append(gauge.read(velocity))
        return 2.0 ** len(read)

    gauge_of_all = replace(gauge, every=2, read=rising)
    for name, measured in (("plain", None), ("measured", gauge_of_all)):
        files = fit(
            base=base,
            method=Graded(),
            pairs=pairs,
            settings=SETTINGS,
            folder=tmp_path / name,
            run=Silent(),
            metadata={},
            gauge=measured,
        )
        found.append(read_lora(files["semantic"]))
    load.cache_clear()
    plain, measured = found
    assert len(read) == 5
    assert 0 < read[0] < read[-1]
    for module, weights in plain.weights.items():
        torch.testing.assert_close(measured.weights[module], weights, rtol=1e-3, atol=1e-5)
