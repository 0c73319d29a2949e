"""Stage export: the FluxPipeline folder and the probe, in float16, as the package ships them.

Stage restore is its inverse: training goes on from what the package ships.
"""

from pathlib import Path

import torch
from diffusers import FluxPipeline
from safetensors.torch import load_file, save_file
from scripts.flux_mini import flux, text, vae
from scripts.flux_mini.run import Run

from pairedit.mini import untrained


def export(run: Run, folder: Path) -> None:
    """Write the averaged weights of all stages below `folder`."""
    clip, t5 = text.load_tokenizers(run.work)
    state = run.load("flux")
    model = flux.Model(clip, t5)
    model.load_state_dict(state["average"], strict=False)
    autoencoder = vae.build()
    autoencoder.load_state_dict(run.load("vae")["average"])
    autoencoder.register_to_config(scaling_factor=state["scale"], shift_factor=state["shift"])
    FluxPipeline(
        scheduler=untrained.scheduler(),
        vae=autoencoder,
        text_encoder=model.text_encoder,
        tokenizer=clip,
        text_encoder_2=model.text_encoder_2,
        tokenizer_2=t5,
        transformer=model.transformer,
    ).to(torch.float16).save_pretrained(folder)
    for name in ("text_encoder", "text_encoder_2"):
        # transformers loads in the dtype that the configuration names, diffusers in float32.
        path = folder / name / "config.json"
        path.write_text(path.read_text().replace('"float16"', '"float32"'))
    probe = {
        name: value.half().contiguous() for name, value in run.load("probe")["average"].items()
    }
    save_file(probe, folder / "probe.safetensors")
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    run.log(f"export: {size / 1e6:.1f} MB of safetensors")


def restore(run: Run, folder: Path) -> None:
    """Write every stage's checkpoint from an exported `folder`; raw weights are the averages."""
    pipeline = FluxPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.tokenizer.save_pretrained(run.work / "tokenizer")
    pipeline.tokenizer_2.save_pretrained(run.work / "tokenizer_2")
    model = flux.Model(pipeline.tokenizer, pipeline.tokenizer_2)
    for name in ("transformer", "text_encoder", "text_encoder_2"):
        getattr(model, name).load_state_dict(getattr(pipeline, name).state_dict())
    config = pipeline.vae.config
    probe = {name: value.float() for name, value in load_file(folder / "probe.safetensors").items()}
    for name, state in (
        ("flux", model.state_dict()), ("vae", pipeline.vae.state_dict()), ("probe", probe)
    ):  # fmt: skip
        extra = dict(shift=config.shift_factor, scale=config.scaling_factor)
        run.save(name, raw=state, average=state, step=0, **(extra if name == "flux" else {}))
    run.log(f"restore: every stage from {folder.name}")
