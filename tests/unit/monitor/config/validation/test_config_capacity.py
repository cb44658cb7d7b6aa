"""The estimated size of the database, and the warning about the disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.config.loading import load
from monitor.config.service.store import RetentionSettings
from monitor.config.validation.capacity import compute_store_size, format_octets
from monitor.store.probing.retention import RetentionPolicy
from tests.unit.monitor.config.ministry import KINDS, Ministry

FIVE_MINUTES = timedelta(minutes=5)
YEAR = timedelta(days=365)


@pytest.mark.blind
def test_store_size_of_10000_routes_is_60_gb_not_760() -> None:
    """Defect: The size of the store is a surprise.

    Pantau: `pantau check` estimates it and warns about the disk.
    """
    size = compute_store_size([FIVE_MINUTES] * 10_000, RetentionSettings().build())
    before = compute_store_size([FIVE_MINUTES] * 10_000, RetentionPolicy(delivered=YEAR, failed=YEAR, hourly=YEAR))

    assert 60e9 < size.octets < 70e9
    assert before.octets > 450e9
    # 99 of 100 runs are delivered and kept for a month; the other one is kept for a year.
    assert size.runs == round(10_000 * 288 * (30 * 0.99 + 365 * 0.01))
    assert size.hours == 10_000 * 365 * 24


def test_store_size_without_routes_is_zero() -> None:
    assert compute_store_size([], RetentionSettings().build()).octets == 0


@pytest.mark.parametrize(
    ("octets", "text"), [(999, "999 octets"), (1_500_000, "1.5 MB"), (62_400_000_000, "62.4 GB"), (2 * 10**12, "2 TB")]
)
def test_format_octets_uses_decimal_units(octets: int, text: str) -> None:
    assert format_octets(octets) == text


@dataclass(frozen=True)
class Usage:
    """Result of `shutil.disk_usage`."""

    free: int


def storage_warnings(ministry: Ministry) -> list[str]:
    loaded = load(ministry.path("pantau"), ministry.environ, kinds=KINDS, now=datetime(2026, 11, 24, tzinfo=UTC))
    return [str(problem) for problem in loaded.problems if "database grows" in str(problem)]


def test_disk_too_small_is_a_warning_and_existing_database_counts_as_free(
    ministry: Ministry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "negeri"
    state.mkdir()
    ministry.edit("pantau", "state_dir: state", f"state_dir: {state}")
    free = 10**12
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=free))
    assert storage_warnings(ministry) == []
    free = 1000
    (warning,) = storage_warnings(ministry)
    assert "only 1000 octets are available; write instead: retention: {delivered: 7d}" in warning
    with (state / "pantau.sqlite").open("wb") as file:
        file.truncate(10**10)
    assert storage_warnings(ministry) == []


def test_disk_missing_directory_gives_no_warning(ministry: Ministry) -> None:
    ministry.edit("pantau", "state_dir: state", "state_dir: nowhere/at/all")
    assert storage_warnings(ministry) == []
