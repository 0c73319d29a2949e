"""Own the words of a command line as they are typed, before Hydra reads them.

Options come first, keys are `key=value` without dashes or spaces. What is typed otherwise is
refused with the line that was probably meant.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from pairedit.data import kinds
from pairedit.files import CONF, expand_home
from pairedit.lora.file import READABLE
from pairedit.plan.synonyms import SIDES, THEIRS, keys_of, meant, written
from pairedit.problems import did_you_mean
from pairedit.runs import leftovers
from pairedit.runs.resume import DIRECTORY, SEARCHED, has_begun
from pairedit.runs.words import key_of, line, quoted_path

TEXTS = ("prompts", "prompts_file")  # values that may need quotes of their own
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")
# Keys of which two values may both be meant.
SEVERAL = ("lora", "content_lora", "image", "mask", "merge", "prompts", "dataset", "reader")


def arrange(command: str, words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Bring the options of a command line to its front.

    Args:
        command: train, gen, eval or export.
        words: the command line without the program.
        parser: the one that knows the options.

    Returns:
        Options, then overrides.

    Raises:
        ValueError: words that are no text, or neither; with the line that was probably meant.
    """
    for word in words:
        _check_text(word)
    options, rest = _split(words, parser)
    fixed, wrong = _meant(command, rest)
    if not wrong:
        return [*options, *fixed]
    named = ", ".join(dict.fromkeys(wrong))
    rule = "keys are written key=value, without dashes or spaces"
    if any(word.startswith("-") for word in fixed):
        raise ValueError(f"{named}: no such option; {rule}; --help lists all options")
    raise ValueError(f"{named}: {rule}; write: {line(f'pairedit-{command}', [*options, *fixed])}")


def left_out(words: Sequence[str]) -> list[str]:
    """Note values that Hydra drops without a word: of one key the last holds, of options one each.

    Args:
        words: as they were typed.
    """
    notes: list[str] = []
    given: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in SEVERAL:
            continue
        before = given.get(key, value)
        if before != value:
            both = "" if {before[:1], value[:1]} & set("[{'\"") else f"[{before},{value}]"
            way = f"; for both write {key}={both}" if both else ""
            notes.append(f"{key}={before}: is left out, because {word} stands behind it{way}")
        given[key] = value
        names = re.findall(r"\w+", value) if key in ("dataset", "reader") else []
        twice = dict.fromkeys(name for name in names if names.count(name) > 1)
        notes += [f"{word}: {name} is there twice and counts once" for name in twice]
    return notes


def place(words: Sequence[str]) -> list[str]:
    """Let the folder that a command line names hold for one run and for several.

    Raises:
        ValueError: it is no folder to write into, or what would write there is not ours.
    """
    _check_launcher(words)
    named = {key: word for word in words if (key := key_of(word)) in FOLDERS}
    found: list[str] = []
    for word in words:
        found.append(_folder(word) if key_of(word) in FOLDERS else word)
    for key, other in (FOLDERS, FOLDERS[::-1]):
        if key in named and other not in named and _is_readable(folder := _folder(named[key])):
            found.append(f"{other}={folder.partition('=')[2]}")
    return found


def _check_launcher(words: Sequence[str]) -> None:
    """Refuse launchers that Hydra's plugins offer: their jobs know no resuming and no summary.

    Raises:
        ValueError: names ours.
    """
    known = sorted(path.stem for path in (CONF / "hydra/launcher").glob("*.yaml"))
    if any(word.split("=")[0] in (*DIRECTORY, SEARCHED) for word in words):
        return  # the user's own options, which may use ours by other names
    for word in words:
        key, _, value = word.partition("=")
        if key != "hydra/launcher" or value in known or not re.fullmatch(r"\w+", value):
            continue
        near = did_you_mean(value, known)
        if (executor := value.removeprefix("submitit_")) != value:
            near = f"; write hydra/launcher=submitit hydra.launcher.executor={executor}"
        raise ValueError(f"{word}: expected {', '.join(known[:-1])} or {known[-1]}{near}")


def _check_text(word: str) -> None:
    """Refuse bytes that are no text: nothing that reads a prompt or writes a file takes them."""
    if not re.search("[\ud800-\udfff]", word):
        return
    shown = word.encode("utf-8", "backslashreplace").decode("ascii", "backslashreplace")
    try:
        word.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError as error:
        raise ValueError(f"{shown}: not UTF-8 text; rename the file, or type it anew") from error
    raise ValueError(
        f"{shown}: this terminal's locale cannot spell it; "
        "write PYTHONUTF8=1 in front of the command"
    )


