"""The office fixture of the command line tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.monitor.cli.office import IssuingOffice


@pytest.fixture
def office(tmp_path: Path) -> IssuingOffice:
    return IssuingOffice(tmp_path)
