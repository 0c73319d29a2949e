"""Readers that name their own columns: what is measured by them without flux-mini's probe."""

from dataclasses import replace

import pytest
import torch

from pairedit.measure import measures
from pairedit.measure.evidence import collect
from pairedit.measure.intervals import summarise
from pairedit.measure.readers import Instrument
from pairedit.measure.verdict import judge

SCALES = (0.0, 0.5, 1.0)


def means(images, references):
    """Return the mean of red, green and blue."""
    return images.mean((2, 3))


COLOURS = Instrument(
    read=means,
    columns=("red", "green", "blue"),
    tied={"red": ("green",)},
    identity=("blue",),
)
SHADE = Instrument(
    read=lambda images, _: means(images, _).mean(1, keepdim=True), columns=("shade",)
)
EMBEDDING = Instrument(read=means)


def plain(*colours) -> torch.Tensor:
    """Return images of one colour each, [len(colours), 3, 8, 8]."""
    return torch.tensor(colours)[:, :, None, None].expand(-1, -1, 8, 8)


def redder(readers, **options):
    """Return a slider that reddens two grey images, with a pair that does twice as much."""
    lanes = [
        plain([blue, 0.0, blue], [blue + 0.1, 0.3, blue + 0.02], [blue + 0.2, 0.3, blue])
        for blue in (0.0, -0.4)
    ]
    return collect(
        torch.stack(lanes),
        scales=SCALES,
        before=plain([-0.2, 0.0, 0.1]),
        after=plain([0.4, 0.1, 0.1]),
        readers=readers,
        **options,
    )


def mean(measured, seen):
    return summarise(measured, seen).mean.tolist()


def test_a_second_attribute_reader_brings_its_own_columns():
    readers = {"clip": EMBEDDING, "colours": COLOURS}
    assert redder(readers).attribute == "red", "found from the pairs"
    assert judge(redder(readers)).doubt == "by CLIP; nobody named the edit"
    seen = redder(readers, attribute="red")
    assert mean(measures.target, seen) == pytest.approx([0, 0.1, 0.2])
    # Half of a pair: one lane has 0.4 left to the after image, the other all of 0.6.
    assert mean(measures.share, seen) == pytest.approx([0, 0.2, 0.4])
    assert mean(measures.off_target, seen) == pytest.approx([0, 0.02, 0]), "green is tied"
    assert judge(seen).name == "weak"


def test_identity_is_read_off_the_columns_that_tell_people_apart():
    # Pixels would decide, if the people were not made far apart in them.
    seen = replace(redder({"colours": COLOURS}), strangers=torch.full((2,), 1e9))
    # Blue of the three people: 0, -0.4 and 0.1; half of their mean distance is 1.
    people = (0.4 + 0.1 + 0.5) / 3
    lost = pytest.approx([0, 0.02 / (people / 2), 0], abs=1e-6)
    assert mean(measures.identity_lost, seen) == lost
    nobody = redder({"shade": SHADE})
    assert mean(measures.identity_lost, nobody) == pytest.approx(
        (nobody.change / (0.8 * nobody.strangers.mean())).mean(0).tolist()
    )


def test_the_reader_that_knows_the_attribute_is_asked():
    readers = {"shade": SHADE, "colours": COLOURS}
    assert redder(readers).attribute == "shade", "the first one, where nothing is asked for"
    seen = redder(readers, attribute="green")
    assert seen.probe.instrument is COLOURS
    assert mean(measures.target, seen) == pytest.approx([0, 0.3, 0.3])
    with pytest.raises(ValueError, match="attribute=hat: the probe reads shade, red, green, blue"):
        redder(readers, attribute="hat")


def test_without_columns_no_attribute_is_known():
    seen = redder({"clip": EMBEDDING}, attribute="red")
    assert seen.attribute is None
    assert "probe" not in seen.has
