"""The connection budget of a database server: how many connections it has, and how many Pantau's processes may open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, literal_column, select

from monitor.store.admin.unopened import DocumentsAwayError, read_unopened
from monitor.store.backend.postgres import CONNECTIONS, PostgresServer
from monitor.store.schema.tables import process

#: Reserve for commands, database backups and manual queries.
_SPARE = 5

_MOST = "current_setting('max_connections')::int"
_RESERVED = """current_setting('superuser_reserved_connections')::int
 + coalesce(current_setting('reserved_connections', true)::int, 0)"""
_LIMIT = """least(
 (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
 (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user))"""
_OTHERS = """(SELECT count(*)::int FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND datname <> current_database())"""
#: Processes that have not stopped in order and sent a heartbeat within a day.
_NAMES = "ARRAY(SELECT name FROM process WHERE stopped_at IS NULL AND heartbeat_at > now() - interval '1 day')"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBudget:
    """The connection limits of a server, and the connections in use."""

    #: Limit for all connections of our role.
    room: int
    #: Connections that the server reserves for administrators.
    reserved: int
    #: Connections that are open now to other databases of the server.
    others: int
    processes: frozenset[str]

    def needed(self, *, own: str, sites: int) -> int:
        """Return the maximum number of open connections while the process *own* runs as well; *sites*: the number that a hub checks."""
        return len(self.processes | {own}) * (CONNECTIONS + sites) + self.others + _SPARE


def connection_budget(server: PostgresServer, state: Path) -> ConnectionBudget | None:
    """Return the connection limits of a server; *state*: the service's directory.

    `None`: the server is unreachable or holds no store yet.
    """
    of_each = {"most": _MOST, "reserved": _RESERVED, "limit": _LIMIT, "others": _OTHERS, "names": _NAMES}
    columns: list[ColumnElement[Any]] = [literal_column(each).label(name) for name, each in of_each.items()]
    query = cast("Select[Any]", select(*columns))
    try:
        found = read_unopened(state, server, query, process.name)
    except DocumentsAwayError:
        return None
    if not found:
        return None
    (row,) = found
    room = row.most - row.reserved
    return ConnectionBudget(
        room=room if row.limit is None else min(room, row.limit),
        reserved=row.reserved,
        others=row.others,
        processes=frozenset(row.names),
    )
