"""What a user may get wrong on the command line: one clear message each, at once."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from mistakes import MISTAKES
from PIL import Image
from safetensors.torch import save_file

from tiny import write_pairs

# How many problems are named, where it is not one.
SEVERAL = {
    "a mistyped edit": 2,  # and no image is named
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
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
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
