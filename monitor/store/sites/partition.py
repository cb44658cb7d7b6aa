"""Partitions of the replicated tables, one for each site. Rows of other sites cannot be written into a partition.

Rows of sites without a partition are in a common partition, `rest_of_TABLE`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from monitor.store.sites.link import Connection, SiteRefusedError, table_exists

#: Tables of a site's statuses and heartbeat, replicated to the hub.
STATUS_TABLES = ("site_status", "site_heartbeat")
#: Tables of a site's runs, to which rows are only added. A site with an older version does not have these tables.
RUN_TABLES = ("site_run", "site_hour")
TABLES = (*STATUS_TABLES, *RUN_TABLES)


def partition_name(table: str, site: str) -> str:
    """Return the name of a site's partition of *table*."""
    return f"{table}_{site}"


def owner(connection: Connection) -> str | None:
    """Return the role that owns the tables; `None`: there are no tables."""
    row = connection.execute(
        "SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE oid = to_regclass(%s)", [TABLES[0]]
    ).fetchone()
    return None if row is None else str(row.owner)


@contextmanager
def as_owner(connection: Connection) -> Iterator[None]:
    """Execute the `with` block as the owner of the tables, so that new tables belong to the same owner."""
    name = owner(connection)
    if name is not None:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(name)))
    yield
    # Not in `finally`: after an error the connection is closed.
    connection.execute("RESET ROLE")


def names_without_partition(connection: Connection) -> list[str]:
    """Return the names of sites that have statuses or a heartbeat, and no partition."""
    query = sql.SQL(" UNION ").join(
        sql.SQL("SELECT site FROM {}").format(sql.Identifier(f"rest_of_{table}")) for table in STATUS_TABLES
    )
    return sorted(row.site for row in connection.execute(query))


def known_tables(connection: Connection, site: str = "") -> tuple[str, ...]:
    """Return those `TABLES` that the store has. *site*: only those of which the site has a partition."""
    return tuple(table for table in TABLES if table_exists(connection, partition_name(table, site) if site else table))


def content_checksum(connection: Connection, site: str) -> str:
    """Return a checksum of the statuses of *site*: the number of rows, and the sum of their hashes."""
    table = sql.Identifier(partition_name(STATUS_TABLES[0], site))
    query = (
        "SELECT count(*) || ':' || coalesce(sum(('x' || left(md5(t::text), 15))::bit(60)::bigint), 0) AS checksum"
        " FROM {} AS t"
    )
    (row,) = connection.execute(sql.SQL(query).format(table))
    return str(row.checksum)


def create_partitions(connection: Connection, site: str) -> tuple[str, ...]:
    """Create the partitions of *site*, unless they exist, and move its existing rows there.

    Return the names of the partitioned tables. Raise `SiteRefusedError`.
    """
    tables = known_tables(connection)
    with connection.transaction():
        for table in tables:
            _create_partition(connection, table, site)
    return tables


def _create_partition(connection: Connection, table: str, site: str) -> None:
    partition = partition_name(table, site)
    row = connection.execute(
        "SELECT relispartition AS is_partition FROM pg_class WHERE oid = to_regclass(quote_ident(%s))", [partition]
    ).fetchone()
    if row is not None:
        if not row.is_partition:
            raise SiteRefusedError(
                f"there is a table {partition} that is not a partition of {table}: somebody has detached it; drop it"
            )
        return
    placeholders = _placeholders(table, site)
    for statement in (
        "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
        "CREATE TABLE {own} (LIKE {table} INCLUDING ALL)",
        "WITH moved AS (DELETE FROM {rest} WHERE site = {site} RETURNING *) INSERT INTO {own} SELECT * FROM moved",
        "ALTER TABLE {table} ATTACH PARTITION {own} FOR VALUES IN ({site})",
    ):
        connection.execute(sql.SQL(statement).format(**placeholders))


def empty_status_partitions(connection: Connection, site: str) -> None:
    """Delete the statuses and heartbeat of *site*, which it publishes again. Runs, which it publishes once, stay."""
    partitions = [sql.Identifier(partition_name(table, site)) for table in STATUS_TABLES]
    connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(partitions)))


def remove_partitions(connection: Connection, site: str, *, keep_statuses: bool) -> None:
    """Remove the partitions of *site*. *keep_statuses*: move its statuses to the common partition."""
    with connection.transaction():
        for table in known_tables(connection):
            placeholders = _placeholders(table, site)
            if not table_exists(connection, partition_name(table, site)):
                continue
            statements = ["ALTER TABLE {table} DETACH PARTITION {own}"]
            if keep_statuses and table in STATUS_TABLES:
                statements.append("INSERT INTO {table} SELECT * FROM {own}")
            for statement in (*statements, "DROP TABLE {own}"):
                connection.execute(sql.SQL(statement).format(**placeholders))


def _placeholders(table: str, site: str) -> dict[str, sql.Composable]:
    names = {"table": table, "own": partition_name(table, site), "rest": f"rest_of_{table}"}
    return {key: sql.Identifier(name) for key, name in names.items()} | {"site": sql.Literal(site)}
