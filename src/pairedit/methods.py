"""Own what each algorithm asks of one training step: its terms.

A method turns a `Step` into `Term`s; the trainer sums their mean squared errors and never asks
which method runs. x_A, x_B: clean source and target latents, eps: noise, eta: `cfg_eta`,
c and s: content and semantic LoRA. Each is a class; an ablation is one with another YAML.
Shape letters: C latent channels, h and w latent height and width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from pairedit.data.examples import Contrast, Pair, Single
from pairedit.noising import ContentPreserving, Noising, Rectified
from pairedit.problems import check
from pairedit.settings import MOST

if TYPE_CHECKING:
    from torch import Tensor

CONTENT = "content"
SEMANTIC = "semantic"


@dataclass(frozen=True, kw_only=True)
class Term:
    """Ask that the model, at one noisy input and under some LoRAs, predicts one velocity."""

    name: str
    noisy: Tensor  # [C, h, w], float32
    target: Tensor  # [C, h, w], float32, the velocity to predict
    scales: Mapping[str, float]  # strength of every LoRA that is on
    learns: frozenset[str]  # the LoRAs of `scales` that this term trains; the others are frozen
    prompt: str = ""
    # LoRAs whose own velocity there, without gradient, is added to `target` where `where` is 1.
    onto: Mapping[str, float] | None = None  # None adds nothing
    where: Tensor | None = None  # [1, h, w] in [0, 1]; None: 1 everywhere


@dataclass(frozen=True, kw_only=True)
class Step:
    """Hold what a method may use in one training step."""

    noise: Tensor  # eps [C, h, w], float32, unit Gaussian, the same for both images
    sigma: float  # noise level of the drawn step, in (0, 1]
    # (noisy [C, h, w], sigma, prompt, scales) -> velocity [C, h, w], without gradient.
    velocity: Callable[[Tensor, float, str, Mapping[str, float]], Tensor]
    # Draws uniformly from [0, 1), after all else of the step; only methods that need it call it.
    draw: Callable[[], float]
    source: Tensor | None = None  # x_A, or a single x [C, h, w], float32; None beside prompts
    target: Tensor | None = None  # x_B [C, h, w], float32; None where there is no pair
    prompts: Contrast | None = None  # None where images are learnt from
    path: tuple[float, ...] = ()  # the noise levels of an inference run down to `sigma`


@runtime_checkable
class Method(Protocol):
    """Turn a training step into terms."""

    learns_from: ClassVar[type]  # Pair, Single or Contrast

    @property
    def roles(self) -> tuple[str, ...]:
        """Name the LoRAs to train; the last is the one to sample with."""
        ...

    def terms(self, step: Step) -> list[Term]:
        """List what to predict; every term uses the step's sigma."""
        ...


def _content_term(step: Step, noising: Noising) -> Term:
    """Let the content LoRA explain the source image."""
    return Term(
        name=CONTENT,
        noisy=noising.noisy(step.source, step.noise, step.sigma),
        target=noising.velocity(step.source, step.noise),
        scales={CONTENT: 1.0},
        learns=frozenset({CONTENT}),
    )


@dataclass(frozen=True, kw_only=True)
class PairEdit:
    """Learn the edit as a guidance direction beside a content LoRA.

        content     v(c)       -> u
        semantic    v([c], s)  -> u + eta * (x_A - x_B)

    at the noisy source with its velocity u. Without `content` only the second term stays, on s
    alone. Source: PairEdit (arXiv 2506.07992); its ablations B (`content` off) and C (rectified
    noising).
    """

    learns_from: ClassVar[type] = Pair
    noising: Noising = field(default_factory=ContentPreserving)
    eta: float = 4.0
    content: bool = True

    def __post_init__(self) -> None:
        """Refuse an eta that is no number.

        Raises:
            Invalid: names it.
        """
        check(self, eta=(math.isfinite(self.eta), "a number"))

    @property
    def roles(self) -> tuple[str, ...]:
        """Name the LoRAs to train."""
        return (CONTENT, SEMANTIC) if self.content else (SEMANTIC,)

    def terms(self, step: Step) -> list[Term]:
        """List the content term, where there is one, and the semantic term."""
        velocity = self.noising.velocity(step.source, step.noise)
        semantic = Term(
            name=SEMANTIC,
            noisy=self.noising.noisy(step.source, step.noise, step.sigma),
            target=velocity + self.eta * (step.source - step.target),
            scales=dict.fromkeys(self.roles, 1.0),
            learns=frozenset({SEMANTIC}),
        )
        return [_content_term(step, self.noising), semantic] if self.content else [semantic]


