"""The pages name the scale worth one pair as the committed figures have it, and nobody's hand."""

from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def worth(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return import_module("worth_table")


def test_the_pages_hold_the_figures_that_were_measured(worth):
    for page in worth.PAGES:
        _, rest = page.read_text().split(f"<!-- {worth.MARK}: begin -->\n")
        shown = rest.split(f"<!-- {worth.MARK}: end -->")[0]
        assert shown == worth.text(), f"{page.name}: python scripts/worth_table.py --write"


def test_every_shipped_edit_is_there_and_the_method_page_agrees(worth):
    shipped = {folder.parent.name for folder in (worth.ROOT / "data").glob("*/target")}
    lines = {line.split(" | ")[0].strip("| "): line for line in worth.text().splitlines()[2:]}
    assert set(lines) == shipped - {"one"}
    page = (worth.ROOT / "docs/method.md").read_text().splitlines()
    (heads,) = (line for line in page if line.startswith("| figure | trained, used |"))
    start = "| one pair at | `graded`, 150 steps, three pairs, chosen |"
    (there,) = (line for line in page if line.startswith(start))
    for edit, value in list(zip(heads.split(" | "), there.split(" | "), strict=True))[2:-1]:
        shown = lines[edit].split(" | ")[1].split(",")[0]
        if value == "--":
            assert shown == "not reached", edit
        else:  # of three digits here and two there
            assert float(shown) == pytest.approx(float(value), abs=0.0055), edit


def test_an_edit_that_one_training_does_not_reach_has_no_scale(worth, monkeypatch):
    def figures(scale, most=1.0):
        return {"chosen": {"one pair at": scale, "reach": most}}

    known = {"graded-150-age-0": figures(0.5), "graded-150-age-1": figures(0.7)}
    known |= {"graded-150-smile-0": figures(None), "graded-150-smile-1": figures(0.9)}
    known |= {"graded-150-tilt-0": figures(0.4, most=0.5)}
    known |= {"graded-150-one-age-0": figures(9.0), "full-500-age-0": figures(9.0)}
    monkeypatch.setattr(worth, "newest", lambda: known)
    assert worth.text().splitlines()[2:] == [
        "| tilt | 0.40, the person is lost before | 0.40 | 0.50 |",
        "| age | 0.60 | 0.50, 0.70 | 1.00 |",
        "| smile | not reached | 0.90, – | 1.00 |",
    ]
