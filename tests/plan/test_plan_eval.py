"""Which sliders are evaluated, and what their files tell."""

from pairedit.plan.eval import find_sliders, origin


def test_where_a_slider_comes_from(tmp_path):
    entry = {"folder": "/x/my_edit", "name": None, "attribute": "age"}
    metadata = {"dataset": "my_edit", "config": {"datasets": {"folder": entry}}}
    assert origin(metadata).attribute == "age"
    assert origin({"dataset": "other", "config": metadata["config"]}) is None
    assert origin({}) is None
    for lie in ({"attribute": ["age"]}, {"source": 5}, {"target": "a\x00b"}, {"folder": {}}):
        told = {**metadata, "config": {"datasets": {"folder": {**entry, **lie}}}}
        assert origin(told) is None
    for name in ("job1/age", "job2/age", "single"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "semantic.safetensors").write_bytes(b"")
        (tmp_path / name / "content.safetensors").write_bytes(b"")
    found = find_sliders(None, str(tmp_path), [])
    assert [path.parent.relative_to(tmp_path).as_posix() for path in found] == [
        "single",
        "job1/age",
        "job2/age",
    ]
