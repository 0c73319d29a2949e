"""Own FLUX.2's module names, in diffusers and in the original code.

A double block has projections of its own for the image and for the text. In a single block query,
key, value and MLP are one matrix, and so are the outputs of attention and MLP: who trains attention
there trains the MLP's first layer along.
Source of the original names: diffusers' loaders/lora_conversion_utils.py.
"""

from __future__ import annotations

from pairedit.lora.names import Kind, Names, Part

_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
_ADDED_QKV = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
# 8 modules in a double block, 2 in a single one: all that holds any of attention.
_ATTENTION = (
    r"attn\.to_(q|k|v)",
    r"attn\.to_out(\.0)?",
    r"attn\.add_(q|k|v)_proj",
    r"attn\.to_add_out",
    r"attn\.to_qkv_mlp_proj",
)

DOUBLE = Kind(
    name="transformer_blocks",
    original="double_blocks",
    modules=(
        *_QKV,
        "attn.to_out.0",
        *_ADDED_QKV,
        "attn.to_add_out",
        "ff.linear_in",
        "ff.linear_out",
        "ff_context.linear_in",
        "ff_context.linear_out",
    ),
    parts=(
        Part(name="img_attn.qkv", modules=_QKV, rows=(1, 1, 1)),
        Part(name="txt_attn.qkv", modules=_ADDED_QKV, rows=(1, 1, 1)),
        Part(name="img_attn.proj", modules=("attn.to_out.0",)),
        Part(name="txt_attn.proj", modules=("attn.to_add_out",)),
        Part(name="img_mlp.0", modules=("ff.linear_in",)),
        Part(name="img_mlp.2", modules=("ff.linear_out",)),
        Part(name="txt_mlp.0", modules=("ff_context.linear_in",)),
        Part(name="txt_mlp.2", modules=("ff_context.linear_out",)),
    ),
)
SINGLE = Kind(
    name="single_transformer_blocks",
    original="single_blocks",
    modules=("attn.to_qkv_mlp_proj", "attn.to_out"),
    parts=(
        Part(name="linear1", modules=("attn.to_qkv_mlp_proj",)),
        Part(name="linear2", modules=("attn.to_out",)),
    ),
)
NAMES = Names(
    family="FLUX.2",
    kinds=(DOUBLE, SINGLE),
    targets={
        "attention": _ATTENTION,
        "attention_mlp": (*_ATTENTION, r"ff(_context)?\.linear_(in|out)"),
        "image_stream": (r"transformer_blocks\.\d+\.attn\.(to_(q|k|v)|to_out\.0)",),
        "text_stream": (r"transformer_blocks\.\d+\.attn\.(add_(q|k|v)_proj|to_add_out)",),
    },
    reads=r"attn\.(to_[qkv]|add_[qkv]_proj|to_qkv_mlp_proj)",
)
