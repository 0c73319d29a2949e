"""Build the wheel without network and use it from elsewhere, as somebody who installs it does."""

import email
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pairedit

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone into a folder; its requirements come from the environment."""
    folder = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-index", "--no-deps", "--no-compile", "--target", str(folder), str(wheel)]
    subprocess.run([*install, *options], check=True, capture_output=True)
    return folder


def run(site: Path, cwd: Path, *command: str) -> str:
    """Run a command of the installed wheel, in front of the checkout on Python's path."""
    environment = os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_its_config_and_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"{prefix}{path.relative_to(ROOT / folder).as_posix()}"
        for folder, prefix in (
            ("src/pairedit", "pairedit/"),
            ("conf", "pairedit/shipped/conf/"),
            ("data", "pairedit/shipped/data/"),
        )
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert "pairedit/shipped/conf/train.yaml" in expected
    assert expected <= names, expected - names
    ours = ("pairedit/", "pairedit-", "hydra_plugins/pairedit.py")  # Hydra finds launchers there
    stray = [name for name in names if not name.startswith(ours) or "__pycache__" in name]
    assert not stray


def test_the_metadata_need_no_files_beside_them(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [n for n in opened.namelist() if n.endswith(".dist-info/METADATA")]
        said = email.message_from_bytes(opened.read(name))
    assert said["Version"] == pairedit.__version__
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Description-Content-Type"] == "text/markdown"
    assert said["Requires-Python"] == ">=3.10"
    text = said.get_payload()
    assert text.startswith("# pairedit")
    assert not re.findall(r"\]\((?!https?:|#).*?\)", text)  # links and pictures of the checkout


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        (None, "\n\nA the page ([the part](#part), [paper](https://x.y)).\n\nEnd.\n"),
        (
            "https://example.org/pairedit/",
            "[![b](https://example.org/pairedit/raw/main/docs/b.svg)]"
            "(https://example.org/pairedit/blob/main/LICENSE)\n\n"
            "A [the page](https://example.org/pairedit/blob/main/docs/a.md#b) "
            "([the part](#part), [paper](https://x.y)).\n\n| a | b |\n|---|---|\n| "
            "![one](https://example.org/pairedit/raw/main/docs/1.png) |  |\n\nEnd.\n",
        ),
    ],
)
def test_links_of_the_long_description(repository: str | None, expected: str) -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from hatch_build import described
    finally:
        sys.path.remove(str(ROOT))
    readme = (
        "[![b](docs/b.svg)](LICENSE)\n\nA [the page](docs/a.md#b) ([the part](#part), [paper](https://x.y)).\n\n"
        "| a | b |\n|---|---|\n| ![one](docs/1.png) |  |\n\nEnd.\n"
    )
    assert described(readme, repository) == expected


def test_the_installed_wheel_stands_alone(site: Path, tmp_path: Path) -> None:
    code = (
        "import pairedit, pairedit.files as files, pairedit.data.examples as data\n"
        "print(pairedit.__file__, files.CONF, sep='\\n')\n"
        "for name in ('age', 'smile', 'glasses', 'beard'):\n"
        "    pairs = data.find_pairs(files.locate(f'pkg://data/{name}'))\n"
        "    assert len(pairs) == 3, pairs\n"
        "    print(pairs[0].source)\n"
    )
    places = run(site, tmp_path, sys.executable, "-c", code).split()
    assert len(places) == 6
    assert all(Path(place).is_relative_to(site) for place in places), places


@pytest.mark.parametrize("command", ["pairedit-train", "pairedit-gen", "pairedit-eval"])
def test_commands_of_the_wheel_answer_from_elsewhere(
    site: Path, tmp_path: Path, command: str
) -> None:
    program = str(site / "bin" / command)
    assert command in run(site, tmp_path, program, "--help")
    assert "flux-mini" in run(site, tmp_path, program, "--cfg", "job")
    # Asking leaves nothing behind.
    assert not list(tmp_path.iterdir())


@pytest.mark.heavy
def test_the_wheel_trains_and_renders_elsewhere(site: Path, tmp_path: Path) -> None:
    bin_ = site / "bin"
    options = ["dataset=smile", "method=full", "model=flux-mini", "steps=2", "preview=false"]
    run(site, tmp_path, str(bin_ / "pairedit-train"), *options, "hydra.run.dir=run")
    lora = tmp_path / "run" / "smile" / "semantic.safetensors"
    assert lora.stat().st_size > 0
    options = [f"lora={lora}", "seeds=[7]", "scales=[0,0.4]", "hydra.run.dir=gen"]
    run(site, tmp_path, str(bin_ / "pairedit-gen"), *options)
    assert (tmp_path / "gen" / "sheet.png").stat().st_size > 0
    assert len(list((tmp_path / "gen" / "images").glob("*.png"))) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"run", "gen"}
