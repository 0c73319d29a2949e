"""Broken, lying and hostile files: one line that names the file, and nothing in them runs."""

import json
import pickle
import struct

import figures
import pytest
import torch
from child import run
from folders import check_untouched, contents
from hostile import Bomb, image_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save, save_file

from pairedit.data.examples import find_pairs
from pairedit.files import read_yaml
from pairedit.lora.file import LoraFile, read_lora, write_lora
from pairedit.runs.checkpoints import Checkpoint, read_checkpoint, write_checkpoint

MODULE = "transformer_blocks.0.attn.to_q"


def mutations(content: bytes):
    """Draw what may happen to a file: cut, extended, bytes changed, a piece moved."""
    place = st.integers(0, max(0, len(content) - 1))
    # Headers decide what a reader believes.
    early = st.integers(0, min(300, len(content) - 1))

    def change(changes):
        new = bytearray(content)
        for index, value in changes:
            new[index] = value
        return bytes(new)

    return st.one_of(
        place.map(lambda end: content[:end]),
        st.binary(min_size=1, max_size=64).map(lambda more: content + more),
        st.lists(st.tuples(place | early, st.integers(0, 255)), min_size=1, max_size=8).map(change),
        st.tuples(place, place).map(lambda cut: content[: cut[0]] + content[cut[1] :]),
        st.binary(max_size=200),
        st.integers(0, 2**64 - 1).map(lambda size: struct.pack("<Q", size) + content[8:]),
    )


def lora_bytes() -> bytes:
    tensors = {
        f"transformer.{MODULE}.lora_{side}.weight": torch.randn(shape)
        for side, shape in (("A", (2, 8)), ("B", (8, 2)))
    }
    return save(tensors, metadata={"pairedit": json.dumps({"base_model": "flux-mini"})})


def read_pairs(path):
    """Read an image as training does; a broken one is named."""
    return find_pairs(path.parents[1])


def read_config(path):
    return read_yaml(path, dict)


FILES = {
    "lora.safetensors": (lora_bytes, read_lora),
    "pairs/source/a.png": (lambda: image_bytes("PNG"), read_pairs),
    "pairs/source/a.jpg": (lambda: image_bytes("JPEG"), read_pairs),
    "pairs/source/a.webp": (lambda: image_bytes("WEBP"), read_pairs),
    "config.yaml": (lambda: b"seed: 0\nmethod:\n  _target_: x\nscales: [1, 2.5]\n", read_config),
}


@pytest.mark.parametrize("name", FILES)
def test_mutated_files_are_read_or_refused_by_name(name, tmp_path):
    make, read = FILES[name]
    torch.manual_seed(0)
    content = make()
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if "pairs" in name:
        (tmp_path / "pairs/target").mkdir()
        Image.new("RGB", (32, 32), "blue").save(tmp_path / "pairs/target/a.png")

    @settings(
        max_examples=100 if figures.long else 25,
        deadline=20_000,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations(content))
    def check(mutated):
        path.write_bytes(mutated)
        figures.COUNTS["files"] += 1
        text = None
        try:
            found = read(path)
        except ValueError as error:
            figures.COUNTS["files refused"] += 1
            text = str(error)
        else:
            figures.COUNTS["files accepted"] += 1
            if isinstance(found, LoraFile):
                assert all(t.isfinite().all() for pair in found.weights.values() for t in pair)
        assert text is None or path.name in text
        assert text is None or "\n" not in text.replace("\n  - ", ""), "one line a problem"

    check()


def test_no_mutated_checkpoint_is_ever_used(tmp_path):
    tensors = {"a": torch.arange(40.0)}
    good = write_checkpoint(tmp_path, Checkpoint(step=1, tensors=tensors, notes={}))
    path = write_checkpoint(tmp_path, Checkpoint(step=2, tensors=tensors, notes={"x": 1}))
    content = path.read_bytes()

    @settings(max_examples=100 if figures.long else 25, derandomize=True, database=None)
    @given(mutations(content).filter(lambda mutated: mutated != content))
    def check(mutated):
        path.write_bytes(mutated)
        figures.COUNTS["files"] += 1
        assert read_checkpoint(tmp_path).step == 1
        figures.COUNTS["files refused"] += 1
        assert good.exists()
        assert not path.exists(), "put aside"

    check()


def header(entry, data=b"\0" * 256) -> bytes:
    text = json.dumps(entry).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape, end, kind="F32", start=0):
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


def two(**changes):
    """A header of two tensors, one of them with lies in it."""
    a = {**tensor([2, 8], 64), **changes}
    b = tensor([8, 2], 128, start=64)
    return {
        f"transformer.{MODULE}.lora_A.weight": a,
        f"transformer.{MODULE}.lora_B.weight": b,
    }


def lora(down, up, **metadata):
    tensors = {f"transformer.{MODULE}.lora_{s}.weight": t for s, t in (("A", down), ("B", up))}
    return save(tensors, metadata={k: v for k, v in metadata.items()} or None)


