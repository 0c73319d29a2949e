"""Own the wording of errors: Hydra's and OmegaConf's in one line, with what was probably meant."""

from __future__ import annotations

import errno
import re

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from pairedit.files import CONF
from pairedit.plan.build import WANTED, reason
from pairedit.plan.synonyms import THEIRS, TRUNKS, keys_of, kind_of, meant, option_meant, why_not
from pairedit.problems import ITEM, did_you_mean
from pairedit.runs.words import as_one_text, double_quoted, key_of, line, shell

# Keys that take several values in brackets, and keys that are text whatever is in them.
LISTS = (
    *("scales", "seeds", "image_ids", "dataset", "reader", "lora", "image", "content_lora"),
    *("lora.targets", "mask", "size"),
)
TEXTS = ("prompts", "prompts_file", "pairs", "images", "model.path")
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
        return describe_composition(error)
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


def describe_composition(
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
        key = full_key.group(1) if full_key else next(filter(None, match.groups()), "")
        if not key:
            return f"{override or text}: expected key=value"
        return _no_key(key, override, command)
    if match := re.search(r"Could not override '(.*?)'\.\s*No match in the defaults list", text):
        key = match.group(1)
        return _of_another(key, command) or f"{key}: no such group"
    if match := re.search(r"Additional config directory '(.*?)' not found", text):
        return f"--config-dir={match.group(1)}: no such folder"
    if override and text.startswith("Ambiguous value for argument"):
        return name_comma(override, command)
    if isinstance(error, OverrideParseException):
        return _unreadable(override or error.override)
    said = reason(cause or text)
    entry = re.search(r"Value '(.*?)' of type '\w+' could not be converted", cause or text)
    if entry and override and len(_listed(override)) > 1:
        said += f", not {entry[1]}"
    if override and said == WANTED["to string"] and (texts := _listed(override)):
        said += f"; for one text with commas write {as_one_text(key_of(override), texts)}"
    key, _, value = (override or "").partition("=")
    if said == WANTED["Invalid type assigned"] and key == "lora":
        said = _of_lora(value)
    if re.fullmatch(r"\[?\s*[\d.+-]+(\s+[\d.+-]+)+\s*\]?", value):
        said += f"; write {key}=[{','.join(value.strip(' []').split())}]"
    return f"{override}: {said}" if override else said


def _of_lora(value: str) -> str:
    """Say what a training takes in place of `lora=`, which names a file to the other commands."""
    if value.isdecimal():
        return f"lora holds keys; write lora.rank={value}"
    start = shell(f"init={value}")
    return f"a training writes its LoRA itself; to start from this one write {start}"


def _listed(word: str) -> list[str]:
    """Return the entries of a list as they were typed; none for another value."""
    value = word.partition("=")[2].strip()
    inside = value[1:-1] if value[:1] == "[" and value[-1:] == "]" else ""
    return [entry.strip() for entry in inside.split(",")] if inside else []


def _unreadable(word: str) -> str:
    """Say how to write a word that Hydra's grammar refuses."""
    key, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"[+~]*[\w./@$]+", key):
        return f"{word}: expected key=value"
    if value[:1] in ("[", "{", "'", '"'):
        return f"{word}: cannot be read; are all brackets and quotes closed?"
    if re.fullmatch(r"[\w.+-]+,", value):
        return f"{word}: ends with a comma; write {key}={value[:-1]}"
    return f"{word}: cannot be read as it stands; write {shell(f'{key}={double_quoted(value)}')}"


def name_comma(word: str, command: str | None) -> str:
    """Say how to write a value that holds a comma: a list, a text, a number, or several runs."""
    key, _, value = word.partition("=")
    if command in TRUNKS and key in THEIRS and key not in keys_of(command):
        return _no_key(key, word, command)
    several = line(f"pairedit-{command or 'train'}", ["-m", word])
    if key in LISTS:
        return f"{word}: a list has brackets; write {shell(f'{key}=[{value}]')}"
    if key in TEXTS or not re.fullmatch(r"[\w.+-]+(,[\w.+-]+)+", value):
        text = shell(f"{key}={double_quoted(value)}")
        more = f", or for several {shell(f'{key}=[{value}]')}" if key == "prompts" else ""
        return f"{word}: a text with a comma needs quotes; write {text}{more}"
    number = ""
    if kind_of(key, command or "") is float and re.fullmatch(r"[+-]?\d+,\d+(e[+-]?\d+)?", value):
        number = f"{key}={value.replace(',', '.')}"
    if kind_of(key, command or "") is int and re.fullmatch(r"\d{1,3}(,\d{3})+", value):
        number = f"{key}={value.replace(',', '')}"
    one = f"for one number write {number}, " if number else ""
    return f"{word}: {one}for several runs write {several}"


def _no_option(group: str, choice: str, options: list[str]) -> str:
    """Say what a config group offers instead."""
    if group.startswith("hydra/sweeper"):
        return f"{group}={choice}: not installed; pip install 'pairedit[tune]'"
    there = f"there is {', '.join(sorted(options))}{did_you_mean(choice, options)}"
    if len(folder := option_meant(group, choice, options)) > 1:
        there += f"; for a folder of pairs write {' '.join(map(shell, folder))}"
    return f"{group}={choice}: no such option; {there}"


def _of_another(key: str, command: str | None) -> str | None:
    """Say which other commands have a key; None if there is none."""
    owners = [f"pairedit-{name}" for name in TRUNKS if key in keys_of(name)]
    if command not in TRUNKS or not owners:
        return None
    *first, last = owners
    them = f"one of {', '.join(first)} and {last}" if first else f"a key of {last}"
    return f"{key}: no such key of pairedit-{command}; it is {them}"


def _no_key(key: str, override: str | None, command: str | None) -> str:
    """Say that there is no such key, and what was probably meant."""
    value = override.partition("=")[2] if override and "=" in override else None
    ours = meant(key, None, command or "")
    if reason := why_not(key, command or ""):
        return f"{key}: no such key; {reason}"
    if ours is None:
        return _of_another(key, command) or f"{key}: no such key"
    write = f" Write {meant(key, value, command or '')}" if value else ""
    return f"{key}: no such key; did you mean {ours}?{write}"
