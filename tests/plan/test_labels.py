"""Sliders are named by what differs among their trainings, as short as that is clear."""

from pathlib import Path

from pairedit.measure.subject import Subject
from pairedit.plan.labels import told_apart, uneven


def slider(job, dataset="smile", method="full", **settings):
    path = Path(f"/sweep/{job}/{dataset}/semantic.safetensors")
    subject = Subject(path=path, label=method, dataset=dataset, pairs=[], attribute=None, skip=1)
    config = {"steps": 500, "seed": 0, "lora": {"rank": 16}, "method": {"eta": 4}} | settings
    return subject, {"method": method, "config": config}


def labels(*sliders):
    subjects, about = zip(*sliders, strict=True)
    return told_apart(subjects, about)


def test_a_key_that_follows_from_the_method_is_not_in_the_label():
    named = labels(slider("a"), slider("b", method="graded", steps=150))
    assert [s.label for s in named] == ["full", "graded"]
    assert [s.swept for s in named] == [{}, {}]


def test_swept_keys_are_named_by_their_last_part_and_the_seed_comes_last():
    made = [
        slider(f"{rank}{seed}", lora={"rank": rank}, seed=seed)
        for rank in (4, 16)
        for seed in (0, 1)
    ]
    named = labels(*made)
    assert [s.label for s in named][:2] == ["full rank=4 seed=0", "full rank=4 seed=1"]
    assert [s.family for s in named][1:3] == ["full rank=4", "full rank=16"]
    assert named[0].swept == {"lora.rank": "4"}
    assert [s.seed for s in named] == [0, 1, 0, 1]


def test_other_edits_do_not_lengthen_a_label():
    named = labels(slider("a"), slider("b", dataset="age"), slider("c", dataset="age", steps=9))
    assert [s.label for s in named] == ["full", "full steps=500", "full steps=9"]


def test_sliders_that_nothing_tells_apart_are_named_by_their_folders():
    named = labels(slider("first"), slider("second"))
    assert [s.label for s in named] == ["first", "second"]
    assert [s.family for s in named] == ["first", "second"]


def test_methods_that_are_trained_differently_long_are_said_to_be():
    default = [("full", 500), ("graded", 150), ("full", 500)]
    assert uneven(default) == (
        "the methods are not trained equally long, in steps: full 500, graded 150; "
        "steps=N gives all the same"
    )
    assert uneven([("full", 500), ("fm", 500)]) is None
    asked = [("full", 500), ("full", 150), ("graded", 150)]
    assert uneven(asked) is None, "somebody sweeps the steps"
    assert uneven([]) is None
