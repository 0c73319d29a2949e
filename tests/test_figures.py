"""No page contradicts another: numbers that occur twice come from one source, and are compared."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from pairedit.measure.choice import SEEDS
from pairedit.settings import Training

ROOT = Path(__file__).parents[1]
PAGES = {page.name: page for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return import_module("page_tables")


def prose(page: Path) -> str:
    """Return a page in one line, without what scripts write between markers."""
    text = re.sub(r"<!-- (.+?): begin -->.*?<!-- \1: end -->", "", page.read_text(), flags=re.S)
    return " ".join(text.split())


def said(pattern: str) -> dict[tuple[str, int], str]:
    """Return every number of a pattern's group, by page and place."""
    found = {}
    for name, page in PAGES.items():
        for match in re.finditer(pattern, prose(page)):
            found[name, match.start()] = match.group(1)
    return found


def test_the_shared_tables_are_those_of_the_committed_results(tables):
    for mark, pages in tables.PAGES.items():
        for page in pages:
            _, rest = page.read_text().split(f"<!-- {mark}: begin -->\n")
            shown = rest.split(f"<!-- {mark}: end -->")[0]
            assert shown == tables.text(mark), f"{page.name}: python scripts/page_tables.py --write"


def test_the_page_of_the_method_has_the_same_means(tables):
    lines = (ROOT / "docs/method.md").read_text().splitlines()
    _, means = tables.compared()
    for recipe, words in {
        "full-500": "| `full`, 500 steps, three pairs | plain |",
        "graded-150": "| `graded`, 150 steps, three pairs | chosen |",
        "graded-150-one": "| `graded`, 150 steps, one pair | chosen |",
        "floor": "| a perfect edit | the floor |",
    }.items():
        (line,) = (line for line in lines if line.startswith(words))
        assert line.split(" | ")[-1].strip(" |") == f"{means[recipe]:.3f}", recipe


