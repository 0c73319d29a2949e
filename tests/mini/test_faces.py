"""Faces are drawn by their attributes alone."""

from __future__ import annotations

import pytest
import torch

from pairedit.mini.faces import ATTRIBUTES, INDEX, describe, render, sample_attributes


def test_faces_are_drawn_alike_one_by_one_and_together():
    people = sample_attributes(3, torch.Generator().manual_seed(1))
    together = render(people, size=32)
    assert torch.equal(together[1:2], render(people[1:2], size=32))
    assert together.shape == (3, 3, 32, 32)
    assert 0 <= float(together.min()) < float(together.max()) <= 1


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_shows(name):
    people = sample_attributes(1, torch.Generator().manual_seed(3)).repeat(2, 1)
    people[:, INDEX["age"]] = 0.1
    people[:, INDEX["hair_length"]] = 0.1
    people[:, INDEX[name]] = torch.tensor([0.0, 1.0], dtype=people.dtype)
    low, high = render(people, size=64)
    assert float((low - high).abs().mean()) > 2e-4


def test_bad_attributes_are_refused():
    people = sample_attributes(1, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="expected"):
        render(people[:, :5])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        render(people + 1)


def test_a_face_is_described_in_the_models_words():
    face = torch.full((len(ATTRIBUTES),), 0.5, dtype=torch.float64)
    face[INDEX["age"]], face[INDEX["glasses"]] = 0.9, 1.0
    assert describe(face).startswith("image of a person, old, with glasses")
