"""The pages become a site whose links lead somewhere, and which loads nothing from the net."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_site_has_no_broken_link_and_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "true")  # an advertisement, of every import
    pytest.importorskip("material", reason="`make docs` installs MkDocs Material")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    pages = list(tmp_path.glob("*.html"))
    assert {page.stem for page in pages} >= {page.stem for page in (ROOT / "docs").glob("*.md")}
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]* src="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]* rel="(?:stylesheet|preconnect|icon)"[^>]*>', text)
        assert [one for one in loaded if "//" in one] == [], page.name
