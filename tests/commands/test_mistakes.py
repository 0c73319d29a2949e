"""What a user may get wrong on the command line: one clear message each, at once."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tiny import write_pairs

# name: (command, words, what the message must hold). {x} stands for paths made below.
MISTAKES = {
    "unknown key": ("train", ["noise_scales=2"], ["noise_scales: no such key", "noise_scale?"]),
    "unknown nested key": ("train", ["lora.ranks=2"], ["lora.ranks: no such key", "lora.rank?"]),
    "unknown key of a method": ("train", ["method.beta=2"], ["method.beta: no such key"]),
    "key added to a method": ("train", ["+method.beta=2"], ["method: ", "'beta'"]),
    "key added to the trunk": ("train", ["+nope=2"], ["nope"]),
    "key added to lora": ("train", ["+lora.dropout=0.1"], ["lora.dropout: no such key"]),
    "unknown method": (
        "train",
        ["method=ful"],
        ["method=ful: no such option; there is fm, full, graded, inversion, slider_text"],
    ),
    "a mistyped method": ("train", ["method=gradded"], ["wocontent; did you mean graded?"]),
    "a mistyped edit": ("gen", ["edit=reel"], ["edit=reel: no such option", "did you mean real?"]),
    "unknown dataset": (
        "train",
        ["dataset=[age,smlie]"],
        ["dataset=smlie", "age, beard", "mean smile?"],
    ),
    "unknown model": ("train", ["model=flux2"], ["model=flux2", "flux-mini"]),
    "no number": ("train", ["cfg_eta=abc"], ["cfg_eta=abc: expected a number"]),
    "no whole number": ("train", ["steps=1.5"], ["steps=1.5: expected a whole number"]),
    "no number inside a group": (
        "train",
        ["method=full", "model.skip=abc", "method.content=maybe"],
        ["model.skip=abc", "method.content=maybe"],
    ),
    "negative save_every": ("train", ["save_every=-1"], ["save_every=-1"]),
    "save_every beyond the end": ("train", ["steps=10", "save_every=20"], ["save_every=20"]),
    "no noise": (
        "train",
        ["method=full", "noise_scale=0"],
        ["noise_scale=0.0: expected a number above 0"],
    ),
    "eta not finite": ("train", ["cfg_eta=inf"], ["cfg_eta=inf"]),
    "unknown targets": ("train", ["lora.targets=attn"], ["lora.targets=attn", "attention"]),
    "bad pattern": ("train", ["lora.targets=['(']"], ["'(' is no pattern"]),
    "steps the wrong way round": (
        "train",
        ["start_step=9", "end_step=3"],
        ["end_step=3: expected start_step=9 to"],
    ),
    "end beyond the run": ("train", ["end_step=28"], ["end_step=28", "num_inference_steps=28"]),
    "odd resolution": ("train", ["resolution=100"], ["resolution=100: expected a multiple of 16"]),
    "unknown latents": ("train", ["latents=mean"], ["latents=mean: expected mode or sample"]),
    "unknown device": ("train", ["device=gpu"], ["device=gpu", "cuda"]),
    "unknown precision": ("train", ["precision=fp4"], ["precision=fp4", "bf16"]),
    "unknown tracker mode": (
        "train",
        ["tracker=wandb", "tracker.mode=off"],
        ["tracker.mode=off", "offline"],
    ),
    "no guidance for a model that needs it": (
        "train",
        ["guidance_scale=null"],
        ["guidance_scale=null", "needs a number"],
    ),
    "no such model folder": (
        "train",
        ["model.path=/nowhere/flux"],
        ["model.path=/nowhere/flux: no such model folder"],
    ),
    "a folder that is no model": (
        "train",
        ["model.path={empty}"],
        ["this is no FLUX pipeline: it lacks transformer, vae"],
    ),
    "folder dataset without pairs": ("train", ["dataset=folder"], ["pairs=/path"]),
    "pairs without the folder dataset": (
        "train",
        ["dataset=age", "datasets.age.folder={pairs}", "pairs={pairs}"],
        ["has no effect; say dataset=folder instead of dataset=age"],
    ),
    "pairs beside several datasets": (
        "train",
        ["dataset=[age,smile]", "pairs={pairs}"],
        ["has no effect; add dataset=folder"],
    ),
    "no such pairs": ("train", ["dataset=folder", "pairs=/nowhere"], ["/nowhere: no such"]),
    "mistyped pairs": (
        "train",
        ["dataset=folder", "pairs={folder}/pars"],
        ["pairs={folder}/pars: no such folder", "did you mean {pairs}?"],
    ),
    "bad pairs": (
        "train",
        ["dataset=folder", "pairs={broken}"],
        ["source/lonely.png", "source/torn.png"],
    ),
    "a word that is no override": ("train", ["steps"], ["steps: expected key=value"]),
    "a broken override": ("train", ["dataset=[age"], ["dataset=[age", "brackets", "closed"]),
    "a path in need of quotes": ("gen", ["image=a(1).png"], ["""write 'image="a(1).png"'"""]),
    "an unknown flag": ("train", ["--stepz", "3"], ["--stepz", "key=value"]),
    "text for a truth": ("train", ["preview=maybe"], ["preview=maybe: expected true or false"]),
    "a list for text": ("train", ["pairs=[]"], ["pairs=[]: expected text"]),
    "a number for keys": ("train", ["lora=3"], ["lora=3: holds keys of its own"]),
    "an option that is no name": ("gen", ["edit=[[]]"], ["edit=[[]]: expected the name of an op"]),
    "options that are no names": (
        "gen",
        ["+model=[ba,-1]", "seeds=abc"],
        ["+model=[ba,-1]: expected the name of an option"],
    ),
    "no method": ("train", ["~method"], ["method=None: expected the name of an option"]),
    "no dataset": ("train", ["~dataset"], ["dataset=[]: expected at least one"]),
    "no edit": ("gen", ["~edit"], ["edit=None: expected the name of an option"]),
    "an unknown user": ("gen", ["lora='~no-such-user/x.pt'"], ["~no-such-user/x.pt: no such"]),
    "a run of an unknown user": ("train", ["resume='~no-such-user/x'"], ["no run to continue"]),
    "nothing to go on with": (
        "train",
        ["resume=nope"],
        ["nope: no run to continue there (no such folder); resume= goes on with a run, and needs"],
    ),
    "nothing to repeat": ("train", ["again=nope"], ["again= starts a run once more, in a new"]),
    "a line break and an escape": (
        "gen",
        ["model='a\nb\x1b[31m'"],
        [r"model=a\nb\x1b[31m: no such option"],
    ),
    "a sweep without -m": ("train", ["cfg_eta=2,4"], ["cfg_eta"]),
    "a sweep with a wrong value": (
        "train",
        ["-m", "method=full,nope", "cfg_eta=2,x"],
        ["method=nope", "cfg_eta=x"],
    ),
    "several at once": (
        "train",
        ["cfg_eta=abc", "nope=1", "method=foo", "steps=0", "resolution=7"],
        ["cfg_eta=abc", "nope: no such key", "method=foo", "steps=0", "resolution=7"],
    ),
    "ranges at once": (
        "train",
        ["method=full", "steps=0", "noise_scale=-1", "lora.rank=0", "seed=-3"],
        ["steps=0", "noise_scale=-1", "lora.rank=0", "seed=-3", "4 problems"],
    ),
    "missing LoRA": (
        "gen",
        ["lora=/nowhere/x.safetensors"],
        ["lora=/nowhere/x.safetensors: no such"],
    ),
    "an attribute of a training": ("train", ["attribute=none"], ["datasets.folder.attribute="]),
    "a mistyped LoRA": ("gen", ["lora={folder}/god.safetensors"], ["did you mean {lora}?"]),
    "a LoRA for a wider model": (
        "gen",
        ["lora={wide}"],
        ["lora={wide}: belongs to another model, whose layers are 64 wide; those of model=flux-"],
    ),
    "a folder as LoRA": (
        "gen",
        ["lora={folder}"],
        ["is a folder; name a LoRA file, such as /", "/torn.safetensors"],
    ),
    "a file as prompt": ("gen", ["prompts=[a,my.txt]"], ["prompts=my.txt", "prompts_file=my.txt"]),
    "a pickle as LoRA": ("gen", ["lora={pickle}"], ["x.pt: not a readable .pt file"]),
    "a torn LoRA": ("gen", ["lora={torn}"], ["torn.safetensors: not a readable safetensors"]),
    "a LoRA of another layout": ("gen", ["lora={kohya}"], ["kohya.safetensors: key", "layout"]),
    "lora of a wrong type": ("gen", ["lora=3"], ["lora: 3 is not a path"]),
    "a LoRA entry with a wrong key": (
        "gen",
        ["lora=[{path: {lora}, scale: 1}]"],
        ["'scale': 1", "{path: .., scales: [..], skip: ..}"],
    ),
    "empty lora list": ("gen", ["lora=[]"], ["lora=[]"]),
    "scales without lora": ("gen", ["scales=[0,1]"], ["scales=[0.0, 1.0]: has no effect"]),
    "scales that are no list": ("gen", ["lora={lora}", "scales=1"], ["scales=1: expected a list"]),
    "scales that are no numbers": ("gen", ["lora={lora}", "scales=[a]"], ["scales=[a]"]),
    "a scale twice": ("gen", ["lora={lora}", "scales=[1,1]"], ["twice"]),
    "scales of unequal number": (
        "gen",
        ["lora=[{lora},{path: {lora}, scales: [0,1,2]}]", "scales=[0,1]"],
        ["need equally many", "2 for", "3 for"],
    ),
    "top-level scales without effect": (
        "gen",
        ["lora={path: {lora}, scales: [0,1]}", "scales=[0,2]"],
        ["has no effect; every LoRA has its own"],
    ),
    "skip beyond the run": ("gen", ["lora={lora}", "skip=28"], ["skip=28", "never acts"]),
    "negative skip": ("gen", ["lora={lora}", "skip=-1"], ["skip=-1"]),
    "seeds of a wrong type": ("gen", ["seeds=abc"], ["seeds=abc: expected a list"]),
    "a seed twice": ("gen", ["seeds=[1,1]"], ["twice"]),
    "seeds with a wrong key": ("gen", ["seeds={start: 1, cont: 2}"], ["seeds=", "count: 8"]),
    "no prompts file": (
        "gen",
        ["prompts_file=nothing.txt"],
        ["prompts_file=nothing.txt: no such file; expected the path of one, or one of person"],
    ),
    "prompts twice over": (
        "gen",
        ["prompts=[a]", "prompts_file={prompts}"],
        ["expected one of them"],
    ),
    "prompts that are no text": ("gen", ["prompts=[1]"], ["prompts=[1]"]),
    "batch of none": ("gen", ["batch_size=0"], ["batch_size=0"]),
    "animation of one column": (
        "gen",
        ["lora={lora}", "scales=[1]", "animate=true"],
        ["animate=true", "two"],
    ),
    "a pattern without match": (
        "train",
        ["lora.targets=[to_qq]"],
        ["lora.targets=[to_qq]: 'to_qq' matches no module; near it: attn.to_q"],
    ),
    "pairs for a text slider": (
        "train",
        ["method=slider_text"],
        ["learns from prompts, but dataset folder holds image pairs"],
    ),
    "prompts for pairs": (
        "train",
        ["dataset=text_age"],
        ["learns from image pairs, but dataset text_age holds prompts"],
    ),
    "a grid of one LoRA": ("gen", ["lora={lora}", "grid=true"], ["grid=true: needs two LoRAs"]),
    "a LoRA that never acts": (
        "gen",
        ["lora={path: {lora}, skip: 28}"],
        ["skip=28: expected 0 <= skip"],
    ),
    "unknown prompts": (
        "gen",
        ["prompts_file=persons"],
        ["prompts_file=persons: no such file; expected", "person_mini; did you mean person?"],
    ),
    "prompts per seed": ("gen", ["prompts_per_seed=2"], ["prompts_per_seed=2: expected all or"]),
    "a key of the other command": ("gen", ["steps=3"], ["steps: no such key"]),
    "a key of two other commands": (
        "train",
        ["skip=0.6"],
        ["skip: no such key of pairedit-train; it is one of pairedit-gen and pairedit-eval"],
    ),
    "a group of another command": (
        "eval",
        ["lora={lora}", "method=full"],
        ["method: no such key of pairedit-eval; it is a key of pairedit-train"],
    ),
    "a folder by another name": ("train", ["rundir=x"], ["did you mean hydra.run.dir? Write hyd"]),
    "several beside a bad value that others take over": (
        "train",
        [
            "method=full",
            "model.resolution=abc",
            "steps=0",
            "lora.rank=0",
            "method.eta=x",
            "method.content=maybe",
        ],
        [
            "model.resolution=abc",
            "steps=0: ",
            "lora.rank=0: ",
            "method.eta=x: ",
            "method.content=maybe: ",
        ],
    ),
    "a key of another option beside a mistake": (
        "train",
        ["method=wocfg", "method.two_sided=true", "nope=1"],
        ["nope: no such key"],
    ),
    "nothing to evaluate": ("eval", [], ["lora=PATH, lora=[PATH,..] and sweep=FOLDER"]),
    "evaluating twice over": ("eval", ["lora={lora}", "sweep={empty}"], ["expected one of lora="]),
    "no such sweep": ("eval", ["sweep=/nowhere"], ["sweep=/nowhere: no such folder"]),
    "a sweep without sliders": ("eval", ["sweep={empty}"], ["no <dataset>/semantic.safetensors"]),
    "a missing LoRA to evaluate": ("eval", ["lora=[/no/x.safetensors]"], ["/no/x.safetensors: no"]),
    "a LoRA to evaluate twice": ("eval", ["lora=[{lora},{lora}]"], ["a path is there twice"]),
    "no positive scale": ("eval", ["lora={lora}", "scales=[-1,0]"], ["one of them above 0"]),
    "a match above one": ("eval", ["lora={lora}", "match=2"], ["match=2.0: expected"]),
    "an unknown reader": ("eval", ["lora={lora}", "reader=[clap]"], ["reader=clap", "arcface"]),
    "an unknown LPIPS network": (
        "eval",
        ["lora={lora}", "readers.lpips.net=resnet"],
        ["readers.lpips.net=resnet: expected alex, vgg or squeeze"],
    ),
    "an attribute nobody reads": (
        "eval",
        ["lora={lora}", "attribute=smirk"],
        ["attribute=smirk", "smile"],
    ),
    "no pairs to evaluate by": ("eval", ["lora={lora}", "pairs=/nowhere"], ["/nowhere: no such"]),
    "calibrated without calibration": (
        "gen",
        ["lora={lora}", "calibrated=true"],
        ["good.safetensors holds no calibration; pairedit-eval lora="],
    ),
    "calibrated without LoRA": ("gen", ["calibrated=true"], ["calibrated=true: has no effect"]),
}


# How many problems are named, where it is not one.
SEVERAL = {
    "no dataset": 2,
    "no number inside a group": 2,
    "bad pairs": 2,
    "a sweep with a wrong value": 2,
    "several at once": 5,
    "ranges at once": 4,
    "several beside a bad value that others take over": 4,
}
FINE = {
    "help": ("train", ["--help"], ["pairedit-train -m", "sweep=ablation"]),
    "help of gen": ("gen", ["--help"], ["pairedit-gen lora="]),
    "help of export": ("export", ["--help"], ["pairedit-export lora="]),
    "help of eval": ("eval", ["--help"], ["pairedit-eval sweep="]),
    "the configuration": ("train", ["--cfg", "job"], ["method:", "lora:"]),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny_flux_folder) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("places")
    lora = {
        f"transformer.transformer_blocks.0.attn.to_q.lora_{side}.weight": torch.zeros(shape)
        for side, shape in (("A", (2, 32)), ("B", (32, 2)))
    }
    save_file(lora, folder / "good.safetensors")
    wide = {key: torch.zeros(2, 64) if "_A" in key else torch.zeros(64, 2) for key in lora}
    (folder / "other").mkdir()
    save_file(wide, folder / "other/wide.safetensors")
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2)}, folder / "kohya.safetensors")
    (folder / "torn.safetensors").write_bytes((folder / "good.safetensors").read_bytes()[:50])
    (folder / "x.pt").write_bytes(b"")
    (folder / "prompts.txt").write_text("old man\n")
    (folder / "empty").mkdir()
    write_pairs(folder / "pairs")
    broken = write_pairs(folder / "broken")
    Image.new("RGB", (32, 32)).save(broken / "source" / "lonely.png")
    (broken / "source" / "torn.png").write_bytes(b"no image")
    Image.new("RGB", (32, 32)).save(broken / "target" / "torn.png")
    return {
        "folder": folder,
        "empty": folder / "empty",
        "pairs": folder / "pairs",
        "broken": broken,
        "pickle": folder / "x.pt",
        "torn": folder / "torn.safetensors",
        "kohya": folder / "kohya.safetensors",
        "lora": folder / "good.safetensors",
        "wide": folder / "other/wide.safetensors",
        "prompts": folder / "prompts.txt",
        "model": tiny_flux_folder,
    }


@pytest.fixture(scope="module")
def outcomes(places, tmp_path_factory) -> dict[str, dict]:
    """Run the whole table in two fresh processes, side by side."""
    calls = []
    for command, words, _ in [*MISTAKES.values(), *FINE.values()]:
        typed = [filled(word, places) for word in words]
        if "--help" not in words and "--cfg" not in words:
            chosen = " ".join(typed)
            if "model.path" not in chosen:
                typed.append(f"model.path={places['model']}")
            if command == "train" and "dataset=" not in chosen:
                typed += ["dataset=folder", f"pairs={places['pairs']}"]
        calls.append([command, typed])
    folder = tmp_path_factory.mktemp("cwd")
    with ThreadPoolExecutor() as pool:
        halves = list(pool.map(lambda half: drive(half, folder), (calls[::2], calls[1::2])))
    found = [None] * len(calls)
    found[::2], found[1::2] = halves
    return dict(zip([*MISTAKES, *FINE], found, strict=True))


def filled(text: str, places: dict[str, Path]) -> str:
    """Write the paths that {x} stands for."""
    for name, path in places.items():
        text = text.replace(f"{{{name}}}", str(path))
    return text


def drive(calls: list, folder: Path) -> list[dict]:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("mistakes_driver.py")],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", MISTAKES)
def test_one_clear_message(outcomes, places, name):
    outcome = outcomes[name]
    message = outcome["err"]
    assert outcome["code"] == 1, message
    assert message.startswith("error: ")
    assert message.count("error: ") == 1
    for needed in MISTAKES[name][2]:
        assert filled(needed, places) in message
    for noise in ("Traceback", "full_key", "object_type", "HYDRA_FULL_ERROR", "Error executing"):
        assert noise not in message
    lines = message.strip().splitlines()
    count = SEVERAL.get(name, 1)
    assert len(lines) == (1 if count == 1 else 1 + count), message
    assert all(line.startswith("  - ") for line in lines[1:])
    assert outcome["heavy"] == []
    assert outcome["seconds"] < 30, "it hangs; how fast it is benchmarks/startup.py measures"


@pytest.mark.parametrize("name", FINE)
def test_questions_are_answered_without_torch(outcomes, name):
    outcome = outcomes[name]
    assert outcome["code"] == 0
    for needed in FINE[name][2]:
        assert needed in outcome["out"]
    assert outcome["heavy"] == []
    assert outcome["seconds"] < 30, "it hangs; how fast it is benchmarks/startup.py measures"
