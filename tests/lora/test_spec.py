"""What other programs show of our files, what survives, and what a checksum covers."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from pairedit.bases.flux1.names import NAMES
from pairedit.lora.file import annotate_lora, inspect_lora, read_lora, role_of, write_lora
from pairedit.lora.header import read_header

MODULE = "transformer_blocks.0.attn.to_q"
CONFIG = {"resolution": 512, "num_inference_steps": 28, "model": {"skip": 11}}
NOTES = {
    "base_model": "flux-dev",
    "method": "full",
    "dataset": "age",
    "role": "semantic",
    "config": CONFIG,
}
CALIBRATION = {"scale": 0.4321, "interval": [0.35, 0.5], "skip": 14, "num_inference_steps": 28}


def weights(*ranks):
    generator = torch.Generator().manual_seed(0)
    modules = [MODULE, *(f"transformer_blocks.0.attn.to_{part}" for part in "kv")]
    return {
        module: (
            torch.randn(rank, 8, generator=generator),
            torch.randn(8, rank, generator=generator),
        )
        for module, rank in zip(modules, ranks, strict=False)
    }


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "age.safetensors"
    write_lora(path, weights(2), NOTES, names=NAMES)
    return path


def texts(path):
    return read_header(path).texts


def test_other_programs_find_what_they_look_for(path):
    content = path.read_bytes()
    digest = hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
    found = texts(path)
    entry = json.loads(found.pop("pairedit"))
    assert entry.items() >= NOTES.items()
    assert found == {
        "modelspec.architecture": "flux-1-dev/lora",
        "modelspec.description": "A slider trained by pairedit with method=full.",
        "modelspec.hash_sha256": f"0x{digest}",
        "modelspec.implementation": "diffusers",
        "modelspec.resolution": "512x512",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": "age slider",
        "modelspec.trigger_phrase": "",
        "modelspec.usage_hint": "The first 11 of 28 steps run without it.",
        "ss_base_model_version": "flux1",
        "ss_network_alpha": "2.0",
        "ss_network_dim": "2",
        "ss_network_module": "networks.lora_flux",
        "ss_output_name": "age",
        "sshs_model_hash": digest,
    }
    assert read_lora(path).sha256 == digest


def test_nothing_is_said_of_a_model_that_others_do_not_know(tmp_path):
    path = tmp_path / "x.safetensors"
    write_lora(path, weights(2), NOTES | {"base_model": "flux-mini"}, names=NAMES)
    assert not {"modelspec.architecture", "ss_base_model_version"} & set(texts(path))


def test_two_files_of_equal_weights_are_equal_bytes(path, tmp_path):
    write_lora(tmp_path / "again.safetensors", weights(2), NOTES, names=NAMES)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert list(header["__metadata__"]) == sorted(header["__metadata__"])


def test_a_calibration_is_shown_and_leaves_the_checksum(path):
    before = read_lora(path)
    annotate_lora(path, calibration=CALIBRATION)
    found = texts(path)
    assert found["lora_default_weight"] == "0.4321"
    assert found["modelspec.usage_hint"] == (
        "Strength 0.43 changes an image as much as one pair does. It was measured between 0.35 "
        "and 0.5. The first 14 of 28 steps run without it."
    )
    annotate_lora(path, calibration={**CALIBRATION, "flowedit": True})
    assert (
        "This holds in pairedit, where it edits the finished picture."
        in (texts(path)["modelspec.usage_hint"])
    )
    assert read_lora(path).sha256 == before.sha256 == found["sshs_model_hash"]
    annotate_lora(path, calibration={**CALIBRATION, "scale": 0.5})
    assert texts(path)["lora_default_weight"] == "0.5"
    annotate_lora(path, calibration=None)
    assert "lora_default_weight" not in texts(path)
    assert texts(path) == {**texts(path), "modelspec.title": "age slider"}
    write_lora(path, {m: (a, b + 1) for m, (a, b) in before.weights.items()}, NOTES)
    assert read_lora(path).sha256 != before.sha256


def test_what_somebody_else_wrote_stays(path):
    annotate_lora(path, {"modelspec.title": "Older", "modelspec.thumbnail": "data:image/jpeg;,"})
    annotate_lora(path, calibration=CALIBRATION)
    found = texts(path)
    assert found["modelspec.title"] == "Older"
    assert found["modelspec.thumbnail"] == "data:image/jpeg;,"


def test_foreign_entries_survive_an_export_but_for_stale_ones(tmp_path):
    tensors = {
        f"transformer.{MODULE}.lora_A.weight": torch.ones(2, 8),
        f"transformer.{MODULE}.lora_B.weight": torch.ones(8, 2),
    }
    noted = json.dumps({"transformer.lora_alpha": 8, "transformer.r": 2})
    foreign = {"ss_tag_frequency": '{"a": 1}', "modelspec.author": "somebody", "format": "pt"}
    stale = {"sshs_model_hash": "0", "sshs_legacy_hash": "0", "ss_network_dim": "99"}
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, metadata={"lora_adapter_metadata": noted} | foreign | stale)
    lora = read_lora(path, NAMES)
    for layout in ("diffusers", "kohya"):
        out = tmp_path / f"{layout}.safetensors"
        write_lora(out, lora.weights, lora.metadata, layout, NAMES, lora.texts)
        found = texts(out)
        assert found.items() >= foreign.items()
        assert "lora_adapter_metadata" not in found, "or alpha would count twice"
        assert "sshs_legacy_hash" not in found
        assert found["ss_network_dim"] == "2"
        assert found["sshs_model_hash"] == read_lora(out, NAMES).sha256
        down, up = read_lora(out, NAMES).weights[MODULE]
        torch.testing.assert_close(up @ down, torch.full((8, 8), 8.0))


@pytest.mark.parametrize("layout", ["diffusers", "kohya", "published"])
def test_a_file_has_one_rank(layout, tmp_path):
    """Diffusers before 0.40 scales a file of several ranks as if it had one."""
    path = tmp_path / ("x.pt" if layout == "published" else "x.safetensors")
    write_lora(path, weights(2, 5), {}, layout, NAMES)
    tensors = torch.load(path) if layout == "published" else load_file(path)
    ranks = {len(value) for key, value in tensors.items() if "_down" in key or "_A" in key}
    assert ranks == ({15} if layout == "kohya" else {5})
    back = read_lora(path, NAMES).weights
    assert {module: len(down) for module, (down, _) in back.items()} == {
        MODULE: 2,
        "transformer_blocks.0.attn.to_k": 5,
    }


def test_the_role_of_a_file_is_known(path, tmp_path):
    assert role_of(path) == "semantic"
    write_lora(tmp_path / "c.safetensors", weights(2), NOTES | {"role": "content"})
    assert role_of(tmp_path / "c.safetensors") == "content"
    write_lora(tmp_path / "smile_0.pt", weights(2), {}, "published", NAMES)
    assert role_of(tmp_path / "smile_0.pt") == "content"
    save_file(
        {"weights.semantic.0": torch.ones(1)}, tmp_path / "d.safetensors", {"checkpoint": "{}"}
    )
    assert role_of(tmp_path / "d.safetensors") == "checkpoint"
    write_lora(tmp_path / "smile.pt", weights(2), {}, "published", NAMES)
    assert role_of(tmp_path / "smile.pt") is None


def test_a_suffix_in_capitals_is_one(path, tmp_path):
    loud = path.rename(tmp_path / "LORA.SAFETENSORS")
    assert inspect_lora(loud)["dataset"] == "age"
    assert read_lora(loud).weights
    write_lora(tmp_path / "X.PT", weights(2), {}, "published", NAMES)
    assert read_lora(tmp_path / "X.PT", NAMES).weights


def test_a_calibration_is_noted_in_the_file_behind_a_link(path, tmp_path):
    path.chmod(0o600)
    link = tmp_path / "folder" / "link.safetensors"
    link.parent.mkdir()
    link.symlink_to(path)
    annotate_lora(link, calibration=CALIBRATION)
    assert link.is_symlink()
    assert inspect_lora(path)["calibration"] == CALIBRATION
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in link.parent.iterdir()] == ["link.safetensors"]
