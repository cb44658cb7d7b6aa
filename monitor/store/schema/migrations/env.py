"""Alembic environment: configures the connection, and runs the migrations in one transaction."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import Engine, create_engine, event, pool

from monitor.store.schema.lock import lock_for_migration
from monitor.store.schema.tables import UtcDateTime, metadata


def render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Render `UtcDateTime` as the database's type, because a generated migration must not depend on our code."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def leave_transactions_to_us(connection: Any, _record: Any) -> None:
    """Disable the driver's implicit commits: a migration that was partly committed could not be repeated."""
    connection.isolation_level = None


engine: Engine | None = context.config.attributes.get("engine")
if engine is None:
    engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "", poolclass=pool.NullPool)
if engine.dialect.name == "sqlite":
    event.listen(engine, "connect", leave_transactions_to_us)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
# All migrations run in one transaction. Both databases can roll back DDL.
with engine.begin() as connection:
    if engine.dialect.name == "postgresql":
        lock_for_migration(connection)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot alter most of a table. In batch mode Alembic copies the table instead.
        render_as_batch=True,
        render_item=render,
        # Alembic assumes by default that SQLite cannot roll back DDL.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
