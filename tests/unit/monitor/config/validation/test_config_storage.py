"""How large the store becomes, and what is said of it."""

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

FIVE = timedelta(minutes=5)
YEAR = timedelta(days=365)


@pytest.mark.blind
def test_ten_thousand_routes_every_five_minutes_are_sixty_gigabytes_and_not_seven_hundred_and_sixty() -> None:
    """Defect: The size of the store is a surprise.

    Pantau: `pantau check` estimates it and warns about the disk.
    """
    size = compute_store_size([FIVE] * 10_000, RetentionSettings().build())
    before = compute_store_size([FIVE] * 10_000, RetentionPolicy(delivered=YEAR, failed=YEAR, hourly=YEAR))

    assert 60e9 < size.octets < 70e9
    assert before.octets > 450e9
    # Delivered 99 of 100 for a month, and the hundredth for a year.
    assert size.runs == round(10_000 * 288 * (30 * 0.99 + 365 * 0.01))
    assert size.hours == 10_000 * 365 * 24


def test_a_store_without_routes_is_empty() -> None:
    assert compute_store_size([], RetentionSettings().build()).octets == 0


@pytest.mark.parametrize(
    ("octets", "said"), [(999, "999 octets"), (1_500_000, "1.5 MB"), (62_400_000_000, "62.4 GB"), (2 * 10**12, "2 TB")]
)
def test_sizes_are_said_as_people_say_them(octets: int, said: str) -> None:
    assert format_octets(octets) == said


@dataclass(frozen=True)
class Usage:
    """What is asked of a disk."""

    free: int


def storage_warnings(ministry: Ministry) -> list[str]:
    loaded = load(ministry.path("pantau"), ministry.environ, kinds=KINDS, now=datetime(2026, 11, 24, tzinfo=UTC))
    return [str(problem) for problem in loaded.problems if "store becomes" in str(problem)]


def test_a_disk_that_is_too_small_is_told_and_what_is_there_already_counts_as_room(
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
    assert "there is room for 1000 octets in its place; write instead: retention: {delivered: 7d}" in warning
    with (state / "pantau.sqlite").open("wb") as file:
        file.truncate(10**10)
    assert storage_warnings(ministry) == []


def test_a_place_that_is_not_there_is_no_reason_to_warn(ministry: Ministry) -> None:
    ministry.edit("pantau", "state_dir: state", "state_dir: nowhere/at/all")
    assert storage_warnings(ministry) == []
