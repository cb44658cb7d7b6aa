"""Block of a store that no service may use, kept in the version column of the schema."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.store.schema.block import BlockReason, StoreBlock
from monitor.store.schema.migrations import StoreBlockedError, StoreTooNewError, known_revisions, upgrade

AT = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
PLACE = "database pantau of the PostgreSQL at /var/run/postgresql, port 5432"

BLOCKS = [
    StoreBlock(reason=BlockReason.COPYING, schema="0021"),
    StoreBlock(reason=BlockReason.MOVED, schema="0021", moved_at=AT, moved_to=PLACE),
]


@pytest.mark.parametrize("store_block", BLOCKS)
def test_store_block_round_trips(store_block: StoreBlock) -> None:
    assert StoreBlock.parse(str(store_block)) == store_block


@pytest.mark.parametrize("number", ["", "0021", "9999", "copying", "moved/0021", "0021/copying"])
def test_store_block_parse_schema_number_is_none(number: str) -> None:
    assert StoreBlock.parse(number) is None


def test_store_block_copying_fits_version_column() -> None:
    assert len(str(StoreBlock(reason=BlockReason.COPYING, schema=known_revisions()[0]))) <= 32


def test_store_block_messages_say_what_to_do() -> None:
    half, moved = (store_block.message for store_block in BLOCKS)

    assert "finish it with `pantau store copy`" in half
    assert f"was moved to the {PLACE} on 2026-11-24 at 06:15 UTC" in moved
    assert "configure that database under `store:`" in moved


@pytest.mark.parametrize("store_block", BLOCKS)
def test_upgrade_blocked_store_is_refused_unchanged(tmp_path: Path, store_block: StoreBlock) -> None:
    file = blocked_store(tmp_path, str(store_block))
    before = file.read_bytes()

    with pytest.raises(StoreBlockedError) as refused:
        upgrade(f"sqlite:///{file}")

    assert str(refused.value) == store_block.message
    assert file.read_bytes() == before


def test_upgrade_unknown_number_is_too_new(tmp_path: Path) -> None:
    with pytest.raises(StoreTooNewError):
        upgrade(f"sqlite:///{blocked_store(tmp_path, '9999')}")


def blocked_store(directory: Path, number: str) -> Path:
    file = directory / "pantau.sqlite"
    upgrade(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (number,))
    return file
