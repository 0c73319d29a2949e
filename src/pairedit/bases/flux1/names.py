"""Own FLUX.1's module names, in diffusers and in the original code.

A double block has projections of its own for the image and for the text; single blocks hold both
streams as one sequence, so `image_stream` and `text_stream` leave them out.
Source of the original names, and of those of XLabs' processors: diffusers'
loaders/lora_conversion_utils.py.
"""

from __future__ import annotations

from pairedit.lora.names import Kind, Names, Part

# `attention` is what PairEdit trains: 8 modules in a double block, 3 in a single one.
_ATTENTION = (
    r"attn\.to_(q|k|v)",
    r"attn\.to_out\.0",
    r"attn\.add_(q|k|v)_proj",
    r"attn\.to_add_out",
)
_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
_ADDED_QKV = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")

DOUBLE = Kind(
    name="transformer_blocks",
    original="double_blocks",
    modules=(
        "norm1.linear",
        "norm1_context.linear",
        *_QKV,
        "attn.to_out.0",
        *_ADDED_QKV,
        "attn.to_add_out",
        "ff.net.0.proj",
        "ff.net.2",
        "ff_context.net.0.proj",
        "ff_context.net.2",
    ),
    parts=(
        Part(name="img_mod.lin", modules=("norm1.linear",)),
        Part(name="txt_mod.lin", modules=("norm1_context.linear",)),
        Part(name="img_attn.qkv", modules=_QKV, rows=(1, 1, 1)),
        Part(name="txt_attn.qkv", modules=_ADDED_QKV, rows=(1, 1, 1)),
        Part(name="img_attn.proj", modules=("attn.to_out.0",)),
        Part(name="txt_attn.proj", modules=("attn.to_add_out",)),
        Part(name="img_mlp.0", modules=("ff.net.0.proj",)),
        Part(name="img_mlp.2", modules=("ff.net.2",)),
        Part(name="txt_mlp.0", modules=("ff_context.net.0.proj",)),
        Part(name="txt_mlp.2", modules=("ff_context.net.2",)),
    ),
    read=(
        Part(name="processor.qkv_lora1", modules=_QKV, rows=(1, 1, 1)),
        Part(name="processor.qkv_lora2", modules=_ADDED_QKV, rows=(1, 1, 1)),
        Part(name="processor.proj_lora1", modules=("attn.to_out.0",)),
        Part(name="processor.proj_lora2", modules=("attn.to_add_out",)),
    ),
)
SINGLE = Kind(
    name="single_transformer_blocks",
    original="single_blocks",
    modules=("norm.linear", "proj_mlp", "proj_out", *_QKV),
    parts=(
        Part(name="modulation.lin", modules=("norm.linear",)),
        Part(name="linear1", modules=(*_QKV, "proj_mlp"), rows=(1, 1, 1, 4)),
        Part(name="linear2", modules=("proj_out",)),
    ),
    read=(
        Part(name="processor.qkv_lora", modules=_QKV, rows=(1, 1, 1)),
        Part(name="processor.proj_lora", modules=("proj_out",)),
    ),
)
# The one architecture that Forge and SwarmUI know FLUX.1 LoRAs by; schnell's are told by it too.
_LABELS = {
    "modelspec.architecture": "flux-1-dev/lora",
    "ss_base_model_version": "flux1",
    "ss_network_module": "networks.lora_flux",
}
NAMES = Names(
    family="FLUX.1",
    kinds=(DOUBLE, SINGLE),
    targets={
        "attention": _ATTENTION,
        "attention_mlp": (*_ATTENTION, r"ff(_context)?\.net\.(0\.proj|2)", "proj_mlp", "proj_out"),
        "image_stream": (r"transformer_blocks\.\d+\.attn\.(to_(q|k|v)|to_out\.0)",),
        "text_stream": (r"transformer_blocks\.\d+\.attn\.(add_(q|k|v)_proj|to_add_out)",),
    },
    outside=(
        Part(name="img_in", modules=("x_embedder",)),
        Part(name="txt_in", modules=("context_embedder",)),
        Part(name="time_in.in_layer", modules=("time_text_embed.timestep_embedder.linear_1",)),
        Part(name="time_in.out_layer", modules=("time_text_embed.timestep_embedder.linear_2",)),
        Part(name="vector_in.in_layer", modules=("time_text_embed.text_embedder.linear_1",)),
        Part(name="vector_in.out_layer", modules=("time_text_embed.text_embedder.linear_2",)),
        Part(name="guidance_in.in_layer", modules=("time_text_embed.guidance_embedder.linear_1",)),
        Part(name="guidance_in.out_layer", modules=("time_text_embed.guidance_embedder.linear_2",)),
        Part(name="final_layer.linear", modules=("proj_out",)),
        # Scale and shift stand the other way round in diffusers.
        Part(name="final_layer.adaLN_modulation.1", modules=("norm_out.linear",), swapped=True),
    ),
    published=_ATTENTION,
    reads=r"attn\.(to_[qkv]|add_[qkv]_proj)",
    labels=dict.fromkeys(("flux-dev", "flux-krea", "flux-schnell"), _LABELS),
)
