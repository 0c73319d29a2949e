"""Own what is wrong with a command line that cannot be composed: every override is tried alone."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pairedit.files import CONF
from pairedit.plan.options import searching
from pairedit.plan.synonyms import option_meant, words_meant
from pairedit.plan.wording import describe, describe_composition, name_comma
from pairedit.problems import ITEM, Problems
from pairedit.runs.words import key_of

# Without these, the rest of a command line cannot be judged.
DECISIVE = {"dataset", "model"}


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
    problems: list[str] = []
    good: list[str] = []
    choices: list[str] = []
    own = [Path(arguments.config_dir)] if arguments.config_dir else []
    if not all(path.is_dir() for path in own):
        return f"--config-dir={arguments.config_dir}: no such folder"
    groups = {path.name for folder in (CONF, *own) for path in folder.iterdir() if path.is_dir()}
    groups |= {"hydra/launcher", "hydra/sweeper", "hydra/sweeper/sampler"}
    name = arguments.config_name or config_name
    composed = Compositions(name, groups)
    several = arguments.multirun or any(word.startswith("sweep=") for word in arguments.overrides)
    with searching(own):
        # Which keys there are depends on the options that are chosen: these come first.
        for override in sorted(arguments.overrides, key=lambda word: key_of(word) not in groups):
            found = []
            singles = list(_single_values(override))
            if len(singles) > 1 and not several:
                problems.append(name_comma(override, name))
                continue
            for single in singles:
                if key_of(override) in groups and not _names_options(single):
                    # Hydra itself stumbles over some of these.
                    found.append(f"{single}: expected the name of an option")
                    continue
                found += composed.problems_with(single, choices)
            problems.extend(found)
            if not found and len(singles) == 1:
                good.append(override)
            if not found and key_of(override) in groups:
                choices.append(singles[0])
        if not problems:
            return None
        lost = {key_of(word) for word in arguments.overrides if word not in good}
        for word in [word for word in arguments.overrides if word not in good]:
            # It is judged as what it probably meant.
            meant = _meant(word, [CONF, *own], good, name)
            problems += (wrong := [p for one in meant for p in composed.problems_with(one, good)])
            if meant and not wrong:
                good += meant
                lost.discard(key_of(word))
        if lost & DECISIVE:
            return Problems(dict.fromkeys(problems)).text(of="the command")
        try:
            check(composed(good))
        except (HydraException, OmegaConfBaseException):
            pass  # The remaining overrides only make sense together with the refused ones.
        except (ValueError, OSError) as wrong:
            lines = describe(wrong).split(ITEM)
            lines = lines[1:] if lines[0].endswith("with the configuration:") else lines
            # What names a refused key may only be missing.
            doubtful = [rf"(?<![\w.]){re.escape(key)}(?![\w.])" for key in lost]
            problems += [p for p in lines if not any(re.search(d, p) for d in doubtful)]
    return Problems(dict.fromkeys(problems)).text(of="the command")


def _meant(word: str, folders: Sequence[Path], good: Sequence[str], command: str) -> list[str]:
    """Write what a refused word probably meant; nothing where nobody knows.

    Args:
        word: cannot be composed.
        folders: with the options of each group.
        good: words whose keys are not set again.
        command: train, gen, eval, export or studio.
    """
    key, _, value = word.partition("=")
    if not value or "," in value:
        return []
    options = [path.stem for folder in folders for path in (folder / key).glob("*.yaml")]
    meant = option_meant(key, value, options) if options else words_meant(key, value, command)
    given = {key_of(word) for word in good}
    return [word for word in meant if key_of(word) not in given]


class Compositions:
    """Compose one command's configuration with many lists of overrides, as `compose` does.

    Hydra takes a tenth of a second for each. Keys are set after all files are merged, so those of
    lists that choose the same options are set on copies of one composition.
    """

    def __init__(self, name: str, groups: Collection[str]) -> None:
        """Take the command's file in conf/, and the names of all groups."""
        self._name, self._groups = name, groups
        self._merged: dict[tuple[str, ...], bytes] = {}

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """Compose with the words of one list."""
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        keys = [override for override in parsed if self._sets_akey_of(override)]
        chosen = tuple(str(override.input_line) for override in parsed if override not in keys)
        if chosen not in self._merged:
            self._merged[chosen] = pickle.dumps(compose(self._name, overrides=list(chosen)))
        config = pickle.loads(self._merged[chosen])  # a sixth of the time of a deep copy
        ConfigLoaderImpl._apply_overrides_to_config(keys, config)
        return config

    def problems_with(self, word: str, others: Sequence[str]) -> list[str]:
        """Say why a word cannot be composed beside others; nothing where it can."""
        try:
            self([*others, word])
        except (HydraException, OmegaConfBaseException, ValueError) as wrong:
            return [describe_composition(wrong, word, self._name)]
        except AttributeError:
            return [f"{word}: cannot be set together with the others"]
        except Exception:  # a word of a shape that Hydra never thought of
            return [f"{word}: cannot be read; expected key=value"]
        return []

    def _sets_akey_of(self, override: Override) -> bool:
        """Say whether an override takes no part in choosing and merging files."""
        key = override.key_or_group
        simple = key not in self._groups and not re.search(r"/|^hydra\.", key)
        return simple and not override.is_sweep_override()


def _names_options(override: str) -> bool:
    """Say whether a group is given names of options, or keys that may be set in it."""
    try:
        value = OverridesParser.create().parse_override(override).value()
    except HydraException:
        return True  # refused as unreadable
    if isinstance(value, list):
        return all(isinstance(name, str) for name in value)
    return override.startswith("~") or isinstance(value, str | dict)


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
