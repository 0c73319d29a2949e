"""LoRA files of other programs become the edit that they are; `-s` prints the table.

Every layout is written as its program writes it, at FLUX.1's width and with one block of each
kind. Each is compared with the product it was made from, and with what diffusers makes of it.
"""

import json
import logging
import math
import warnings

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from safetensors.torch import save_file

from pairedit.bases.flux1.names import NAMES
from pairedit.lora.file import inspect_lora, read_lora

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


@pytest.fixture(scope="module")
def sizes():
    """Name every linear module of FLUX.1: (in, out)."""
    return {
        name: (module.in_features, module.out_features)
        for name, module in slim_flux().named_modules()
        if isinstance(module, torch.nn.Linear)
    }


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


def by_diffusers(path):
    """Load a file as diffusers does; {module: (A, B)} and {module: b}, with all scales in B."""
    state, alphas, metadata = FluxPipeline.lora_state_dict(
        str(path.parent), weight_name=path.name, return_alphas=True, return_lora_metadata=True
    )
    state = {k: v for k, v in state.items() if not k.startswith("text_encoder")}
    # Its converter leaves this prefix out for what is in no block, and those keys are then lost.
    state = {k if k.startswith("transformer.") else f"transformer.{k}": v for k, v in state.items()}
    transformer = slim_flux()
    with warnings.catch_warnings():
        # Of proj_out peft expects LoRAs in every block as well.
        warnings.filterwarnings("ignore", "While injecting", RuntimeWarning)
        FluxPipeline.load_lora_into_transformer(
            state,
            network_alphas=alphas,
            transformer=transformer,
            metadata=metadata,
            adapter_name="x",
            low_cpu_mem_usage=True,
        )
    layers = {
        name: layer
        for name, layer in transformer.named_modules()
        if hasattr(layer, "lora_A") and "x" in layer.lora_A
    }
    weights = {
        name: (
            layer.lora_A["x"].weight.detach().double(),
            layer.lora_B["x"].weight.detach().double() * layer.scaling["x"],
        )
        for name, layer in layers.items()
    }
    biases = {
        name: layer.lora_B["x"].bias.detach().double() * layer.scaling["x"]
        for name, layer in layers.items()
        if layer.lora_B["x"].bias is not None
    }
    return weights, biases


