"""The configuration tree: every key is explained, folders are named by what was asked."""

import pytest

from composing import composed
from pairedit.files import CONF
from pairedit.plan.keys import (
    EvalConfig,
    ExportConfig,
    GenConfig,
    StudioConfig,
    TrainConfig,
    folder_name,
)
from pairedit.plan.model import usual_skip


@pytest.mark.parametrize("option", [path.stem for path in (CONF / "sweep").glob("*.yaml")])
def test_every_sweep_composes(option):
    if option == "tune":
        pytest.importorskip("optuna", reason="needs pip install 'pairedit[tune]'")
    config = composed("train", f"sweep={option}", hydra=True)
    swept = option != "none"
    assert (str(config.hydra.mode) == "RunMode.MULTIRUN") is swept
    assert bool(config.hydra.sweeper.params) is swept


@pytest.mark.parametrize(
    ("command", "trunk"),
    [
        ("train", TrainConfig),
        ("gen", GenConfig),
        ("eval", EvalConfig),
        ("export", ExportConfig),
        ("studio", StudioConfig),
    ],
)
def test_every_trunk_key_is_explained_in_the_help(command, trunk):
    text = (CONF / f"hydra/help/{command}.yaml").read_text()
    for key in trunk.__dataclass_fields__:
        assert key.replace("datasets", "dataset").replace("readers", "reader") in text, key


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["dataset=age"], ["age"]),
        (["dataset=[age,smile]"], ["age", "smile"]),
        (["dataset=[smile]"], ["smile"]),
        (["dataset=folder", "pairs=/x"], ["folder"]),
        (["dataset=[folder,age]", "pairs=/x"], ["folder", "age"]),
    ],
)
def test_datasets_are_packaged_under_their_own_name(words, names):
    assert list(composed("train", *words).datasets) == names


def test_model_gives_the_defaults():
    mini, schnell = composed("train"), composed("gen", "model=flux-schnell")
    assert (mini.resolution, mini.num_inference_steps, mini.guidance_scale) == (128, 28, 3.5)
    assert (schnell.num_inference_steps, schnell.guidance_scale) == (4, None)
    assert [usual_skip(mini.model, steps) for steps in (28, 4, 56)] == [11, 1, 22]
    assert composed("train", "guidance_scale=null").guidance_scale is None


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["method=full", "cfg_eta=2"], "method-full_cfg_eta-2"),
        (["dataset=[age,smile]"], "dataset-age+smile"),
        (["start_step=-1", "learning_rate=1e-3"], "start_step--1_learning_rate-1e-3"),
        ([], "defaults"),
    ],
)
def test_job_folders_are_named_by_overrides(overrides, name):
    assert folder_name(overrides) == name


def test_job_folders_never_collide_or_need_quotes():
    jobs = [
        ["pairs=/a/b"],
        ["pairs=/a-b"],
        ["pairs=/a=b"],
        ["pairs='/a b'"],
        ["pairs=" + "x" * 300],
        ["pairs=" + "x" * 301],
        ["pairs=ä"],
        ["pairs=ö"],
        ['prompts=["a,b"]'],
        ["prompts=[a,b]"],
        ["prompts=[a+b]"],
    ]
    names = [folder_name(job) for job in jobs]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name.encode()) < 200
        assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789_.+-")
