"""Own the networks that read numbers off images. The group `reader` of the configuration.

flux-mini's own probe reads attributes. The others run on any base model, with weights the user
has: nothing is downloaded. A reader that cannot run names the file or package that is missing.

Shapes: B images, H and W pixels, D numbers read off an image.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pairedit.files import expand_home
from pairedit.problems import Invalid, check
from pairedit.settings import Size

if TYPE_CHECKING:
    from torch import Tensor

# (images, references), float [B, 3, H, W] in [-1, 1] on the CPU -> float32 [B, D] on the CPU. The
# references are the images at scale 0 that each is compared with; most look at `images` alone.
Read = Callable[["Tensor", "Tensor"], "Tensor"]
BATCH = 16  # images that a network reads at once
SIDE = 16  # pixels of a picture that is seen coarsely
ARCFACE_SIDE = 112  # px, the input of every ArcFace network


class Missing(ValueError):
    """Say what a reader lacks."""


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """Read numbers off images, and say what they are. One that names columns reads attributes."""

    read: Read
    columns: tuple[str, ...] = ()  # D names; none of an embedding
    # Attributes by the edit that moves them by its nature, so that no measure blames it for them.
    tied: Mapping[str, Sequence[str]] = field(default_factory=dict)
    identity: tuple[str, ...] = ()  # the columns that tell one person from another


@runtime_checkable
class Reader(Protocol):
    """Open a network."""

    def open(self, *, model: Path, size: Size, device: str) -> Instrument:
        """Return the network, ready to read.

        Args:
            model: folder of the base model; need not be there.
            size: of the images.
            device: torch device to run on.

        Raises:
            Missing: names the file or package.
            Invalid: names the field that it cannot run with.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class AttributeProbe:
    """Read attributes with the probe that lies in the base model's folder."""

    file: str = "probe.safetensors"

    def open(self, *, model: Path, size: Size, device: str) -> Instrument:
        """Return an instrument that reads every attribute of a face, in [0, 1] or near."""
        weights = model / self.file
        if not weights.is_file():
            raise Missing(f"no {self.file} in the model's folder ({model})")
        from pairedit.mini.attributes import ATTRIBUTES, IDENTITY, TIED
        from pairedit.mini.probe import SIZE, read

        if size != (SIZE, SIZE):
            raise Missing(f"it reads images of {SIZE} px, these have {' x '.join(map(str, size))}")
        return Instrument(
            read=lambda images, references: read(images, weights),
            columns=ATTRIBUTES,
            tied=TIED,
            identity=IDENTITY,
        )


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Embed images with CLIP, through transformers."""

    path: str = "openai/clip-vit-large-patch14"  # a folder, or a model hub id in the local cache

    def open(self, *, model: Path, size: Size, device: str) -> Instrument:
        """Return an instrument to CLIP's joint space, unit length."""
        import torch.nn.functional as F
        from transformers import CLIPModel

        embed = _pretrained(CLIPModel, "get_image_features", self.path, device)
        return Instrument(read=lambda images, references: F.normalize(embed(images), dim=-1))


@dataclass(frozen=True, kw_only=True)
class Dino:
    """Embed images with DINOv2, through transformers."""

    path: str = "facebook/dinov2-base"  # a folder, or a model hub id in the local cache

    def open(self, *, model: Path, size: Size, device: str) -> Instrument:
        """Return an instrument to DINOv2's normalised class token."""
        from transformers import Dinov2Model

        embed = _pretrained(Dinov2Model, "forward", self.path, device)
        return Instrument(read=lambda images, references: embed(images))


@dataclass(frozen=True, kw_only=True)
class Lpips:
    """Compare images with LPIPS, through torchmetrics."""

    net: str = "alex"  # alex, vgg or squeeze

    def __post_init__(self) -> None:
        """Refuse networks that LPIPS lacks.

        Raises:
            Invalid: names the networks.
        """
        check(self, net=(self.net in ("alex", "vgg", "squeeze"), "alex, vgg or squeeze"))

    def open(self, *, model: Path, size: Size, device: str) -> Instrument:
        """Return an instrument for the distance from the references, [B, 1]."""
        models = _package("torchvision").models
        image = _package("torchmetrics", "torchmetrics.image")
        import torch

        kind = {"alex": "AlexNet", "vgg": "VGG16", "squeeze": "SqueezeNet1_1"}[self.net]
        url = getattr(models, f"{kind}_Weights").IMAGENET1K_V1.url
        file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
        if not file.is_file():
            raise Missing(f"the weights of {kind} are not at {file}; they come from {url}")

        metric = image.LearnedPerceptualImagePatchSimilarity(net_type=self.net).to(device)

        @torch.no_grad()
        def compare(images: Tensor, references: Tensor) -> Tensor:
            sides = (side.clamp(-1, 1).to(device) for side in (images, references))
            # One at a time: the metric itself returns a mean.
            found = [metric(a[None], b[None]).cpu().float() for a, b in zip(*sides, strict=True)]
            return torch.stack(found)[:, None]

        return Instrument(read=compare)


