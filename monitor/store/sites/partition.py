"""Partitions of the replicated tables, one per site, into which no other site's rows can be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from monitor.store.sites.link import Connection, SiteRefusedError, is_there

#: Tables of a site's statuses and heartbeat, replicated to the hub.
LEVELS = ("site_status", "site_heartbeat")
#: Tables of its runs, to which rows are only added. A site with an older version has none of these.
RUNS = ("site_run", "site_hour")
TABLES = (*LEVELS, *RUNS)


def part(table: str, site: str) -> str:
    """Return the name of a site's partition of *table*."""
    return f"{table}_{site}"


def owner(connection: Connection) -> str | None:
    """Return the owner of the tables; `None`: there are none."""
    row = connection.execute(
        "SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE oid = to_regclass(%s)", [TABLES[0]]
    ).fetchone()
    return None if row is None else str(row.owner)


@contextmanager
def as_owner(connection: Connection) -> Iterator[None]:
    """Execute the block as the owner of the tables, so that new tables belong to the same owner."""
    name = owner(connection)
    if name is not None:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(name)))
    yield
    # After an error the connection ends, so there is nothing to reset.
    connection.execute("RESET ROLE")


def foreign_names(connection: Connection) -> list[str]:
    """Return the sites that have rows and no partition, by name."""
    every = sql.SQL(" UNION ").join(
        sql.SQL("SELECT site FROM {}").format(sql.Identifier(f"rest_of_{table}")) for table in LEVELS
    )
    return sorted(row.site for row in connection.execute(every))


def known_tables(connection: Connection, site: str = "") -> tuple[str, ...]:
    """Return those of `TABLES` that the store has, or of which *site* has a partition there."""
    return tuple(table for table in TABLES if is_there(connection, part(table, site) if site else table))


def content_checksum(connection: Connection, site: str) -> str:
    """Return a short text that changes with any row of *site*, without heartbeats."""
    table = sql.Identifier(part(LEVELS[0], site))
    query = "SELECT count(*) || ':' || coalesce(sum(('x' || left(md5(t::text), 15))::bit(60)::bigint), 0) AS said FROM {} AS t"
    (row,) = connection.execute(sql.SQL(query).format(table))
    return str(row.said)


def make_parts(connection: Connection, site: str) -> tuple[str, ...]:
    """Create the partitions of *site* with its existing rows, unless they exist; return of which tables.

    Raise `SiteRefusedError`.
    """
    tables = known_tables(connection)
    with connection.transaction():
        for table in tables:
            _make(connection, table, site)
    return tables


def _make(connection: Connection, table: str, site: str) -> None:
    partition = part(table, site)
    row = connection.execute(
        "SELECT relispartition AS is_part FROM pg_class WHERE oid = to_regclass(quote_ident(%s))", [partition]
    )
    if (existing := row.fetchone()) is not None:
        if not existing.is_part:
            raise SiteRefusedError(
                f"there is a table {partition} that is no part of {table}: somebody has detached it; drop it"
            )
        return
    words = _words(table, site)
    for statement in (
        "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
        "CREATE TABLE {own} (LIKE {table} INCLUDING ALL)",
        "WITH moved AS (DELETE FROM {rest} WHERE site = {site} RETURNING *) INSERT INTO {own} SELECT * FROM moved",
        "ALTER TABLE {table} ATTACH PARTITION {own} FOR VALUES IN ({site})",
    ):
        connection.execute(sql.SQL(statement).format(**words))


def empty_parts(connection: Connection, site: str) -> None:
    """Delete the statuses of *site*, which it publishes anew. Its runs stay: they are published once."""
    parts = [sql.Identifier(part(table, site)) for table in LEVELS]
    connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(parts)))


def unmake_parts(connection: Connection, site: str, *, keep: bool) -> None:
    """Remove the partitions of *site*; *keep*: its statuses move to the common partition."""
    with connection.transaction():
        for table in known_tables(connection):
            words = _words(table, site)
            if not is_there(connection, part(table, site)):
                continue
            statements = ["ALTER TABLE {table} DETACH PARTITION {own}"]
            if keep and table in LEVELS:
                statements.append("INSERT INTO {table} SELECT * FROM {own}")
            for statement in (*statements, "DROP TABLE {own}"):
                connection.execute(sql.SQL(statement).format(**words))


def _words(table: str, site: str) -> dict[str, sql.Composable]:
    names = {"table": table, "own": part(table, site), "rest": f"rest_of_{table}"}
    return {word: sql.Identifier(name) for word, name in names.items()} | {"site": sql.Literal(site)}
