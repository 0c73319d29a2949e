"""Every command of README and docs/ runs, in the page's order, on the tiny model.

A block of `sh` is there to be followed; one of `bash` shows another way, and takes its time on
flux-mini. All pages use the two sliders that FIRST trains.
"""

import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from PIL import Image

from pairedit import cli, notebook
from tiny import write_pairs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FIRST = ["pairedit-train", "dataset=[age,smile]", "hydra.run.dir=outputs/first"]


# What makes a command quick; the pages' own numbers stay as they are otherwise.
QUICK = {
    "train": ["resolution=32", "device=cpu", "steps=2", "preview=false", "report=false"],
    "gen": ["resolution=32", "device=cpu"],
    "eval": ["resolution=32", "device=cpu", "seeds={start: 0, count: 2}"],
    "export": [],
}
FEW = "num_inference_steps=8"
# Words that count the steps of a rendering, or take their number from an earlier one.
COUNTED = re.compile(r"(num_inference_steps|start_step|end_step|skip|again|resume|old)=|.*\bskip: ")


def commands(page: Path) -> list[list[str]]:
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```$", page.read_text(), flags=re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    split = [shlex.split(line) for line in lines if line.startswith("pairedit-")]
    return [words for words in split if not AFAR & set(words)]


def loops(page: Path) -> list[str]:
    """Return the lines by which a shell makes files that commands of the page read."""
    return re.findall(r"^for .+; done > \S+$", page.read_text(), flags=re.M)


def files(page: Path) -> dict[str, str]:
    return dict(re.findall(r"Save as `(.+?)`:\n\n```\w+\n(.*?)```", page.read_text(), flags=re.S))


# Need what is not installed everywhere; tests/cluster and tests/sweeps run these.
AFAR = {f"hydra/launcher={name}" for name in ("joblib", "ray", "submitit")} | {"sweep=tune"}

PAGES = sorted(page for page in [ROOT / "README.md", *DOCS.glob("*.md")] if commands(page))
LONG = {"evaluate", "real", "sweep"}  # whose trainings and evaluations are many


def marked(page: Path):
    return pytest.param(page, id=page.stem, marks=[pytest.mark.heavy] * (page.stem in LONG))


@pytest.fixture
def type_(monkeypatch, capfd, tiny_flux_folder):
    """Return what runs one command line as it stands, but quickly and on the tiny model."""

    def run(program: str, *words: str) -> None:
        name = program.removeprefix("pairedit-")
        more = [f"model.path={tiny_flux_folder}", "model.max_sequence_length=32"]
        quick = [*more, *QUICK[name]] if QUICK[name] else []
        if quick and not any(COUNTED.match(word) for word in words):
            quick.append(FEW)
        monkeypatch.setattr(sys, "argv", [program, *words, *quick])
        try:
            getattr(cli, name)()
        except SystemExit as leave:
            out, err = capfd.readouterr()
            raise AssertionError(f"{shlex.join([program, *words])}: {err}{out}") from leave

    return run


@pytest.fixture
def first(tmp_path_factory, monkeypatch, type_) -> Path:
    """Train the two sliders of all pages once for all of them."""
    place = tmp_path_factory.getbasetemp() / "pages"
    if not (place / "outputs").is_dir():
        place.mkdir(exist_ok=True)
        monkeypatch.chdir(place)
        type_(*FIRST)
    return place / "outputs"


@pytest.mark.parametrize("page", [marked(page) for page in PAGES])
def test_every_command_runs(page, first, type_, tmp_path, tiny_flux_folder, monkeypatch):
    shutil.copytree(first, tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the working folder is added to it
    write_pairs(tmp_path / "my_edit")
    shutil.copy(tmp_path / "my_edit/source/p0.png", tmp_path / "photo.png")
    Image.new("L", (32, 32), 255).save(tmp_path / "mask.png")
    (tmp_path / "my_prompts.txt").write_text("image of a person\n")
    old = {
        "pretrained_model_name_or_path": str(tiny_flux_folder),
        "datasets_folder": str(ROOT / "data"),
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
    for line in loops(page):
        subprocess.run(["sh", "-c", line], check=True)
    for index, (program, *typed) in enumerate(commands(page)):
        if [program, *typed] == FIRST:
            continue
        # Two steps have a state for each, where a page keeps some; few seeds show as much as many.
        words = [re.sub(r"^save_every=.*", "save_every=1", word) for word in typed]
        words = [re.sub(r"count: \d+", "count: 2", word) for word in words]
        if program == "pairedit-gen" and not any(
            re.match("seeds=|again=|old=|edit=real$", w) for w in words
        ):
            words.append("seeds=[3,4]")  # a page looks at seed 3
        made = any(word.startswith(("hydra.", "old=", "resume=")) for word in words)
        if program == "pairedit-train" and not made:
            # The default folder is named by the second, and takes no other run.
            words.append(f"hydra.run.dir=outputs/run{index}")
        type_(program, *words)
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


def headings(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    return re.findall(r"^#+ (.+)$", text, re.M)


def anchors(page: Path) -> set[str]:
    """Return what a link may name behind `#`, as GitHub makes it of headings."""
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings(page)}


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS.glob("*.md")], ids=lambda p: p.stem)
def test_no_two_headings_of_a_page_are_alike(page):
    heads = headings(page)
    assert len(heads) == len(set(heads))


def test_lists_are_lists_on_the_site_too():
    """GitHub is content with two spaces below an item; the site's Markdown wants four."""
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        lines = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S).splitlines()
        for above, line in pairwise(lines):
            assert above or not re.match(r" {1,3}\S", line), f"{page.name}: {line}"
            assert not (above.startswith("    ") and line.startswith("- ")), f"{page.name}: {line}"


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")]:
        for link, place in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page.read_text()):
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name}: {link}"
            if place:
                assert place in anchors(target), f"{page.name}: {link}#{place}"


def test_the_first_page_and_the_site_lead_to_every_page():
    menu = (ROOT / "mkdocs.yml").read_text()
    index = (DOCS / "index.md").read_text()
    for page in DOCS.glob("*.md"):
        assert re.search(rf"(?:- |: ){re.escape(page.name)}$", menu, re.M), page.name
        assert page.name == "index.md" or f"({page.name}" in index, page.name


def test_pages_that_use_the_two_sliders_say_how_to_train_them():
    for page in PAGES:
        lines = commands(page)
        if any("outputs/first/" in word for words in lines for word in words):
            assert FIRST in lines, page.name


def test_the_readme_is_short():
    text = re.sub(r"<!--.*?-->", "", (ROOT / "README.md").read_text(), flags=re.S)
    assert len([word for word in text.split() if re.search(r"\w", word)]) <= 700


def test_words_are_in_order_and_each_is_there_once():
    rows = re.findall(r"^\| (.+?) \| .+ \|$", (DOCS / "words.md").read_text(), re.M)[1:]
    plain = [re.sub(r"[^a-z ]", "", row.lower()) for row in rows]
    assert plain == sorted(set(plain))


def test_badges_are_true():
    project = (ROOT / "pyproject.toml").read_text()
    (licence,) = re.findall(r'^license = "(.+)"$', project, re.M)
    (python,) = re.findall(r'^requires-python = ">=(.+)"$', project, re.M)
    for name, value in (("licence", licence), ("python", f"{python} or newer")):
        assert f">{value}</text>" in (DOCS / f"pictures/badges/{name}.svg").read_text()
