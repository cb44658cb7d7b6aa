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
from sqlalchemy import URL, create_engine, pool


class StoreTooNewError(Exception):
    """A newer version of this program has used the store."""


def upgrade(url: str | URL, to: str = "head", *, arguments: Mapping[str, Any] | None = None) -> None:
    """Apply all migrations up to *to* that the database at *url* lacks (a synchronous SQLAlchemy URL). Blocks.

    *arguments*: how it is connected to. Raise `StoreTooNewError` when it has had a migration that is not known here.
    """
    config = _config()
    config.attributes["engine"] = create_engine(
        url, poolclass=pool.NullPool, connect_args=dict(arguments or {}), hide_parameters=True
    )
    try:
        command.upgrade(config, to)
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):
            raise
        raise StoreTooNewError(
            "a newer version of Pantau has used this store; install that version again, or put back the copy "
            "that was made before the upgrade"
        ) from None


def known() -> Sequence[str]:
    """Return the numbers of all schemas that this program can bring up to date, the newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