@dataclass(frozen=True, kw_only=True)
class ArcFace:
    """Embed faces with an ArcFace network in ONNX, through onnxruntime.

    The image is taken as the face crop: portraits only, no detector runs.
    """

    path: str | None = None  # such as w600k_r50.onnx of insightface's buffalo_l

    def open(self, *, model: Path, size: Size, device: str) -> Instrument:
        """Return an instrument to the recognition embedding."""
        if self.path is None:
            raise Invalid({"path": "null: expected an ONNX recognition model"})
        file = expand_home(self.path)
        if not file.is_file():
            raise Invalid({"path": f"{self.path}: no such file"})
        onnxruntime = _package("onnxruntime")
        import torch
        import torch.nn.functional as F

        try:
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own
            reason = str(error).splitlines()[0]
            raise Invalid({"path": f"{self.path}: no ONNX model ({reason})"}) from error
        (name,) = [node.name for node in session.get_inputs()]
        size = (ARCFACE_SIDE, ARCFACE_SIDE)

        def embed(images: Tensor, references: Tensor) -> Tensor:
            small = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
            # One at a time: many exported networks fix their batch at 1.
            found = [session.run(None, {name: part.numpy()})[0] for part in small.split(1)]
            return torch.cat([torch.from_numpy(part).float() for part in found])

        return Instrument(read=embed)


def open_readers(
    readers: Mapping[str, Reader], *, model: Path, size: Size, device: str, group: str = ""
) -> tuple[dict[str, Instrument], dict[str, str]]:
    """Open what can be opened.

    Args:
        readers: by name.
        model: see `Reader.open`.
        size: see `Reader.open`.
        device: see `Reader.open`.
        group: what stands before a reader's name where its fields are set, such as `readers.`.

    Returns:
        The instruments, and why the rest cannot be opened, both by name.
    """
    opened: dict[str, Instrument] = {}
    missing: dict[str, str] = {}
    for name, reader in readers.items():
        try:
            opened[name] = reader.open(model=model, size=size, device=device)
        except Missing as error:
            missing[name] = str(error)
        except Invalid as error:
            keys = {field: f"{group}{name}.{field}" for field in error.wrong}
            missing[name] = "; ".join(error.lines(keys))
    return opened, missing


def _package(name: str, module: str | None = None) -> ModuleType:
    """Import an optional package."""
    try:
        return importlib.import_module(module or name)
    except ImportError as error:
        raise Missing(f"{name} is not installed: pip install 'pairedit[metrics]'") from error


def _pretrained(kind: Any, call: str, path: str, device: str) -> Callable[[Tensor], Tensor]:
    """Load a transformers vision model with its preprocessing, from this machine only.

    Args:
        kind: the model's class.
        call: its method that takes `pixel_values` and returns something with `pooler_output`.
        path: a folder, or a model hub id in the local cache.
        device: torch device to run on.
    """
    import torch
    from transformers import AutoImageProcessor
    from transformers.utils import logging as transformers_logging

    from pairedit.data.images import to_image

    folder = expand_home(path)
    source = str(folder) if folder.is_dir() else path
    bars = sys.stderr.isatty()
    try:
        if not bars:
            transformers_logging.disable_progress_bar()
        network = kind.from_pretrained(source, local_files_only=True).to(device).eval()
        prepare = AutoImageProcessor.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError) as error:
        what = "neither a model folder nor in the model hub's local cache"
        raise Invalid({"path": f"{path}: {what}"}) from error
    finally:
        if not bars:
            transformers_logging.enable_progress_bar()

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        pixels = prepare(images=[to_image(image) for image in images], return_tensors="pt")
        found = getattr(network, call)(pixel_values=pixels["pixel_values"].to(device))
        return found.pooler_output.float().cpu()

    return run
