"""Time fp8 attention of cuDNN beside its bf16 one, at the shapes of FLUX.1 at 512 px.

    pip install nvidia-cudnn-frontend
    python benchmarks/attention.py [--rows 1,4,16] [--out FILE.json]

Needs a Hopper card. Nothing of pairedit is measured: torch has no fp8 attention, and this says
what one would give. Times are milliseconds of one call, errors are relative to float32 (forward) or
to bf16 (backward). The scale of the gradients inside is 1, so the errors of the way back are an
upper bound.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cudnn
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from walks import milliseconds

HEADS, TOKENS, WIDTH = 24, 512 + 1024, 128
FP8, LARGEST = torch.float8_e4m3fn, 448.0
PEAK = 256.0  # attention weights lie in 0 to 1
TYPES = {FP8: cudnn.data_type.FP8_E4M3, torch.float32: cudnn.data_type.FLOAT}
FORWARD = ("descale_q", "descale_k", "descale_v", "descale_s", "scale_s", "scale_o")
BACKWARD = (
    *("descale_q", "descale_k", "descale_v", "descale_o", "descale_dO", "descale_s", "descale_dP"),
    *("scale_s", "scale_dQ", "scale_dK", "scale_dV", "scale_dP"),
)


def rounded(values: Tensor) -> tuple[Tensor, Tensor]:
    """Round to e4m3 with one scale for all; return values and scale."""
    scale = values.abs().amax().float() / LARGEST
    return (values.float() / scale).to(FP8), scale.reshape(1, 1, 1, 1)


def error(found: Tensor, expected: Tensor) -> float:
    """Return the relative error."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())


class Graph:
    """Build one operation of cuDNN and run it."""

    def __init__(self) -> None:
        """Begin."""
        self._handle = cudnn.create_handle()
        self.graph = cudnn.pygraph(
            io_data_type=cudnn.data_type.FP8_E4M3,
            intermediate_data_type=cudnn.data_type.FLOAT,
            compute_data_type=cudnn.data_type.FLOAT,
            handle=self._handle,
        )
        self._bound: dict[Any, Tensor] = {}

    def take(self, values: Tensor) -> Any:
        """Take an input."""
        node = self.graph.tensor(
            dim=list(values.shape), stride=list(values.stride()), data_type=TYPES[values.dtype]
        )
        self._bound[node] = values
        return node

    def scales(self, names: tuple[str, ...], known: Mapping[str, Tensor]) -> dict[str, Any]:
        """Take scales; those that nobody knows are 1, but for the attention weights."""
        fixed = {"scale_s": PEAK, "descale_s": 1 / PEAK}
        given = {n: torch.full((1, 1, 1, 1), fixed.get(n, 1.0), device="cuda") for n in names}
        return {name: self.take(values) for name, values in (given | dict(known)).items()}

    def give(self, node: Any, values: Tensor) -> Tensor:
        """Bind an output."""
        node.set_output(True).set_dim(list(values.shape)).set_stride(list(values.stride()))
        node.set_data_type(TYPES[values.dtype])
        self._bound[node] = values
        return values

    def build(self) -> Callable[[], None]:
        """Return what runs it."""
        self.graph.build([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        size = max(self.graph.get_workspace_size(), 1)
        space = torch.empty(size, device="cuda", dtype=torch.uint8)
        return lambda: self.graph.execute(self._bound, space, handle=self._handle)


def measure(rows: int) -> dict[str, Any]:
    """Measure one number of rows."""
    torch.manual_seed(0)
    shape, one = (rows, TOKENS, HEADS, WIDTH), (1, 1, 1, 1)
    q, k, v, grad = (
        torch.randn(shape, device="cuda", dtype=torch.bfloat16).transpose(1, 2) for _ in range(4)
    )
    aten = torch.ops.aten
    known = aten._scaled_dot_product_cudnn_attention(q, k, v, None, True)
    out, stats = known[0], known[1]
    back = (grad, q, k, v, out, stats, known[6], known[7], None, *known[2:6], 0.0, False)
    grads = aten._scaled_dot_product_cudnn_attention_backward(*back)
    exact = scaled_dot_product_attention(*(part[:1].float() for part in (q, k, v)))
    found: dict[str, Any] = {
        "forward, bf16": milliseconds(
            lambda: aten._scaled_dot_product_cudnn_attention(q, k, v, None, True)
        ),
        "backward, bf16": milliseconds(
            lambda: aten._scaled_dot_product_cudnn_attention_backward(*back)
        ),
        "error forward, bf16": error(out[:1], exact),
    }
    rounds = torch.compile(lambda *parts: [(part.float() / 0.01).to(FP8) for part in parts])
    found["rounding of q, k and v"] = milliseconds(lambda: rounds(q, k, v))

    small = {name: rounded(part) for name, part in (("q", q), ("k", k), ("v", v))}
    known_scales = {f"descale_{name}": scale for name, (_, scale) in small.items()}
    forward = Graph()
    inputs = {name: forward.take(values) for name, (values, _) in small.items()}
    scales = forward.scales(FORWARD, known_scales)
    nodes = forward.graph.sdpa_fp8(**inputs, **scales, is_inference=False, attn_scale=WIDTH**-0.5)
    ours = forward.give(nodes[0], torch.empty(shape, device="cuda", dtype=FP8).transpose(1, 2))
    stats = forward.give(nodes[1], torch.empty(rows, HEADS, TOKENS, 1, device="cuda"))
    for node in nodes[2:]:
        forward.give(node, torch.empty(one, device="cuda"))
    run = forward.build()
    found["forward, fp8"] = milliseconds(run)
    found["error forward, fp8"] = error(ours[:1], exact)

    small |= {"o": rounded(out), "dO": rounded(grad)}
    known_scales = {f"descale_{name}": scale for name, (_, scale) in small.items()}
    backward = Graph()
    inputs = {name: backward.take(values) for name, (values, _) in small.items()}
    nodes = backward.graph.sdpa_fp8_backward(
        **inputs,
        stats=backward.take(stats),
        **backward.scales(BACKWARD, known_scales),
        attn_scale=WIDTH**-0.5,
    )
    ours = [
        backward.give(node, torch.empty(shape, device="cuda", dtype=FP8).transpose(1, 2))
        for node in nodes[:3]
    ]
    for node in nodes[3:]:
        backward.give(node, torch.empty(one, device="cuda"))
    found["backward, fp8"] = milliseconds(backward.build())
    found["error backward, fp8: q, k, v"] = [
        error(part, expected) for part, expected in zip(ours, grads, strict=True)
    ]
    return found


def main() -> None:
    """Measure all numbers of rows, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default="1,4,16", help="rows of a pass, by default 1,4,16")
    parser.add_argument("--out", type=Path, help="a JSON file")
    args = parser.parse_args()
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    found |= {"cudnn": cudnn.backend_version(), "frontend": cudnn.__version__}
    for rows in map(int, args.rows.split(",")):
        found[f"{rows} rows"] = measure(rows)
    print(json.dumps(found, indent=1))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
