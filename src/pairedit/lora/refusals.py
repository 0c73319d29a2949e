"""Own what is said of LoRA files that cannot be used: what they are, who wrote them, a way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pairedit.lora.names import Names

# Kinds of files whose update is no product of two matrices, by their keys.
_KINDS = {
    "a DoRA": r"\.dora_scale$|lora_magnitude_vector",
    "a LoKr": r"\.lokr_",
    "a LoHa": r"\.hada_",
    "an OFT": r"\.b?oft_",
    "a LoCon with a middle matrix": r"\.lora_mid\.",
    "a LoRA with biases": r"\.lora_(A|B|up|down)(\.\w+)?\.bias$",
    "a file of whole differences": r"\.diff$",
    "a control LoRA with norms": r"(query|key)_norm|norm_(added_)?[qk]\b",
}
_CONVERT = (
    "only plain LoRAs are read; to turn it into one, load it in ComfyUI, subtract the base model "
    "with ModelMergeSubtract and save the difference with LoraSave"
)
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
# Programs by entries of the header, then by keys.
_HEADERS = {
    "OneTrainer": r"ot_|modelspec\.ot",
    "ai-toolkit": r"software$",
    "sd-scripts": r"ss_",
}
_KEYS = {
    "OneTrainer": r"lora_transformer_|lora_prior",
    "XLabs": r".*\.processor\.",
    "LyCORIS": r"lycoris_|.*\.(lokr_|hada_|oft_)",
    "DiffSynth-Studio": r".*\.lora_A\.default\.",
    "PEFT": r"base_model\.",
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
    for kind, form in _KINDS.items():
        found = next((key for key in keys if re.search(form, key)), None)
        if found:
            writer = _writer(keys, texts)
            raise ValueError(f"is {kind} (key {found!r}){writer}; {_CONVERT}")


def refusal(key: str, keys: Iterable[str], texts: Mapping[str, str], names: Names) -> str:
    """Say that a key is of no known layout, what the file probably is, and a way out."""
    keys = list(keys)
    said = f"key {key!r} is of no known layout"
    if not names.family:
        return f"{said}, and to read others a program has to give the names of the base model"
    if any(_WHOLE.search(other) for other in keys):
        return (
            f"key {key!r} is of a whole model: no LoRA but a checkpoint of all weights; a base "
            "model is named apart from it, and a LoRA is the difference that was trained"
        )
    for model, form in _MODELS.items():
        if any(re.search(form, other) for other in keys):
            return (
                f"{said}: this looks like a LoRA for {model}{_writer(keys, texts)}, and a LoRA "
                "works with the model that it was trained on alone"
            )
    return (
        f"{said}: {names.family} has no such module{_writer(keys, texts)}; docs/files.md lists the "
        "programs whose files are read, and most of them can save as diffusers or kohya"
    )


def _writer(keys: Iterable[str], texts: Mapping[str, str]) -> str:
    """Name the program that probably wrote a file, as the end of a clause."""
    for lines, forms in ((texts, _HEADERS), (keys, _KEYS)):
        for program, form in forms.items():
            if any(re.match(form, line) for line in lines):
                return f", probably written by {program}"
    return ""
