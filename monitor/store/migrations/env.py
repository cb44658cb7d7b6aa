"""Run by Alembic for each command."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import create_engine, pool

from monitor.store.tables import Moment, metadata


def render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our time type as what it is in the database: a migration must not change when our code does."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Moment) else False


engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "", poolclass=pool.NullPool)
with engine.connect() as connection:
    # SQLite alters tables by copying them; batch mode writes such migrations.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, render_item=render)
    with context.begin_transaction():
        context.run_migrations()
