"""Own the commands: Hydra around a job, and errors that a user can read.

Nothing here imports torch before a configuration has been found good, so `--help` and mistakes
answer at once.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pairedit.files import CONF
from pairedit.jobs.export import run_export
from pairedit.machine.collector import collector_at_rest
from pairedit.plan import checked
from pairedit.plan.again import expand_again
from pairedit.plan.composition import compose_problems
from pairedit.plan.eval import plan_eval
from pairedit.plan.export import plan_export
from pairedit.plan.keys import register
from pairedit.plan.once import composed_once
from pairedit.plan.published import expand
from pairedit.plan.studio import plan_studio
from pairedit.plan.typed import arrange, left_out, place
from pairedit.plan.weights import look_for
from pairedit.plan.wording import describe, on_its_lines
from pairedit.runs import leftovers
from pairedit.runs.folder import check_again
from pairedit.runs.resume import (
    again_folder,
    expand_resume,
    has_begun,
    hydra_options,
    resume_command,
)
from pairedit.runs.stopping import Stopped, Stopping
from pairedit.sweeps.jobs import Jobs, Task
from pairedit.sweeps.search import go_on
from pairedit.sweeps.spread import part_of, spread_with

log = logging.getLogger(__name__)

FULL = "HYDRA_FULL_ERROR"


def train() -> None:
    """Run pairedit-train."""
    again = again_folder(sys.argv[1:])
    task = partial(_train, again=again)
    _command("train", task, checked.training)


def commands() -> None:
    """Run pairedit: list the commands."""
    if sys.argv[1:2] and (task := COMMANDS.get(sys.argv[1].removeprefix("pairedit-"))):
        sys.argv[:2] = [f"pairedit-{sys.argv[1].removeprefix('pairedit-')}"]
        task()
        return
    names = [OmegaConf.load(CONF / f"hydra/help/{name}.yaml").template for name in COMMANDS]
    print("\n".join(text.splitlines()[0] for text in names))
    print("\nAdd --help to a command to see its keys.")


def gen() -> None:
    """Run pairedit-gen."""
    _command("gen", _gen, checked.rendering)


def eval() -> None:
    """Run pairedit-eval."""
    _command("eval", _eval, checked.evaluation)


def export() -> None:
    """Run pairedit-export."""
    _command("export", _export, checked.export)


def studio() -> None:
    """Run pairedit-studio."""
    _command("studio", _studio, checked.studio)


COMMANDS = {"train": train, "gen": gen, "eval": eval, "export": export, "studio": studio}


def _train(config: DictConfig, stopping: Stopping, again: Path | None = None) -> float | None:
    """Check, also that a run that is repeated is still the same, then train; return its score."""
    hydra_config = HydraConfig.get()
    plan = checked.training(config, hydra_config, _folder())
    if again:
        check_again(again, plan.resolved)
    look_for(plan.model)
    with collector_at_rest():
        from pairedit.jobs.scoring import score_of
        from pairedit.jobs.train import run_training

    run_training(plan, _folder(), words=_typed(), stopping=stopping)
    return score_of([_folder() / name for name in plan.pairs], config.score)


def _gen(config: DictConfig, stopping: Stopping) -> None:
    """Check, then sample."""
    plan = checked.rendering(config, None, _folder())
    look_for(plan.model)
    with collector_at_rest():
        from pairedit.jobs.gen import run_sampling

    run_sampling(plan, _folder())


def _eval(config: DictConfig, stopping: Stopping) -> None:
    """Check, then measure; the sliders of a sweep side by side where a launcher is named."""
    plan = checked.evaluation(config, None, _folder())
    look_for(plan.model)
    spread = spread_with(config, _eval_part, stopping)
    with collector_at_rest():
        from pairedit.jobs.eval import run_evaluation

    run_evaluation(replace(plan, words=_typed()), _folder(), spread)


def _eval_part(config: DictConfig, stopping: Stopping) -> None:
    """Check, then measure one slider of a sweep, or draw the sliders of one edit."""
    part = part_of(config)
    plan = plan_eval(config)
    with collector_at_rest():
        from pairedit.jobs.apart import Part, do_part

    do_part(plan, Part(**part), _folder())


def _export(config: DictConfig, stopping: Stopping) -> None:
    """Check, then write a LoRA file in another layout."""
    run_export(plan_export(config))


def _studio(config: DictConfig, stopping: Stopping) -> None:
    """Check, then serve the page until a signal comes."""
    hydra_config = HydraConfig.get()
    plan = plan_studio(
        config,
        words=hydra_config.overrides.task,
        choices=hydra_config.runtime.choices,
    )
    from pairedit.studio.serve import run_studio

    run_studio(plan)


def _typed() -> list[str]:
    """Return the words of the current job, with the options that find a user's own."""
    hydra_config = HydraConfig.get()
    overrides, sources = hydra_config.overrides, hydra_config.runtime.config_sources
    return [*hydra_options(sources, list(overrides.hydra)), *overrides.task]


