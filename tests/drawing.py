"""Results of sliders whose pictures are flat colours, so that every attribute is known."""

from pathlib import Path

from PIL import Image

from pairedit.data.examples import Pair
from pairedit.measure.evaluate import measure_slider
from pairedit.measure.readers import Instrument
from pairedit.measure.subject import Subject
from pairedit.sample import Sample

COLUMNS = ("age", "smile", "hue")
SCALES = (-0.2, 0.0, 0.2, 0.4, 0.8)
COLOURS = Instrument(
    read=lambda images, references: images.mean((2, 3)) / 2 + 0.5,
    columns=COLUMNS,
    identity=("hue",),
)
SETTINGS = {
    "model": "flux-mini",
    "prompts": ["image of a person"],
    "num_inference_steps": 28,
    "resolution": 16,
    "match": 0.5,
}


def flat(age: float, smile: float, hue: float) -> Image.Image:
    return Image.new("RGB", (16, 16), tuple(round(255 * v) for v in (age, smile, hue)))


def pairs_in(folder: Path, count: int = 2) -> list[Pair]:
    """Write pairs that age by a fifth of the range."""
    found = []
    for number in range(count):
        hue = 0.2 + 0.6 * number / max(1, count - 1)
        for side, age in (("source", 0.2), ("target", 0.4)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            flat(age, 0.5, hue).save(folder / side / f"{number}.png")
        paths = (folder / side / f"{number}.png" for side in ("source", "target"))
        found.append(Pair(stem=str(number), source=next(paths), target=next(paths)))
    return found


def slider(pairs, label="graded", attribute="age", moves=(0.4, 0.0), lanes=4, **more):
    """Measure a slider that moves age and smile by so much a scale."""
    dataset = more.pop("dataset", "age")
    samples = {
        (lane, k): Sample(
            seed=1000 + lane,
            prompt="image of a person",
            column=k,
            scales=(scale,),
            image=flat(
                0.2 + moves[0] * scale * (scale > 0),
                0.5 + moves[1] * scale,
                lane / max(2, lanes - 1),
            ),
        )
        for lane in range(lanes)
        for k, scale in enumerate(SCALES)
    }
    subject = Subject(
        path=Path(f"{label}.safetensors"),
        label=label,
        dataset=dataset,
        pairs=pairs,
        attribute=attribute,
        skip=10,
        family=label,
        method=more.pop("method", label),
        **more,
    )
    missing = {"clip": "CLIP's weights are not there"}
    return measure_slider(subject, samples, SCALES, (16, 16), {"probe": COLOURS}, missing)


def with_seeds(result) -> dict:
    return {**SETTINGS, "seeds": sorted({seed for seed, _ in result.lanes})}
