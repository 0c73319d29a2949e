"""Own what is said of LoRA files that cannot be used: what they are, who wrote them, a way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pairedit.lora.names import Names

# Types of numbers in safetensors that count as they stand; others are codes of something else.
TYPES = ("BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2", "I8", "I16", "I32", "I64", "U8")

_SUBTRACT = (
    "to turn it into a LoRA, load it in ComfyUI, subtract the base model with ModelMergeSubtract "
    "and save the difference with LoraSave"
)
_MERGE = (
    "ComfyUI does not read it either; train a LoRA in its place, or merge it into the model with "
    "PEFT's merge_and_unload, and let ComfyUI's ModelMergeSubtract and LoraSave make a LoRA of the "
    "difference"
)
DORA = f"only plain LoRAs are read; {_MERGE}"  # by the word of a PEFT configuration
_AGAIN = "save it again as plain float16 with the program that made it"
# Kinds of files that hold another thing than products of two matrices, by their keys; a way out.
_KINDS = {
    "a LoRA of quantised numbers whose scales stand beside them": (
        r"scale_(weight|input)$|(weight|input)_scale$|scaled_fp8$|\.(SCB|absmax|quant_map|qzeros"
        r"|quant_state\..*|nested_absmax|comfy_quant)$",
        _AGAIN,
    ),
    "a DoRA": (r"\.dora_scale$", _SUBTRACT),
    "a DoRA of PEFT": (r"\.lora_magnitude_vector", _MERGE),
    "a LoKr": (r"\.lokr_", _SUBTRACT),
    "a LoHa": (r"\.hada_", _SUBTRACT),
    "an OFT of PEFT": (r"\.b?oft_[RrSs]\b", _MERGE),
    "an OFT": (r"\.b?oft_", _SUBTRACT),
    "a GLoRA": (r"\.(a1|a2|b1|b2|bm1|bm2)\.weight$", _SUBTRACT),
    "a LoCon with a middle matrix": (r"\.lora_mid\.", _SUBTRACT),
    "a VeRA": (r"[._]vera_(lambda|A|B)", _MERGE),
    "an IA3": (r"\.ia3_|\.on_input$", _MERGE),
    "an AdaLoRA": (r"\.lora_E|\.ranknum", _MERGE),
    "an adapter of PEFT that is no LoRA": (
        r"[._](hra_|boft_|fourierft_|vblora_|xlora_|randlora_|shira_|bone_|miss_|road_|poly_|"
        r"waveft_|c3a_|hira_|loha_|ln_tuning|prompt_encoder|prompt_embeddings|trainable_tokens_)",
        _MERGE,
    ),
    "a LoRA whose first matrix has a bias": (r"\.lora_(A|down)(\.[\w-]+)?\.bias$", _MERGE),
    "a file of whole differences": (r"\.(diff|set_weight)$", _SUBTRACT),
    "a control LoRA with norms": (
        r"(query|key)_norm|norm_(added_)?[qk]\b",
        "it needs a control picture, which a slider does not have",
    ),
}
# Models whose LoRAs are often mistaken for one of this model.
_MODELS = {
    "Stable Diffusion 1.5 or XL": r"(down|up|mid|input|output|middle)_blocks?[._]",
    "Stable Diffusion 3": r"joint_blocks",
    "FLUX.2": r"to_qkv_mlp_proj|ff(_context)?[._]linear_(in|out)|_stream_modulation",
    "Qwen-Image": r"transformer_blocks[._]\d+[._](img|txt)_m",
    "Z-Image or Lumina": r"(noise|context)_refiner|layers[._]\d+[._](attention|feed_forward)",
    "Wan": r"blocks[._]\d+[._](self_attn|cross_attn|ffn)",
}
# Weights of a model's own, beside which no LoRA stands.
_WHOLE = re.compile(
    r"^(?!.*(lora|alpha|\.diff\b|processor)).*(blocks\.\d+\..*|conv_in|conv_out|img_in|x_embedder)"
    r"\.(weight|bias|scale)$"
)
_HALF = re.compile(r".*(lora|\.processor\.).*(A|B|down|up)(\.[\w-]+)?\.weight$")
# The same beside LoRAs, whose training took whole layers along.
_BESIDE = re.compile(r"^(?!.*(lora|alpha|\.diff|processor)).*\.(weight|bias|scale)$")
# Programs by entries of the header, then by keys.
_HEADERS = {
    "pairedit": r"pairedit$",
    "OneTrainer": r"ot_|modelspec\.ot",
    "ai-toolkit": r"software$",
    "ComfyUI": r"(workflow|prompt)$",
    "sd-scripts": r"ss_",
}
_KEYS = {
    "OneTrainer": r"lora_transformer_|lora_prior",
    "XLabs": r".*\.processor\.",
    "PEFT": r"base_model\.",
    "LyCORIS": r"lycoris_|.*\.(lokr_|hada_|oft_|a1\.|on_input$)",
    "DiffSynth-Studio": r".*\.lora_A\.default\.",
    "sd-scripts": r"lora_(unet|te\d*)_",
    "ComfyUI": r"diffusion_model\..*\.(lora_up|diff)",
    "ai-toolkit or fal": r"diffusion_model\.",
    "diffusers": r"(transformer|unet)\.",
}


def check_kind(keys: Iterable[str], texts: Mapping[str, str]) -> None:
    """Refuse files whose keys say that they are another kind of adapter.

    Raises:
        ValueError: names the kind, a key, the program that probably wrote it, and a way out.
    """
    keys = list(keys)
    if "checkpoint" in texts and not any("lora" in key for key in keys):
        raise ValueError(
            "is a checkpoint of a training, which pairedit-train goes on with; once that has "
            "ended, the slider is semantic.safetensors in the folder above"
        )
    for kind, (form, way) in _KINDS.items():
        found = next((key for key in keys if re.search(form, key)), None)
        if found:
            writer = writer_of(keys, texts)
            raise ValueError(f"is {kind} (key {found!r}){writer}; only plain LoRAs are read; {way}")


def check_types(types: Mapping[str, str], texts: Mapping[str, str]) -> None:
    """Refuse numbers that stand for others.

    Args:
        types: of the tensors that count, by key.
        texts: of the file's header.

    Raises:
        ValueError: names a key, its type, the program that probably wrote it, and a way out.
    """
    for key, kind in types.items():
        if kind not in TYPES:
            writer = writer_of(types, texts)
            raise ValueError(
                f"{key} is {kind}, expected one of {', '.join(TYPES)}{writer}; {_AGAIN}"
            )


def damaged(reason: str, keys: Iterable[str], texts: Mapping[str, str]) -> str:
    """Say what is wrong with a file of a known layout, who probably wrote it, and a way out."""
    return f"{reason}{writer_of(list(keys), texts)}; fetch the file again, or save it there again"


def refusal(key: str, keys: Iterable[str], texts: Mapping[str, str], names: Names) -> str:
    """Say that a key is of no known layout, what the file probably is, and a way out."""
    keys = list(keys)
    said = f"key {key!r} is of no known layout"
    if not names.family:
        return f"{said}; other layouts are read if the base model is known, too"
    count = sum(map(bool, map(_HALF.match, keys))) // 2
    beside = [other for other in keys if _BESIDE.match(other)]
    if count and beside:
        return (
            f"key {beside[0]!r} belongs to a whole layer of the model: the file has {count} "
            f"LoRA{'s' * (count > 1)} and {len(beside)} "
            f"tensor{'s' * (len(beside) > 1)} of whole layers{writer_of(keys, texts)}; only LoRAs "
            "are read; train without whole layers (PEFT's modules_to_save), or save the file "
            "without them"
        )
    if any(_WHOLE.search(other) for other in keys):
        return (
            f"key {key!r} belongs to a whole model: the file is not a LoRA, but a checkpoint of "
            "all weights; a LoRA file only holds what a training has changed"
        )
    for model, form in _MODELS.items():
        if any(re.search(form, other) for other in keys):
            return (
                f"{said}: this looks like a LoRA for {model}{writer_of(keys, texts)}; a LoRA only "
                "works with the model that it was trained on"
            )
    return (
        f"{said}: {names.family} has no such module{writer_of(keys, texts)}; docs/files.md lists "
        "the programs whose files are read, and most of them can save as diffusers or kohya"
    )


def writer_of(keys: Iterable[str], texts: Mapping[str, str]) -> str:
    """Name the program that probably wrote a file, as the end of a clause."""
    for lines, forms in ((texts, _HEADERS), (keys, _KEYS)):
        for program, form in forms.items():
            if any(re.match(form, line) for line in lines):
                return f", probably written by {program}"
    return ""
