"""Own Z-Image's module names, in diffusers and in the original code.

All blocks are alike: attention and a gated MLP, over image tokens (`noise_refiner`), text tokens
(`context_refiner`, without a clock) or both as one sequence (`layers`). Where the original keeps
q, k and v as one matrix, diffusers has three.
"""

from __future__ import annotations

from pairedit.lora.names import Kind, Names, Part

_QKV = ("attention.to_q", "attention.to_k", "attention.to_v")
_MLP = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
_CLOCK = "adaLN_modulation.0"
_ATTENTION = (r"attention\.to_(q|k|v)", r"attention\.to_out\.0")


def _kind(name: str, *more: str) -> Kind:
    """Name the blocks of one kind; diffusers and the original call them alike."""
    return Kind(
        name=name,
        original=name,
        modules=(*_QKV, "attention.to_out.0", *_MLP, *more),
        parts=(
            Part(name="attention.qkv", modules=_QKV, rows=(1, 1, 1)),
            Part(name="attention.out", modules=("attention.to_out.0",)),
            *(Part(name=module, modules=(module,)) for module in (*_MLP, *more)),
        ),
    )


NAMES = Names(
    family="Z-Image",
    kinds=(  # in the order that they run in
        _kind("noise_refiner", _CLOCK),
        _kind("context_refiner"),
        _kind("layers", _CLOCK),
    ),
    targets={
        "attention": _ATTENTION,
        "attention_mlp": (*_ATTENTION, r"feed_forward\.w(1|2|3)"),
    },
    reads=r"attention\.to_[qkv]",
)
