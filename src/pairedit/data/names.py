"""Own file names made from what people type: short, and in need of no quotes."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

LONGEST = 60  # letters; a file's name holds 255 bytes, of which scales and seeds take their part


def plain_name(name: str) -> str:
    """Write a name in letters, digits and ._+- only, which no shell and no Hydra needs quoted.

    Accents are dropped. Where more than that is lost, a short hash tells names apart.
    """
    name = unicodedata.normalize("NFC", name)
    parts = (
        part for part in unicodedata.normalize("NFKD", name) if not unicodedata.combining(part)
    )
    folded = "".join(parts)
    plain = re.sub(r"[^\w.+-]+", "-", folded, flags=re.ASCII)
    if folded.isascii() and len(plain) <= LONGEST and plain.strip("-"):
        return plain
    mark = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    kept = plain.strip("-")[: LONGEST - len(mark) - 1]
    return f"{kept}-{mark}" if kept else mark


def plain_names(names: Sequence[str]) -> list[str]:
    """Write names plainly, no two alike: a number tells those apart that would be."""
    taken: set[str] = set()
    found = []
    for name in names:
        plain = first = plain_name(name)
        count = 1
        # Also where letters' case alone differs: not every file system tells them apart.
        while plain.casefold() in taken:
            count += 1
            plain = f"{first}-{count}"
        taken.add(plain.casefold())
        found.append(plain)
    return found
