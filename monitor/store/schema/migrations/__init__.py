"""Bring a database's schema up to date with Alembic. There is no way down: a copy from before is put back instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import URL, Engine, create_engine, pool, text

from monitor.store.schema.bar import Bar


class StoreTooNewError(Exception):
    """A newer version of this program has used the store."""


class StoreBarredError(Exception):
    """The store is half a copy, or was moved away. The message says what to do."""


def upgrade(url: str | URL, to: str = "head", *, arguments: Mapping[str, Any] | None = None) -> None:
    """Apply all migrations up to *to* that the database at *url* lacks (a synchronous SQLAlchemy URL). Blocks.

    *arguments*: how it is connected to. Raise `StoreTooNewError` when it has had a migration that is not known here,
    `StoreBarredError` when nobody may use it.
    """
    config = _config()
    config.attributes["engine"] = engine = create_engine(
        url, poolclass=pool.NullPool, connect_args=dict(arguments or {}), hide_parameters=True
    )
    try:
        command.upgrade(config, to)
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):
            raise
        if (bar := _bar_of(engine)) is not None:
            raise StoreBarredError(bar.why) from None
        raise StoreTooNewError(
            "a newer version of Pantau has used this store; install that version again, or put back the copy "
            "that was made before the upgrade"
        ) from None


def _bar_of(engine: Engine) -> Bar | None:
    with engine.connect() as connection:
        number = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    return Bar.of(number)


def known() -> Sequence[str]:
    """Return the numbers of all schemas that this program can bring up to date, the newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
