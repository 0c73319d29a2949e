"""Readers read what their networks say, and name what is missing."""

import importlib.util
import re

import pytest
import torch

from pairedit.files import locate
from pairedit.measure import readers
from pairedit.measure.readers import (
    ArcFace,
    AttributeProbe,
    Clip,
    Dino,
    Lpips,
    Missing,
    open_readers,
)
from pairedit.mini.probe import read
from pairedit.problems import Invalid

PLACE = {"size": (64, 64), "device": "cpu"}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Noise in [-1, 1]; the second image is the first one, brighter."""
    drawn = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.9
    drawn[1] = drawn[0] + 0.5
    return drawn


def small_clip(folder):
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    torch.manual_seed(0)
    CLIPModel(
        CLIPConfig(
            vision_config={**sizes, "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
            text_config={**sizes, "num_attention_heads": 2},
            projection_dim=8,
        )
    ).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)


def small_dino(folder):
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    Dinov2Model(
        Dinov2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
        )
    ).save_pretrained(folder)
    BitImageProcessorPil(size={"shortest_edge": 28}, crop_size=28).save_pretrained(folder)


@pytest.mark.parametrize(("kind", "save", "width"), [(Clip, small_clip, 8), (Dino, small_dino, 16)])
def test_a_network_in_the_published_layout_is_read(kind, save, width, images, tmp_path):
    save(tmp_path)
    found = kind(path=str(tmp_path)).open(model=tmp_path, **PLACE).read(images, images)
    assert found.shape == (3, width)
    assert found.dtype == torch.float32
    assert not torch.allclose(found[0], found[2], atol=1e-3)
    again = kind(path=str(tmp_path)).open(model=tmp_path, **PLACE).read(images[:1], images[:1])
    torch.testing.assert_close(again[0], found[0]), "the batch does not matter"
    if kind is Clip:
        torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_the_probe_lies_in_the_models_folder(tmp_path):
    place = {"size": (128, 128), "device": "cpu"}
    probe = AttributeProbe().open(model=locate("pkg://flux_mini"), **place)
    face = torch.zeros(1, 3, 128, 128)
    assert torch.equal(probe.read(face, face), read(face))
    assert len(probe.columns) == read(face).shape[1]
    assert set(probe.identity) < set(probe.columns)
    with pytest.raises(Missing, match=r"no probe\.safetensors in the model's folder"):
        AttributeProbe().open(model=tmp_path, **place)
    with pytest.raises(Missing, match="64 x 64"):
        AttributeProbe().open(model=locate("pkg://flux_mini"), **PLACE)


@pytest.mark.parametrize(
    ("reader", "reason"),
    [
        (Clip(path="/nowhere/clip"), "path=/nowhere/clip: neither"),
        (Clip(path="nobody/has-this"), "nor in the model hub's local cache"),
        (Dino(path="nobody/has-this"), "path=nobody/has-this"),
        (ArcFace(), "path=null: expected an ONNX recognition model"),
        (ArcFace(path="/nowhere/x.onnx"), r"/nowhere/x\.onnx: no such file"),
    ],
)
def test_what_is_missing_is_named(reader, reason, tmp_path):
    with pytest.raises(Invalid, match=reason):
        reader.open(model=tmp_path, **PLACE)
    _, missing = open_readers({"x": reader}, model=tmp_path, group="readers.", **PLACE)
    assert re.match(rf"readers\.x\.path=.*{reason.removeprefix('path=')}", missing["x"])


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    def refuse(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(readers.importlib, "import_module", refuse)
    (tmp_path / "x.onnx").write_bytes(b"")
    for reader in (Lpips(), ArcFace(path=str(tmp_path / "x.onnx"))):
        with pytest.raises(Missing, match=r"is not installed: pip install 'pairedit\[metrics\]'"):
            reader.open(model=tmp_path, **PLACE)


def test_one_that_is_missing_leaves_the_others_alone(tmp_path):
    small_dino(tmp_path)
    known = {"clip": Clip(path="/nowhere"), "dino": Dino(path=str(tmp_path)), "face": ArcFace()}
    opened, missing = open_readers(known, model=tmp_path, **PLACE)
    assert set(opened) == {"dino"}
    assert set(missing) == {"clip", "face"}


def test_an_unknown_lpips_network_is_refused():
    with pytest.raises(ValueError, match="net=resnet: expected alex"):
        Lpips(net="resnet")


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torchvision", "torchmetrics"))),
    reason="needs pairedit[metrics]",
)
def test_lpips_reads_its_weights_from_torchs_folder(images, tmp_path, monkeypatch):
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    with pytest.raises(Missing, match=url):
        Lpips(net="squeeze").open(model=tmp_path, **PLACE)
    place = tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[1]
    place.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(squeezenet1_1().state_dict(), place)
    compare = Lpips(net="squeeze").open(model=tmp_path, **PLACE)
    found = compare.read(images, images[[0, 0, 0]])
    assert found.shape == (3, 1)
    assert float(found[0]) == 0
    assert float(found[1]) > 0
    assert float(found[2]) > 0


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnxruntime", "onnx"))),
    reason="needs pairedit[metrics] and onnx",
)
def test_arcface_reads_an_onnx_network(images, tmp_path):
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    side = readers.ARCFACE_SIDE
    weight = np.random.default_rng(0).normal(size=(3 * side * side, 4)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["output"]),
        ],
        "arcface",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    save(model, tmp_path / "face.onnx")
    embed = ArcFace(path=str(tmp_path / "face.onnx")).open(model=tmp_path, **PLACE)
    found = embed.read(images, images)
    small = torch.nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
    expected = small.flatten(1) @ torch.from_numpy(weight)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(Missing, match="no ONNX model"):
        ArcFace(path=str(tmp_path / "bad.onnx")).open(model=tmp_path, **PLACE)
