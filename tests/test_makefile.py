"""What `make` does around the commands that it runs."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# In place of the studio: saves on Ctrl-C, and ends as the studio does.
STUDIO = """#!/bin/sh
trap 'echo saved; exit 130' INT
echo ready
while :; do sleep 0.1; done
"""


def stopped(command: list[str], after: str) -> str:
    """Run a command, send it and its children Ctrl-C once it says `after`; return what was said."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, **streams) as run:
        shown = ""
        for line in run.stdout:
            shown += line
            if line.strip() == after:
                os.killpg(run.pid, signal.SIGINT)
    return shown


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(("program", "said"), [(STUDIO, ""), ("#!/bin/sh\nexit 3\n", "Error 3")])
def test_the_studio_ends_quietly_by_ctrl_c_and_loudly_by_an_error(tmp_path, program, said):
    studio = tmp_path / "bin/pairedit-studio"
    studio.parent.mkdir()
    studio.write_text(program)
    studio.chmod(0o755)
    # -o: as if it were installed.
    command = ["make", "-o", f"{tmp_path}/.installed", f"STUDIO={tmp_path}", "studio"]
    shown = stopped(command, "ready")
    assert ("saved" in shown) is (program == STUDIO)
    assert ("***" in shown) is bool(said)
    assert said in shown


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_what_make_starts_keeps_its_bytecode():
    command = ["make", "-s", "-C", ROOT, '--eval=seen: ; @echo "[$$PYTHONDONTWRITEBYTECODE]"']
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*command, "seen"], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
