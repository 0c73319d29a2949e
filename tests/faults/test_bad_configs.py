"""Generated configurations: whatever is wrong is said in words, and nothing runs."""

import contextlib
import io
import sys
import time

import figures
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairedit import cli
from pairedit.bases.base import Model
from pairedit.machine.hardware import Hardware
from pairedit.plan.eval import plan_eval
from pairedit.plan.export import plan_export
from pairedit.plan.gen import plan_gen
from pairedit.plan.keys import (
    EvalConfig,
    ExportConfig,
    GenConfig,
    LoraKeys,
    SweepConfig,
    TrainConfig,
)
from pairedit.plan.train import plan_train

SLOW = 20.0  # s of computing; a refusal that takes more hangs
PLANS = {
    "train": lambda config: plan_train(config, method_name="?"),
    "gen": plan_gen,
    "eval": plan_eval,
    "export": plan_export,
}
MODEL = [f"model.{name}" for name in Model.__dataclass_fields__]
MODEL += [f"hardware.{name}" for name in Hardware.__dataclass_fields__]
KEYS = {
    "train": [
        *TrainConfig.__dataclass_fields__,
        *(f"lora.{name}" for name in LoraKeys.__dataclass_fields__),
        *MODEL,
        *("dataset", "datasets.smile", "datasets.smile.folder", "datasets.smile.name"),
        *("method.eta", "method.content", "method.noising", "method.noising.noise_scale"),
        *("method._target_", "tracker._target_", "tracker.mode", "nope", "lora.nope"),
    ],
    "gen": [*GenConfig.__dataclass_fields__, *MODEL, "edit._target_", "edit.nope", "steps"],
    "eval": [
        *EvalConfig.__dataclass_fields__,
        *(f"sweep.{name}" for name in SweepConfig.__dataclass_fields__),
        *MODEL,
        *("reader", "readers.probe", "readers.lpips.net", "readers.arcface.path", "tracker.mode"),
    ],
    "export": [*ExportConfig.__dataclass_fields__, "model", "nope"],
}
ODD = [
    *("", "''", "null", "true", "-1", "0", "1.5", "1e400", "nan", "inf", "-inf", "9" * 26),
    *("[]", "[1]", "[a,b]", "[[]]", "{}", "{a: 1}", "{a: {b: [1]}}", "[null]", "[1.5,abc]"),
    *("${nope}", "${model}", "${oc.env:NOPE}", "${oc.env:HOME}", "${.}", "'${'", "é", r"'\x00'"),
    *(
        "/dev/null",
        "/",
        "~",
        "..",
        "'~nobody/x'",
        "'*'",
        "(",
        "'('",
        "[1",
        "\\",
        "1,2",
        "range(1,3)",
        "'a\nb'",
    ),
    *("os.getcwd", "{_target_: os.getcwd}", "{start: 0}", "{random: 0}", "{random: 9999999999}"),
    *("{start: 0, count: 1000000000000}", "{start: -1, count: 2}", "{path: 1}", "x" * 300),
]
values = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.integers() | st.text("ab", max_size=2), max_size=3).map(str),
)


@st.composite
def words(draw):
    """Draw a command and a few overrides of which at least one is odd."""
    command = draw(st.sampled_from(sorted(KEYS)))
    found = []
    for key in draw(st.lists(st.sampled_from(KEYS[command]), min_size=1, max_size=3, unique=True)):
        sign = draw(st.sampled_from(["", "", "", "", "+", "++", "~"]))
        found.append(f"{sign}{key}" + ("" if sign == "~" else f"={draw(values)}"))
    return command, found


def attempt(command, given_words, folder):
    """Compose and check as the command does, in this process; return code, stdout and stderr."""
    sys.argv = [f"pairedit-{command}", *given_words, f"hydra.run.dir={folder}"]
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        # A configuration that is fine after all must not run.
        patch.setattr(cli, f"_{command}", lambda config, stopping, **_: PLANS[command](config))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                getattr(cli, command)()
            except SystemExit as leave:
                code = leave.code
    return code, out.getvalue() + err.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with contextlib.chdir(tmp_path_factory.mktemp("cwd")):
        yield tmp_path_factory.mktemp("job")


def test_generated_configurations_are_refused_in_words(folder):
    @settings(
        max_examples=560 if figures.long else 5,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(words())
    def check(drawn):
        started = time.process_time()
        code, text = attempt(*drawn, folder)
        slow = time.process_time() - started > SLOW
        bare = "Traceback" in text or "HYDRA_FULL_ERROR" in text
        figures.COUNTS["hangs"] += slow
        figures.COUNTS["tracebacks"] += bare
        figures.COUNTS["configs" if code else "configs accepted"] += 1
        assert not slow, drawn
        assert not bare, (drawn, text)
        assert code in (0, 1), (drawn, text)
        if code:
            assert text.startswith("error: "), (drawn, text)
            head, *rest = text.rstrip("\n").split("\n")
            assert len(head) > len("error: ")
            assert all(line.startswith("  - ") for line in rest), (drawn, text)

    check()
    if figures.long:
        assert figures.COUNTS["configs"] >= 500
