"""Regular expressions in the Typst templates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import alerts.documents

TEMPLATES = sorted(Path(alerts.documents.__file__).parent.glob("*.typ"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda each: each.name)
def test_template_compiles_patterns_once_at_load(template: Path) -> None:
    # Typst compiles a pattern inside a function at every use, which took half of a letter's time.
    for line in template.read_text().splitlines():
        assert "regex(" not in line or re.match(r"#let [\w-]+ = regex\(", line), line
