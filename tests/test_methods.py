"""Methods as they are composed from conf/: every term against the formula written out."""

import pytest
import torch

from composing import composed
from pairedit.files import CONF
from pairedit.methods import Method, Step
from pairedit.plan.build import build

ETA, BETA, SIGMA = 3.0, 1.5, 0.7
DRAWN = 0.25  # by `Step.draw`
C, S = frozenset({"content"}), frozenset({"semantic"})


def drawn(seed):
    return torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(seed))


XA, XB, EPS = drawn(1), drawn(2), drawn(3)
KEPT = XA + SIGMA * BETA * EPS
KEPT_B = XB + SIGMA * BETA * EPS
MIXED = (1 - SIGMA) * XA + SIGMA * EPS
MIXED_B = (1 - SIGMA) * XB + SIGMA * EPS
EDIT = ETA * (XA - XB)

# method: [(term, noisy, target, scales, learns)], from the table of equations.
EXPECTED = {
    "full": [
        ("content", KEPT, BETA * EPS, {"content": 1}, C),
        ("semantic", KEPT, BETA * EPS + EDIT, {"content": 1, "semantic": 1}, S),
    ],
    "wocontent": [("semantic", KEPT, BETA * EPS + EDIT, {"semantic": 1}, S)],
    "fm": [
        ("content", MIXED, EPS - XA, {"content": 1}, C),
        ("semantic", MIXED, EPS - XA + EDIT, {"content": 1, "semantic": 1}, S),
    ],
    "wocfg": [
        ("content", KEPT, BETA * EPS, {"content": 1}, C),
        ("semantic", KEPT_B, BETA * EPS, {"content": 1, "semantic": 1}, S),
    ],
    "wocfg method.two_sided=true": [
        ("content", KEPT, BETA * EPS, {"content": 1}, C),
        ("semantic", KEPT_B, BETA * EPS, {"content": 1, "semantic": 1}, S),
        ("negative", KEPT, BETA * EPS, {"content": 1, "semantic": -1}, S),
    ],
    "graded": [
        ("content", MIXED, EPS - XA, {"content": 1}, C),
        ("semantic", MIXED, 0.325 * EDIT, {"content": 1, "semantic": 0.325}, S),
    ],
    "graded method.least=-1 method.most=3": [
        ("content", MIXED, EPS - XA, {"content": 1}, C),
        ("semantic", MIXED, 0 * EDIT, {"content": 1, "semantic": 0}, S),
    ],
    "inversion": [("content", MIXED, EPS - XA, {"content": 1}, C)],
    "sliders": [
        ("positive", MIXED_B, EPS - XB, {"semantic": 1}, S),
        ("negative", MIXED, EPS - XA, {"semantic": -1}, S),
    ],
}


def one_step() -> Step:
    given = {"source": XA, "target": XB, "noise": EPS, "sigma": SIGMA}
    return Step(**given, velocity=lambda *_: EPS, draw=lambda: DRAWN)


def method_of(overrides: str) -> Method:
    name, *rest = overrides.split()
    config = composed("train", f"method={name}", f"cfg_eta={ETA}", f"noise_scale={BETA}", *rest)
    return build(config.method, "method", Method)


@pytest.mark.parametrize("name", EXPECTED)
def test_terms_are_the_formulas(name):
    method = method_of(name)
    step = one_step()
    terms = method.terms(step)
    assert [term.name for term in terms] == [row[0] for row in EXPECTED[name]]
    for term, (_, noisy, target, scales, learns) in zip(terms, EXPECTED[name], strict=True):
        torch.testing.assert_close(term.noisy, noisy)
        torch.testing.assert_close(term.target, target)
        assert dict(term.scales) == scales
        assert term.learns == learns
        assert term.prompt == ""
        # Only graded takes the content LoRA's own prediction as its ground.
        onto = {"content": 1} if name.startswith("graded") and term.name == "semantic" else None
        assert term.onto == onto


@pytest.mark.parametrize("name", EXPECTED)
def test_every_role_learns_from_some_term(name):
    method = method_of(name)
    step = one_step()
    learnt = frozenset().union(*(term.learns for term in method.terms(step)))
    assert learnt == set(method.roles)
    assert method.roles[-1] == ("content" if name == "inversion" else "semantic")


def test_every_method_has_its_formula():
    names = {path.stem for path in (CONF / "method").glob("*.yaml")}
    # The text slider's formula is in test_text_slider.
    assert names == {name.split()[0] for name in EXPECTED} | {"slider_text"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("method.least=nan", r"method\.least=nan: expected a number"),
        ("method.least=1 method.most=0.5", r"method\.most=0\.5: expected least=1 to"),
        ("cfg_eta=nan", "cfg_eta=nan: expected a number"),
    ],
)
def test_scales_without_meaning_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        method_of(f"graded {words}")