def _folder() -> Path:
    """Return the folder of the current job."""
    return Path(HydraConfig.get().runtime.output_dir)


def _command(name: str, task: Task, check: Callable[..., object]) -> None:
    """Run a command; on failure say why on stderr and exit with 1.

    Args:
        name: of the file in conf/.
        task: does one job.
        check: raises ValueError on a configuration that composes but cannot run; a `Check` that
            needs no more than the configuration.
    """
    _spell_anything()
    full = os.environ.get(FULL) == "1"
    jobs = Jobs(task, full, check)
    # A log file on a full disk must not print tracebacks.
    logging.raiseExceptions = full
    register()
    with _unchecked_help():
        parser = get_args_parser()
    parser.error = _misread  # type: ignore[method-assign, assignment]
    try:
        sys.argv[1:] = _words(name, sys.argv[1:], parser)
    except ValueError as error:
        _exit(str(error))
    # For a user's own classes, which `_target_` names; last, so that it hides no package. Not
    # earlier: a run that is resumed goes on in the working folder that it began in.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    arguments = parser.parse_args()
    if arguments.help:
        # Hydra would list every group it knows first, which takes a second and is not shown.
        print(OmegaConf.load(CONF / f"hydra/help/{name}.yaml").template)
        return
    try:
        # Hydra prints an error and exits unless asked for everything; then it raises, and the
        # error is said below in our words.
        os.environ[FULL] = "1"
        try:
            with jobs.stopping, composed_once(sys.argv[1:]), _unchecked_help():
                run = hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)
                run(jobs.attempt)()
        finally:
            if not full:
                del os.environ[FULL]
            leftovers.clear(begun=bool(jobs.launch), failed=bool(jobs.failures))
    except Stopped as stopped:
        logging.getLogger("torch").setLevel(logging.WARNING)  # half imported, it lists its caches
        sys.stderr.write(f"{stopped}\n")
        if jobs.folder is not None and has_begun(jobs.folder):
            sys.stderr.write(f"continue with: {resume_command(jobs.folder)}\n")
        sys.exit(128 + stopped.number)
    except Exception as error:
        if full:
            raise
        problems = compose_problems(error, arguments, name, check)
        # A search of which no trial succeeds ends in an error of Optuna's own, that it has no best.
        failed = jobs.text() if jobs.repeats and jobs.failures else ""
        _exit(problems or failed or describe(error))
    if jobs.failures:
        _exit(jobs.text())


@contextmanager
def _unchecked_help() -> Iterator[None]:
    """Let Hydra list its options on Python 3.14, which checks every help text: one is no text.

    Source: facebookresearch/hydra#3121, in every Hydra up to 1.3.8.
    """
    # Of the base class; older Pythons never ask.
    ArgumentParser._check_help = lambda parser, action: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del ArgumentParser._check_help  # type: ignore[attr-defined]


def _words(name: str, words: list[str], parser: ArgumentParser) -> list[str]:
    """Turn what was typed into what Hydra reads.

    Raises:
        ValueError: says what cannot be.
    """
    words = arrange(name, words, parser)
    notes = left_out(words)
    if name == "train":
        words = go_on(expand_resume(words))
    if name == "gen":
        words = expand_again(words, notes)
    words = place(expand(name, words, notes))
    if name == "eval":
        # sweep is a group of pairedit-train, and Hydra takes the name for a group here too, unless
        # its value is a mapping.
        words = [re.sub(r"^sweep=(?!\{)(.+)$", r"sweep={folder: \1}", word) for word in words]
    for note in notes:
        sys.stderr.write(f"note: {on_its_lines(note)}\n")
    return arrange(name, words, parser)  # some of what was put in is an option


def _spell_anything() -> None:
    """Let every line be printed, with escapes for letters that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _misread(message: str) -> None:
    """Say what the command line's parser says, and how keys are written."""
    _exit(f"{message}; write keys as key=value, and options such as -m before all of them")


def _exit(message: str, code: int = 1) -> None:
    """Say one thing on stderr and leave."""
    sys.stderr.write(f"error: {on_its_lines(message)}\n")
    sys.exit(code)
