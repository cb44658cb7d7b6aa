"""Bring a database's schema up to date with Alembic. There is no way down: a copy from before is put back instead."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script.revision import ResolutionError
from alembic.util import CommandError


class StoreTooNewError(Exception):
    """A newer version of this program has used the store."""


def upgrade(url: str, to: str = "head") -> None:
    """Apply all migrations up to *to* that the database at *url* lacks (a synchronous SQLAlchemy URL). Blocks.

    Raise `StoreTooNewError` when it has had one that is not known here.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    try:
        command.upgrade(config, to)
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):
            raise
        raise StoreTooNewError(
            "a newer version of Pantau has used this state directory; install that version again, or put back the copy "
            "that was made before the upgrade"
        ) from None
