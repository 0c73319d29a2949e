"""Sliders rendered and measured together are what they are alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pairedit.bases.flux1.load import load
from pairedit.data.examples import find_pairs
from pairedit.files import locate
from pairedit.lora.file import read_lora
from pairedit.measure.evaluate import Setting, evaluate, render
from pairedit.measure.evidence import collect
from pairedit.measure.readers import AttributeProbe, open_readers
from pairedit.measure.subject import Subject
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering
from seen import PROBE, SCALES
from tiny import running, strong_lora


def test_sliders_rendered_together_are_those_rendered_alone(flux, tmp_path):
    files = [strong_lora(flux, tmp_path / f"{n}.safetensors", seed=n, rank=n + 1) for n in range(3)]
    loras = {file.path: file for file in files}
    subjects = [
        Subject(
            path=files[n].path,
            label=str(n),
            dataset="x",
            pairs=[],
            attribute=None,
            skip=skip,
        )
        for n, skip in enumerate((2, 2, 1))
    ]
    common = {"prompts": ["old"], "seeds": [4, 6]}
    at = Rendering(num_inference_steps=5, size=(32, 32))
    base = running(flux, batch_size=3)
    scales = [(-0.5, 0.0, 1.0), (0.0, 0.7), (1.0,)]
    together = {}
    for owners, sample in render(base, subjects, loras, scales, Setting(rendering=at, **common)):
        for owner in owners:
            together[owner, sample.seed, sample.scales[0]] = sample.image
    assert len(together) == 2 * (3 + 2 + 1)
    for index, (subject, own) in enumerate(zip(subjects, scales, strict=True)):
        sliders = [Slider(lora=loras[subject.path], scales=own)]
        for sample in generate(
            base, sliders=sliders, rendering=replace(at, skip=subject.skip), **common
        ):
            pair = (sample.image, together[index, sample.seed, sample.scales[0]])
            left, right = (np.asarray(image).astype(int) for image in pair)
            assert abs(left - right).max() <= 1


@pytest.mark.heavy
def test_changed_loras_are_called_what_they_are(smile):
    """Nothing, 50 times as much, the opposite: a slider of flux-mini that really was trained."""
    lora = read_lora(smile)
    factors = {"no-op": 0.0, "destructive": 50.0, "reversed": -1.0}
    subjects = [
        Subject(
            path=Path(verdict),
            label=verdict,
            dataset="smile",
            pairs=find_pairs(locate("pkg://data/smile")),
            attribute=None,
            skip=11,
        )
        for verdict in factors
    ]
    loras = {
        Path(verdict): replace(
            lora, weights={m: (a, factor * b) for m, (a, b) in lora.weights.items()}
        )
        for verdict, factor in factors.items()
    }
    place = locate("pkg://flux_mini")
    readers, missing = open_readers(
        {"probe": AttributeProbe()}, model=place, size=(128, 128), device="cpu"
    )
    results = evaluate(
        load(str(place), device="cpu", precision="float32", max_sequence_length=32),
        subjects,
        loras,
        scales=(1.0,),
        setting=Setting(
            prompts=["image of a person"],
            seeds=[0, 1],
            rendering=Rendering(size=(128, 128)),
        ),
        readers=readers,
        missing=missing,
    )
    for result in results:
        assert result.seen.attribute == "smile", "read from the pairs"
        assert result.verdict.name == result.subject.label, result.verdict
        assert result.verdict.advise()


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"attribute": "smirk"}, "smirk"), ({"scales": (0.1, 0.25, 0.5)}, "0 is missing")],
)
def test_what_cannot_be_measured_is_refused(options, reason):
    black = torch.zeros(2, 3, 3, 128, 128)
    readers = {"probe": PROBE}
    given = {"scales": SCALES, "before": black[0], "after": black[1], "readers": readers}
    with pytest.raises(ValueError, match=reason):
        collect(black, **{**given, **options})
