"""The table of sliders: its columns are those of the measures, which are looked up themselves."""

from pathlib import Path

import pytest
import torch

from pairedit.measure import measures
from pairedit.measure.evaluate import Result, _lack
from pairedit.measure.evidence import Column, Evidence
from pairedit.measure.intervals import summarise
from pairedit.measure.measures import MEASURES, measure
from pairedit.measure.subject import Subject
from pairedit.measure.table import comparable, heads, moved, table, to_json
from pairedit.measure.unit import unit_of
from pairedit.measure.verdict import judge
from pairedit.settings import scale_text


def result(**parts) -> Result:
    """Return what there is to say of a slider whose images move evenly."""
    near = 0.1 * torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]]).expand(4, -1, -1)
    parts = {"pair_distance": 0.1, **parts}
    seen = Evidence(scales=(0.0, 0.5, 1.0), distance=near, strangers=torch.full((4,), 9.0), **parts)
    able = [measured for measured in MEASURES.values() if measured.needs <= seen.has]
    return Result(
        subject=Subject(
            path=Path("x.safetensors"),
            label="mine",
            dataset="disc",
            pairs=[],
            attribute=None,
            skip=0,
        ),
        seen=seen,
        samples={},
        summaries={measured: summarise(measured, seen) for measured in able},
        missing={m: _lack(m, seen, {}) for m in MEASURES.values() if m not in able},
        verdict=judge(seen),
        unit=unit_of(seen),
    )


def test_of_several_lacks_every_process_names_the_same():
    lacking = result(pair_distance=None).missing
    assert lacking[MEASURES["clip direction"]] == "reader=clip was not asked for"


@pytest.fixture
def brightest():
    """A measure in one place, its column included."""

    @measure("brightest", "pairs", column=Column("bright", digits=1))
    def brightest(seen: Evidence) -> torch.Tensor:
        """Say something."""
        return seen.change.amax()

    yield brightest
    del MEASURES["brightest"]


def test_a_curve_stands_in_its_column_with_its_end():
    @measure("curve", column=Column("curve", digits=1))
    def curve(seen: Evidence) -> torch.Tensor:
        """Say something at each scale."""
        return seen.change

    try:
        assert table([result()])[0][-1] == "0.2 (0.2 … 0.2)"
    finally:
        del MEASURES["curve"]


def test_a_measure_is_one_edit(brightest):
    assert brightest.meaning == "Say something."
    assert float(brightest(result().seen)) == pytest.approx(0.2)
    assert heads()[-1] == "bright", "last where no place is asked for"
    assert table([result()])[0][-1] == "0.2 (0.2 … 0.2)"
    written = to_json([result()], {})
    assert written["measures"]["brightest"] == "Say something."
    assert written["sliders"][0]["measures"]["brightest"]["mean"] == pytest.approx(0.2)
    assert written["table"]["heads"][-1] == "bright"
    (row,) = table([result(pair_distance=None)])
    assert row[-1] == "–", "what it needs is not there"


def test_a_column_stands_where_it_asks_to():
    @measure("first", column=Column("first", percent=True, place=1))
    def first(seen: Evidence) -> torch.Tensor:
        """Say something."""
        return torch.tensor(0.5)

    try:
        assert heads()[:5] == ("edit", "slider", "verdict", "first", "at most")
        assert table([result()])[0][3] == "50 %"
    finally:
        del MEASURES["first"]


def test_the_table_as_it_is():
    assert heads() == (
        "edit",
        "slider",
        "verdict",
        "at most",
        "one pair at",
        "usable scales",
        "off-target",
        "floor",
        "identity",
        "monotonic",
    )
    (row,) = table([result()])
    assert row[:6] == ("disc", "mine", "works", "200 %", "0.5 (0.5 … 0.5)", "0.05 to …")
    assert row[6] == "–", "no probe"
    assert row[9] == "1.00 (1.00 … 1.00)"


def test_a_scale_is_written_alike_as_a_float32_and_as_a_number_of_json():
    exact = float(torch.tensor(0.245))
    assert f"{exact:.2f}" != f"{0.245:.2f}", "so it was .25 in one place and .24 in another"
    assert scale_text(exact) == scale_text(0.245) == "0.24"
    assert [scale_text(scale) for scale in (0.5, 1.0, 4.781, 0.0512)] == [
        "0.5",
        "1",
        "4.78",
        "0.051",
    ]


def test_measures_are_looked_up_by_themselves():
    known = result().summaries
    assert float(known[measures.calibration].mean) == pytest.approx(0.5)
    assert measures.target not in known
    assert "probe" in result().missing[measures.target]
    with pytest.raises(AttributeError, match="calibratoin"):
        known[measures.calibratoin]
    assert comparable(result()) == (pytest.approx(0.25), True)
    assert moved(result()) == {}
