"""Run by Alembic for each command."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import Engine, create_engine, event, pool

from monitor.store.schema.lock import alone
from monitor.store.schema.tables import Moment, metadata


def render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our time type as what it is in the database: a migration must not change when our code does."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Moment) else False


def leave_transactions_to_us(connection: Any, _record: Any) -> None:
    """Keep the driver from committing each statement by itself: a migration cut off half-way could not be repeated."""
    connection.isolation_level = None


engine: Engine | None = context.config.attributes.get("engine")
if engine is None:
    engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "", poolclass=pool.NullPool)
if engine.dialect.name == "sqlite":
    event.listen(engine, "connect", leave_transactions_to_us)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
# All in one transaction, which both databases can undo.
with engine.begin() as connection:
    if engine.dialect.name == "postgresql":
        alone(connection)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite alters tables by copying them; batch mode writes such migrations.
        render_as_batch=True,
        render_item=render,
        # SQLite can undo DDL; Alembic does not count on it by itself.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
