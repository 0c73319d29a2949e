"""What is seen of sliders whose measures are known: on rendered faces, and made by hand."""

from functools import cache

import torch

from pairedit.data.images import to_image, to_tensor
from pairedit.files import locate
from pairedit.measure.evidence import Evidence, Reading, collect
from pairedit.measure.intervals import summarise
from pairedit.measure.measures import MEASURES
from pairedit.measure.readers import AttributeProbe, Instrument
from pairedit.mini.faces import ATTRIBUTES, INDEX, render, sample_attributes, with_attribute
from pairedit.mini.probe import SIZE

SCALES = (0.0, 0.25, 0.5)
BEFORE, AFTER = 0.2, 0.7  # the pairs' attribute; half of the range is one pair's worth
NAN = float("nan")
PROBE = AttributeProbe().open(model=locate("pkg://flux_mini"), size=(SIZE, SIZE), device="cpu")
EMBEDS = Instrument(read=lambda images, references: images.flatten(1))


@cache
def faces(attribute: str, value: float, count: int = 4, seed: int = 77) -> torch.Tensor:
    """Return people with one attribute set, as a PNG would hold them, [count, 3, 128, 128]."""
    people = sample_attributes(count, torch.Generator().manual_seed(seed))
    # A third of the time of float64, and hardly a pixel differs by a grey level.
    drawn = render(with_attribute(people, attribute, value).float()) * 2 - 1
    return torch.stack([to_tensor(to_image(image)) for image in drawn])


def rendered(slider: str, edit: str, values=None, scales=SCALES, **options) -> Evidence:
    """Return what is seen of a slider that sets an attribute, with pairs of an edit by name."""
    values = values or [BEFORE + scale for scale in scales]
    return collect(
        torch.stack([faces(slider, value) for value in values], dim=1),
        scales=scales,
        before=faces(edit, BEFORE, 3, seed=5),
        after=faces(edit, AFTER, 3, seed=5),
        readers={"probe": PROBE},
        **{"attribute": edit, **options},
    )


def path(points: list[list[float]], scales: tuple[float, ...], **parts) -> Evidence:
    """Return a slider whose images are points in the plane, the same for 4 lanes."""
    images = torch.tensor(points)
    distance = torch.cdist(images, images).expand(4, -1, -1)
    parts = {"strangers": torch.full((4,), 10.0), **parts}
    return Evidence(scales=scales, distance=distance, **parts)


def probed(changes: dict[str, list[float]], attribute="smile", lanes=4, **parts) -> Evidence:
    """Return a slider at scales 0, 0.5, 1 whose attributes are given, the rest at rest."""
    values = torch.full((lanes, 3, len(ATTRIBUTES)), 0.2)
    values += torch.linspace(0, 0.4, lanes)[:, None, None] * torch.eye(len(ATTRIBUTES))[0]
    for name, column in changes.items():
        values[..., INDEX[name]] += torch.tensor(column)
    before = torch.full((3, len(ATTRIBUTES)), 0.2)
    after = before.clone()
    after[:, INDEX[attribute]] += 0.5
    return Evidence(
        scales=(0.0, 0.5, 1.0),
        distance=0.1 * torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]]).expand(lanes, -1, -1),
        strangers=torch.full((lanes,), 10.0),
        pair_distance=0.1,
        attribute=attribute,
        readings={"probe": Reading(instrument=PROBE, lanes=values, before=before, after=after)},
        **parts,
    )


def mean(name: str, seen: Evidence) -> torch.Tensor:
    return summarise(MEASURES[name], seen).mean
