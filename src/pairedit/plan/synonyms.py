"""Own the words that people bring from other tools, and what they are called here.

ai-toolkit, kohya's sd-scripts, diffusers' scripts and this project's own commands each have names
of their own for one thing; whoever types one is told ours, with the value that was given.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from pairedit.files import CONF, locate
from pairedit.plan.keys import (
    EvalConfig,
    ExportConfig,
    GenConfig,
    LoraKeys,
    StudioConfig,
    TrainConfig,
)
from pairedit.problems import nearest
from pairedit.runs.words import double_quoted, shell

TRUNKS = {
    "train": TrainConfig,
    "gen": GenConfig,
    "eval": EvalConfig,
    "export": ExportConfig,
    "studio": StudioConfig,
}
# Ours: theirs. The first of ours that the command has is proposed.
NAMES = {
    "learning_rate": "lr unet_lr transformer_lr base_lr learningrate network_lr",
    "steps": "max_train_steps train_steps num_train_steps max_steps iterations train_iteration "
    "training_steps num_iterations iters epochs epoch num_epochs num_train_epochs n_epochs "
    "max_train_epochs",
    "num_inference_steps": "steps num_steps n_steps inference_steps sample_steps sampling_steps "
    "infer_steps denoising_steps num_sampling_steps",
    "lora.rank": "rank network_dim lora_rank dim r lora_dim linear network_rank lora_r",
    "lora.alpha": "alpha network_alpha lora_alpha linear_alpha",
    "lora.targets": "targets target_modules lora_layers train_method lora_target_modules",
    "save_every": "checkpointing_steps save_steps save_every_n_steps save_per_steps save_interval",
    "resume": "resume_from_checkpoint resume_from continue resume_path",
    "init": "network_weights init_lora lora_init pretrained_lora start_from from_lora",
    "seed": "seeds random_seed train_seed",
    "seeds": "seed random_seed start_seed start_seed_gen",
    "prompts": "prompt text caption positive_prompt sample_prompts validation_prompt",
    "prompts_file": "prompt_file promptfile prompts_path from_file",
    "scales": "scale strength strengths weight weights lora_scale lora_weight multiplier "
    "network_multiplier lora_strength slider_scale",
    "guidance_scale": "guidance cfg cfg_scale guidance_strength",
    "negative_prompt": "negative neg_prompt n_prompt negative_prompts neg uncond_prompt",
    "cfg_eta": "eta",
    "noise_scale": "noise_scales",
    "skip": "skips skip_steps start_at",
    "resolution": "width height image_size train_resolution res w h",
    "size": "crop aspect aspect_ratio shape bucket center_crop enable_bucket crop_mode",
    "batch_size": "batch bs train_batch_size per_device_batch_size eval_batch_size",
    "model.path": "model_path base_model pretrained_model_name_or_path model_name_or_path "
    "name_or_path model_name pretrained_model checkpoint ckpt ckpt_path base_model_path flux",
    "pairs": "image_dir data_dir train_data_dir instance_data_dir dataset_dir dataset_path data "
    "folder folder_path pair pairs_dir pairs_folder image_folder train_dir input_dir images_dir",
    "image": "images input input_image init_image photo photos input_images image_path image_dir "
    "input_dir source_image",
    "images": "image photos photo",
    "mask": "masks mask_image mask_path inpaint_mask",
    "lora": "lora_path loras slider sliders lora_weights adapter adapters network_weights "
    "lora_file semantic_lora_path path weights_path lora_model checkpoint model_path",
    "content_lora": "content content_lora_path trained_lora_path",
    "attribute": "attributes attr",
    "sweep": "runs folder run_dir sweep_dir run",
    "layout": "format type kind to",
    "hydra.run.dir": "output out output_dir outdir out_dir output_path save_dir save_path "
    "output_folder save_folder logging_dir run_dir dir result_dir results output_name folder "
    "output_folder_gen training_folder rundir out_folder output_directory run_folder workdir "
    "results_dir",
    "out": "output output_path output_file outfile save_to save_path out_file dst dest "
    "destination output_dir",
    "precision": "dtype mixed_precision torch_dtype weight_dtype save_precision quantize fp16 "
    "bf16 fp8",
    "device": "gpu gpu_id gpu_ids cuda devices",
    "gradient_checkpointing": "grad_checkpointing use_gradient_checkpointing",
    "tracker": "logger report_to log_with wandb use_wandb",
    "inversion": "invert inverse",
}
COUNTS = "n_samples num_images num_samples num_images_per_prompt count count_gen n n_images"
THEIRS = {word for theirs in NAMES.values() for word in theirs.split()}
# Words without a key of ours; why there is none.
NONE = {
    "batch size of a training": (
        "train",
        "batch bs batch_size train_batch_size gradient_accumulation_steps",
        "a training takes one pair at a step; more at equal work was no better (docs/method.md)",
    ),
    "negative prompts": (
        "train",
        "negative_prompt neg_prompt n_prompt",
        "a training takes none; pairedit-gen does, on base models with true guidance",
    ),
    "prompts of a training": (
        "train",
        "prompts prompt prompts_file caption validation_prompt sample_prompts",
        "pairs are learnt without words; model.prompt= is that of the preview",
    ),
    "attributes of a training": (
        "train",
        "attribute attributes attr",
        "a dataset names what it changes, such as datasets.folder.attribute=smile",
    ),
    "optimisers": (
        "train",
        "optimizer optim optimizer_type lr_scheduler scheduler weight_decay lr_warmup_steps",
        "every training uses AdamW at a constant learning_rate",
    ),
}
SIDES = ("source", "target")


@cache
def keys_of(command: str) -> tuple[str, ...]:
    """List the keys of a command, of all where it is unknown."""
    trunks = [TRUNKS[command]] if command in TRUNKS else TRUNKS.values()
    keys = [str(name) for trunk in trunks for name in OmegaConf.structured(trunk)]
    if command not in ("gen", "eval", "export", "studio"):
        keys += [f"lora.{name}" for name in OmegaConf.structured(LoraKeys)] + ["dataset"]
    if command != "export":
        keys += ["model.path", "hydra.run.dir"]
    return tuple(keys)


def kind_of(key: str, command: str) -> type | None:
    """Return int or float for a key that is such a number; None for all others."""
    trunk, name = (LoraKeys, key[5:]) if key.startswith("lora.") else (TRUNKS.get(command), key)
    hint = typing.get_type_hints(trunk).get(name) if trunk else None
    kinds = {hint, *typing.get_args(hint)}
    return next((kind for kind in (float, int) if kind in kinds), None)


def meant(key: str, value: str | None, command: str) -> str | None:
    """Write the word, or words, that somebody probably meant; None if nobody knows.

    Args:
        key: as typed, no key of the command.
        value: as typed; None where none was.
        command: train, gen, eval or export; anything else stands for all of them.

    Returns:
        Words for a shell, such as `learning_rate=1e-4`.
    """
    if value is not None:
        return " ".join(map(shell, words_meant(key, value, command))) or None
    found = _ours(key, command)
    return found if found != "seeds:count" else "seeds"


def words_meant(key: str, value: str, command: str) -> list[str]:
    """Return the words of `meant`; none where nobody knows."""
    found = _ours(key, command)
    return [] if found is None else written(found, value, command)


def option_meant(group: str, choice: str, options: Iterable[str]) -> list[str]:
    """Return the words that choose what a wrong option of a group was probably meant to be.

    Args:
        group: such as dataset; a folder of pairs may have been named in its place.
        choice: as typed.
        options: of the group.

    Returns:
        One word, or two for a folder; none where nobody knows.
    """
    near = nearest(choice, options)
    if group == "dataset" and (near is None or locate(choice).is_dir()):
        return written("pairs", choice, "train")
    return [] if near is None else [f"{group}={near}"]


def why_not(key: str, command: str) -> str | None:
    """Say why a key of other programs does not exist here; None for any other key."""
    name = _plain(key)
    for only, theirs, reason in NONE.values():
        if name in theirs.split() and only in ("", command):
            return reason
    return None


def written(ours: str, value: str, command: str = "") -> list[str]:
    """Write a value that others give as ours."""
    value = value.strip()
    bare = value.strip("'\"")
    if ours == "seeds:count":
        return [f"seeds={{start: 0, count: {value}}}"]
    if ours in ("scales", "image_ids") and re.fullmatch(r"[\w.+-]+(,\s*[\w.+-]+)*", value):
        return [f"{ours}=[{''.join(value.split())}]"]
    if kind_of(ours, command) is float and re.fullmatch(r"[+-]?\d+,\d+(e[+-]?\d+)?", value):
        return [f"{ours}={value.replace(',', '.')}"]
    if ours in ("prompts", "prompts_file") and value[:1] not in ("[", "'", '"'):
        plain = re.fullmatch(r"[\w ./-]+", value, flags=re.ASCII)
        return [f"{ours}={value if plain else double_quoted(value)}"]
    if ours == "model.path" and (CONF / "model" / f"{bare}.yaml").is_file():
        return [f"model={bare}"]
    if ours == "pairs" and command == "train":
        path = Path(bare)
        folder = path.parent if path.name in SIDES else path
        return ["dataset=folder", f"pairs={folder}"]
    if ours == "image" and command == "gen":
        return ["edit=real", f"image={value}"]
    if ours == "device" and re.fullmatch(r"\d+|cuda:\d+", value):
        return ["device=cuda"]
    if ours == "precision":
        known = {"fp32": "float32", "float": "float32", "bfloat16": "bf16", "fp16": "bf16"}
        return [f"precision={known.get(value, value)}"]
    if ours == "tracker":
        return [f"tracker={'wandb' if value in ('true', '1', 'wandb') else 'none'}"]
    return [f"{ours}={value}"]


def _ours(key: str, command: str) -> str | None:
    """Name our key for one of somebody else's, or for a slip of the finger."""
    name, known = _plain(key), keys_of(command)
    if name in known:
        return name
    if name in COUNTS.split() and "seeds" in known:
        return "seeds:count"
    for ours, theirs in NAMES.items():
        # In a training lora and sweep hold keys, and options.
        grouped = command == "train" and ours in ("lora", "sweep")
        if name in theirs.split() and ours in known and not grouped:
            return ours
    # A group is no key of itself: method is not meant by method.beta.
    return nearest(key, [one for one in known if "." in one or "." not in key])


def _plain(key: str) -> str:
    """Write a key as ours are written."""
    return key.strip().lstrip("-").lower().replace("-", "_")
