"""Several sliders as one file do what they do together."""

import numpy as np
import pytest

from pairedit.data.images import read_image
from pairedit.lora.file import annotate_lora, inspect_lora, read_lora


def pixels(folder):
    (path,) = (folder / "images").iterdir()
    return np.asarray(read_image(path)).astype(int)


@pytest.fixture
def paths(loras):
    for lora, name in zip(loras, ("age", "smile"), strict=True):
        annotate_lora(lora.path, dataset=name, base_model="flux-mini", method="graded")
    return [lora.path for lora in loras]


@pytest.mark.parametrize("layout", ["diffusers", "published"])
def test_a_merged_file_renders_as_the_two_together(command, export, paths, tmp_path, layout):
    age, smile = paths
    out = tmp_path / ("both.pt" if layout == "published" else "both.safetensors")
    code, said, err = export(
        f"merge=[{{path: {age}, scale: 0.4}},{{path: {smile}, scale: -0.7}}]",
        f"out={out}",
        f"layout={layout}",
    )
    assert (code, err) == (0, "")
    assert "2 sliders in one file, without loss: rank 8" in said
    words = ["seeds=3", "skip=1"]
    two = f"lora=[{{path: {age}, scales: [0.4]}},{{path: {smile}, scales: [-0.7]}}]"
    assert command("gen", two, *words, f"hydra.run.dir={tmp_path}/two")[0] == 0
    for name, more in (("one", ["scales=[1]", f"lora={out}"]), ("base", [])):
        assert command("gen", *more, *words, f"hydra.run.dir={tmp_path / name}")[0] == 0
    together, merged, base = (pixels(tmp_path / name) for name in ("two", "one", "base"))
    assert abs(together - merged).max() <= 1
    assert abs(together - base).max() > 20
    if layout == "diffusers":
        known = inspect_lora(out)
        assert (known["dataset"], known["base_model"]) == ("age+smile", "flux-mini")
        assert [part["scale"] for part in known["merged"]] == [0.4, -0.7]
        assert known["merged"][0]["sha256"] == read_lora(age).sha256


def test_a_smaller_rank_says_what_it_loses(export, paths, tmp_path):
    age, smile = paths
    out = tmp_path / "both.safetensors"
    code, said, _ = export(f"merge=[{age},{smile}]", f"out={out}", "rank=4")
    assert code == 0
    assert "2 sliders in one file, at rank 4 of 8: that loses " in said
    assert read_lora(out).rank == 4
    code, said, _ = export(f"merge=[{age},{smile}]", f"out={out}", "rank=8")
    assert "at rank 8 of 8: that loses 0 % of their update" in said


def test_a_use_is_kept_where_the_parts_agree_and_else_said(export, paths, tmp_path):
    age, smile = paths
    out = tmp_path / "both.safetensors"
    use = {"skip": 0.6, "local": True, "schedule": 0.0, "by": "probe"}
    for path in paths:
        annotate_lora(path, use=use)
    code, said, _ = export(f"merge=[{age},{smile}]", f"out={out}")
    assert code == 0
    assert inspect_lora(out)["use"] == use
    assert "differently" not in said
    annotate_lora(smile, use={**use, "skip": 0.45})
    code, said, _ = export(f"merge=[{age},{smile}]", f"out={out}")
    assert code == 0
    assert "use" not in inspect_lora(out)
    assert "the sliders are used differently" in said
    assert "skip=0.45 local=true" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["merge=[a.pt]", "out=x.pt"], "expected at least two sliders"),
        (["merge=[a.pt,{path: b.pt, scale: 0}]", "out=x.pt"], "is not a number other than 0"),
        (["merge=[a.pt,{file: b.pt}]", "out=x.pt"], "is not a path or {path: .., scale: ..}"),
        (["merge=[a.pt,b.pt]"], "merge: needs out="),
        (["merge=[a.pt,b.pt]", "lora=c.pt", "out=x.pt"], "merge= names the files"),
        (["lora=c.pt", "rank=3"], "rank=3: has no effect; add merge="),
        (["merge=[a.pt,b.pt]", "out=x.pt", "rank=0"], "rank=0: expected 1 to"),
        (["merge=[a.pt,b.pt]", "out=x.pt"], "merge=a.pt: no such LoRA file"),
    ],
)
def test_what_cannot_be_merged_is_refused(export, words, says):
    code, _, err = export(*words)
    assert code == 1
    assert says in err
