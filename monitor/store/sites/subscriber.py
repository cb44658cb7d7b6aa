"""The subscribing end of the link of a site and its hub: a subscription that writes only into the site's partitions.

A *site* probes mail; a *hub* combines the results of several sites, and receives their tables by PostgreSQL's logical
replication.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg import sql

from monitor.store.backend.postgres import PostgresServer
from monitor.store.sites.link import Connection, SiteRefusedError, conninfo, error_text, fetch_one
from monitor.store.sites.partition import (
    RUN_TABLES,
    as_owner,
    create_partitions,
    empty_status_partitions,
    names_without_partition,
    owner,
    partition_name,
    remove_partitions,
)
from monitor.store.sites.publisher import PUBLICATION, RUN_PUBLICATION, slot_of

#: Oldest major version of PostgreSQL in which a role that is not a superuser may subscribe.
_MIN_VERSION = 16
#: Predefined role of PostgreSQL whose members may subscribe.
_SUBSCRIBER_ROLE = "pg_create_subscription"


def _publications(tables: Sequence[str]) -> tuple[str, ...]:
    # Subscribing to a publication that does not exist would stop the replication of the existing ones.
    return (PUBLICATION, RUN_PUBLICATION) if {*RUN_TABLES} <= {*tables} else (PUBLICATION,)


def subscription_of(site: str) -> str:
    """Return the name of the subscription to a site."""
    return f"pantau_{site}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """The state of the subscription to a site."""

    is_enabled: bool
    #: Whether a worker is connected to the site, or tries to connect.
    is_worker_running: bool
    #: Number of rows that could not be written, since the server's statistics were reset.
    errors: int
    #: Whether the subscription includes the site's runs.
    includes_runs: bool = True


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Queries and commands on the hub's PostgreSQL for one site. *site* and *hub*: their names."""

    connection: Connection
    site: str
    hub: str

    def requirement_problems(self) -> list[str]:
        """Return the requirements that the server does not meet, with remedies; empty: it meets all."""
        server = fetch_one(
            self.connection,
            "SELECT current_setting('server_version_num')::int / 10000 AS version, current_user AS role,"
            " current_database() AS db, has_database_privilege(current_database(), 'CREATE') AS creates,"
            " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS super,"
            " current_setting('max_logical_replication_workers')::int AS workers,"
            " coalesce(current_setting('max_active_replication_origins', true), current_setting('max_replication_slots'))::int AS origins,"
            " (SELECT count(*) FROM pg_subscription) AS subscriptions",
        )
        if server.version < _MIN_VERSION:
            return [f"the hub's PostgreSQL is version {server.version}; {_MIN_VERSION} or newer is needed there"]
        if owner(self.connection) is None:
            problem = "has no Pantau tables, or those of an older version: start the newest version there once"
            return [f"the hub's database {problem}"]
        problems = []
        # Rows without a partition are the hub's own, under its own name.
        if self.site == self.hub or self.site in names_without_partition(self.connection):
            problems.append(
                f"the hub itself has the name {self.site}: give the site another name, here and in its settings"
            )
        query = "SELECT pg_has_role(current_user, %s, 'USAGE') AS is_member"
        is_member = fetch_one(self.connection, query, [_SUBSCRIBER_ROLE]).is_member
        if not (server.super or is_member):
            problems.append(f"the hub's role may not subscribe: GRANT {_SUBSCRIBER_ROLE} TO {server.role}")
        if min(server.workers, server.origins) <= server.subscriptions and self.subscription() is None:
            # PostgreSQL would accept the subscription, and then receive nothing.
            has_few_workers = server.workers <= server.subscriptions
            setting = "max_logical_replication_workers" if has_few_workers else "max_replication_slots"
            problems.append(
                f"the hub's PostgreSQL cannot have more than its {server.subscriptions} subscriptions: raise {setting} "
                "there, and restart it"
            )
        if not server.creates:
            problems.append(f"the hub's role may not subscribe: GRANT CREATE ON DATABASE {server.db} TO {server.role}")
        return problems

    def subscription(self) -> Subscription | None:
        """Return the state of the subscription; `None`: there is none."""
        row = self.connection.execute(
            "SELECT subenabled, %s = ANY (subpublications) AS includes_runs, pid IS NOT NULL AS is_worker_running, coalesce(apply_error_count + sync_error_count, 0) AS errors"
            " FROM pg_subscription AS s LEFT JOIN pg_stat_subscription AS w ON w.subid = s.oid AND w.relid IS NULL"
            " LEFT JOIN pg_stat_subscription_stats AS t ON t.subid = s.oid"
            " WHERE s.subname = %s AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [RUN_PUBLICATION, subscription_of(self.site)],
        ).fetchone()
        if row is None:
            return None
        return Subscription(
            is_enabled=row.subenabled,
            is_worker_running=row.is_worker_running,
            errors=row.errors,
            includes_runs=row.includes_runs,
        )

    def prepare_partitions(self) -> None:
        """Create partitions for the site, and delete the statuses that it will publish again."""
        with as_owner(self.connection):
            create_partitions(self.connection, self.site)
            empty_status_partitions(self.connection, self.site)

    def check_server(self, server: PostgresServer) -> None:
        """Test that the hub's own server can connect to the site. Raise `SiteRefusedError`.

        Create a subscription without connecting, and drop it: dropping connects to the site, and drops the slot there.
        A subscription that connects at its creation and fails would make the server log the password.
        """
        self._create_subscription(server, (PUBLICATION,), "connect = false")
        try:
            self._execute("DROP SUBSCRIPTION {}")
        except psycopg.Error as error:
            reason = error_text(error)
            if "connect to publisher" in reason:
                reason += ". It reads cert_file, key_file and ca_file itself: may its user (postgres) read them?"
            self.unsubscribe()
            raise SiteRefusedError(f"the hub's own PostgreSQL cannot reach site {self.site}: {reason}") from None

    def subscribe(self, server: PostgresServer, tables: Sequence[str]) -> None:
        """Subscribe to the site, which publishes its partitions of *tables*, and create the slot there.

        Raise `SiteRefusedError`.
        """
        # There is no initial copy (`copy_data`): with it, a heartbeat could arrive before earlier rows. Instead, the
        # site publishes its statuses again (`Publisher.republish`).
        self._create_subscription(server, _publications(tables), "enabled = false, copy_data = false")
        try:
            self._check_tables(tables)
            self._execute("ALTER SUBSCRIPTION {} ENABLE")
        except BaseException:
            self.unsubscribe()
            raise

    def _create_subscription(self, server: PostgresServer, publications: Sequence[str], options: LiteralString) -> None:
        # `disable_on_error` stays off: it would disable the subscription when a connection breaks.
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

    def _execute(self, statement: LiteralString) -> None:
        self.connection.execute(sql.SQL(statement).format(sql.Identifier(subscription_of(self.site))))

    def _check_tables(self, tables: Sequence[str]) -> None:
        """Raise `SiteRefusedError` if the site publishes tables that are not its own partitions."""
        rows = self.connection.execute(
            "SELECT srrelid::regclass::text AS name FROM pg_subscription_rel AS r"
            " JOIN pg_subscription AS s ON s.oid = r.srsubid WHERE s.subname = %s",
            [subscription_of(self.site)],
        )
        names = {row.name.replace('"', "") for row in rows}
        if names != {partition_name(table, self.site) for table in tables}:
            raise SiteRefusedError(f"site {self.site} publishes other tables than its own: {', '.join(sorted(names))}")

    def unsubscribe(self) -> None:
        """Drop the subscription. The slot at the site stays, because the site may be unreachable."""
        if self.subscription() is None:
            return
        self._execute("ALTER SUBSCRIPTION {} DISABLE")
        self._execute("ALTER SUBSCRIPTION {} SET (slot_name = NONE)")
        self._execute("DROP SUBSCRIPTION {}")

    def remove_site(self) -> None:
        """Drop the subscription, and delete all data received from the site."""
        self.unsubscribe()
        with as_owner(self.connection):
            remove_partitions(self.connection, self.site, keep_statuses=False)

    def last_heartbeat(self) -> datetime | None:
        """Return the time of the site's last heartbeat, by the site's clock; `None`: there was none."""
        row = self.connection.execute("SELECT at FROM site_heartbeat WHERE site = %s", [self.site]).fetchone()
        return None if row is None else row.at