Z = torch.zeros
HOSTILE = {
    "a shape larger than the file": lambda: header(two(shape=[2**40, 2**40])),
    "offsets beyond the end": lambda: header(two(data_offsets=[0, 10**9])),
    "offsets that overlap": lambda: header(two(data_offsets=[32, 96])),
    "negative offsets": lambda: header(two(data_offsets=[-64, 0])),
    "an unknown type": lambda: header(two(dtype="F1024")),
    "a header of 2**60 bytes": lambda: struct.pack("<Q", 2**60) + b"{}",
    "a header that is no JSON": lambda: struct.pack("<Q", 4) + b"{{{{",
    "nested metadata": lambda: lora(Z(2, 8), Z(8, 2), pairedit="[" * 100_000),
    "a list for a name": lambda: lora(Z(2, 8), Z(8, 2), pairedit='{"base_model": ["a"]}'),
    "a name that colours terminals": lambda: lora(
        Z(2, 8), Z(8, 2), pairedit='{"method": "\\u001b["}'
    ),
    "metadata of a wrong type": lambda: lora(Z(2, 8), Z(8, 2), pairedit="3"),
    "NaN": lambda: lora(Z(2, 8) * float("nan"), Z(8, 2)),
    "infinity in float32 only": lambda: lora(Z(2, 8).double() + 1e300, Z(8, 2).double()),
    "ranks that differ": lambda: lora(Z(3, 8), Z(8, 2)),
    "whole numbers": lambda: lora(Z(2, 8).int(), Z(8, 2).int()),
    "an alpha that is not finite": lambda: lora(
        Z(2, 8),
        Z(8, 2),
        lora_adapter_metadata='{"transformer.lora_alpha": NaN, "transformer.r": 2}',
    ),
    "nothing": lambda: b"",
    "a picture": lambda: image_bytes("PNG"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_lora_is_refused_by_name(what, tmp_path):
    path = tmp_path / "lora.safetensors"
    path.write_bytes(HOSTILE[what]())
    figures.COUNTS["files"] += 1
    with pytest.raises(ValueError, match=r"lora\.safetensors: ") as refused:
        read_lora(path)
    assert "\n" not in str(refused.value)
    figures.COUNTS["files refused"] += 1


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """LoRA files that must not be used, and one image folder's worth of old results."""
    folder = tmp_path_factory.mktemp("loras")
    bomb = pickle.dumps({"state_dict": Bomb(folder / "executed")})
    for name in ("bomb.pt", "bomb.safetensors"):
        (folder / name).write_bytes(bomb)
    torch.save({"a": torch.zeros(2)}, folder / "honest.pt")
    wrong = {MODULE: (torch.zeros(2, 999), torch.zeros(999, 2))}
    write_lora(folder / "wrong.safetensors", wrong, {"base_model": "flux-dev"})
    return folder


@pytest.mark.parametrize("name", ["bomb.safetensors", "wrong.safetensors", "bomb.pt"])
def test_gen_refuses_and_leaves_old_results_alone(name, loras, tiny_overrides, tmp_path):
    gen = [*tiny_overrides, "skip=1", "seeds=[1]", "hydra.run.dir=out"]
    if name == "bomb.safetensors":  # once is enough
        assert figures.see(run("gen", gen, tmp_path)).code == 0
    else:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/config.yaml").write_text("old: true\n")
    before = contents(tmp_path / "out")
    outcome = figures.see(run("gen", [*gen, f"lora={loras / name}"], tmp_path))
    figures.COUNTS["files"] += 1
    figures.COUNTS["files refused"] += 1
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert name in outcome.err
    check_untouched(tmp_path / "out", before)
    assert not (loras / "executed").exists(), "a pickle ran"


def test_a_pickle_in_a_model_folder_never_runs(tiny_flux_folder, tmp_path):
    import shutil

    model = shutil.copytree(tiny_flux_folder, tmp_path / "flux")
    for path in model.glob("*/*.safetensors"):
        name = "diffusion_pytorch_model" if path.parent.name in ("transformer", "vae") else ""
        bomb = path.with_name(f"{name or 'pytorch_model'}.bin")
        bomb.write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
        path.unlink()
    words = [f"model.path={model}", "resolution=32", "device=cpu"]
    outcome = figures.see(run("gen", words, tmp_path))
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert str(model) in outcome.err
    assert not (tmp_path / "executed").exists(), "a pickle ran"


def test_an_honest_file_is_read(tmp_path):
    """Or the refusals above would say nothing."""
    path = tmp_path / "lora.safetensors"
    path.write_bytes(lora_bytes())
    assert read_lora(path).rank == 2
    save_file({f"transformer.{MODULE}.lora_A.weight": Z(2, 8)}, tmp_path / "half.safetensors")
    with pytest.raises(ValueError, match="has no partner"):
        read_lora(tmp_path / "half.safetensors")
