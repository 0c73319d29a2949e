"""Masks of pairs: what is not free is not learnt."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from pairedit.data.examples import find_pairs
from pairedit.data.images import load_image
from pairedit.learner import inside
from pairedit.lora.file import read_lora
from pairedit.measure.choice import by_pairs
from pairedit.methods import Graded, PairEdit, Term, VisualConcept, VisualSlider
from pairedit.pictures.cells import fitted
from pairedit.pictures.pairs import draw_pairs
from pairedit.runs.about import describe_run
from pairedit.runs.tracking import Silent
from pairedit.settings import Training
from pairedit.train import fit
from tiny import draw_mask, places, running, write_pairs


@pytest.fixture
def masked(tmp_path):
    """Two discs, of which the first has a mask: its left half."""
    folder = write_pairs(tmp_path / "masked")
    draw_mask(folder / "masks/p0.png", (32, 32), (0, 0, 15, 31))
    return folder


METHODS = [
    PairEdit(),
    PairEdit(content=False),
    Graded(),
    VisualConcept(two_sided=True),
    VisualSlider(),
]


def train(flux, pairs, folder, method, **changes):
    folder.mkdir(parents=True)
    losses = []

    @dataclass
    class Notes(Silent):
        def log(self, step, metrics):
            losses.append(dict(metrics))

    files = fit(
        base=flux,
        method=method,
        pairs=pairs,
        settings=Training(
            **{"steps": 3, "rank": 2, "size": (32, 32), "num_inference_steps": 6, "end_step": 5}
            | changes
        ),
        folder=folder,
        run=Notes(),
        metadata={},
    )
    return files, losses


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{type(m).__name__}-{len(m.roles)}")
@pytest.mark.parametrize("batched", [True, False])
def test_where_nothing_is_free_the_target_is_the_models_own_prediction(
    flux, masked, tmp_path, monkeypatch, method, batched
):
    """A new LoRA predicts what the model does without it, so such a step has no loss."""
    pairs = find_pairs(masked)[:1]
    base = running(flux, batch_terms=batched)
    edits = {"content"} if method.roles == ("content",) else {"semantic", "positive", "negative"}
    _, open_ = train(base, pairs, tmp_path / "open", method, steps=1)
    monkeypatch.setattr("pairedit.train.to_latents", lambda mask, shape: torch.zeros(1, *shape))
    _, closed = train(base, pairs, tmp_path / "closed", method, steps=1)
    found = {key: value for key, value in closed[0].items() if any(e in key for e in edits)}
    assert found
    for key, value in found.items():
        assert value == pytest.approx(0, abs=1e-10), key
        assert open_[0][key] > 1e-3


@pytest.mark.parametrize("method", METHODS[:3], ids=["full", "wocontent", "graded"])
def test_a_white_mask_learns_what_none_does(flux, masked, tmp_path, method):
    draw_mask(masked / "masks/p0.png", (32, 32), (0, 0, 31, 31))
    draw_mask(masked / "masks/p1.png", (32, 32), (0, 0, 31, 31))
    pairs = find_pairs(masked)
    assert all(pair.mask for pair in pairs)
    white, _ = train(flux, pairs, tmp_path / "white", method)
    none, _ = train(flux, find_pairs(write_pairs(tmp_path / "none")), tmp_path / "plain", method)
    one, other = (read_lora(files["semantic"]).weights for files in (white, none))
    for module, weights in one.items():
        for a, b in zip(weights, other[module], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_the_equation_of_a_masked_term():
    mask = torch.tensor([[[1.0, 0.25, 0.0]]])
    term = Term(
        name="semantic",
        noisy=torch.zeros(2, 1, 3),
        target=torch.ones(2, 1, 3),
        scales={"content": 1.0, "semantic": 0.5},
        learns=frozenset({"semantic"}),
    )
    (found,) = inside([term], mask, "semantic")
    assert found.onto == {"content": 1.0}
    assert torch.equal(found.target, mask.expand(2, 1, 3))
    assert torch.equal(found.where, 1 - mask)
    assert inside([term], mask, "content") == [term]
    assert inside([term], None, "semantic") == [term]


def test_masks_are_matched_by_name(masked, caplog):
    caplog.set_level("INFO")
    pairs = find_pairs(masked)
    assert [pair.mask and pair.mask.name for pair in pairs] == ["p0.png", None]
    assert "1 mask in" in caplog.text
    assert "left out" not in caplog.text
    draw_mask(masked / "masks/p7.png", (32, 32), (0, 0, 15, 31))
    draw_mask(masked / "masks/p1.png", (32, 20), (0, 0, 15, 31))
    with pytest.raises(ValueError, match=r"masks/p7.png: no pair of that name") as error:
        find_pairs(masked)
    assert "a mask of 32 x 20 px does not fit p1.png of 32 x 32 px" in str(error.value)


def test_a_checkpoint_knows_the_masks_and_the_reach_is_theirs(flux, masked):
    pairs = find_pairs(masked)
    about = describe_run(Graded(), pairs, Training(), flux.hardware)
    assert {key for key in about["examples"] if key.startswith("masks/")} == {"masks/p0.png"}
    first = pairs[:1]
    plain = find_pairs(masked.parent / "none") if (masked.parent / "none").exists() else None
    assert plain is None
    assert 0 < by_pairs(flux, first, (32, 32)).reach < 0.75


def test_the_sheet_of_pairs_shows_what_is_free(masked):
    pairs = find_pairs(masked)
    plain = draw_pairs([pairs[1]], (32, 32), title="discs")
    sheet = draw_pairs(pairs, (32, 32), title="discs")
    assert sheet.width > plain.width
    free = np.asarray(fitted(load_image(pairs[0].source, (32, 32))))[:, :24]
    assert len(places(sheet, free)) == 2  # in the source, and through the mask
