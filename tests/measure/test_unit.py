"""The scale worth one pair: how sure it is, and that more people bring it within ten percent."""

import json
import re

import pytest
import torch
from PIL import Image

from pairedit.data.images import to_tensor
from pairedit.jobs import bench
from pairedit.lora.file import inspect_lora
from pairedit.measure import unit
from pairedit.measure.evidence import Evidence, Reading
from pairedit.measure.readers import Instrument
from pairedit.measure.subject import Unit
from pairedit.measure.unit import around, is_open, needed, surer, unit_of
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering
from tiny import RESOLUTION, running, strong_lora

SCALES = (0.0, 0.2, 0.4, 0.8, 1.6)
SIDE = RESOLUTION
SMILES = Instrument(read=lambda images, references: images, columns=("smile",))


def people(count, seed=0, spread=0.35, level=0.6):
    """Return people who differ in where they begin, and in how they follow a slider.

    Everybody is due what is left up to 1, and scale `level` gives it to the average one.
    """
    generator = torch.Generator().manual_seed(seed)
    start = 0.5 + 0.4 * torch.rand((count, 1), generator=generator)
    follows = 1 + spread * torch.randn((count, 1), generator=generator)
    values = start + (1 - start) * follows * torch.tensor(SCALES) / level
    reading = Reading(
        instrument=SMILES,
        lanes=values.unsqueeze(-1),
        before=torch.tensor([[0.4]]),
        after=torch.tensor([[1.0]]),
    )
    return Evidence(
        scales=SCALES,
        distance=torch.zeros(count, len(SCALES), len(SCALES)),
        strangers=torch.ones(count),
        pair_distance=0.1,
        attribute="smile",
        readings={"probe": reading},
    )


def landing(found, everybody):
    """Return what a scale is worth to everybody."""
    curve = unit.effect(everybody).mean(0)
    return float(unit.at(SCALES, curve, found.scale))


def test_the_error_is_how_far_calibrated_sliders_land_from_one_pair():
    everybody = people(4000)
    found = [unit_of(people(24, seed)) for seed in range(1, 201)]
    away = torch.tensor([landing(each, everybody) - 1 for each in found])
    told = torch.tensor([each.error for each in found])
    assert float(told.mean()) == pytest.approx(float(away.square().mean().sqrt()), rel=0.15)
    assert {each.people for each in found} == {24}
    assert landing(unit_of(everybody), everybody) == pytest.approx(1)


def test_who_follows_as_the_pairs_do_leaves_no_doubt():
    found = unit_of(people(12, spread=0))
    assert (found.scale, found.error) == (pytest.approx(0.6), pytest.approx(0, abs=1e-6))


def test_one_person_says_nothing_of_others_and_a_weak_slider_has_no_scale():
    assert unit_of(people(1, spread=0)) == Unit(scale=pytest.approx(0.6), error=None, people=1)
    assert unit_of(people(12, level=4.0)) is None
    assert (
        str(Unit(scale=1, error=None, people=1)),
        str(Unit(scale=1, error=0.123, people=3)),
        str(Unit(scale=1, error=0.123, people=12)),
    ) == (
        "(one person, no interval)",
        "(3 people, no interval)",
        "± 12 % (12 people)",
    )


def test_too_few_people_to_tell_how_they_differ_are_followed_by_some_more():
    assert [unit_of(people(n, seed=1)).error is None for n in (2, 3, 4)] == [True, True, False]
    few = people(2, seed=1)
    assert needed(unit_of(few)) == unit.STEP
    assert is_open(few)
    assert unit_of(surer(few, lambda count: people(count, seed=1000 + count))).people > 12


def test_people_are_added_until_it_is_sure_and_no_further():
    asked = []

    def more(count):
        asked.append(count)
        return people(count, seed=1000 + len(asked))

    first = people(12, seed=1)
    grown = unit_of(surer(first, more))
    assert grown.error <= unit.SURE
    assert grown.people == 12 + sum(asked) < unit.MOST
    assert set(asked) == {unit.STEP}
    # As many as one would have thought, give or take how much the first twelve differ.
    assert needed(unit_of(first)) == pytest.approx(grown.people, rel=0.6)
    asked.clear()
    assert surer(people(200, seed=2), more).scales == SCALES
    assert not asked, "it is sure already"
    wild = unit_of(surer(people(12, seed=3, spread=2.0), more, most=30))
    assert (asked, wild.people) == ([12, 6], 30)


