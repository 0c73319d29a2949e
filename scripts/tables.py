"""What the scripts that measure flux-mini share: train by the command, read by the probe, write.

A work folder keeps what is trained and measured, named by the weights of flux-mini and by what was
asked for, so that no result of others is taken for it.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from omegaconf import OmegaConf

from pairedit.bases.base import Base, Model
from pairedit.files import CONF, locate
from pairedit.jobs.opening import open_model
from pairedit.lora.file import read_lora
from pairedit.measure import evaluate as evaluation
from pairedit.measure.evidence import Measure
from pairedit.measure.intervals import Summary
from pairedit.measure.readers import AttributeProbe
from pairedit.measure.subject import Subject
from pairedit.plan.build import build
from pairedit.settings import Rendering

TRAIN = (sys.executable, "-c", "from pairedit.cli import train; train()")


def digest(content: bytes | str) -> str:
    """Name what a result depends on."""
    content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()[:8]


def weights() -> str:
    """Name the weights of flux-mini."""
    file = locate("pkg://flux_mini") / "transformer/diffusion_pytorch_model.safetensors"
    return digest(file.read_bytes())


def train(runs: Mapping[Path, Sequence[str]], devices: Sequence[str] = ("auto",)) -> None:
    """Run pairedit-train for each folder, one run at a time on each device.

    Args:
        runs: the words of the command by the folder of the run.
        devices: values of `device`; one that is there twice trains two at once.
    """
    free: SimpleQueue[str] = SimpleQueue()
    for device in devices:
        free.put(device)

    def run(folder: Path) -> None:
        device = free.get()
        words = [*runs[folder], "preview=false", "report=false", f"device={device}"]
        if device == "cuda":  # where the launches of so small a model take longest
            words += ["+hardware.fused=true", "+hardware.graphs=true"]
        try:
            subprocess.run([*TRAIN, *words, f"hydra.run.dir={folder}"], check=True)
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices)) as pool:
        list(pool.map(run, runs))


def flux_mini() -> Model:
    """Say what flux-mini is, without its weights."""
    return build(OmegaConf.load(CONF / "model" / "flux-mini.yaml"), "model", Model)


def mini() -> tuple[Model, Base]:
    """Open flux-mini on the best device there is."""
    model = flux_mini()
    return model, open_model(model)


def measure(
    lora: Path, attribute: str, *, skip: int, scales: Sequence[float], seeds: range
) -> dict[Measure, Summary]:
    """Render a slider's images from seeds; return every measure of them."""
    model, base = mini()
    place = {
        "model": locate(model.path),
        "size": (model.resolution, model.resolution),
        "device": "cpu",
    }
    probe = AttributeProbe().open(**place)
    base.hardware = replace(base.hardware, batch_size=2 * len(scales))
    (found,) = evaluation.evaluate(
        base,
        [
            Subject(
                path=lora,
                label="",
                dataset=attribute,
                pairs=(),
                attribute=attribute,
                skip=skip,
            )
        ],
        {lora: read_lora(lora)},
        scales=scales,
        setting=evaluation.Setting(
            prompts=[model.prompt],
            seeds=seeds,
            rendering=Rendering(
                num_inference_steps=model.num_inference_steps,
                guidance_scale=model.guidance_scale,
                size=(model.resolution, model.resolution),
            ),
        ),
        readers={"probe": probe},
        missing={},
    )
    return dict(found.summaries)


def kept(file: Path, make: Callable[[], dict]) -> dict:
    """Return what a JSON file holds, made first if it is not there."""
    if not file.is_file():
        made = json.dumps(make(), indent=1)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(made)
    return json.loads(file.read_text())


def put(page: Path, name: str, text: str) -> None:
    """Replace what stands between two markers of a page."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, rest = page.read_text().split(begin)
    page.write_text(before + begin + text + end + rest.split(end)[1])
