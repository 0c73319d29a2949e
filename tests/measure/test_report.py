"""The report: findings in words, pictures that can be dragged, figures, in one file."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from drawing import SCALES, pairs_in, slider, with_seeds
from pairedit.jobs.sheets import apart
from pairedit.measure import page
from pairedit.measure.evaluate import measure_slider
from pairedit.measure.report import Plate, Shown, write_report
from pairedit.measure.subject import Unit


class Page(HTMLParser):
    """Collect what a browser would load, show or run."""

    def __init__(self, text):
        super().__init__()
        self.images, self.ids, self.films, self.heads, self.stages = [], [], [], [], []
        self.loads, self.ranges, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        assert tag not in ("link", "iframe", "object"), tag
        assert tag != "script" or not known, "scripts are inside of the file"
        self.loads += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]
        self.ids += [known["id"]] if "id" in known else []
        self.images += [known] if tag == "img" and "src" in known else []
        self.films += [known["data-film"]] if "data-film" in known else []
        self.stages += [json.loads(known["data-rows"])] if "data-rows" in known else []
        self.ranges += [known] if known.get("type") == "range" else []
        self.heads += [tag] if re.fullmatch("h[1-6]", tag) else []


@pytest.fixture
def pairs(tmp_path):
    return pairs_in(tmp_path / "pairs")


@pytest.fixture
def written(tmp_path):
    def write(groups, **more):
        first = next(iter(groups.values()))[0]
        write_report(tmp_path / "r.html", groups, Shown(settings=with_seeds(first), **more))
        return (tmp_path / "r.html").read_text(encoding="utf-8")

    return write


def words(text):
    """Return the first paragraph, as it is read."""
    first = re.search(r"<p class=found>(.*?)</p>", text, re.S)[1]
    return re.sub(r"<[^>]+>", "", first).replace("\u00a0", " ")


def test_nothing_is_loaded_from_elsewhere(written, pairs):
    text = written(
        {"age": [slider(pairs)]}, losses={slider(pairs).subject.path: [(1, 2.0), (2, 1)]}
    )
    page = Page(text)
    assert page.loads
    assert all(value.startswith("data:image/") for value in page.loads)
    assert not re.search(r"url\(|@import|https?://", text)
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text


def test_every_picture_is_in_the_file_once_and_can_be_dragged(written, pairs):
    page = Page(written({"age": [slider(pairs)]}))
    assert len(page.ids) == len(set(page.ids)) == 4 * len(SCALES)
    assert len(page.images) == 4 * len(SCALES) + 2 * len(pairs)
    assert all("alt" in image for image in page.images)
    (stage,), (control,) = page.stages, page.ranges
    assert stage["scales"] == list(SCALES)
    assert len(stage["notes"]) == len(SCALES)
    assert stage["notes"][3] == "scale 0.4 · 80 % of a pair's worth · everything else 0.000"
    assert (control["min"], control["max"], control["aria-label"]) == ("-0.2", "0.8", "scale")
    assert float(control["value"]) == 0.5, "it begins where it is worth one pair"
    # What is dragged is there, at every scale.
    assert len(page.films) == 4
    assert {f"{film}-{k}" for film in page.films for k in range(len(SCALES))} == set(page.ids)


def test_it_says_that_pictures_of_some_people_are_left_out(written, pairs):
    result = slider(pairs)
    assert "<h3>Pictures at every scale</h3>" in written({"age": [result]})
    kept = {place: sample for place, sample in result.samples.items() if place[0] < 3}
    text = written({"age": [replace(result, samples=kept)]})
    assert "<h3>Pictures at every scale (3 of 4 people)</h3>" in text


def test_it_opens_with_what_was_found(written, pairs):
    found = words(written({"age": [slider(pairs, moves=(0.4, 0.28))]}))
    assert found == (
        "Works. It changes age as its pairs do from scale 0.051 on. Scale 0.5 is worth one pair "
        "± 0 % (4 people). "
        "People stay who they are up to scale 0.8, the largest that was tried. At scale 0.25, "
        "where it is worth 50 % of a pair, smile (+7 %) also moves, in % of the range; nothing "
        "else moves by more than 5 %."
    )
    found = words(written({"age": [slider(pairs)]}))
    assert found.endswith("nothing else moves by more than 5 % of its range.")


def test_what_the_file_notes_of_other_people_is_said_and_marked(written, pairs):
    text = written({"age": [slider(pairs, unit=Unit(scale=0.4, error=0.12, people=5))]})
    noted = "Scale 0.4 is worth one pair ± 12 % (5 people), as its file notes"
    assert noted in words(text)
    assert (
        "Use scale 0.4 (calibrated=true takes it for one pair). It was found on other people. For "
        "the people on this page it is 0.5 ± 0 % (4 people), because people differ"
    ) in words(text)
    assert "<b>0.4 = one pair</b>" in text
    assert float(Page(text).ranges[0]["value"]) == 0.4


def test_one_person_has_no_interval(written, pairs):
    text = written({"age": [slider(pairs, lanes=1, unit=Unit(scale=0.4, error=0.1, people=3))]})
    found = words(text)
    assert "For the person on this page it is 0.5 (one person, no interval), because" in found
    assert "class='band" not in text, "no line stands for an interval"
    assert "<figcaption>pairs&#x27; worth of change; one person, no interval" in text
    assert "<td data-head='one pair at'>0.5 (one person, no interval)</td>" in text
    assert "nan" not in text.replace("nano", "")
    assert "There are no intervals of so few people (1)." in text
    few = written({"age": [slider(pairs, lanes=3)]})
    assert "class='band" not in few
    assert "Scale 0.5 is worth one pair (3 people, no interval)" in words(few)
    assert "<td data-head='one pair at'>0.5 (3 people, no interval)</td>" in few
    many = written({"age": [slider(pairs, lanes=4)]})
    assert "class='band" in many
    assert "In brackets are 95 % bootstrap intervals over 4 people." in many


def test_people_who_do_not_get_to_the_noted_scale_are_said_to(written, pairs):
    weak = slider(pairs, moves=(0.2, 0.0), unit=Unit(scale=0.4, error=0.1, people=3))
    found = words(written({"age": [weak]}))
    assert "It was found on other people. The people on this page do not get to one pair" in found
    alone = slider(pairs, lanes=1, moves=(0.2, 0.0), unit=Unit(scale=0.4, error=0.1, people=3))
    found = words(written({"age": [alone]}))
    assert "The person on this page does not get to one pair" in found


def test_a_scale_of_finished_pictures_says_so(written, pairs):
    text = words(written({"age": [slider(pairs, flowedit=True)]}))
    assert "Scale 0.5 on the finished picture is worth one pair ± 0 % (4 people)" in text


def test_few_people_are_shown_large():
    for people, across in ((1, 1), (2, 2), (3, 3), (4, 4), (8, 4)):
        text = page.stage({"e0-0": ["a"] * people}, SCALES, [""] * len(SCALES), None)
        assert f"<div class='people' style='--n:{across}'>" in text, people


def test_what_was_guessed_is_said(written, pairs):
    text = written({"age": [slider(pairs, attribute=None)]})
    found = words(text)
    assert found.startswith("Works (by the pictures alone; nobody named the edit). It changes the")
    assert "direction of its pairs (is it age? a guess: nobody named the edit) from" in found
    assert "so the pictures decide; age is a guess, because it is what they move most" in found
    assert "(pairedit-eval attribute=age); if the probe does not know the edit" in found
    assert "<td data-head='verdict' class='works'>works (by the pictures alone;" in text


@pytest.mark.parametrize(
    ("moves", "says"),
    [
        ((0.0, 0.0), "No-op. It changes nothing that can be seen, up to scale 0.8."),
        (
            (0.06, 0.0),
            "Weak. It changes age as its pairs do from scale 0.34 on. No scale up to 0.8 is "
            "worth one pair: it gets to 24 % of what the pairs show. At scale",
        ),
        ((-0.08, 0.0), "Reversed. It does the opposite of what the pairs show."),
    ],
)
def test_a_slider_that_does_not_work_is_said_to(written, pairs, moves, says):
    text = written({"age": [slider(pairs, moves=moves)]})
    assert words(text).startswith(says)
    assert "<li><b class='" in text, "with advice"


def test_where_no_scale_is_worth_one_pair_that_is_said_with_the_next_step(written, pairs):
    text = written({"age": [slider(pairs, moves=(0.2, 0.0))]})
    assert words(text).startswith(
        "Works. It changes age as its pairs do from scale 0.1 on. No scale up to 0.8 is worth one "
        "pair: it gets to 80 % of what the pairs show. At scale"
    )
    assert "stay who they are" not in words(text)
    assert "<td data-head='usable scales'>–</td>" in text
    assert "graded on age: no scale that was tried is worth one pair: train longer" in text
    noted = slider(pairs, moves=(0.2, 0.0), unit=Unit(scale=0.4, error=0.1, people=6))
    assert noted.advise() == "", "for other people a scale is"
    both = [slider(pairs, name, moves=(0.2, 0.0)) for name in ("full", "graded")]
    assert "No scale of theirs is worth one pair." in words(written({"age": both}))
    assert "<td data-head='usable scales'>0.051 to 0.8+</td>" in written({"age": [slider(pairs)]})


def test_readers_that_nobody_asked_for_are_no_news(written, pairs):
    group = {"age": [slider(pairs)]}
    text = written(group, asked=False)
    assert "clip" not in text.lower()
    assert "Not measured" not in text
    text = written(group, asked=True)
    assert "CLIP&#x27;s weights are not there" in text
    assert "was not asked for" not in text, "of lpips, dino and arcface"
    # What the data lack is said in any case.
    text = written({"age": [slider([])]}, asked=False)
    assert "the pairs were not found" in text


def test_several_sliders_stand_side_by_side(written, pairs):
    group = [
        slider(pairs, "full", moves=(0.4, 0.5)),
        slider(pairs, "graded", moves=(0.4, 0.1)),
        slider(pairs, "fm", moves=(0.4, 0.9)),
    ]
    rows = [[Image.new("RGB", (16, 16))] * 4]
    plate = Plate(rows=rows, labels=["seed 1000"], captions=["base", "full", "graded", "fm"])
    text = written({"age": group}, plates={"age": plate})
    found = words(text)
    assert found.startswith("3 of 3 sliders do what the pairs show. At equal strength graded")
    assert "the published method (full) changes" in found
    page = Page(text)
    assert len(page.ids) == 3 * 4 * len(SCALES)
    assert len(page.stages) == 1, "all of them are dragged together"
    assert text.count("<table class=sliders>") == 1
    assert text.index("class=sliders") < text.index("class=stage")
    assert re.search(r"<td data-head='verdict' class='works'>works</td>", text)


def test_sliders_that_are_not_as_strong_are_not_said_to_be(written, pairs):
    group = [
        slider(pairs, "full"),
        slider(pairs, "graded", moves=(0.1, 0.0)),
        slider(pairs, "fm", moves=(0.01, 0.3)),
    ]
    assert [result.verdict.name for result in group] == ["works", "weak", "off target"]
    assert [apart(result) for result in group[1:]] == [" (weak)", " (off target)"]
    title = "<h3>Side by side, each at the scale where all are equally strong"
    for captions, words in (
        (["base", "full\n0.25"], "</h3>"),
        (["base", "full\n0.25 (weak)"], "; those with a word in brackets do not get so far</h3>"),
    ):
        rows = [[Image.new("RGB", (16, 16))] * 2]
        plate = Plate(rows=rows, labels=["seed 1000"], captions=captions)
        assert f"{title}{words}" in written({"age": group}, plates={"age": plate})


def test_many_sliders_have_a_strip_each(written, pairs):
    bare = [
        replace(slider(pairs, f"g{n}"), strip=b"RIFF0000WEBP", samples={
            key: sample for key, sample in slider(pairs).samples.items() if key[1] == 1
        })
        for n in range(8)
    ]  # fmt: skip
    page = Page(written({"age": bare}))
    assert (page.ids, page.stages) == ([], [])
    assert len([i for i in page.images if i.get("class") == "sheet"]) == 8


def test_edits_have_sections_of_their_own(written, pairs):
    text = written({
        "age": [slider(pairs)], "hue": [slider(pairs, dataset="hue", attribute="hue")]
    })  # fmt: skip
    page = Page(text)
    assert len(page.stages) == 2
    assert len(page.ids) == len(set(page.ids)) == 2 * 4 * len(SCALES)
    assert text.count("class=found") == 2


def test_names_are_text_and_no_markup(written, pairs):
    text = written({"<b>x": [slider(pairs, "<script>alert(1)", dataset="<b>x")]})
    assert "<script>alert" not in text
    assert "<b>x" not in text
    assert text.count("<script>") == 1


def test_without_a_reader_nothing_is_claimed_of_what_changes(written, pairs):
    seen = slider(pairs)
    size, samples = (16, 16), seen.samples
    bare = measure_slider(replace(seen.subject, attribute=None), samples, SCALES, size, {}, {})
    text = written({"age": [bare]})
    found = words(text)
    assert "on, but nothing here reads what changes. " in found
    assert "changes as much as the pairs differ" in found
    assert "What else moves is not known, because nothing here reads attributes." in found
    assert "The way to another person is measured by the pixels alone." in found
    assert "way to another person by" in text, "a chart and a column have it"
