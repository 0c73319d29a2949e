"""LoRA files as other programs write them, at FLUX.1's width and with one block of each kind."""

import json
import math

import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import save_file

from pairedit.bases.flux1.names import NAMES

RANK = 4
PREFIX = {"transformer_blocks": "double_blocks", "single_transformer_blocks": "single_blocks"}


def slim_flux():
    """Make a FLUX.1 of full width with one block of each kind, whose weights take no memory."""
    with torch.device("meta"):
        flux = FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True)
    for module in flux.modules():
        for name, weight in module.named_parameters(recurse=False):
            blank = torch.zeros(()).expand(weight.shape)
            setattr(module, name, torch.nn.Parameter(blank, requires_grad=False))
    return flux


class File:
    """Collect a file and the edit that it means."""

    def __init__(self, sizes, kind=torch.float32):
        self.sizes, self.kind = sizes, kind
        self.generator = torch.Generator().manual_seed(1)
        self.tensors, self.texts, self.truth, self.biases = {}, {}, {}, {}
        self.beside = {}

    def draw(self, rank, inner, outer):
        # Whole numbers of 8 bits need some room; uint8 has no sign.
        large = 1 if self.kind.is_floating_point else 30
        down, up = (
            torch.randn(shape, generator=self.generator) * large
            for shape in ((rank, inner), (outer, rank))
        )
        if self.kind is torch.uint8:
            down, up = down.abs(), up.abs()
        return down.to(self.kind), up.to(self.kind)

    def own(self, module, form, *, rank=RANK, scale=1.0, alpha=None):
        """Add a LoRA of one module, under the key that `form` makes of its name and side."""
        down, up = self.draw(rank, *self.sizes[module])
        self._put(form(module), down, up, alpha)
        self.truth[module] = (down.double(), up.double() * scale)

    def original(self, part, form, *, rank=RANK, scale=1.0, alpha=None):
        """Add a LoRA of one matrix of the original code."""
        modules = part.modules
        outer = [self.sizes[module][1] for module in modules]
        down, up = self.draw(rank, self.sizes[modules[0]][0], sum(outer))
        self._put(form(part.name), down, up, alpha)
        up = up.double() * scale
        if part.swapped:
            up = torch.cat(up.chunk(2)[::-1])
        for module, rows in zip(modules, up.split(outer), strict=True):
            self.truth[module] = (down.double(), rows)

    def _put(self, keys, down, up, alpha):
        down_key, up_key, alpha_key = keys
        self.tensors |= {down_key: down, up_key: up.contiguous()}
        if alpha is not None:
            self.tensors[alpha_key] = alpha

    def save(self, folder, name="x.safetensors"):
        save_file(self.tensors, folder / name, metadata=self.texts or None)
        for other, content in self.beside.items():
            (folder / other).write_text(json.dumps(content))
        return folder / name


def keys(prefix, *, flat=False, ends=(".lora_A.weight", ".lora_B.weight")):
    def form(name):
        stem = prefix + (name.replace(".", "_") if flat else name)
        return stem + ends[0], stem + ends[1], stem + ".alpha"

    return form


KOHYA = (".lora_down.weight", ".lora_up.weight")
CONFIG = {"r": RANK, "lora_alpha": 8, "rank_pattern": {}, "alpha_pattern": {}}


def blocks(sizes):
    return [name for name in sizes if "blocks" in name]


def attention(sizes):
    return [name for name in blocks(sizes) if ".attn." in name]


def parts():
    """List the original's matrices of block 0, whole names in them."""
    named = {}
    for kind in NAMES.kinds:
        modules = [f"{kind.name}.0.{module}" for module in kind.modules]
        named |= NAMES.group(modules)
    return list(named.values())


def noted(file, **changes):
    config = CONFIG | {"target_modules": blocks(file.sizes)} | changes
    config = {f"transformer.{key}": value for key, value in config.items()}
    file.texts["lora_adapter_metadata"] = json.dumps(config)


def ai_toolkit(file):
    for module in (*blocks(file.sizes), "x_embedder", "proj_out", "norm_out.linear"):
        file.own(module, keys("transformer."))


def diffusers_alpha(file):
    noted(file)
    for module in blocks(file.sizes):
        file.own(module, keys("transformer."), scale=2)


def rslora(file):
    noted(file, use_rslora=True)
    for module in blocks(file.sizes):
        file.own(module, keys("transformer."), scale=8 / math.sqrt(RANK))


def patterns(file):
    ranks = {"attn.to_k": 2, "transformer_blocks.0.attn.to_q": 6}
    alphas = {"attn.to_k": 6, "ff.net.2": 1}
    noted(file, rank_pattern=ranks, alpha_pattern=alphas)
    for module in blocks(file.sizes):
        rank = next((r for end, r in ranks.items() if f".{module}".endswith("." + end)), RANK)
        alpha = next((a for end, a in alphas.items() if module.endswith("." + end)), 8)
        file.own(module, keys("transformer."), rank=rank, scale=alpha / rank)


