"""Own the wording of errors: Hydra's and OmegaConf's in one line, every bad override named."""

from __future__ import annotations

import argparse
import copy
import difflib
import errno
import re
from collections.abc import Callable, Collection, Iterator, Sequence

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pairedit.files import CONF
from pairedit.plan.build import reason

# Without these, the rest of a command line cannot be judged.
DECISIVE = {"dataset", "model"}
ITEM = "\n  - "  # between the problems of a list
FULL = (errno.ENOSPC, errno.EDQUOT)
MISSING_OPTION = r"Could not find '(.*?)'.*Available options in '(.*?)':(.*?)(?:Config search|$)"


def describe(error: BaseException) -> str:
    """Write an error as one line, or as one list of problems.

    Args:
        error: anything a job raised.

    Returns:
        ValueError and MemoryError in their own words; OSError as file and reason; Hydra's and
        OmegaConf's without their internals; the type in front of anything else, which is a bug or
        a machine's fault.
    """
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _describe_composition(error)
    if isinstance(error.__cause__, OSError) and "configure handler" in str(error):
        # Hydra's log file, the first file of a run: where the folder is read-only or full.
        error = error.__cause__
    if isinstance(error, OSError):
        return _describe_system(error)
    if isinstance(error, ValueError | MemoryError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows the traceback)"


def on_its_lines(message: str) -> str:
    """Write control characters as escapes: a user's value must not break a line or a terminal."""
    lines = message.split(ITEM)
    return ITEM.join("".join(c if c.isprintable() else repr(c)[1:-1] for c in s) for s in lines)


def _describe_system(error: OSError) -> str:
    """Write `file: reason`, and what helps where the disk is full."""
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    if error.errno in FULL:
        reason += "; free some space"
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def compose_problems(
    error: Exception,
    arguments: argparse.Namespace,
    config_name: str,
    check: Callable[[DictConfig], object],
) -> str | None:
    """Name every override that cannot be composed, where Hydra stops at the first.

    Args:
        error: what Hydra raised.
        arguments: the command line as Hydra parsed it.
        config_name: of the command.
        check: raises ValueError on a configuration that composes but cannot run.

    Returns:
        The problems, or None if the error is not one of composition.
    """
    # Some of Hydra's complaints are plain ValueErrors, and it stumbles in two more ways.
    stumbles = ValueError | TypeError | AttributeError
    if not isinstance(error, HydraException | OmegaConfBaseException | stumbles):
        return None
    GlobalHydra.instance().clear()
    problems: list[str] = []
    good: list[str] = []
    choices: list[str] = []
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    name = arguments.config_name or config_name
    composed = _Compositions(name, groups)
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        # Which keys there are depends on the options that are chosen: these come first.
        for override in sorted(arguments.overrides, key=lambda word: _key(word) not in groups):
            found = []
            singles = list(_single_values(override))
            for single in singles:
                if _key(override) in groups and not _names_options(single):
                    # Hydra itself stumbles over some of these.
                    found.append(f"{single}: expected the name of an option")
                    continue
                try:
                    composed([*choices, single])
                except (HydraException, OmegaConfBaseException, ValueError) as wrong:
                    found.append(_describe_composition(wrong, single, name))
                except AttributeError:
                    found.append(f"{single}: cannot be set together with the others")
            problems.extend(found)
            if not found and len(singles) == 1:
                good.append(override)
            if not found and _key(override) in groups:
                choices.append(singles[0])
        if not problems:
            return None
        refused = {_key(word) for word in arguments.overrides} - {_key(word) for word in good}
        if refused & DECISIVE:
            return _list(problems)
        try:
            check(composed(good))
        except (HydraException, OmegaConfBaseException):
            pass  # The remaining overrides only make sense together with the refused ones.
        except ValueError as wrong:
            head, *rest = str(wrong).split(ITEM)
            problems.extend(rest or [head])
    return _list(problems)


