"""The commands start without what is slow to import."""

import subprocess
import sys


def test_the_commands_import_nothing_slow():
    code = "import sys, pairedit.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"torch", "diffusers", "transformers", "peft", "numpy", "matplotlib", "wandb"}
    assert not slow & set(done.stdout.split())


def test_the_garbage_collector_rests_only_while_torch_is_imported():
    code = """
import gc
from pairedit.machine.collector import collector_at_rest
with collector_at_rest():
    import torch
    assert not gc.isenabled()
frozen = gc.get_freeze_count()
assert gc.isenabled() and frozen > 100_000, frozen
with collector_at_rest():
    assert gc.isenabled()
assert gc.get_freeze_count() <= frozen
"""
    subprocess.run([sys.executable, "-c", code], check=True)