def test_the_tables_of_the_method_are_those_of_the_committed_figures(tables, monkeypatch):
    page = PAGES["method.md"].read_text()
    for name in ("GOMP_SPINCOUNT", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # the script would set them for good
    pages, benchmark = import_module("edits.pages"), import_module("edits_benchmark")
    (command,) = re.findall(r"^    python scripts/(edits_benchmark\.py .+)$", page, re.M)
    (known,) = re.findall(r"--known\s(\S+) --write docs/method\.md", page)
    monkeypatch.setattr(sys, "argv", [*command.split(), "--known", str(ROOT / known)])
    args = benchmark.asked()
    assert args.known == max(tables.RESULTS.glob("edits/*.json"))
    for mark, text in {
        "benchmark": pages.readable(args),
        "benchmark by edit": pages.detailed(args),
    }.items():
        _, rest = page.split(f"<!-- {mark}: begin -->\n")
        assert rest.split(f"<!-- {mark}: end -->")[0] == text, f"{command} --known {known} --write"


# What sentences say, and the name of the number in `page_tables.figures`.
SENTENCES = {
    r"(\d+) % less besides the edit": "less beside the edit, %",
    r"That is (\d+) % less, in 150 steps": "less beside the edit, %",
    r"mean of (\d+) edits": "edits compared",
    r"the table is of (\d+) people": "people of a figure",
    r"which (\d+) people do not": "people of a figure",
    r"On (\d+) people smile gets": "people of a figure",
    r"3 trainings and (\d+) people each": "people of a figure",
    r"Its mean is (\d\.\d\d) as chosen and": "reach, ours",
    r"as chosen and (\d\.\d\d) for `full`\. For smile": "reach, full",
    r"both plain (\d\.\d{3}) and": "plain, full",
    r"both plain \d\.\d{3} and (\d\.\d{3})": "plain, ours",
    r"both with `local=true` (\d\.\d{3}) and": "local, full",
    r"both with `local=true` \d\.\d{3} and (\d\.\d{3})": "local, ours",
    r"comes from training \((\.\d{4}) plain\)": "precisely, plain, ours",
    r"`full` with `local=true` has (\.\d{4})": "precisely, local, full",
    r"`graded` with `local=true` has (\.\d{4})": "precisely, local, ours",
    r"\(reach\) is (\d\.\d\d) pairs' worth": "reach, ours",
    r"mean of eight edits, and (\d\.\d\d) for `full`": "reach, full",
    r"training of 150 steps on FLUX\.1-dev took (\d+) s": "default training, flux-dev",
    r"whole default training is (\d\.\d) times as fast": "default training, times faster",
    r"the training took (\d+\.\d) s from a fresh Python": "default training beside the naive loop",
    r"and 500 naive steps take (\d+) s": "published training, naive",
    r"four images took (\d\.\d) s": "four images, flux-dev 80gb",
    r"the scale that 12 seeds find is worth (\.\d+ to \d\.\d+)": "calibrated by 12 seeds",
    r"took (\d\.\d) GiB of the card": "training GiB, flux-dev 8gb",
    r"(\d\.\d) GiB are a little more": "training GiB, flux-dev 8gb",
    r"all reach \+0\.4 is (\.\d{4}) for `full`": "precisely, full",
    r"and (\.\d{4}) for `graded` as chosen\. That is": "precisely, ours",
    r"From one pair `graded` as chosen has (\.\d{4})\.": "precisely, ours, one pair",
    r"(\.\d{4} to \.\d{4}) for `full`": "by training, full-500",
    r"(\.\d{4} to \.\d{4}) for `graded` as chosen, depending": "by training, graded-150",
    r"is below `full` in all (\d+) of them": "pairs of edit and seed where ours is below",
}


@pytest.mark.parametrize("pattern", SENTENCES)
def test_sentences_have_the_measured_numbers(pattern, tables):
    found = said(pattern)
    assert found, pattern
    assert set(found.values()) == {tables.figures()[SENTENCES[pattern]]}, found


def test_the_chart_of_cards_is_that_of_the_committed_results(tables):
    chart = import_module("cards_chart")
    assert chart.chart() == chart.PICTURE.read_text(), "python scripts/cards_chart.py --write"
    assert f"({chart.PICTURE.relative_to(chart.DOCS)})" in PAGES["performance.md"].read_text()


def cells(variant: str) -> list[str]:
    """Return the cells of a variant of FLUX.1 in the tables of the page of speed."""
    page = PAGES["performance.md"].read_text().split("<!-- full size: end -->")[0]
    (line,) = re.findall(rf"^\| {variant} \| (.+) \|$", page, re.M)
    return line.split(" | ")


def test_sentences_on_speed_have_the_numbers_of_the_tables():
    text = prose(PAGES["performance.md"])
    for variant, pattern in {
        "train-80gb": r"is (\d\.\d) times as fast as in the published algorithm",
        "sample-80gb": r"and a row of images (\d\.\d) times\.",
    }.items():
        (times,) = re.findall(pattern, text)
        assert f"{times} ×" == cells(variant)[1], variant
    for variant, line in {"train-8gb": "a training step", "sample-8gb": "a row of four"}.items():
        (shown,) = re.findall(rf"\| {line}[\w ]* \| (\S+) \| (\S+) \| (\S+) \|", text)
        seconds, _, _, tensors, process, *_ = cells(variant)
        assert shown == (seconds.split()[0], tensors, process), variant


@pytest.mark.parametrize(
    ("variant", "target", "digits"),
    [
        ("train-80gb", "a step in bf16", 3),
        ("train-fp8", "a step in fp8", 3),
        ("sample-80gb", "a row in bf16", 2),
        ("sample-fp8", "a row in fp8", 2),
        ("train-24gb", "a step on 24 GB", 3),
        ("train-12gb", "a step on 12 GB", 3),
    ],
)
def test_what_is_missed_has_the_numbers_of_the_tables(variant, target, digits):
    _, section = PAGES["performance.md"].read_text().split("## Where a target is missed\n")
    (wanted, measured) = re.findall(
        rf"^\| \[{target}\]\(\S+\) \| (.+?) \| (.+?) \|", section, re.M
    )[0]
    seconds = float(cells(variant)[0].split()[0])
    shown = re.search(r"(\d\.\d+) s", measured)[1]
    assert shown == f"{seconds:.{digits}f}"
    assert float(shown) > float(re.search(r"(\d\.\d+) s", wanted)[1]), "it is met: no longer missed"


def test_steps_are_those_of_the_methods():
    usual = Training.__dataclass_fields__["steps"].default
    for method in ("graded", "full"):
        steps = yaml.safe_load((ROOT / f"conf/method/{method}.yaml").read_text()).get(
            "steps", usual
        )
        found = said(rf"`(?:method=)?{method}`[^.`|;:]{{0,50}}?\b(\d+) steps")
        assert found, method
        assert set(found.values()) == {str(steps)}, found


@pytest.mark.parametrize(
    "pattern",
    [
        r"in about (\d+) minutes on two H200",  # the training of flux-mini
        r"(\d+) (?:known )?attributes",
        r"(\d+) MB (?:that draws|in float16)",  # flux-mini
        r"`sliders`[^.|]{0,40} (\d+ to \d+) % of what",
        r"`full`(?: has)? (\d+ to \d+) %",
    ],
)
def test_what_is_said_twice_is_said_alike(pattern):
    assert len(set(said(pattern).values())) == 1, said(pattern)


def test_the_edits_that_are_not_reached_are_those_of_the_table(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    lines = import_module("worth_table").text().splitlines()
    missed = [line.split(" | ")[0].strip("| ") for line in lines if "not reached" in line]
    assert f"one pair's worth with {' or '.join(missed)}, which" in prose(PAGES["choose.md"])


def test_a_training_reads_as_many_people_as_the_pages_say():
    counts = {"three": 3}
    found = said(r"(?:training reads|at its end is from|trial on) (\w+) (?:people|seeds)")
    assert len(found) > 3, found
    assert {counts[count] for count in found.values()} == {len(SEEDS)}, found


def test_the_table_of_photographs_is_that_of_the_committed_faces(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    script = import_module("real_local")
    table = script.text(script.newest())
    _, rest = PAGES["real.md"].read_text().split("<!-- real local: begin -->\n")
    shown, after = rest.split("<!-- real local: end -->")
    assert shown == table, "python scripts/real_local.py --known --write"
    costs = {
        tuple(cell.strip() for cell in line.split("|")[1:4]): line.split("**")[1].lstrip("0")
        for line in table.splitlines()[2:]
        if line
    }
    said = " ".join(after.split())
    assert f"**Smile** has {costs['smile', 'true', 'true']} in its noted use" in said
    age = [costs["age", local, "true"] for local in ("true", "false")]
    assert f"({age[0]} instead of {age[1]})" in said


def test_the_page_of_sweeps_says_how_many_seeds_a_test_needs():
    from pairedit.measure.families import SURE, signed_rank

    rows = re.findall(
        r"^\| (pairs|the least possible p) \| (.+) \|$", PAGES["sweep.md"].read_text(), re.M
    )
    counts, least = (row.split(" | ") for _, row in rows)
    for count, shown in zip(map(int, counts), map(float, least), strict=True):
        exact = signed_rank(range(1, count + 1))
        assert shown == pytest.approx(exact, rel=0.03), count
        assert (exact < SURE) is (count >= 6)
    assert signed_rank([-1, 2, 3, 4, 5, 6]) > SURE > signed_rank([-1, 2, 3, 4, 5, 6, 7])


def test_every_table_of_figures_says_when_and_how():
    """A page with a generated table names a date, and a command that makes it."""
    for name, page in PAGES.items():
        text = page.read_text()
        if "begin -->" in text:
            assert re.search(r"2\d{3}-\d\d-\d\d", text), f"{name}: no date"
            assert re.search(r"(?:python|pairedit-\w+|make) \S+", text), f"{name}: no command"


def test_what_sweeps_cost_is_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = import_module("sweep_overhead")
    newest = sorted(script.RESULTS.glob("overhead-*.json"))[-1]
    _, rest = PAGES["sweep.md"].read_text().split(script.BEGIN)
    shown, after = rest.split(script.END)
    assert shown == script.text(json.loads(newest.read_text())), "sweep_overhead.py --write"
    assert newest.name in after


def test_dates_of_shared_tables_are_not_older_than_the_results(tables):
    newest = max(
        json.loads(path.read_text())["date"][:10] for path in tables.RESULTS.glob("*.json")
    )
    for page in tables.PAGES["cards table"]:
        assert newest in page.read_text(), page.name


def test_what_calibrated_sliders_are_worth_to_others_is_as_measured():
    found = json.loads((ROOT / "benchmarks/results/calibration/2026-11-27.json").read_text())
    page = PAGES["evaluate.md"].read_text()
    for edit, told in found["edits"].items():
        few, many = told["at the end of the training"], told.get("pairedit-eval")
        row = f"| `{edit}` | {few['scale']:.2f} | {few['unseen']:.2f} | "
        if many:
            sure = f"± {100 * many['error']:.0f} % ({many['people']} people)"
            row += f"{many['scale']:.2f} {sure} | {many['unseen']:.2f} |"
        assert row in page
    noted = [told["pairedit-eval"]["unseen"] for told in found["edits"].values() if len(told) == 2]
    assert len(noted) == 6
    assert all(abs(worth - 1) < 0.1 for worth in noted)
