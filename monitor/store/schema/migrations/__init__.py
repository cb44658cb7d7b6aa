"""Migration of a database's schema with Alembic. A downgrade is not supported: restore a backup instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Engine, create_engine, inspect, pool, text

from monitor.store.schema.block import StoreBlock
from monitor.store.schema.lock import lock_for_migration

if TYPE_CHECKING:
    from alembic.config import Config

#: Schema revision that this version of Pantau uses: the number of the last migration.
NEWEST: Final = max(file.name.partition("_")[0] for file in (Path(__file__).parent / "versions").glob("[0-9]*.py"))

#: Schema revisions that no release has, and the last commit that migrates a store from them.
_UNRELEASED: Final = frozenset(f"{number:04}" for number in (*range(1, 18), *range(19, 55)))
_LAST_WITH_ALL_STEPS: Final = "05ad3676"

#: Error message (after the name of the store) if a database has tables and no schema revision.
NO_REVISION_TEXT: Final = (
    "has tables and no schema revision, as after an interrupted restore: restore the copy into an empty database "
    "(docs/how-to/operator/backup.md)"
)


class StoreTooNewError(Exception):
    """A newer version of Pantau has migrated the store."""


class StoreBlockedError(Exception):
    """The store is an incomplete copy, or was moved to another database. The message says what to do."""


def upgrade(url: str | URL, to: str = "head", *, arguments: Mapping[str, Any] | None = None) -> None:
    """Apply the missing migrations up to the revision *to* to the database at *url*, a synchronous SQLAlchemy URL.

    The call blocks. *arguments*: connection arguments of the driver. Raise `StoreTooNewError` if the database has an
    unknown revision, and `StoreBlockedError` if no service may use the store.
    """
    engine = create_engine(url, poolclass=pool.NullPool, connect_args=dict(arguments or {}), hide_parameters=True)
    # The schema is usually up to date. Then the start is faster without importing Alembic.
    if to == "head" and _revision_of(engine) == NEWEST:
        return
    _migrate(engine, to)


def _migrate(engine: Engine, to: str) -> None:
    from alembic import command  # noqa: PLC0415 - the import takes 0.1 s
    from alembic.script.revision import ResolutionError  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = _config()
    config.attributes["engine"] = engine
    try:
        command.upgrade(config, to)
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):
            raise
        if (store_block := StoreBlock.parse(_revision_of(engine) or "")) is not None:
            raise StoreBlockedError(store_block.message) from None
        if (revision := _revision_of(engine)) is not None and revision in _UNRELEASED:
            raise StoreBlockedError(
                f"the schema {revision} of this store belongs to no release: start the commit {_LAST_WITH_ALL_STEPS} of "
                "Pantau on it once, and then this version"
            ) from None
        raise StoreTooNewError(
            "a newer version of Pantau has used this store; install that version again, or restore the backup "
            "from before the upgrade"
        ) from None


def _revision_of(engine: Engine) -> str | None:
    """Return the schema revision of a database; `None`: the database is empty.

    On a PostgreSQL server, wait for a migration by another process. An SQLite file has only one process.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            lock_for_migration(connection)
        tables = inspect(connection).get_table_names()
        if "alembic_version" not in tables:
            return None
        number: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        if number is None and len(tables) > 1:
            raise StoreBlockedError(f"this store {NO_REVISION_TEXT}")
        return number


@cache
def known_revisions() -> Sequence[str]:
    """Return all schema revisions that this version of Pantau can migrate, the newest first."""
    # Alembic imports all migration scripts here. They do not change while the process runs, so the result is cached.
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above

    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
