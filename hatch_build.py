"""Write the long description of a build: README.md, whose links must work outside the repository.

A package index shows it without the files beside it. Links and pictures lead to the repository,
where `[project.urls]` names one; without it a link becomes its words, and a picture goes.
"""

from __future__ import annotations

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

BRANCH = "main"
PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)\s]+)\)")
# Its words may be a picture.
LINK = re.compile(r"(?<!!)\[((?:!\[[^\]]*\]\([^)]*\)|[^\]])*)\]\((?!https?:|#)([^)\s]+)\)")
# A table of which nothing but pictures is left.
EMPTY = re.compile(r"(?:^\|[^\n]*\n)?^\|[-| ]+\|\n(?:^\|[ |]*\|\n)+", re.M)


def described(readme: str, repository: str | None) -> str:
    """Return a README that needs no files beside it.

    Args:
        readme: Markdown.
        repository: its address; None where there is none.
    """
    if repository:
        place = repository.rstrip("/")
        readme = PICTURE.sub(rf"![\1]({place}/raw/{BRANCH}/\2)", readme)
        return LINK.sub(rf"[\1]({place}/blob/{BRANCH}/\2)", readme)
    readme = EMPTY.sub("", LINK.sub(r"\1", PICTURE.sub("", readme)))
    return re.sub(r"\n{3,}", "\n\n", readme)


class LongDescription(MetadataHookInterface):
    """Give the build its long description."""

    def update(self, metadata: dict) -> None:
        """Set `readme`."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": described(text, repository),
        }
