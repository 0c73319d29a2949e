"""Own where a run starts and which velocity it follows: the group `edit` of the configuration.

    text              v_s
    real              v_c + w * (v_s - v_base)    w: `semantic_cfg_scale`
    real_published    v_c + w * (v_s - v_c)

v_s: sliders on, v_c: the photograph's content LoRA on, v_base: no LoRA. While every slider is at
scale 0, and in the first `skip` steps, a real image follows v_c alone: the reconstruction.
Without content LoRA v_c is v_base.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from PIL import Image

from pairedit.data.images import to_tensor
from pairedit.data.kinds import stem_of
from pairedit.data.masks import Mask, to_latents
from pairedit.data.names import plain_name
from pairedit.lora.file import LoraFile
from pairedit.lora.rows import Row
from pairedit.problems import check
from pairedit.settings import Size

if TYPE_CHECKING:
    from torch import Tensor

    from pairedit.bases.base import Base
    from pairedit.flow import Blend, Flow

Key = tuple[str, int | None, str | None]  # prompt, seed, path of the photograph
CONTENT = "content_{}"  # name of an attached LoRA
OWN_NOISE = ("ode", "both")  # start from the noise of the photograph itself
INVERSIONS = ("auto", "ode", "lora", "both")


@dataclass(frozen=True, kw_only=True)
class Photo:
    """Hold one photograph to edit."""

    path: Path
    image: Image.Image  # RGB, at the size that the model draws
    content: LoraFile | None = None  # a LoRA that was trained on this image alone
    label: str | None = None  # where another photograph of the run has its plain name
    attached: str | None = None  # name of the content LoRA, where it is in the model already
    pixels: tuple[int, int] | None = None  # width and height to come back at; None: the image's own
    mask: Mask | None = None  # where the sliders may act; None: everywhere

    @property
    def name(self) -> str:
        """Return the label, or the file stem in letters that need no quotes anywhere."""
        return self.label or plain_name(stem_of(self.path.name))

    @property
    def size(self) -> Size:
        """Return the height and width that the model draws."""
        return self.image.height, self.image.width

    def back(self, image: Image.Image, zero: Image.Image | None = None) -> Image.Image:
        """Bring what the model made of it to its own pixels.

        Args:
            image: at the size that the model draws.
            zero: the same at scale 0, which is kept outside of the mask.
        """
        if self.pixels not in (None, image.size):
            image = image.resize(self.pixels, Image.Resampling.LANCZOS)
        return image if zero is None else Image.composite(image, self.back(zero), self.mask.own)


@dataclass(frozen=True, kw_only=True)
class Lane:
    """Name what one row of a sheet has in common."""

    prompt: str
    seed: int | None = None  # None: a photograph's own noise
    photo: Photo | None = None
    content: str | None = None  # the attached LoRA that holds the photograph's content

    @property
    def key(self) -> Key:
        """Tell it from others."""
        path = None if self.photo is None else str(self.photo.path.resolve())
        return self.prompt, self.seed, path

    @property
    def size(self) -> Size | None:
        """Return the photograph's height and width; None without one."""
        return None if self.photo is None else self.photo.size

    def free(self, base: Base) -> Tensor | None:
        """Return where sliders may act, float32 [1, h, w] in [0, 1]; None: everywhere."""
        if self.photo is None or self.photo.mask is None:
            return None
        return to_latents(self.photo.mask.drawn, base.latent_shape(self.size)[1:]).to(base.device)


def lanes_for(
    prompts: Sequence[str] | Mapping[int, str],
    photos: Sequence[Photo],
    seeds: Sequence[int | None],
) -> list[Lane]:
    """List what is rendered at every scale; see `sample.generate`."""
    subjects = [
        (photo, photo.attached or (CONTENT.format(index) if photo.content else None))
        for index, photo in enumerate(photos)
    ] or [(None, None)]
    runs = (
        ((prompts[seed], subject, seed) for subject, seed in product(subjects, seeds))
        if isinstance(prompts, Mapping)
        else product(prompts, subjects, seeds)
    )
    return [
        Lane(prompt=prompt, seed=seed, photo=photo, content=content)
        for prompt, (photo, content), seed in runs
    ]


def chosen(lanes: list[Lane], only: Sequence[Key] | None) -> list[Lane]:
    """Pick lanes in an order; all of them where none are named."""
    if only is None:
        return lanes
    known = {lane.key: lane for lane in lanes}
    return [known[key] for key in only if key in known]