def norm(down, up):
    """Return the Frobenius norm of B A without multiplying it out."""
    return ((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt()


def largest_difference(one, other):
    """Return the largest relative difference of any module's edit."""
    held = [{m: w for m, w in side.items() if norm(*w) > 0} for side in (one, other)]
    assert set(held[0]) == set(held[1])
    worst = 0.0
    for module, (down, up) in held[0].items():
        other_down, other_up = held[1][module]
        down, up = down.double(), up.double()
        apart = norm(
            torch.cat([down, other_down.double()]), torch.cat([up, -other_up.double()], dim=1)
        )
        worst = max(worst, float(apart / norm(down, up)))
    return worst


def farthest_bias(one, other):
    """Return the largest relative difference of any module's bias."""
    assert set(one) == set(other)
    apart = ((bias.double() - other[m].double()).norm() / bias.norm() for m, bias in one.items())
    return max(map(float, apart), default=0.0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_of_another_program_is_the_edit_that_it_was(layout, sizes, tmp_path, caplog):
    make, theirs = LAYOUTS[layout]
    file = File(sizes)
    make(file)
    path = file.save(tmp_path)
    inspect_lora(path, NAMES)
    lora = read_lora(path, NAMES)
    ours = lora.weights
    apart = max(largest_difference(file.truth, ours), farthest_bias(file.biases, lora.biases))
    line = f"{layout:38} {len(ours):3} modules  pairedit {apart:.1e}"
    assert apart < 1e-6
    if theirs:
        weights, biases = by_diffusers(path)
        both = largest_difference(weights, ours)
        if layout == "diffusers, biases":
            both = max(both, farthest_bias(biases, lora.biases))
        line += f"  against diffusers {both:.1e}"
        assert both < 1e-6
    print(line)


@pytest.mark.parametrize(
    "kind",
    [
        *(torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float64),
        *(torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64),
    ],
)
def test_small_numbers_are_read_as_they_stand(kind, sizes, tmp_path):
    for make in (bare, comfy_saved):
        file = File(sizes, kind)
        make(file)
        path = file.save(tmp_path)
        inspect_lora(path, NAMES)
        lora = read_lora(path, NAMES)
        assert largest_difference(file.truth, lora.weights) < 1e-6
        assert farthest_bias(file.biases, lora.biases) < 1e-6


def test_what_is_left_out_is_counted(sizes, tmp_path, caplog):
    file = File(sizes)
    with_clip(file)
    file.tensors |= {f"text_encoder_2.a.{i}.lora_A.weight": torch.ones(1, 1) for i in range(4)}
    file.tensors["lora_unet_double_blocks_0_img_norm.diff_b"] = torch.ones(3072)
    file.tensors["lora_unet_double_blocks_0_img_norm.diff"] = torch.ones(3072)
    path = file.save(tmp_path)
    with caplog.at_level(logging.WARNING):
        lora = read_lora(path, NAMES)
    assert len(lora.weights) == 20
    (line,) = caplog.messages
    assert line == (
        f"{path}: LoRAs of 20 modules; left out: 7 of text encoders, 1 that change norms, "
        "1 that change other biases"
    )
    only = {k: v for k, v in file.tensors.items() if k.startswith("lora_te1_")}
    save_file(only, path)
    with pytest.raises(ValueError, match="no LoRA of the transformer, only tensors 3 of text enc"):
        inspect_lora(path, NAMES)


def test_a_lora_that_stands_there_twice_counts_once(sizes, tmp_path, caplog):
    """As diffusers: the keys with the model's own names are used."""
    file = File(sizes)
    sd_scripts(file)
    for module in blocks(sizes):
        file.own(module, keys("transformer.", ends=KOHYA))
    path = file.save(tmp_path)
    with caplog.at_level(logging.WARNING):
        ours = read_lora(path, NAMES).weights
    assert largest_difference(file.truth, ours) < 1e-6
    assert f"left out: {3 * len(parts())} that stand there twice" in caplog.text
    again = {k.replace("transformer.", "", 1): v.clone() for k, v in file.tensors.items()}
    file.tensors |= again
    with pytest.raises(ValueError, match="are two LoRAs of one module"):
        read_lora(file.save(tmp_path), NAMES)


STEM = "transformer.transformer_blocks.0.attn.to_q"
ONE = {f"{STEM}.lora_A.weight": torch.ones(2, 8), f"{STEM}.lora_B.weight": torch.ones(8, 2)}
UNET = "lora_unet_down_blocks_0_attentions_0_proj_in"


TO_K = "transformer.transformer_blocks.0.attn.to_k"
OTHER = "transformer_blocks.0.attn.to_q"
MERGE, SUBTRACT, AGAIN = "merge_and_unload", "ModelMergeSubtract", "again"
# Tensors, texts of the header, the program that is named, what else is said.
REFUSED = {
    "DoRA of PEFT": (
        {f"{STEM}.lora_magnitude_vector": torch.ones(8)},
        {},
        ("diffusers", "is a DoRA of PEFT", MERGE),
    ),
    "DoRA": ({f"{STEM}.dora_scale": torch.ones(8)}, {}, ("diffusers", "is a DoRA", SUBTRACT)),
    "LoKr": (
        {"lycoris_x.lokr_w1": torch.ones(2, 2)},
        None,
        ("LyCORIS", "is a LoKr", SUBTRACT, "LoraSave"),
    ),
    "LoHa": (
        {"lora_unet_x.hada_w1_a": torch.ones(2, 2)},
        {"ss_v": "1"},
        ("sd-scripts", "is a LoHa", SUBTRACT),
    ),
    "GLoRA": (
        {f"lycoris_{OTHER}.{x}.weight": torch.ones(2, 2) for x in ("a1", "a2", "b1", "b2")},
        None,
        ("LyCORIS", "is a GLoRA", SUBTRACT),
    ),
    "OFT": (
        {f"base_model.model.{OTHER}.oft_R.weight": torch.ones(2, 2)},
        None,
        ("PEFT", "is an OFT of PEFT", MERGE),
    ),
    "BOFT": (
        {f"base_model.model.{OTHER}.boft_R": torch.ones(2, 2)},
        None,
        ("PEFT", "is an OFT of PEFT", MERGE),
    ),
    "VeRA": (
        {f"base_model.model.{OTHER}.vera_lambda_b": torch.ones(2)},
        None,
        ("PEFT", "is a VeRA", MERGE, SUBTRACT),
    ),
    "IA3": (
        {f"base_model.model.{OTHER}.ia3_l": torch.ones(2, 1)},
        None,
        ("PEFT", "is an IA3", MERGE),
    ),
    "IA3 of LyCORIS": (
        {
            f"lycoris_{OTHER}.weight": torch.ones(2),
            f"lycoris_{OTHER}.on_input": torch.ones(()),
        },
        None,
        ("LyCORIS", "is an IA3", MERGE),
    ),
    "HRA": (
        {f"base_model.model.{OTHER}.hra_u": torch.ones(2, 2)},
        None,
        ("PEFT", "an adapter of PEFT that is no LoRA", MERGE),
    ),
    "AdaLoRA": (
        {f"base_model.model.{OTHER}.lora_E": torch.ones(2, 2)},
        None,
        ("PEFT", "is an AdaLoRA", MERGE),
    ),
    "middle matrix": (
        {"lora_unet_x.lora_mid.weight": torch.ones(2, 2)},
        None,
        ("sd-scripts", "middle matrix", SUBTRACT),
    ),
    "differences": (
        {f"diffusion_model.{OTHER}.diff": torch.ones(8, 8)},
        None,
        ("ComfyUI", "whole differences", SUBTRACT),
    ),
    "scales beside": (
        {f"{STEM}.lora_A.weight_scale": torch.ones(())},
        {},
        ("diffusers", "quantised numbers whose scales stand beside", AGAIN),
    ),
    "bitsandbytes": (
        {f"{STEM}.lora_A.weight.absmax": torch.ones(4)},
        {},
        ("diffusers", "quantised numbers", AGAIN),
    ),
    "control": (
        {f"{STEM.replace('to_q', 'norm_q')}.weight": torch.ones(8)},
        {},
        ("diffusers", "a control LoRA", "a slider does not have"),
    ),
    "whole layers beside": (
        {"transformer.proj_out.weight": torch.ones(8, 8)},
        {},
        ("diffusers", "'transformer.proj_out.weight'", "has 1 LoRA and 1 tensor of whole"),
    ),
    "modules to save": (
        {
            f"base_model.model.{OTHER}.lora_A.weight": torch.ones(2, 8),
            f"base_model.model.{OTHER}.lora_B.weight": torch.ones(8, 2),
            "base_model.model.transformer_blocks.0.norm1.linear.weight": torch.ones(8, 8),
            "base_model.model.transformer_blocks.0.norm1.linear.bias": torch.ones(8),
        },
        None,
        ("PEFT", "2 tensors of whole layers", "modules_to_save"),
    ),
    "half of a LoRA": (
        {f"{TO_K}.lora_A.weight": torch.ones(2, 8)},
        {},
        ("diffusers", "has no partner", AGAIN),
    ),
    "alpha alone": ({f"{TO_K}.alpha": torch.ones(())}, {}, ("diffusers", "no partner", AGAIN)),
    "alpha as a matrix": (
        {f"{STEM}.alpha": torch.ones(2)},
        {},
        ("diffusers", "expected a number", AGAIN),
    ),
    "ranks": (
        {
            f"{TO_K}.lora_A.weight": torch.ones(3, 8),
            f"{TO_K}.lora_B.weight": torch.ones(8, 2),
        },
        {"ot_branch": "x"},
        ("OneTrainer", "ranks of", "differ", AGAIN),
    ),
    "three dimensions": (
        {
            f"{TO_K}.lora_A.weight": torch.ones(2, 8, 1),
            f"{TO_K}.lora_B.weight": torch.ones(8, 2, 1),
        },
        {},
        ("diffusers", "expected two dimensions", AGAIN),
    ),
    "NaN": (
        {
            f"{TO_K}.lora_A.weight": torch.full((2, 8), math.nan),
            f"{TO_K}.lora_B.weight": torch.ones(8, 2),
        },
        {},
        ("diffusers", "NaN or infinity", AGAIN),
    ),
    "rows": (
        {
            "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": torch.ones(2, 8),
            "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": torch.ones(23, 2),
        },
        None,
        ("sd-scripts", "23 rows of", "do not fit width 8", AGAIN),
    ),
    "true and false": (
        {
            f"{TO_K}.lora_A.weight": torch.ones(2, 8, dtype=torch.bool),
            f"{TO_K}.lora_B.weight": torch.ones(8, 2),
        },
        {},
        ("diffusers", "lora_A.weight is BOOL, expected one of", "float16"),
    ),
    "our own, damaged": (
        {f"{TO_K}.lora_A.weight": torch.ones(2, 8)},
        {"pairedit": "{}", "ss_network_dim": "4"},
        ("pairedit", "has no partner", AGAIN),
    ),
    "Stable Diffusion": (
        {f"{UNET}.lora_{side}.weight": torch.ones(2, 2) for side in ("down", "up")},
        None,
        ("sd-scripts", "no known layout", "LoRA for Stable Diffusion 1.5 or XL", "trained on"),
    ),
    "Z-Image": (
        {f"diffusion_model.layers.0.attention.qkv.lora_{s}.weight": torch.ones(2, 2) for s in "AB"},
        None,
        ("ai-toolkit or fal", "LoRA for Z-Image", "trained on"),
    ),
    "odd names": (
        {f"transformer.odd.lora_{side}.weight": torch.ones(2, 2) for side in "AB"},
        {"software": "{}"},
        ("ai-toolkit", "FLUX.1 has no such module", "docs/files.md"),
    ),
    "noted DoRA": (
        {},
        {
            "lora_adapter_metadata": json.dumps(
                {"transformer.lora_alpha": 1, "transformer.use_dora": True}
            )
        },
        ("diffusers", "DoRA", MERGE),
    ),
    "a pattern of a stranger": (
        {},
        {
            "lora_adapter_metadata": json.dumps(
                {"transformer.lora_alpha": 1, "transformer.alpha_pattern": {"(a+)+$": 1}}
            )
        },
        ("diffusers", "damaged", "no module", AGAIN),
    ),
    "alpha as text": (
        {},
        {"lora_adapter_metadata": '{"transformer.lora_alpha": "1"}'},
        ("diffusers", "damaged", AGAIN),
    ),
    "a huge alpha": (
        {f"{STEM}.alpha": torch.tensor(1e9)},
        {},
        ("diffusers", "alpha / rank in", "500000000", AGAIN),
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_used_is_told_with_its_program_and_a_way_out(kind, tmp_path):
    tensors, texts, (program, *said) = REFUSED[kind]
    path = tmp_path / "odd.safetensors"
    # No header at all: nothing but the odd keys is in the file.
    save_file(tensors if texts is None else ONE | tensors, path, metadata=texts or None)
    with pytest.raises(ValueError, match=r"odd\.safetensors: ") as refused:
        read_lora(path, NAMES)
    told = str(refused.value)
    assert f", probably written by {program};" in told, told
    assert all(part in told for part in said), told
    assert "\n" not in told


def test_a_checkpoint_is_told_as_one(tmp_path):
    path = tmp_path / "odd.safetensors"
    save_file({"weights.semantic.0": torch.ones(2)}, path, metadata={"checkpoint": "{}"})
    with pytest.raises(ValueError, match=r"is a checkpoint of a training.* above"):
        read_lora(path, NAMES)


def test_modules_outside_the_blocks_act_where_the_model_has_them(flux, tmp_path):
    from pairedit.lora.adapters import Adapters

    linears = dict(flux.transformer.named_modules())
    tensors = {}
    for name, module in (("img_in", "x_embedder"), ("final_layer_linear", "proj_out")):
        layer = linears[module]
        tensors[f"lora_unet_{name}.lora_down.weight"] = torch.ones(1, layer.in_features)
        tensors[f"lora_unet_{name}.lora_up.weight"] = torch.ones(layer.out_features, 1)
    save_file(tensors, tmp_path / "x.safetensors")
    adapters = Adapters(flux)
    assert adapters.load("x", read_lora(tmp_path / "x.safetensors", NAMES)) == 2
    assert set(adapters.weights("x")) == {"x_embedder", "proj_out"}
    adapters.remove()
