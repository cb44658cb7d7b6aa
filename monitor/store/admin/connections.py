"""Connection budget of a PostgreSQL server: the connections it allows, and the maximum that Pantau's processes open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, literal_column, select

from monitor.store.admin.unopened import StoreUnreadableError, read_unopened
from monitor.store.backend.postgres import CONNECTIONS, PostgresServer
from monitor.store.schema.tables import process

#: Connections kept free for Pantau's commands, database backups and manual queries.
_SPARE_CONNECTIONS = 5

_MAX_CONNECTIONS_SQL = "current_setting('max_connections')::int"
_RESERVED_SQL = """current_setting('superuser_reserved_connections')::int
 + coalesce(current_setting('reserved_connections', true)::int, 0)"""
#: Limit set for our database or our role; NULL: neither has one.
_OWN_LIMIT_SQL = """least(
 (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
 (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user))"""
_OTHER_DATABASES_SQL = """(SELECT count(*)::int FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND datname <> current_database())"""
#: Pantau's processes that were not shut down cleanly and sent a heartbeat within a day.
_PROCESS_NAMES_SQL = """ARRAY(
 SELECT name FROM process WHERE stopped_at IS NULL AND heartbeat_at > now() - interval '1 day')"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBudget:
    """The connection limits of a server, and what Pantau and others use of them."""

    #: Maximum number of connections that our role can open, without the reserved ones.
    available: int
    #: Connections that the server reserves for administrators.
    reserved: int
    #: Connections that are open now to other databases of the server.
    other_databases: int
    #: Names of Pantau's processes that run, or ended within the last day without a clean shutdown.
    processes: frozenset[str]

    def needed(self, *, own: str, sites: int) -> int:
        """Return the maximum number of open connections while the process named *own* runs as well.

        A process opens up to `CONNECTIONS`, and one to each of the *sites* (their number) if it is a hub.
        """
        return len(self.processes | {own}) * (CONNECTIONS + sites) + self.other_databases + _SPARE_CONNECTIONS


def connection_budget(server: PostgresServer, state_dir: Path) -> ConnectionBudget | None:
    """Return the connection limits of a server. `None`: the server is unreachable or has no Pantau tables yet."""
    expressions = {
        "max_connections": _MAX_CONNECTIONS_SQL,
        "reserved": _RESERVED_SQL,
        "limit": _OWN_LIMIT_SQL,
        "other_databases": _OTHER_DATABASES_SQL,
        "processes": _PROCESS_NAMES_SQL,
    }
    columns: list[ColumnElement[Any]] = [literal_column(sql).label(name) for name, sql in expressions.items()]
    query = cast("Select[Any]", select(*columns))
    try:
        rows = read_unopened(state_dir, server, query, process.name)
    except StoreUnreadableError:
        return None
    if not rows:
        return None
    (row,) = rows
    available = row.max_connections - row.reserved
    return ConnectionBudget(
        available=available if row.limit is None else min(available, row.limit),
        reserved=row.reserved,
        other_databases=row.other_databases,
        processes=frozenset(row.processes),
    )