def test_where_few_people_hardly_miss_one_pair_more_are_asked_and_a_weak_slider_asks_nobody():
    asked = []

    def more(count):
        asked.append(count)
        return people(count, seed=1000 + len(asked), level=1.4)

    first = people(12, seed=24, level=1.4)
    assert unit_of(first) is None
    assert unit_of(around(first).joined(around(more(60)))).scale == pytest.approx(1.4, abs=0.2)
    asked.clear()
    found = unit_of(surer(first, more))
    assert found.error <= unit.SURE
    assert found.people == 12 + sum(asked)
    assert abs(landing(found, people(4000, level=1.4)) - 1) < 0.1
    asked.clear()
    assert unit_of(surer(people(12, level=4.0), more)) is None
    assert not asked


def test_most_calibrations_land_within_ten_percent_once_they_are_sure():
    everybody = people(4000)
    few, grown = [], []
    for seed in range(1, 101):
        fresh = iter(range(1000 * seed, 1000 * seed + 100))
        first = people(12, seed)
        found = surer(first, lambda count, fresh=fresh: people(count, next(fresh)), most=200)
        few.append(abs(landing(unit_of(first), everybody) - 1) < 0.1)
        grown.append(abs(landing(unit_of(found), everybody) - 1) < 0.1)
    assert sum(few) < 75
    assert sum(grown) >= 90


def test_further_people_are_rendered_about_the_scale_alone():
    seen = people(200)
    few = around(seen)
    assert few.scales == (0.0, 0.4, 0.8)
    assert unit_of(few) == unit_of(seen)
    joined = few.joined(around(people(10, seed=4)))
    assert joined.readings["probe"].lanes.shape == (210, 3, 1)
    assert joined.distance.shape == (210, 3, 3)


def shades(flux, lora, scales, seeds):
    """Draw grey pictures with a slider, [N, K, H * W]."""
    samples = generate(
        running(flux, batch_size=24),
        sliders=[Slider(lora=lora, scales=scales)],
        prompts=["a"],
        seeds=seeds,
        rendering=Rendering(skip=1, num_inference_steps=4, size=(SIDE, SIDE)),
    )
    images = torch.stack([to_tensor(sample.image) for sample in samples])
    return images.mean(1).flatten(1).unflatten(0, (len(seeds), len(scales)))


def test_a_calibrated_slider_lands_within_ten_percent_on_people_it_never_saw(
    command, flux, tmp_path, monkeypatch
):
    lora = strong_lora(flux, tmp_path / "disc/x.safetensors")
    moves = shades(flux, lora, (0.0, 0.5), range(900, 912)).diff(dim=1).mean(0)[0]
    moved = moves * (moves.abs() >= moves.abs().quantile(0.95))
    before = 0.4 * moved.sign()
    for side, picture in (("source", before), ("target", before + moves)):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        levels = (127.5 * (1 + picture)).round().byte().view(SIDE, SIDE)
        Image.fromarray(levels.numpy()).convert("RGB").save(tmp_path / "pairs" / side / "a.png")

    def read(images, references):
        return torch.stack([images.mean(1).flatten(1) @ moved, images.mean((1, 2, 3))], 1)

    probe = Instrument(read=read, columns=("age", "bright"))
    monkeypatch.setattr(bench, "open_readers", lambda *args, **more: ({"probe": probe}, {}))
    words = [f"lora={lora.path}", f"pairs={tmp_path / 'pairs'}", "scales=[0.2,0.4,1]", "skip=1"]
    words += ["attribute=age"]  # nobody else is read for a guess
    words += ["prompts=[a]", "seeds={start: 0, count: 12}", f"hydra.run.dir={tmp_path / 'e'}"]
    code, out, err = command("eval", *words)
    assert (code, err) == (0, ""), err
    first = re.search(r"scale (\S+) is worth one pair ± \d+ % \(12 people\); reading more", out)
    known = inspect_lora(lora.path)["calibration"]
    assert 12 < known["people"] <= unit.MOST
    sure = Unit(scale=known["scale"], error=known["error"], people=known["people"])
    assert sure.error <= unit.SURE
    assert f"scale {sure.scale:.2g} is worth one pair {sure}\n" in out
    (slider,) = json.loads((tmp_path / "e/eval.json").read_text())["sliders"]
    said = slider["measures"]["calibration"]
    assert [said["mean"], said["people"]] == [known["scale"], known["people"]]
    # What the scales do to people whom nobody has looked at.
    drawn = shades(flux, lora, (0.0, float(first[1]), known["scale"]), range(1000, 1064)) @ moved
    few, many = ((drawn - drawn[:, :1]).mean(0)[1:] / (moves @ moved)).tolist()
    assert abs(many - 1) < 0.1 < abs(few - 1)
