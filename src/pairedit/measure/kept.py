"""Own what is kept of a slider that was measured: one file of readings, measures and a few images.

An evaluation of many sliders that was stopped goes on from these files. It holds none of them in
memory: tensors stay in their files until they are needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pairedit.files import replacing
from pairedit.measure.evaluate import Result
from pairedit.measure.evidence import Evidence, Reading
from pairedit.measure.intervals import Summary
from pairedit.measure.measures import MEASURES
from pairedit.measure.readers import Instrument
from pairedit.measure.subject import Subject
from pairedit.measure.unit import unit_of
from pairedit.measure.verdict import Verdict
from pairedit.sample import Sample
from pairedit.settings import Use

NAME = "measured.safetensors"
ENTRY = "measured"  # of the file's header
SIDES = ("lanes", "before", "after")
ENDS = ("mean", "low", "high")


def keep(result: Result, folder: Path, *, mark: str, settled: bool) -> None:
    """Write down all that a report needs of one slider.

    Args:
        result: with the images that are to be kept.
        folder: receives the file.
        mark: of all that the result follows from, but for how the slider is used.
        settled: how it is used was found by this evaluation.
    """
    seen = result.seen
    tensors = {"distance": seen.distance, "strangers": seen.strangers}
    for name, reading in seen.readings.items():
        tensors |= {f"reading/{name}/{side}": getattr(reading, side) for side in SIDES}
    for measured, summary in result.summaries.items():
        tensors |= {f"summary/{measured.name}/{end}": getattr(summary, end) for end in ENDS}
    tensors["strip"] = torch.frombuffer(bytearray(result.strip), dtype=torch.uint8)
    for (lane, k), sample in result.samples.items():
        tensors[f"image/{lane}/{k}"] = torch.from_numpy(np.array(sample.image.convert("RGB")))
    entry = {
        "mark": mark,
        "settled": settled,
        "use": asdict(result.subject.use),
        "scales": seen.scales,
        "pair_distance": seen.pair_distance,
        "attribute": seen.attribute,
        "guessed": seen.guessed,
        "unread": seen.unread,
        "match": seen.match,
        "instruments": {name: _told(r.instrument) for name, r in seen.readings.items()},
        "missing": {measured.name: why for measured, why in result.missing.items()},
        "verdict": asdict(result.verdict),
        "lanes": result.lanes,
        "samples": [[lane, k, sample.column] for (lane, k), sample in result.samples.items()],
    }
    # Of one person a mean is that person's own tensor, and a file refuses what is there twice.
    content = save(
        {key: value.clone().contiguous() for key, value in tensors.items()},
        {ENTRY: json.dumps(entry)},
    )
    with replacing(folder / NAME) as temporary:
        temporary.write_bytes(content)


def kept(subject: Subject, folder: Path, mark: str) -> Result | None:
    """Return what was found about a slider before; None where that was something else.

    Args:
        subject: the slider, as it is asked for now.
        folder: see `keep`.
        mark: of what the result would follow from now.
    """
    try:
        file = safe_open(folder / NAME, framework="pt")
        entry = json.loads(file.metadata()[ENTRY])
        if entry["mark"] != mark:
            return None
        use = Use(**entry["use"])
        if not (entry["settled"] if subject.open else use == subject.use):
            return None
        return _result(subject.used(use), entry, file)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def _result(subject: Subject, entry: Mapping[str, Any], file: Any) -> Result:
    """Put a result together from its file."""
    get = file.get_tensor
    seen = Evidence(
        scales=tuple(entry["scales"]),
        distance=get("distance"),
        strangers=get("strangers"),
        pair_distance=entry["pair_distance"],
        attribute=entry["attribute"],
        guessed=entry["guessed"],
        unread=entry["unread"],
        readings={
            name: Reading(
                instrument=_instrument(told),
                **{side: get(f"reading/{name}/{side}") for side in SIDES},
            )
            for name, told in entry["instruments"].items()
        },
        match=entry["match"],
    )
    summed = {key for key in file.keys() if key.startswith("summary/")}  # noqa: SIM118
    lanes = [(seed, prompt) for seed, prompt in entry["lanes"]]
    return Result(
        subject=subject,
        seen=seen,
        samples={
            (lane, k): Sample(
                seed=lanes[lane][0],
                prompt=lanes[lane][1],
                column=column,
                scales=(seen.scales[k],),
                image=Image.fromarray(get(f"image/{lane}/{k}").numpy()),
            )
            for lane, k, column in entry["samples"]
        },
        summaries={
            measured: Summary(**{end: get(f"summary/{measured.name}/{end}") for end in ENDS})
            for measured in MEASURES.values()
            if f"summary/{measured.name}/mean" in summed
        },
        missing={MEASURES[name]: why for name, why in entry["missing"].items()},
        verdict=Verdict(**entry["verdict"]),
        unit=unit_of(seen),
        lanes=lanes,
        strip=get("strip").numpy().tobytes(),
    )


def _told(instrument: Instrument) -> dict[str, Any]:
    """Say what an instrument reads."""
    tied = {name: list(others) for name, others in instrument.tied.items()}
    return {"columns": instrument.columns, "tied": tied, "identity": instrument.identity}


def _instrument(told: Mapping[str, Any]) -> Instrument:
    """Stand in for an instrument that has read already."""
    return Instrument(
        read=_read_before,
        columns=tuple(told["columns"]),
        tied=told["tied"],
        identity=tuple(told["identity"]),
    )


def _read_before(images: Tensor, references: Tensor) -> Tensor:
    """Refuse to read: the network is not open."""
    raise RuntimeError("what is kept of a slider was read before")
