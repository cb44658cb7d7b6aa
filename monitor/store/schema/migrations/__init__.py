"""Bring a database's schema up to date with Alembic. There is no way down: a copy from before is put back instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Engine, create_engine, inspect, pool, text

from monitor.store.schema.block import StoreBlock
from monitor.store.schema.lock import alone

if TYPE_CHECKING:
    from alembic.config import Config

#: The schema that this program uses: the last of the migrations.
NEWEST: Final = max(file.name.partition("_")[0] for file in (Path(__file__).parent / "versions").glob("[0-9]*.py"))

#: What is wrong with a store that nobody can bring up to date.
UNNUMBERED: Final = (
    "has tables and no number of their schema, as when a copy was being put there and that was broken off: "
    "put it into an empty database again (docs/how-to/operator/backup.md)"
)


class StoreTooNewError(Exception):
    """A newer version of this program has used the store."""


class StoreBarredError(Exception):
    """The store is half a copy, or was moved away. The message says what to do."""


def upgrade(url: str | URL, to: str = "head", *, arguments: Mapping[str, Any] | None = None) -> None:
    """Apply all migrations up to *to* that the database at *url* lacks (a synchronous SQLAlchemy URL). Blocks.

    *arguments*: how it is connected to. Raise `StoreTooNewError` when it has had a migration that is not known here,
    `StoreBarredError` when nobody may use it.
    """
    engine = create_engine(url, poolclass=pool.NullPool, connect_args=dict(arguments or {}), hide_parameters=True)
    # As a rule it is up to date, and a start need not read what migrates one.
    if to == "head" and _number_of(engine) == NEWEST:
        return
    _migrate(engine, to)


def _migrate(engine: Engine, to: str) -> None:
    from alembic import command  # noqa: PLC0415 - a tenth of a second
    from alembic.script.revision import ResolutionError  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = _config()
    config.attributes["engine"] = engine
    try:
        command.upgrade(config, to)
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):
            raise
        if (bar := StoreBlock.of(_number_of(engine) or "")) is not None:
            raise StoreBarredError(bar.why) from None
        raise StoreTooNewError(
            "a newer version of Pantau has used this store; install that version again, or put back the copy "
            "that was made before the upgrade"
        ) from None


def _number_of(engine: Engine) -> str | None:
    """Return the number of a database's schema; `None`: it has none yet. A file is ours alone; a server's may change now."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            alone(connection)
        tables = inspect(connection).get_table_names()
        if "alembic_version" not in tables:
            return None
        number: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        if number is None and len(tables) > 1:
            raise StoreBarredError(f"this store {UNNUMBERED}")
        return number


@cache
def known() -> Sequence[str]:
    """Return the numbers of all schemas that this program can bring up to date, the newest first."""
    # To ask it reads all migrations: once, as no other comes while it runs.
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above

    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