class _Compositions:
    """Compose one command's configuration with many lists of overrides, as `compose` does.

    Hydra takes a tenth of a second for each. Keys are set after all files are merged, so those of
    lists that choose the same options are set on copies of one composition.
    """

    def __init__(self, name: str, groups: Collection[str]) -> None:
        self._name, self._groups = name, groups
        self._merged: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        keys = [override for override in parsed if self._sets_a_key(override)]
        chosen = tuple(str(override.input_line) for override in parsed if override not in keys)
        if chosen not in self._merged:
            self._merged[chosen] = compose(self._name, overrides=list(chosen))
        config = copy.deepcopy(self._merged[chosen])
        ConfigLoaderImpl._apply_overrides_to_config(keys, config)
        return config

    def _sets_a_key(self, override: Override) -> bool:
        """Say whether an override takes no part in choosing and merging files."""
        key = override.key_or_group
        simple = key not in self._groups and not re.search(r"/|^hydra\.", key)
        return simple and not override.is_sweep_override()


def _key(override: str) -> str:
    """Return what an override sets."""
    return override.lstrip("+~").split("=")[0]


def _names_options(override: str) -> bool:
    """Say whether what is chosen for a group can be names; keys inside of it may be set at once."""
    try:
        value = OverridesParser.create().parse_override(override).value()
    except HydraException:
        return True  # refused as unreadable
    if isinstance(value, list):
        return all(isinstance(name, str) for name in value)
    return override.startswith("~") or isinstance(value, str | dict)


def _list(problems: list[str]) -> str:
    """Write one problem as a line, several as a list."""
    problems = list(dict.fromkeys(problems))
    if len(problems) == 1:
        return problems[0]
    lines = "".join(f"{ITEM}{problem}" for problem in problems)
    return f"{len(problems)} problems with the command:{lines}"


def _single_values(override: str) -> Iterator[str]:
    """Expand a sweep such as method=full,fm into the overrides of its jobs."""
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        yield override
        return
    if parsed.is_sweep_override() and parsed.is_discrete_sweep():
        for value in parsed.sweep_string_iterator():
            yield f"{parsed.input_line.split('=', 1)[0]}={value}"
    else:
        yield override


def _describe_composition(
    error: Exception, override: str | None = None, command: str | None = None
) -> str:
    """Write one composition error as one line."""
    text = str(error)
    cause = str(error.__cause__ or "")
    if match := re.search(MISSING_OPTION, text, re.S):
        wanted, group, options = match.groups()
        return _no_option(group, wanted.removeprefix(f"{group}/"), options.split())
    if match := re.search(r"Could not load '(\w+)/(.*?)'", text):
        group, choice = match.groups()
        return _no_option(group, choice, [path.stem for path in (CONF / group).glob("*.yaml")])
    if match := re.search(r"Key '(.*?)' is not in struct|Key '(.*?)' not in '", text + cause):
        full_key = re.search(r"full_key: (\S+)", text + cause)
        key = full_key.group(1) if full_key else next(filter(None, match.groups()))
        return f"{key}: no such key{_suggest(key, command)}"
    if match := re.search(r"Could not override '(.*?)'\.\s*No match in the defaults list", text):
        return f"{match.group(1)}: no such group"
    if isinstance(error, OverrideParseException):
        return _unreadable(override or error.override)
    where = f"{override}: " if override else ""
    return where + reason(cause or text)


def _unreadable(word: str) -> str:
    """Say how to write a word that Hydra's grammar refuses."""
    key, equals, value = word.partition("=")
    if not equals:
        return f"{word}: expected key=value"
    if value[:1] in ("[", "{", "'", '"'):
        return f"{word}: cannot be read; are all brackets and quotes closed?"
    return f"{word}: cannot be read as it stands; write '{key}=\"{value}\"'"


def _no_option(group: str, choice: str, options: list[str]) -> str:
    """Say what a config group offers instead."""
    return f"{group}={choice}: no such option; there is {', '.join(sorted(options))}"


def _suggest(key: str, command: str | None) -> str:
    """Propose the key of the command, of any where that is unknown, that was probably meant."""
    from pairedit.plan.keys import EvalConfig, ExportConfig, GenConfig, TrainConfig

    trunks = {"train": TrainConfig, "gen": GenConfig, "eval": EvalConfig, "export": ExportConfig}
    known: list[str] = []
    for trunk in [trunks[command]] if command in trunks else trunks.values():
        known += [str(name) for name in OmegaConf.structured(trunk)]
    if command != "gen":
        known += ["lora.rank", "lora.alpha", "lora.targets", "dataset"]
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""
