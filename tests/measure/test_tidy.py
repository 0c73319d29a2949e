"""Numbers out: one row for each picture and measure; one row of the table for each setting."""

import csv
from dataclasses import replace
from functools import cache

import pytest

from pairedit.measure import measures
from pairedit.measure.evaluate import _together
from pairedit.measure.families import comparisons, leading
from pairedit.measure.grids import grid_png, two_swept
from pairedit.measure.intervals import Summary
from pairedit.measure.table import heads, table
from pairedit.measure.tidy import write_tidy
from seen import probed
from test_table import result

plain = cache(result)


def slider(eta=2, rank=4, seed=0, off=0.1, method="full", dataset="smile"):
    """Return a slider that moves one other attribute by so much where sliders are compared."""
    seen = probed({"smile": [0, 0.25, 0.5], "age": [0, off, 2 * off]})
    found = plain()
    family = f"{method} cfg_eta={eta} rank={rank}"
    subject = replace(
        found.subject,
        dataset=dataset, label=f"{family} seed={seed}", family=family, method=method, seed=seed,
        swept={"cfg_eta": str(eta), "lora.rank": str(rank)},
    )  # fmt: skip
    able = [m for m in measures.MEASURES.values() if m.needs <= seen.has]
    return replace(
        found,
        subject=subject,
        seen=seen,
        # Without their intervals, which take a second.
        summaries={m: Summary(mean=m(seen), low=m(seen), high=m(seen)) for m in able},
        lanes=[(seed, "a person") for seed in range(len(seen.distance))],
    )


def test_every_number_is_a_row_of_its_own(tmp_path):
    sliders = [slider(eta=2), slider(eta=4, seed=1)]
    write_tidy(sliders, tmp_path / "eval.csv")
    with (tmp_path / "eval.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first = next(row for row in rows if row["measure"] == "target" and row["scale"] == "1.0")
    assert first | {"value": ""} == {
        "edit": "smile", "slider": "full cfg_eta=2 rank=4 seed=0", "method": "full",
        "cfg_eta": "2", "lora.rank": "4", "training_seed": "0", "scale": "1.0",
        "picture_seed": "0", "prompt": "a person", "measure": "target", "value": "",
    }  # fmt: skip
    assert float(first["value"]) == pytest.approx(0.5)
    targets = [row for row in rows if row["measure"] == "target"]
    assert len(targets) == 2 * 4 * 3  # sliders, lanes, scales
    singles = [row for row in rows if row["measure"] == "matched off-target"]
    assert [(row["scale"], row["picture_seed"]) for row in singles] == [("", "")] * 2
    places = [tuple(row[key] for key in list(row)[:-1]) for row in rows]
    assert len(set(places)) == len(places)


def test_trainings_that_differ_in_their_seed_alone_are_one_row():
    rows = table(
        [slider(seed=n, off=off) for n, off in enumerate((0.1, 0.2, 0.3))] + [slider(eta=9)]
    )
    place = heads().index("off-target")
    assert [row[1] for row in rows] == [
        "full cfg_eta=2 rank=4 (n=3)",
        "full cfg_eta=9 rank=4 seed=0",
    ]
    alone = [float(table([slider(off=off)])[0][place].split()[0]) for off in (0.1, 0.2, 0.3)]
    mean, _, sd = rows[0][place].split()
    assert float(mean) == pytest.approx(alone[1], abs=2e-3)
    assert float(sd) == pytest.approx(alone[1] - alone[0], abs=2e-3)
    assert rows[0][2].endswith(" 3")


def test_settings_are_compared_on_the_same_edits_and_seeds():
    several = [
        slider(seed=seed, eta=eta, off=off + seed / 100, dataset=edit)
        for eta, off in ((2, 0.1), (4, 0.2))
        for edit in ("smile", "grin")
        for seed in (0, 1, 2)
    ]
    said = [text for text in comparisons(several) if text.startswith("off-target")]
    assert len(said) == 1
    assert "full cfg_eta=2 rank=4 is lower than full cfg_eta=4 rank=4 in 6 of 6 pairs" in said[0]
    assert "p = 0.031: they differ" in said[0]
    assert list(comparisons([slider(eta=2), slider(eta=4)])) == []


def test_two_swept_numbers_are_a_grid():
    grid = [slider(eta=eta, rank=rank) for eta in (2, 4) for rank in (4, 16)]
    assert two_swept(grid) == ("cfg_eta", "lora.rank")
    assert grid_png(grid).startswith(b"\x89PNG")
    assert grid_png(grid[:1]) is None
    assert grid_png([slider(eta=2), slider(eta=4)]) is None


def test_pictures_show_those_that_cost_least_in_the_order_they_come():
    many = [slider(eta=n, off=0.3 - n / 100) for n in range(20)]
    assert [r.subject.swept["cfg_eta"] for r in leading(many)] == [str(n) for n in range(6, 20)]
    assert leading(many[:3]) == many[:3]


def test_sliders_are_rendered_a_few_at_a_time_those_of_one_skip_side_by_side():
    subjects = [replace(slider().subject, skip=n % 2) for n in range(20)]
    groups = list(_together(subjects))
    assert [len(group) for group in groups] == [8, 8, 4]
    assert groups[0] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert sorted(place for group in groups for place in group) == list(range(20))
