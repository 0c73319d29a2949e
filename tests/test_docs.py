"""Every command of docs/ runs, in the page's order, on the tiny model."""

import re
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml
from PIL import Image

from pairedit import cli, notebook
from tiny import write_pairs

DOCS = Path(__file__).parents[1] / "docs"


# What makes a command quick; the pages' own numbers stay as they are otherwise.
QUICK = {
    "train": ["resolution=32", "device=cpu", "steps=2", "preview=false", "report=false"],
    "gen": ["resolution=32", "device=cpu"],
    "eval": ["resolution=32", "device=cpu", "seeds={start: 0, count: 2}"],
    "export": [],
}


def commands(page: Path) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), flags=re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    split = [shlex.split(line) for line in lines if line and not line.startswith("#")]
    return [words for words in split if words[0] != "pip" and not AFAR & set(words)]


def files(page: Path) -> dict[str, str]:
    return dict(re.findall(r"Save as `(.+?)`:\n\n```\w+\n(.*?)```", page.read_text(), flags=re.S))


# Need what is not installed everywhere; tests/cluster and tests/sweeps run these.
AFAR = {f"hydra/launcher={name}" for name in ("joblib", "ray", "submitit")} | {"sweep=tune"}

PAGES = sorted(page for page in DOCS.glob("*.md") if commands(page))
LONG = {"evaluate", "real", "sweep"}  # whose trainings and evaluations are many


def marked(page: Path):
    return pytest.param(page, id=page.stem, marks=[pytest.mark.heavy] * (page.stem in LONG))


@pytest.mark.parametrize("page", [marked(page) for page in PAGES])
def test_every_command_runs(page, tmp_path, tiny_flux_folder, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the working folder is added to it
    write_pairs(tmp_path / "my_edit")
    shutil.copy(tmp_path / "my_edit/source/p0.png", tmp_path / "photo.png")
    Image.new("L", (32, 32), 255).save(tmp_path / "mask.png")
    (tmp_path / "my_prompts.txt").write_text("image of a person\n")
    old = {
        "pretrained_model_name_or_path": str(tiny_flux_folder),
        "datasets_folder": str(DOCS.parent / "data"),
        "datasets": ["age"],
        "output_folder": "outputs/old",
        "output_folder_gen": "outputs/old_gen",
        "scales": [0, 0.4],
        "skips": [10],
        "count_gen": 1,
    }
    (tmp_path / "train_image.yaml").write_text(yaml.safe_dump(old))
    for name, content in files(page).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    for index, (program, *typed) in enumerate(commands(page)):
        # Two steps have a state for each, where a page keeps some; few seeds show as much as many.
        words = [re.sub(r"^save_every=.*", "save_every=1", word) for word in typed]
        words = [re.sub(r"count: \d+", "count: 2", word) for word in words]
        name = program.removeprefix("pairedit-")
        if name == "gen" and not any(re.match("seeds=|again=|old=", word) for word in words):
            words.append("seeds=[3,4]")  # a page looks at seed 3
        if name == "train" and not any(w.startswith(("hydra.", "old=", "resume=")) for w in words):
            # The default folder is named by the second, and takes no other run.
            words.append(f"hydra.run.dir=outputs/run{index}")
        if QUICK[name]:
            words += [f"model.path={tiny_flux_folder}", "model.max_sequence_length=32"]
        monkeypatch.setattr(sys, "argv", [program, *words, *QUICK[name]])
        try:
            getattr(cli, name)()
        except SystemExit as leave:
            out, err = capfd.readouterr()
            raise AssertionError(f"{shlex.join([program, *words])}: {err}{out}") from leave
    assert {".safetensors", ".png"} <= {path.suffix for path in tmp_path.rglob("*")}


def test_the_lines_for_python_run(tmp_path, tiny_flux_folder, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick = {"path": str(tiny_flux_folder), "max_sequence_length": 32, "resolution": 32}
    quick |= {"device": "cpu", "num_inference_steps": 4, "skip": 1}
    monkeypatch.setattr(notebook, "open_model", partial(notebook.open_model, **quick))
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / "python.md").read_text(), re.M | re.S)
    names: dict[str, object] = {"__name__": "a_notebook"}
    for block in blocks:
        exec(re.sub(r"steps=\d+", "steps=2", block), names)
    assert "stepps: no such number" in capsys.readouterr().out
    assert [len(row) for row in names["rows"]] == [2]
    assert names["again"].metadata["method"] == "graded"
    assert names["smile"].metadata["config"]["method"]["eta"] == 3.0
    assert {path.name for path in tmp_path.rglob("*.safetensors")} >= {"semantic.safetensors"}


def test_links_lead_somewhere():
    for page in [DOCS.parent / "README.md", *DOCS.glob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_readme_leads_to_every_page():
    readme = (DOCS.parent / "README.md").read_text()
    assert [page.name for page in DOCS.glob("*.md") if f"(docs/{page.name})" not in readme] == []
