"""The bar of a store that no service may use, where the number of its schema stands."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.store.schema.block import BlockReason, StoreBlock
from monitor.store.schema.migrations import StoreBarredError, StoreTooNewError, known, upgrade

AT = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
PLACE = "database pantau of the PostgreSQL at /var/run/postgresql, port 5432"

BARS = [
    StoreBlock(barred=BlockReason.COPYING, schema="0021"),
    StoreBlock(barred=BlockReason.MOVED, schema="0021", at=AT, to=PLACE),
]


@pytest.mark.parametrize("bar", BARS)
def test_a_bar_is_read_as_it_was_written(bar: StoreBlock) -> None:
    assert StoreBlock.of(str(bar)) == bar


@pytest.mark.parametrize("number", ["", "0021", "9999", "copying", "moved/0021", "0021/copying"])
def test_a_schemas_number_is_no_bar(number: str) -> None:
    assert StoreBlock.of(number) is None


def test_half_a_copys_bar_fits_where_a_server_keeps_schemas_numbers() -> None:
    assert len(str(StoreBlock(barred=BlockReason.COPYING, schema=known()[0]))) <= 32


def test_both_say_what_to_do() -> None:
    half, moved = (bar.why for bar in BARS)

    assert "finish it with `pantau store copy`" in half
    assert f"was moved to the {PLACE} on 2026-11-24 at 06:15 UTC" in moved
    assert "name that one under `store:`" in moved


@pytest.mark.parametrize("bar", BARS)
def test_no_store_with_a_bar_is_opened_or_changed(tmp_path: Path, bar: StoreBlock) -> None:
    file = barred(tmp_path, str(bar))
    before = file.read_bytes()

    with pytest.raises(StoreBarredError) as refused:
        upgrade(f"sqlite:///{file}")

    assert str(refused.value) == bar.why
    assert file.read_bytes() == before


def test_a_number_that_is_none_of_ours_is_still_a_newer_versions(tmp_path: Path) -> None:
    with pytest.raises(StoreTooNewError):
        upgrade(f"sqlite:///{barred(tmp_path, '9999')}")


def barred(directory: Path, number: str) -> Path:
    file = directory / "pantau.sqlite"
    upgrade(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (number,))
    return file