@runtime_checkable
class Edit(Protocol):
    """Choose the latents at which the sliders set in, and the velocity from there on."""

    def start(self, flow: Flow, lanes: Sequence[Lane], *, skip: int, size: Size) -> Tensor:
        """Return float32 [B, C, h, w] at `flow.sigmas[skip]`, a row for each lane."""
        ...

    def blend(self, scales: Mapping[str, float], lane: Lane) -> Blend:
        """Return the velocity of a lane under sliders at these scales."""
        ...

    def passes(self, steps: int, skip: int) -> int:
        """Count the passes that `start` takes for each lane."""
        ...


@dataclass(frozen=True, kw_only=True)
class TextToImage:
    """Start from the noise of the seed, so that the prompt alone decides."""

    def start(self, flow: Flow, lanes: Sequence[Lane], *, skip: int, size: Size) -> Tensor:
        """Run the first `skip` steps, without LoRAs, from unit Gaussian noise."""
        return _from_noise(self, flow, lanes, skip=skip, size=size)

    def blend(self, scales: Mapping[str, float], lane: Lane) -> Blend:
        """Return v_s."""
        return [(1.0, Row(scales=scales), lane.prompt)]

    def passes(self, steps: int, skip: int) -> int:
        """Count the steps before `skip`."""
        return skip


@dataclass(frozen=True, kw_only=True)
class RealImage:
    """Reconstruct a photograph, and edit it on the way.

    inversion  ode   its own noise, found by running the sampler backwards; no content LoRA
               lora  the noise of a seed; a content LoRA leads it to the photograph
               both  its own noise under the content LoRA
               auto  both where a content LoRA is given, else ode
    """

    inversion: str = "auto"
    iterations: int = 1  # of each step run backwards; see `flow.invert`
    semantic_cfg_scale: float = 1.0  # w
    published: bool = False  # its formula, which leaves the reconstruction with a jump

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            Invalid: names every field.
        """
        check(
            self,
            inversion=(self.inversion in INVERSIONS, ", ".join(INVERSIONS)),
            iterations=(self.iterations >= 0, "0 or more"),
            semantic_cfg_scale=(0 < self.semantic_cfg_scale < math.inf, "a number above 0"),
        )
        by_lora = not self.published or self.inversion != "ode"
        check(self, inversion=(by_lora, "lora or both, the published formula needs a content LoRA"))

    def chosen(self, content: bool) -> RealImage:
        """Settle `auto` by whether there is a content LoRA."""
        if self.inversion != "auto":
            return self
        return replace(self, inversion="both" if content else "ode")

    def start(self, flow: Flow, lanes: Sequence[Lane], *, skip: int, size: Size) -> Tensor:
        """Reach step `skip` of the reconstruction: from its end backwards, or from noise."""
        import torch

        if self.inversion not in OWN_NOISE:
            return _from_noise(self, flow, lanes, skip=skip, size=size)
        images = torch.stack([to_tensor(lane.photo.image) for lane in lanes])
        blends = [self.blend({}, lane) for lane in lanes]
        # Going back beyond step `skip` would only retrace the same way forwards.
        return flow.backwards(flow.base.encode(images).mean, blends, skip, self.iterations)

    def blend(self, scales: Mapping[str, float], lane: Lane) -> Blend:
        """Return v_c, and with a slider away from 0 the edit on top of it."""
        anchor = Row(scales={lane.content: 1.0}) if lane.content else Row()
        if not any(scales.values()):
            return [(1.0, anchor, lane.prompt)]
        w = self.semantic_cfg_scale
        if self.published or not lane.content:
            terms = [(1 - w, anchor), (w, Row(scales=scales))]
        else:
            # Differs from the published code: v_s - v_c does not vanish with the scale, so the
            # smallest scale already changes the whole image.
            terms = [(1.0, anchor), (w, Row(scales=scales)), (-w, Row())]
        return [(weight, row, lane.prompt) for weight, row in terms if weight]

    def passes(self, steps: int, skip: int) -> int:
        """Count the passes backwards, or the steps before `skip`."""
        own = self.inversion in OWN_NOISE
        return (steps - skip) * (1 + self.iterations) if own else skip


def _from_noise(edit: Edit, flow: Flow, lanes: Sequence[Lane], *, skip: int, size: Size) -> Tensor:
    """Run the first `skip` steps from the noise of each lane's seed, sliders off."""
    import torch

    from pairedit.machine.devices import bring

    noise = torch.stack([flow.base.noise(lane.seed, size) for lane in lanes])
    blends = [edit.blend({}, lane) for lane in lanes]
    return flow.forwards(bring(noise, flow.base.device), blends, 0, skip)
