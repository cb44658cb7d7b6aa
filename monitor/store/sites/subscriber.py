"""The subscribing end of a link: a subscription for each site, which writes only into that site's partitions.

A *site* probes mail; a *hub* combines the results of several sites, and receives their tables by logical replication.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg import sql

from monitor.store.backend.postgres import PostgresServer
from monitor.store.sites.link import Connection, SiteRefusedError, conninfo, error_text, one
from monitor.store.sites.partition import (
    RUNS,
    as_owner,
    empty_parts,
    foreign_names,
    make_parts,
    owner,
    part,
    unmake_parts,
)
from monitor.store.sites.publisher import OF_RUNS, PUBLICATION, slot_of

#: Oldest version of PostgreSQL in which a role without superuser rights may subscribe.
_OLDEST = 16
_ROLE = "pg_create_subscription"


def _publications(tables: Sequence[str]) -> tuple[str, ...]:
    # Subscribing to a publication that does not exist would stop the replication of the existing ones.
    return (PUBLICATION, OF_RUNS) if {*RUNS} <= {*tables} else (PUBLICATION,)


def subscription_of(site: str) -> str:
    """Return the name of the subscription to a site."""
    return f"pantau_{site}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """The state of the subscription to a site."""

    is_enabled: bool
    #: Whether a worker is connected to the site, or tries to connect.
    works: bool
    #: Number of rows that could not be written, since the server's statistics began.
    errors: int
    #: Whether the subscription includes the site's runs.
    hears_of_runs: bool = True


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Queries and commands on the hub's PostgreSQL, about one site."""

    connection: Connection
    site: str
    hub: str

    def objections(self) -> list[str]:
        """Return the reasons why the server cannot be that of a hub, with remedies; empty: it can."""
        server = one(
            self.connection,
            "SELECT current_setting('server_version_num')::int / 10000 AS version, current_user AS role,"
            " current_database() AS db, has_database_privilege(current_database(), 'CREATE') AS creates,"
            " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS super,"
            " current_setting('max_logical_replication_workers')::int AS workers,"
            " coalesce(current_setting('max_active_replication_origins', true), current_setting('max_replication_slots'))::int AS origins,"
            " (SELECT count(*) FROM pg_subscription) AS heard",
        )
        if server.version < _OLDEST:
            return [f"the hub's PostgreSQL is version {server.version}; {_OLDEST} or newer is needed there"]
        if owner(self.connection) is None:
            return ["the hub's database holds no store yet, or one of an older Pantau: start the newest there once"]
        problems = []
        if self.site == self.hub or self.site in foreign_names(self.connection):
            problems.append(f"the hub itself is called {self.site}: name the site otherwise, here and in its settings")
        may = one(self.connection, "SELECT pg_has_role(current_user, %s, 'USAGE') AS may", [_ROLE]).may
        if not (server.super or may):
            problems.append(f"the hub's role may not subscribe: GRANT {_ROLE} TO {server.role}")
        if min(server.workers, server.origins) <= server.heard and self.subscription() is None:
            # Check here, because PostgreSQL accepts the subscription and then receives nothing.
            setting = "max_logical_replication_workers" if server.workers <= server.heard else "max_replication_slots"
            problems.append(
                f"the hub's PostgreSQL hears {server.heard} sites and no more: raise {setting} there, and restart it"
            )
        if not server.creates:
            problems.append(f"the hub's role may not subscribe: GRANT CREATE ON DATABASE {server.db} TO {server.role}")
        return problems

    def subscription(self) -> Subscription | None:
        """Return the state of the subscription; `None`: there is none."""
        row = self.connection.execute(
            "SELECT subenabled, %s = ANY (subpublications) AS of_runs, pid IS NOT NULL AS works, coalesce(apply_error_count + sync_error_count, 0) AS errors"
            " FROM pg_subscription AS s LEFT JOIN pg_stat_subscription AS w ON w.subid = s.oid AND w.relid IS NULL"
            " LEFT JOIN pg_stat_subscription_stats AS t ON t.subid = s.oid"
            " WHERE s.subname = %s AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [OF_RUNS, subscription_of(self.site)],
        ).fetchone()
        if row is None:
            return None
        return Subscription(is_enabled=row.subenabled, works=row.works, errors=row.errors, hears_of_runs=row.of_runs)

    def make_room(self) -> None:
        """Create partitions for the site, and delete its statuses."""
        with as_owner(self.connection):
            make_parts(self.connection, self.site)
            empty_parts(self.connection, self.site)

    def check_server(self, server: PostgresServer) -> None:
        """Test that the hub's own server reaches the site. Raise `SiteRefusedError`.

        Create a subscription without connecting, and drop it, which connects and drops the slot. A subscription that
        connects when it is created could fail, and the server would log the failed statement with the password.
        """
        self._make(server, (PUBLICATION,), "connect = false")
        try:
            self._of_it("DROP SUBSCRIPTION {}")
        except psycopg.Error as error:
            reason = error_text(error)
            if "connect to publisher" in reason:
                reason += ". It reads cert_file, key_file and ca_file itself: may its user (postgres) read them?"
            self.unsubscribe()
            raise SiteRefusedError(f"the hub's own PostgreSQL cannot reach site {self.site}: {reason}") from None

    def subscribe(self, server: PostgresServer, tables: Sequence[str]) -> None:
        """Subscribe to the site, which publishes its partitions of *tables* and has a slot.

        Raise `SiteRefusedError`.
        """
        # No initial copy, with which a heartbeat could arrive before earlier rows: the site publishes earlier rows
        # again (`Publisher.publish_again`).
        self._make(server, _publications(tables), "enabled = false, copy_data = false")
        try:
            self._see_tables(tables)
            self._of_it("ALTER SUBSCRIPTION {} ENABLE")
        except BaseException:
            self.unsubscribe()
            raise

    def _make(self, server: PostgresServer, publications: Sequence[str], options: LiteralString) -> None:
        # Without `disable_on_error`, which would disable the subscription when a connection breaks.
        self.connection.execute(
            sql.SQL(
                "CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} WITH"
                " (slot_name = {}, synchronous_commit = 'on', {})"
            ).format(
                sql.Identifier(subscription_of(self.site)),
                conninfo(server),
                sql.SQL(", ").join(map(sql.Identifier, publications)),
                sql.Literal(slot_of(self.hub)),
                sql.SQL(options),
            )
        )

    def _of_it(self, statement: LiteralString) -> None:
        self.connection.execute(sql.SQL(statement).format(sql.Identifier(subscription_of(self.site))))

    def _see_tables(self, tables: Sequence[str]) -> None:
        """Raise `SiteRefusedError` if the site publishes other tables than its own partitions."""
        rows = self.connection.execute(
            "SELECT srrelid::regclass::text AS name FROM pg_subscription_rel AS r"
            " JOIN pg_subscription AS s ON s.oid = r.srsubid WHERE s.subname = %s",
            [subscription_of(self.site)],
        )
        names = {row.name.replace('"', "") for row in rows}
        if names != {part(table, self.site) for table in tables}:
            raise SiteRefusedError(f"site {self.site} publishes other tables than its own: {', '.join(sorted(names))}")

    def unsubscribe(self) -> None:
        """Unsubscribe from the site. Its slot stays, because the site may be unreachable."""
        if self.subscription() is None:
            return
        self._of_it("ALTER SUBSCRIPTION {} DISABLE")
        self._of_it("ALTER SUBSCRIPTION {} SET (slot_name = NONE)")
        self._of_it("DROP SUBSCRIPTION {}")

    def forget(self) -> None:
        """Delete all data received from the site."""
        self.unsubscribe()
        with as_owner(self.connection):
            unmake_parts(self.connection, self.site, keep=False)

    def beat(self) -> datetime | None:
        """Return the time of the site's last heartbeat, by the site's clock; `None`: there was none."""
        row = self.connection.execute("SELECT at FROM site_heartbeat WHERE site = %s", [self.site]).fetchone()
        return None if row is None else row.at
