"""What results are compared by: their hashes, and those of this machine's own calculations."""

import hashlib
import json
import re

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import load_file

from tiny import RESOLUTION

# What versions, machines and the names of classes decide; results never depend on it.
# The negative prompt came later, and is empty; so did what an image says to be rendered again by.
DROPPED = (
    *("_target_", "version", "pairedit", "seconds", "negative_prompt"),
    *("max_tokens", "together", "batch", "size", "mask", "flowedit"),
)


def digests(folder):
    """Hash every result below a folder: {file and part: SHA-256}."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if "/state/" in name:  # of a finished training, named by the seconds it took, too
            continue
        if path.suffix == ".safetensors":
            found[name] = of_tensors(load_file(path))
            with safe_open(path, framework="np") as file:
                entry = (file.metadata() or {}).get("pairedit", "null")
            found[f"{name} header"] = of_json(json.loads(entry))
        elif path.suffix == ".pt":
            found[name] = of_tensors(torch.load(path, weights_only=True))
        # Curves are drawn from what is hashed here, and pairs.png shows what went in.
        elif path.suffix == ".png" and path.name not in ("curves.png", "loss.png", "pairs.png"):
            with Image.open(path) as image:
                notes = {k: v for k, v in image.info.items() if not k.endswith("sha256")}
                found[name] = of_image(image)
                found[f"{name} notes"] = of_json(notes)
        elif path.name == "metrics.jsonl":
            found[name] = of_json([json.loads(line) for line in path.read_text().splitlines()])
        elif path.name == "eval.json":
            found[name] = of_json(json.loads(path.read_text()))
        elif path.name == "config.yaml":
            found[name] = of_json(yaml.safe_load(path.read_text()))
    return found


def of_tensors(tensors):
    """Hash tensors in alphabetical order: key, type, shape and bytes."""
    total = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        total.update(f"{key} {value.dtype} {list(value.shape)}\n".encode())
        total.update(value.contiguous().numpy().tobytes())
    return total.hexdigest()


def of_image(image):
    """Hash decoded pixels."""
    pixels = np.asarray(image)
    return hashlib.sha256(f"{pixels.shape}\n".encode() + pixels.tobytes()).hexdigest()


def of_json(value):
    """Hash JSON values."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def plain(value):
    """Leave out what results do not depend on; of paths the last part stays."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items() if key not in DROPPED}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, str):
        return re.sub(r"(?:/[^\s/,'\"()]+)+/", "", value)
    return value


def fingerprint(model):
    """Hash what this machine and its libraries make of fixed inputs, without the package.

    Args:
        model: folder of the tiny model.

    Returns:
        A hash by kind of work; where one differs, so may all results.
    """
    from diffusers import AutoencoderKL, FluxTransformer2DModel

    def drawn(*shape):
        return torch.randn(shape, generator=generator)

    generator = torch.Generator().manual_seed(0)
    x = drawn(48, 64)
    basics = {
        "random": x,
        "matmul": x @ drawn(64, 56),
        "conv": F.conv2d(drawn(2, 8, 12, 12), drawn(8, 8, 3, 3), padding=1),
        "exp": x.exp(),
        "tanh": x.tanh(),
        "softmax": x.softmax(-1),
        "norm": x.norm(),
    }
    found = {name: of_tensors({name: value}) for name, value in basics.items()}
    weights = sorted(model.rglob("*.safetensors"))
    found["weights"] = of_tensors(
        {f"{p.parent.name}.{k}": v for p in weights for k, v in load_file(p).items()}
    )
    transformer = FluxTransformer2DModel.from_pretrained(model / "transformer")
    vae = AutoencoderKL.from_pretrained(model / "vae")
    for rows in (1, 2, 3, 8):
        output = transformer(
            hidden_states=drawn(rows, 4, 16),
            encoder_hidden_states=drawn(rows, 32, 16),
            pooled_projections=drawn(rows, 16),
            timestep=drawn(rows).abs(),
            guidance=torch.full((rows,), 3.5),
            img_ids=torch.zeros(4, 3),
            txt_ids=torch.zeros(32, 3),
            return_dict=False,
        )[0]
        found[f"transformer {rows}"] = of_tensors({"output": output.detach()})
    optimizer = torch.optim.AdamW(transformer.parameters(), lr=0.05)
    output.square().mean().backward()
    found["gradients"] = of_tensors(
        {k: v.grad for k, v in transformer.named_parameters() if v.grad is not None}
    )
    optimizer.step()
    found["update"] = of_tensors({k: v.detach() for k, v in transformer.named_parameters()})
    with torch.no_grad():
        latents = vae.encode(drawn(1, 3, RESOLUTION, RESOLUTION)).latent_dist.mean
        found["vae"] = of_tensors({"image": vae.decode(latents, return_dict=False)[0]})
    image = Image.new("RGB", (70, 50), "white")
    ImageDraw.Draw(image).text((3, 3), "0.5 | 1", fill="black")
    found["text"] = of_image(image)
    found["resize"] = of_image(image.resize((31, 32), Image.Resampling.LANCZOS))
    return found