@dataclass(frozen=True, kw_only=True)
class Graded:
    """Learn the edit at a scale k that is drawn for every step, so that all scales are seen.

        content     v(c)          -> u_A
        semantic    v([c], k s)   -> [v(c)] + k * eta * (x_A - x_B)    k uniform in least .. most

    at the noisy source; brackets take no gradient. The semantic LoRA is told what changes, and
    nothing of what the content LoRA has not explained of the source. Ours.
    """

    learns_from: ClassVar[type] = Pair
    noising: Noising = field(default_factory=Rectified)
    eta: float = 4.0
    least: float = 0.1
    most: float = 1.0
    roles: tuple[str, ...] = field(default=(CONTENT, SEMANTIC), init=False)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            Invalid: names every field.
        """
        check(
            self,
            eta=(math.isfinite(self.eta), "a number"),
            least=(math.isfinite(self.least), "a number"),
            most=(self.least <= self.most <= MOST, f"least={self.least:g} to {MOST:g}"),
        )

    def terms(self, step: Step) -> list[Term]:
        """List the content term, and the semantic term at the scale that is drawn."""
        scale = self.least + (self.most - self.least) * step.draw()
        content = _content_term(step, self.noising)
        semantic = Term(
            name=SEMANTIC,
            noisy=content.noisy,
            target=scale * self.eta * (step.source - step.target),
            onto=content.scales,
            scales={CONTENT: 1.0, SEMANTIC: scale},
            learns=frozenset({SEMANTIC}),
        )
        return [content, semantic]


@dataclass(frozen=True, kw_only=True)
class VisualConcept:
    """Learn the target image as a concept on top of the content LoRA, without guidance.

        content     v(c)        at the noisy x_A  -> u_A
        semantic    v([c], s)   at the noisy x_B  -> u_B
        (two_sided) v([c], -s)  at the noisy x_A  -> u_A

    Source: PairEdit (arXiv 2506.07992), ablation A.
    """

    learns_from: ClassVar[type] = Pair
    noising: Noising = field(default_factory=ContentPreserving)
    two_sided: bool = False
    roles: tuple[str, ...] = field(default=(CONTENT, SEMANTIC), init=False)

    def terms(self, step: Step) -> list[Term]:
        """List the content term and one semantic term for each side learnt."""
        sides = [(SEMANTIC, step.target, 1.0)]
        if self.two_sided:
            sides.append(("negative", step.source, -1.0))
        semantic = [
            Term(
                name=name,
                noisy=self.noising.noisy(clean, step.noise, step.sigma),
                target=self.noising.velocity(clean, step.noise),
                scales={CONTENT: 1.0, SEMANTIC: scale},
                learns=frozenset({SEMANTIC}),
            )
            for name, clean, scale in sides
        ]
        return [_content_term(step, self.noising), *semantic]


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """Learn one real image, so that sampling under the LoRA leads to it.

        content     v(c)  at the noisy x  -> u

    Source: PairEdit (arXiv 2506.07992), real-image editing.
    """

    learns_from: ClassVar[type] = Single
    noising: Noising = field(default_factory=Rectified)
    roles: tuple[str, ...] = field(default=(CONTENT,), init=False)

    def terms(self, step: Step) -> list[Term]:
        """List the content term."""
        return [_content_term(step, self.noising)]


@dataclass(frozen=True, kw_only=True)
class VisualSlider:
    """Learn the target at scale +1 and the source at scale -1, with one LoRA.

        positive    v(+s)  at the noisy x_B  -> u_B
        negative    v(-s)  at the noisy x_A  -> u_A

    Source: Concept Sliders (arXiv 2311.12092), visual sliders, on rectified flow.
    """

    learns_from: ClassVar[type] = Pair
    noising: Noising = field(default_factory=Rectified)
    roles: tuple[str, ...] = field(default=(SEMANTIC,), init=False)

    def terms(self, step: Step) -> list[Term]:
        """List the positive and the negative term."""
        sides = [("positive", step.target, 1.0), ("negative", step.source, -1.0)]
        return [
            Term(
                name=name,
                noisy=self.noising.noisy(clean, step.noise, step.sigma),
                target=self.noising.velocity(clean, step.noise),
                scales={SEMANTIC: scale},
                learns=frozenset({SEMANTIC}),
            )
            for name, clean, scale in sides
        ]


@dataclass(frozen=True, kw_only=True)
class TextSlider:
    """Learn the direction between two prompts; no image is needed.

        v(s; target)  ->  v(target) + eta * (v(positive) - v(negative)), LoRAs off,
                          rescaled to the norm of v(positive)

    at a noisy latent on the way of the model's own run for the target prompt, with the LoRA on.
    Source: Concept Sliders (arXiv 2311.12092), textual sliders, on rectified flow.
    """

    learns_from: ClassVar[type] = Contrast
    eta: float = 2.0
    roles: tuple[str, ...] = field(default=(SEMANTIC,), init=False)

    def __post_init__(self) -> None:
        """Refuse an eta that is no number.

        Raises:
            Invalid: names it.
        """
        check(self, eta=(math.isfinite(self.eta), "a number"))

    def terms(self, step: Step) -> list[Term]:
        """Run the model down to the drawn step, then list the one term."""
        prompts, noisy = step.prompts, step.noise
        for sigma, following in pairwise(step.path):
            velocity = step.velocity(noisy, sigma, prompts.target, {SEMANTIC: 1.0})
            noisy = noisy + (following - sigma) * velocity
        target, positive, negative = (
            step.velocity(noisy, step.sigma, prompt, {})
            for prompt in (prompts.target, prompts.positive, prompts.negative)
        )
        guided = target + self.eta * (positive - negative)
        return [
            Term(
                name=SEMANTIC,
                noisy=noisy,
                target=guided * positive.norm() / guided.norm(),
                scales={SEMANTIC: 1.0},
                learns=frozenset({SEMANTIC}),
                prompt=prompts.target,
            )
        ]
