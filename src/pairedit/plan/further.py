"""Own what begins a command that a run proposes: it needs some of the words of that run again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from pairedit.runs.words import BARE, double_quoted, key_of, shell

# Begin the keys that commands on one slider need alike: its base model, and the machine.
ALIKE = ("model", "resolution", "hardware", "device", "precision")
OWN = ("--config-dir", "hydra.searchpath")  # where a user's own options are found


def about(lora: Path, words: Iterable[str], anew: Collection[str] | None = None) -> str:
    """Write what begins a further command on a slider, for a shell.

    Args:
        lora: the slider's file.
        words: of the command that was typed, options included.
        anew: begin the keys that the same command is to have anew. None: it is another command,
            which takes over what sliders are used with alike.
    """
    begun = {word: key_of(word).split(".")[0] for word in words}
    kept = [
        word
        for word, key in begun.items()
        if key_of(word) in OWN or (key in ALIKE if anew is None else key not in anew)
    ]
    text = str(lora)
    path = text if re.fullmatch(BARE, text, flags=re.ASCII) else double_quoted(text)
    return " ".join(map(shell, [*kept, f"lora={path}"]))
