from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.monitor.config.ministry import Ministry


@pytest.fixture
def ministry(tmp_path: Path) -> Ministry:
    return Ministry(tmp_path)
