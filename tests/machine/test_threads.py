"""A training on CPUs that others use takes fewer threads, unless the user chose them."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

SETTLE = """import logging, torch
logging.basicConfig(level=logging.INFO, format="%(message)s")
torch.set_num_threads(2)
from pairedit.machine.devices import settle_threads
settle_threads()
print(torch.get_num_threads())"""

two = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two CPUs that a process can be kept to",
)


@two
@pytest.mark.parametrize(("own", "expected"), [({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2")])
def test_a_busy_cpu_is_left_to_others(own, expected):
    cpus = set(sorted(os.sched_getaffinity(0))[:2])
    kept = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}

    def keep_to_two():
        os.sched_setaffinity(0, cpus)

    with ExitStack() as stack:
        for _ in range(2):
            busy = subprocess.Popen(
                [sys.executable, "-c", "while True: pass"], preexec_fn=keep_to_two
            )
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        time.sleep(0.5)
        done = subprocess.run(
            [sys.executable, "-c", SETTLE],
            env={**kept, **own},
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=keep_to_two,
        )
    assert done.stdout.strip() == expected
    assert ("of 2 CPUs: this runs on 1" in done.stderr) == (expected == "1")