def lora_bias(file):
    noted(file, lora_bias=True)
    for module in blocks(file.sizes):
        file.own(module, keys("transformer."), scale=2)
        bias = torch.randn(file.sizes[module][1], generator=file.generator)
        file.tensors[f"transformer.{module}.lora_B.bias"] = bias
        file.biases[module] = bias.double() * 2


def sd_scripts(file, alpha=None):
    for part in parts():
        form = keys("lora_unet_", flat=True, ends=KOHYA)
        number = torch.tensor(1.0) if alpha is None else alpha.clone()
        file.original(part, form, alpha=number, scale=1 / RANK)


def int_alpha(file):
    sd_scripts(file, torch.tensor(1))


def with_clip(file):
    sd_scripts(file)
    stem = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"
    down, up = file.draw(RANK, 768, 768)
    file.tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    file.tensors[f"{stem}.alpha"] = torch.tensor(1.0)


def in_dims(file):
    sd_scripts(file)
    for part in NAMES.outside:
        # diffusers passes over the alpha of the last layer.
        scale = 1 if "final" in part.name else 1 / RANK
        form = keys("lora_unet_", flat=True, ends=KOHYA)
        file.original(part, form, alpha=torch.tensor(scale * RANK), scale=scale)


def onetrainer(file):
    form = keys("lora_transformer_", flat=True, ends=KOHYA)
    for module in (*attention(file.sizes), "x_embedder", "proj_out", "context_embedder"):
        file.own(module, form, alpha=torch.tensor(2.0), scale=2 / RANK)
    te = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    down, up = file.draw(RANK, 768, 3072)
    file.tensors |= {f"{te}.lora_down.weight": down, f"{te}.lora_up.weight": up}
    file.tensors[f"{te}.alpha"] = torch.tensor(2.0)


def xlabs(file):
    for kind in NAMES.kinds:
        for part in kind.read:
            modules = tuple(f"{kind.name}.0.{module}" for module in part.modules)
            name = f"{kind.original}.0.{part.name}"
            whole = type(part)(name=name, modules=modules, rows=part.rows)
            file.original(whole, keys("", ends=(".down.weight", ".up.weight")))


def comfy_saved(file):
    for part in parts():
        file.original(part, keys("diffusion_model.", ends=KOHYA))
    # ComfyUI adds it; diffusers drops it.
    proj = torch.ones(3072, dtype=file.kind)
    file.tensors["diffusion_model.double_blocks.0.img_attn.proj.diff_b"] = proj
    file.biases["transformer_blocks.0.attn.to_out.0"] = proj.double()


def last_ben(file):
    for module in blocks(file.sizes):
        file.own(module, keys("transformer."), alpha=torch.tensor(2.0), scale=2 / RANK)


def old_diffusers(file):
    for module in attention(file.sizes):
        file.own(module, keys("transformer.", ends=(".lora.down.weight", ".lora.up.weight")))


def peft_in_kohya(file):
    for module in blocks(file.sizes):
        file.own(module, keys("transformer.", ends=KOHYA))


def bare(file):
    for module in blocks(file.sizes):
        file.own(module, keys(""))


def diffsynth(file):
    ends = (".lora_A.default.weight", ".lora_B.default.weight")
    for module in blocks(file.sizes):
        file.own(module, keys("", ends=ends))


def simpletuner_comfy(file):
    for module in blocks(file.sizes):
        file.own(module, keys("diffusion_model."), alpha=torch.tensor(8.0), scale=2)


def bfl(file):
    for part in parts():
        file.original(part, keys("diffusion_model."))


def fal(file):
    for part in parts():
        file.original(part, keys("base_model.model."))


def peft_saved(file):
    file.beside["adapter_config.json"] = CONFIG | {"use_rslora": False}
    for module in blocks(file.sizes):
        file.own(module, keys("base_model.model."), scale=2)


def lycoris(file):
    for module in blocks(file.sizes):
        form = keys("lycoris_", flat=True, ends=KOHYA)
        file.own(module, form, alpha=torch.tensor(2.0), scale=2 / RANK)


# What makes the file, and whether diffusers reads it.
LAYOUTS = {
    "ai-toolkit": (ai_toolkit, True),
    "diffusers, alpha 8": (diffusers_alpha, True),
    "diffusers, rslora": (rslora, True),
    "diffusers, alpha and rank patterns": (patterns, True),
    "diffusers, biases": (lora_bias, True),
    "sd-scripts": (sd_scripts, True),
    "sd-scripts, int64 alpha": (int_alpha, True),
    "sd-scripts with CLIP-L": (with_clip, True),
    "sd-scripts with in_dims": (in_dims, True),
    "OneTrainer": (onetrainer, True),
    "XLabs": (xlabs, True),
    "ComfyUI LoraSave": (comfy_saved, True),
    "TheLastBen": (last_ben, True),
    "old diffusers": (old_diffusers, True),
    "transformer. with lora_down": (peft_in_kohya, True),
    "bare names": (bare, False),
    "DiffSynth": (diffsynth, False),
    "SimpleTuner for ComfyUI": (simpletuner_comfy, False),
    "BFL names, diffusion_model.": (bfl, False),
    "BFL names, base_model.model.": (fal, False),
    "PEFT save_pretrained": (peft_saved, False),
    "LyCORIS, plain": (lycoris, False),
}
