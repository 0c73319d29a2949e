"""The configuration tree: every leaf builds, keys mean what the help says."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from conftest import write_pairs
from pairedit.bases.base import Model
from pairedit.data.sets import Examples
from pairedit.edits import Edit
from pairedit.files import CONF
from pairedit.machine.hardware import Hardware
from pairedit.measure.readers import Reader
from pairedit.methods import Method
from pairedit.plan.build import build
from pairedit.plan.gen import plan_gen
from pairedit.plan.keys import (
    EvalConfig,
    ExportConfig,
    GenConfig,
    TrainConfig,
    folder_name,
    register,
)
from pairedit.plan.parse import DEFAULT_SCALES, parse_prompts, parse_seeds, parse_sliders
from pairedit.plan.train import plan_train
from pairedit.runs.tracking import Tracker

KINDS = {
    "method": Method,
    "dataset": Examples,
    "model": Model,
    "edit": Edit,
    "tracker": Tracker,
    "reader": Reader,
    "hardware": Hardware,
}
LEAVES = sorted(
    (path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name in KINDS
)


def composed(name, *overrides, hydra=False):
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides), return_hydra_config=hydra)


def test_no_group_is_forgotten():
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert groups == {*KINDS, "sweep", "hydra"}
    assert {group for group, _ in LEAVES} == set(KINDS)


@pytest.mark.parametrize(("group", "option"), LEAVES)
def test_every_leaf_composes_and_builds(group, option):
    training = ["train", "pairs=/some/where", "images=/else/where"]
    words = {"edit": ["gen"], "reader": ["eval"]}.get(group, training)
    config = composed(*words, f"{group}={option}")
    several = {"dataset": "datasets", "reader": "readers"}.get(group)
    node = config[several][option] if several else config[group]
    assert isinstance(build(node, group, KINDS[group]), KINDS[group])


@pytest.mark.parametrize("option", [path.stem for path in (CONF / "sweep").glob("*.yaml")])
def test_every_sweep_composes(option):
    config = composed("train", f"sweep={option}", hydra=True)
    swept = option != "none"
    assert (str(config.hydra.mode) == "RunMode.MULTIRUN") is swept
    assert bool(config.hydra.sweeper.params) is swept


@pytest.mark.parametrize(
    ("command", "trunk"),
    [("train", TrainConfig), ("gen", GenConfig), ("eval", EvalConfig), ("export", ExportConfig)],
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


def test_plan_of_a_folder_is_named_after_it(tiny_overrides, tmp_path):
    write_pairs(tmp_path / "my edit")
    config = composed("train", "dataset=folder", f"pairs='{tmp_path}/my edit'", *tiny_overrides)
    plan = plan_train(config, method_name="full")
    assert list(plan.pairs) == ["my edit"]
    assert len(plan.pairs["my edit"]) == 2
    assert plan.settings["end_step"] == plan.settings["num_inference_steps"] - 1 == 3
    assert plan.notes == []


def test_options_that_a_method_ignores_are_named(tiny_overrides, pair_folder):
    words = ["dataset=folder", f"pairs={pair_folder}", "cfg_eta=2", "noise_scale=2"]
    used = {"full": 2, "wocontent": 2, "wocfg": 1, "fm": 1, "sliders": 0}
    for name, count in used.items():
        config = composed("train", f"method={name}", *words, *tiny_overrides)
        plan = plan_train(config, method_name=name)
        assert len(plan.notes) == 2 - count, plan.notes
        assert all(f"method={name} does not use" in note for note in plan.notes)


def test_types_inside_groups_are_checked_and_converted():
    config = composed("train", "method.eta=abc")
    with pytest.raises(ValueError, match=r"method\.eta=abc: expected a number"):
        build(config.method, "method", Method)
    config = composed("train", "method.noising.noise_scale=x")
    with pytest.raises(ValueError, match=r"method\.noising\.noise_scale=x"):
        build(config.method, "method", Method)
    built = build(composed("train", "method.eta=3").method, "method", Method)
    assert isinstance(built.eta, float)
    config = composed("train", "method.noising._target_=pairedit.runs.tracking.NoTracker")
    with pytest.raises(ValueError, match="method"):
        build(config.method, "method", Method)
    with pytest.raises(ValueError, match="NoTracker is no Method"):
        build(composed("train").tracker, "method", Method)


def test_model_gives_the_defaults():
    mini, schnell = composed("train"), composed("gen", "model=flux-schnell")
    assert (mini.resolution, mini.num_inference_steps, mini.guidance_scale) == (128, 28, 3.5)
    assert (schnell.num_inference_steps, schnell.guidance_scale, schnell.skip) == (4, None, 1)
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


@pytest.mark.parametrize(
    ("lora", "scales", "expected"),
    [
        (None, None, []),
        ("a", None, [("a", DEFAULT_SCALES)]),
        ("a", [0, 0.8], [("a", (0, 0.8))]),
        (["a", "b"], [-1, 0], [("a", (-1, 0)), ("b", (-1, 0))]),
        (
            ["a", {"path": "b", "scales": [0.5]}],
            [0, 1],
            [("a", (0, 1)), ("b", (0.5, 0.5))],
        ),
        (
            [{"path": "a", "scales": [0, 1]}, {"path": "b", "scales": [1, 0]}],
            None,
            [("a", (0, 1)), ("b", (1, 0))],
        ),
    ],
)
def test_sliders(lora, scales, expected):
    found = parse_sliders(OmegaConf.create({"x": lora}).x, scales)
    assert [(entry.path, entry.scales) for entry in found] == [
        (Path(path), values) for path, values in expected
    ]


def test_seeds():
    assert parse_seeds(None) == [0, 1, 2, 3]
    assert parse_seeds(5) == [5]
    assert parse_seeds(OmegaConf.create([3, 1])) == [3, 1]
    assert parse_seeds(OmegaConf.create({"start": 10, "count": 3})) == [10, 11, 12]
    drawn = parse_seeds({"random": 5})
    assert len(set(drawn)) == 5
    assert drawn != parse_seeds({"random": 5})
    for bad in (True, 1.5, [], [True], {"start": 1}, {"random": 0}, {"start": 0, "count": -1}):
        with pytest.raises(ValueError, match="seeds="):
            parse_seeds(bad)


def test_prompts(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("# people\nold man\n\nyoung woman\n")
    assert parse_prompts(None, None, "person") == ["person"]
    assert parse_prompts("a", None, "person") == ["a"]
    assert parse_prompts(OmegaConf.create(["a", ""]), None, "person") == ["a", ""]
    assert parse_prompts(None, str(file), "person") == ["old man", "young woman"]


def test_random_seeds_and_prompt_files_are_written_down(tiny_overrides, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("old man\n")
    plan = plan_gen(
        composed("gen", "seeds={random: 3}", f"prompts_file={file}", "skip=1", *tiny_overrides)
    )
    assert plan.resolved["seeds"] == plan.seeds
    assert len(plan.seeds) == 3
    assert plan.resolved["prompts"] == ["old man"]
    assert plan.resolved["prompts_file"] is None
