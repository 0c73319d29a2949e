"""How long OpenMP's threads spin is settled before torch is imported, by the user first."""

import os
import subprocess
import sys

import pytest

import pairedit

PRINT = """import os, sys, pairedit
assert "torch" not in sys.modules
print(os.environ.get("GOMP_SPINCOUNT"))"""


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, pairedit.SPINS),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_threads_spin_as_long_as_the_user_says(own, expected):
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        env={**kept, **own},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected
