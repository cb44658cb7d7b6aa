"""Patterns in the templates are made once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import alerts.documents

TEMPLATES = sorted(Path(alerts.documents.__file__).parent.glob("*.typ"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda each: each.name)
def test_a_pattern_is_made_when_the_template_is_read_and_not_at_each_use(template: Path) -> None:
    # In a function typst compiles it again for each paragraph, or each cell of a table: half of a letter's time.
    for line in template.read_text().splitlines():
        assert "regex(" not in line or re.match(r"#let [\w-]+ = regex\(", line), line
