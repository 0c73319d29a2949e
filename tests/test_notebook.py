"""The interface for Python does what the commands do."""

import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra

import pairedit
from composing import composed
from pairedit.data.sets import Dataset, Images
from pairedit.lora.file import read_lora
from pairedit.measure.readers import AttributeProbe
from pairedit.methods import Method, PairEdit, VisualConcept
from pairedit.noising import Rectified
from pairedit.plan.build import build, written
from tiny import QUICK, noise

FEW = {"steps": 2, "rank": 2}


@dataclass(frozen=True, kw_only=True)
class Own(VisualConcept):
    noising: Rectified = field(default_factory=Rectified)


@dataclass(frozen=True, kw_only=True)
class Stopping(VisualConcept):
    """Break down in one step, unless told to go on."""

    at: ClassVar[list[int]] = [3]

    def terms(self, step):
        self.at[0] -= 1
        if not self.at[0]:
            raise RuntimeError("the kernel died")
        return super().terms(step)


@pytest.fixture(scope="module")
def model(tiny_flux_folder):
    return pairedit.open_model(
        path=str(tiny_flux_folder),
        max_sequence_length=32,
        resolution=32,
        num_inference_steps=4,
        skip=1,
        device="cpu",
    )


@pytest.fixture
def pair(loras):
    return [pairedit.load(lora.path) for lora in loras]


def test_the_import_waits_for_nothing():
    code = "import sys, pairedit; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert not hasattr(pairedit, "open_modle")


def test_train_ends_with_the_bytes_of_the_command(model, command, pair_folder, tmp_path):
    words = ["dataset=folder", f"pairs={pair_folder}", "method=wocontent", "hydra.run.dir=there"]
    assert command("train", *words, *QUICK, "preview=false", "report=false")[0] == 0
    slider = model.train(pair_folder, method="wocontent", folder=tmp_path / "here", **FEW)
    there = read_lora(tmp_path / "there/disc/semantic.safetensors")
    assert slider.path == tmp_path / "here/disc/semantic.safetensors"
    assert slider.sha256 == there.sha256
    assert slider.metadata["config"]["steps"] == 2
    assert "weights" not in repr(slider)


def test_a_method_may_be_an_object_of_the_users_own_class(model, pair_folder, tmp_path):
    pairs = Dataset(folder=str(pair_folder), name="mine")
    slider = model.train(pairs, method=Own(two_sided=True), folder=tmp_path, **FEW)
    same = VisualConcept(noising=Rectified(), two_sided=True)
    named = model.train(pairs, method=same, folder=tmp_path / "named", **FEW)
    assert slider.sha256 == named.sha256
    assert slider.metadata["method"] == "Own"
    assert slider.metadata["config"]["method"]["_target_"] == f"{__name__}.Own"
    assert (tmp_path / "mine/metrics.jsonl").exists()
    assert (tmp_path / "mine/content.safetensors").exists()


def test_an_object_is_written_as_the_config_that_makes_it():
    method = PairEdit(noising=Rectified(), eta=2.5, content=False)
    config = composed("train")
    config.method = written(method, "method")
    assert build(config.method, "method", Method) == method


def test_a_training_goes_on_to_the_same_bytes(model, pair_folder, tmp_path):
    numbers = {"steps": 4, "save_every": 2, "rank": 2}
    Stopping.at[0] = 99
    whole = model.train(pair_folder, method=Stopping(), folder=tmp_path / "whole", **numbers)
    Stopping.at[0] = 3
    with pytest.raises(RuntimeError):
        model.train(pair_folder, method=Stopping(), folder=tmp_path / "broken", **numbers)
    broken = model.train(
        pair_folder, method=Stopping(), folder=tmp_path / "broken", resume=True, **numbers
    )
    assert broken.sha256 == whole.sha256
    with pytest.raises(ValueError, match=r"broken: holds .*safetensors already"):
        model.train(pair_folder, method=Stopping(), folder=tmp_path / "broken", **numbers)


def test_rows_are_seeds_and_columns_are_scales(model, pair):
    rows = model.render(pair[0], scales=np.array([0, 0.5, 1]), seeds=range(2))
    assert [len(row) for row in rows] == [3, 3]
    (alone,) = model.render(seeds=[1])
    assert np.array_equal(alone[0], rows[1][0])
    assert not np.array_equal(rows[1][0], rows[1][2])
    (both,) = model.render(pair, scales=[1], seeds=[1], prompts="a person")
    assert not np.array_equal(both[0], rows[1][2])


