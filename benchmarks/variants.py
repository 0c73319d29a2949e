"""Say what full_size.py measures: by default, and on request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GB = 10**9


@dataclass(frozen=True)
class Variant:
    """Hold one thing to measure: a function of a module here, and what it is called with."""

    module: str
    function: str
    seconds: float  # it takes about; it is not begun with less time left
    options: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False  # in a new interpreter, with nothing imported or compiled before


def _ours(function: str, seconds: float, name: str, *, fresh: bool = False, **more: Any) -> Variant:
    return Variant("ours", function, seconds, {"name": name, **more}, fresh)


def _shapes(shapes: list[str], **more: Any) -> Variant:
    return Variant("shapes", "train", 240, {"name": "80gb", "shapes": shapes, **more}, fresh=True)


VARIANTS = {
    "ceiling": Variant("measure", "ceiling", 15),
    "naive-train": Variant("naive", "train", 45),
    "train-80gb": _ours("train", 60, "80gb"),
    "train-80gb-whole": _ours("train", 160, "80gb", fresh=True, whole=True),
    "naive-sample": Variant("naive", "sample", 50),
    "sample-80gb": _ours("sample", 50, "80gb"),
    "sample-fp8": _ours("sample", 50, "80gb", precision="fp8"),
    "agreement": Variant("agreement", "agreement", 60),
    "train-24gb": _ours("train", 45, "24gb", cap=24 * GB),
    "train-12gb": _ours("train", 60, "12gb", cap=12 * GB),
    "sample-80gb-seeds": _ours("sample", 80, "80gb", seeds=4),
    "sample-24gb": _ours("sample", 60, "24gb", cap=24 * GB),
    "sample-12gb": _ours("sample", 60, "12gb", cap=12 * GB),
}
ON_REQUEST = {
    "train-80gb-default": _ours("train", 90, "80gb", fresh=True, whole=True, default=True),
    "train-80gb-eager": _ours(
        "train", 90, "80gb", fresh=True, whole=True, default=True, compile=False
    ),
    "train-fp8-eager": _ours(
        "train", 90, "80gb", fresh=True, whole=True, default=True, compile=False, precision="fp8"
    ),
    "train-80gb-plain": _ours(
        "train", 90, "80gb", fresh=True, whole=True, default=True, compile=False, graphs=False
    ),
    # From a fresh Python, to see when compiling has paid for itself.
    **{
        f"begin-{name}{kind}": _ours("train", seconds, name, fresh=True, cap=cap * GB, **more)
        for name, cap in (("80gb", 0), ("24gb", 24), ("12gb", 12))
        for kind, seconds, more in (("", 65, {}), ("-eager", 45, {"compile": False}))
    },
    "train-8gb": _ours("train", 60, "8gb", cap=8 * GB),
    "sample-8gb": _ours("sample", 60, "8gb", cap=8 * GB),
    # The same under the same cap in other precisions: more bytes a block, so more of them come.
    "train-8gb-fp8": _ours("train", 60, "8gb", cap=8 * GB, precision="fp8"),
    "train-8gb-bf16": _ours("train", 90, "8gb", cap=8 * GB, precision="bf16", swapped=0.85),
    "train-8gb-nf4": _ours("train", 60, "8gb", cap=8 * GB, precision="nf4", swapped=0.0),
    "sample-8gb-fp8": _ours("sample", 60, "8gb", cap=8 * GB, precision="fp8"),
    "profile-train-8gb": _ours("train", 60, "8gb", cap=8 * GB, profiled=True),
    # Without fused operations and graphs, to see what these give.
    "train-80gb-unfused": _ours("train", 60, "80gb", fused=False, graphs=False),
    "sample-80gb-unfused": _ours("sample", 60, "80gb", fused=False, graphs=False),
    "profile-train-unfused": _ours("train", 60, "80gb", profiled=True, fused=False, graphs=False),
    "train-fp8": _ours("train", 60, "80gb", precision="fp8"),
    "train-int8": _ours("train", 60, "80gb", precision="int8"),
    "shapes-square": _shapes(["square"]),
    "shapes": _shapes(["square", "tall", "wide"]),
    "shapes-dynamic": _shapes(["square", "tall", "wide"], dynamic=True),
    "profile-train": _ours("train", 60, "80gb", profiled=True),
    "profile-train-eager": _ours("train", 60, "80gb", profiled=True, compile=False),
    "profile-train-fp8": _ours("train", 60, "80gb", profiled=True, precision="fp8"),
    "profile-naive": Variant("naive", "train", 45, {"profiled": True}),
    "profile-sample": _ours("sample", 50, "80gb", profiled=True),
    "profile-sample-fp8": _ours("sample", 50, "80gb", profiled=True, precision="fp8"),
}