def _split(words: Sequence[str], parser: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """Tell the parser's options, with their values, from all other words."""
    known = parser._option_string_actions
    options: list[str] = []
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        action = known.get(word.split("=", 1)[0])
        if action is None:
            rest.append(word)
            continue
        options.append(word)
        if action.nargs is None and "=" not in word and left:
            options.append(left.pop(0))
    return options, rest


def _meant(command: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Write words as they were probably meant; return them, and those that were wrong."""
    fixed: list[str] = []
    wrong: list[str] = []
    left = [part for word in words for part in _unquoted(command, word, wrong)]
    while left:
        word = left.pop(0)
        spaced = _spaced(word, left)
        if spaced:
            taken, word = spaced
            wrong.append(" ".join(taken))
            del left[: len(taken) - 1]
            key, _, value = word.partition("=")
            fixed.extend([word] if key in keys_of(command) else _key(command, key, value) or [word])
            continue
        if re.match(r"--?[A-Za-z]", word):
            key, equals, value = word.lstrip("-").partition("=")
            typed = word
            if not equals and left and re.match(r"[^-=][^=]*$|-[\d.]+$", left[0]):
                equals, value = "=", left.pop(0)
                typed = f"{word} {value}"
            wrong.append(typed)
            proposal = _key(command, key, value if equals else None)
            fixed.extend(proposal or [word])
        elif "=" not in word and (proposal := _bare(command, word, left)):
            wrong.append(word)
            fixed.extend(proposal)
        else:
            fixed.append(word)
    return fixed, wrong


def _unquoted(command: str, word: str, wrong: list[str]) -> list[str]:
    """Split a word that quotes hold together: `steps = 5`, `--steps 5`, `a=1 b=2`."""
    known = keys_of(command)
    if re.match(r"--?[A-Za-z][\w-]*\s", word):
        wrong.append(word)
        return word.split(maxsplit=1)
    found = re.fullmatch(r"\s*([\w./-]+)(\s+=|\s*:\s|\s)\s*([^=\s].*)", word, re.DOTALL)
    sign = found and found[2].strip()
    # Without a sign it may be a path with blanks in it.
    mine = found and (found[1] in known or (sign and found[1] in THEIRS))
    if sign == "=" or (mine and not expand_home(word).exists()):
        wrong.append(word)
        key, value = found[1], found[3].strip()
        if key in known:
            return written(key, value, command) if key in TEXTS else [f"{key}={value}"]
        return _key(command, key, value) or [f"{key}={value}"]
    parts = word.split()
    several = len(parts) > 1 and all(re.fullmatch(r"[+~]*[\w./@-]+=\S+", p) for p in parts)
    if several and not _is_readable(word):
        wrong.append(word)
        return parts
    return [word]


def _spaced(word: str, after: Sequence[str]) -> tuple[list[str], str] | None:
    """Join `steps = 5`, `steps =5` and `steps= 5`; return the words taken, and one."""
    ahead = after[0] if after else ""
    if re.fullmatch(r"[\w./-]+", word) and ahead.startswith("="):
        if ahead != "=":
            return [word, ahead], word + ahead
        if len(after) > 1:
            return [word, "=", after[1]], f"{word}={after[1]}"
    if re.fullmatch(r"[\w./-]+=", word) and re.fullmatch(r"-?[^-=][^=]*", ahead):
        return [word, ahead], word + ahead
    return None


def _key(command: str, key: str, value: str | None) -> list[str] | None:
    """Write a key that was typed with dashes."""
    plain = key.replace("-", "_")
    ours = plain if plain in keys_of(command) else meant(plain, None, command)
    if ours is None:
        return None
    return written(ours, "true" if value is None else value, command)


def _bare(command: str, word: str, after: list[str]) -> list[str] | None:
    """Write a word without a key: a path, or a key with its value behind a space."""
    path = expand_home(word)
    key = {"gen": "lora", "eval": "lora", "export": "lora"}.get(command)
    if key and path.suffix.lower() in READABLE:
        return [f"{key}={_written(path)}"]
    if word in keys_of(command) and after and "=" not in after[0] and after[0][:1] != "-":
        return written(word, after.pop(0), command)
    if not path.exists():
        return None
    if path.suffix.lower() in (".yaml", ".yml") and command in ("train", "gen"):
        return [f"old={_written(path)}"]
    promised = kinds.SUFFIXES.get(path.suffix.lower())
    if path.is_file() and promised in kinds.READ and command == "gen":
        return ["edit=real", f"image={_written(path)}"]
    if path.is_dir() and command == "eval":
        return [f"sweep={_written(path)}"]
    if path.is_dir() and command == "train":
        if has_begun(path):
            return [f"resume={_written(path)}"]
        folder = path.parent if path.name in SIDES else path
        return ["dataset=folder", f"pairs={_written(folder)}"]
    return None


def _written(path: Path) -> str:
    """Write a path as a value, as it was typed where Hydra can read that."""
    text = str(path)
    return text if re.fullmatch(r"[\w/.+-]+", text, flags=re.ASCII) else quoted_path(path)


def _is_readable(word: str) -> bool:
    """Tell whether Hydra can read a word. If not, that alone is the problem."""
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def _folder(word: str) -> str:
    """Check one word that names a folder to write into, and note it; write ~ as what it means."""
    key, _, text = word.partition("=")
    text = text.strip()
    if "${" in text:
        return word
    if text.startswith("~"):
        text = _written(expand_home(text))
    try:
        value = OverridesParser.create().parse_override(f"x={text}").value()
    except HydraException:
        return f"{key}={text}"  # said with the other words
    shown = f"{key}={text}: expected a folder to write into"
    if value is None or isinstance(value, list | dict) or not str(value).strip():
        raise ValueError(f"{shown}; leave it out to get a folder named by the time")
    path = Path(str(value))
    if path.resolve() in (Path(path.resolve().anchor), Path.home().resolve()):
        raise ValueError(f"{shown}, not {path.resolve()} itself")
    for part in (path, *path.parents):
        if part.exists() and not part.is_dir():
            raise ValueError(f"{shown}; {part} is a file")
    leftovers.note(path)
    return f"{key}={text}"