def test_a_slider_is_used_as_the_call_says(model, pair):
    shown = {"scales": [1.0], "seeds": [1]}
    ((plain,),) = model.render(pair[0], **shown)
    for use in ({"local": True}, {"schedule": "early"}, {"flowedit": True}):
        ((found,),) = model.render(pair[0], **shown, **use)
        assert not np.array_equal(found, plain), use


def test_a_photograph_is_edited(model, pair, tmp_path):
    noise(3).save(tmp_path / "photo.png")
    rows = model.render(pair[0], scales=[0, 1], photos=[tmp_path / "photo.png"])
    assert [len(row) for row in rows] == [2]


def test_a_slider_is_measured(model, pair, pair_folder):
    found = model.measure(
        pair[0], pairs=pair_folder, scales=[0.5, 1], seeds=[5, 6], readers={"own": AttributeProbe()}
    )
    assert found["scales"] == [0, 0.5, 1]
    assert len(found["measures"]["share of a pair"]["mean"]) == 3
    assert found["lora"] == str(pair[0].path.resolve())


def test_hydra_goes_on_as_it_was(model, pair, monkeypatch):
    before = object()
    monkeypatch.setattr(GlobalHydra.instance(), "hydra", before)
    model.render(pair[0], scales=[0], seeds=[1])
    assert GlobalHydra.instance().hydra is before


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, s: m.train("age", stepps=3), "stepps: no such number; there is alpha, cfg_eta"),
        (lambda m, s: m.train("agee"), r"dataset=agee: no such option; there is age,"),
        (lambda m, s: m.train("age", method="ful"), r"method=ful: no such option; there is fm,"),
        (lambda m, s: m.train("age", steps="many"), "steps=many: expected a whole number"),
        (lambda m, s: m.train("age", steps=0, rank=0), r"(?s)steps=0: .*lora.rank=0: expected"),
        (lambda m, s: m.train("age", method=print), "expected the name of an option, or an object"),
        (lambda m, s: m.train("age", resume=True), "resume=True: needs the folder"),
        (lambda m, s: m.train("text_age"), "learns from image pairs, but dataset"),
        (lambda m, s: m.train("real", method="inversion"), "expected one training; it has 1743"),
        (lambda m, s: m.render(s, skip=9), "skip=9: expected 0 <= skip < num_inference_steps=4"),
        (lambda m, s: m.render(s, scales=[0, 0]), "a column is there twice"),
        (lambda m, s: m.render(s, seeds=[0.5]), r"seeds=\[0.5\]: expected whole numbers"),
        (lambda m, s: m.render(s, photos=["no.png"]), "no.png"),
        (lambda m, s: m.measure(s, readers=["prob"]), "reader=prob: no such option; there is arc"),
        (lambda m, s: m.measure(s, match=2), "match=2.0: expected above 0, at most 1"),
        (lambda m, s: pairedit.load("no.safetensors"), "no.safetensors"),
        (lambda m, s: pairedit.open_model("flux"), "model=flux: no such option; there is flux-dev"),
        (lambda m, s: pairedit.open_model(paht="x"), "paht: no such key"),
        (lambda m, s: pairedit.open_model(path="/no"), "model.path=/no: no such model folder"),
        (lambda m, s: pairedit.open_model(config_dir="no"), "config_dir=no: no such folder"),
    ],
)
def test_what_cannot_be_is_named_before_anything_runs(model, pair, call, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        call(model, pair[0])


def test_options_of_the_users_own_folder(model, pair, tmp_path, pair_folder):
    (tmp_path / "conf/method").mkdir(parents=True)
    (tmp_path / "conf/method/own.yaml").write_text(f"_target_: {__name__}.Own\ntwo_sided: true\n")
    mine = replace(model, config_dir=tmp_path / "conf")
    slider = mine.train(pair_folder, method="own", folder=tmp_path / "run", **FEW)
    assert slider.metadata["config"]["method"]["two_sided"] is True


def test_an_image_is_learnt(model, tmp_path):
    noise(3).save(tmp_path / "photo.png")
    images = Images(folder=str(tmp_path))
    content = model.train(images, method="inversion", folder=tmp_path / "run", **FEW)
    assert content.path == tmp_path / "run/photo/content.safetensors"
