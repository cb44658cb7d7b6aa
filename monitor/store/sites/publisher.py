"""The publishing end of the link of a site and its hub: the site's publications and its replication slot.

A *site* probes mail; a *hub* combines the results of several sites, and receives their tables by PostgreSQL's logical
replication. The slot retains changes until the hub has received them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from psycopg import sql

from monitor.store.sites.link import Connection, SiteRefusedError, fetch_one
from monitor.store.sites.partition import (
    RUN_TABLES,
    STATUS_TABLES,
    as_owner,
    create_partitions,
    known_tables,
    names_without_partition,
    owner,
    partition_name,
    remove_partitions,
)

#: Publication of the site's statuses and heartbeat.
PUBLICATION = "pantau_site"
#: Publication of the site's runs: only insertions. The hub deletes these rows by its own retention.
RUN_PUBLICATION = "pantau_site_runs"
#: Oldest supported major version of PostgreSQL.
_MIN_VERSION = 15
#: Time limit for dropping a slot: PostgreSQL needs some time to end its reader.
_DROP_TIMEOUT_SECONDS = 10.0


def slot_of(hub: str) -> str:
    """Return the name of a hub's slot at its sites. A site has one slot for each hub that reads it."""
    return f"pantau_{hub.replace('-', '_')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """The replication slot that a site keeps for the hub."""

    #: Process id of the server process by which the hub reads the slot; `None`: the hub does not read it.
    reader: int | None
    #: Whether the slot exceeded its size limit, so that changes are missing.
    is_lost: bool
    #: Bytes of the write-ahead log that the hub has not confirmed.
    lag_bytes: int


@dataclass(frozen=True, slots=True)
class Publisher:
    """Queries and commands on a site's PostgreSQL. *site* and *hub*: their names."""

    connection: Connection
    site: str
    hub: str

    def requirement_problems(self) -> list[str]:
        """Return the requirements that the server does not meet, with remedies; empty: it meets all."""
        server = fetch_one(
            self.connection,
            "SELECT current_setting('server_version_num')::int / 10000 AS version, current_user AS role, current_database() AS db,"
            " current_setting('wal_level') AS level, pg_is_in_recovery() AS standby,"
            " (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) AS replicates,"
            " has_database_privilege(current_database(), 'CREATE') AS creates,"
            " current_setting('max_replication_slots')::int AS slots, (SELECT count(*) FROM pg_replication_slots) AS used,"
            " current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication) AS senders",
        )
        problems = []
        if server.version < _MIN_VERSION:
            problems.append(f"its PostgreSQL is version {server.version}; {_MIN_VERSION} or newer is needed")
        if server.standby:
            problems.append("its PostgreSQL is a standby: name the primary")
        if server.level != "logical":
            problems.append(
                f"wal_level is {server.level}: set wal_level = logical in its postgresql.conf, and restart it"
            )
        if not server.replicates:
            problems.append(f"the role may not replicate: ALTER ROLE {server.role} REPLICATION")
        if server.slots <= server.used and self.slot() is None:
            problems.append(
                f"all {server.slots} replication slots are taken: raise max_replication_slots, and restart it"
            )
        if server.senders <= 0:
            problems.append("all of its senders are taken: raise max_wal_senders, and restart it")
        table_owner = owner(self.connection)
        if table_owner is None:
            problems.append(
                "its database has no Pantau tables, or those of an older version: start the newest version there once"
            )
        elif not self._is_member_of(table_owner):
            problems.append(f"the role may not use the store: GRANT {table_owner} TO {server.role}")
        elif not server.creates:
            problems.append(f"the role may not publish: GRANT CREATE ON DATABASE {server.db} TO {table_owner}")
        else:
            problems += self._name_problems()
        return problems

    def _is_member_of(self, role: str) -> bool:
        return bool(fetch_one(self.connection, "SELECT pg_has_role(current_user, %s, 'MEMBER') AS yes", [role]).yes)

    def _name_problems(self) -> list[str]:
        # Before a site joins, its own rows are in the common partition, under the name in its settings.
        other_sites = [each for each in names_without_partition(self.connection) if each != self.site]
        if not other_sites:
            return []
        return [
            f"its name is {', '.join(other_sites)}: write `site: {self.site}` in its settings, or add it by that name"
        ]

    def advice(self) -> list[str]:
        """Return hints about settings that may cause problems later."""
        warnings = []
        setting = fetch_one(self.connection, "SELECT current_setting('max_slot_wal_keep_size') AS size")
        if setting.size == "-1":
            warnings.append(
                "max_slot_wal_keep_size is -1: while the hub is away, the log that is retained for it fills the site's "
                "disk; set max_slot_wal_keep_size = 20GB"
            )
        if other_readers := self.other_readers():
            warnings.append(
                f"another hub reads it, too ({', '.join(other_readers)}): if both have `mode: notify`, people are "
                f"notified twice; `pantau site remove {self.site}` at one of the hubs"
            )
        return warnings

    def publish(self) -> tuple[str, ...]:
        """Create the site's partitions, and publish only them; return the names of the partitioned tables.

        Raise `SiteRefusedError`.
        """
        # After the hub's connection is lost, the slot stays occupied until this timeout.
        self.connection.execute("ALTER ROLE CURRENT_USER SET wal_sender_timeout = '10s'")
        with as_owner(self.connection):
            tables = create_partitions(self.connection, self.site)
            self._publish(PUBLICATION, STATUS_TABLES, "insert, update, delete, truncate")
            if {*RUN_TABLES} <= {*tables}:
                self._publish(RUN_PUBLICATION, RUN_TABLES, "insert")
        return tables

    def _publish(self, name: str, tables: tuple[str, ...], operations: str) -> None:
        """Create or change the publication *name* so that it has the site's partitions of *tables*."""
        partitions = sql.SQL(", ").join(sql.Identifier(partition_name(table, self.site)) for table in tables)
        publication = self.connection.execute("SELECT FROM pg_publication WHERE pubname = %s", [name]).fetchone()
        statement = "CREATE PUBLICATION {} FOR TABLE {}" if publication is None else "ALTER PUBLICATION {} SET TABLE {}"
        self.connection.execute(sql.SQL(statement).format(sql.Identifier(name), partitions))
        options = sql.SQL("ALTER PUBLICATION {} SET (publish = {})")
        self.connection.execute(options.format(sql.Identifier(name), sql.Literal(operations)))

    def has_run_tables(self) -> bool:
        """Whether the site's store has the tables of published runs."""
        return {*RUN_TABLES} <= {*known_tables(self.connection)}

    def republish(self) -> str | None:
        """Write the site's statuses and heartbeat again, so that the hub receives them.

        All rows are written in one transaction, so that no later heartbeat arrives before a status. The hub ignores
        deletions of rows that it does not have. Return the log position after the rows, for `has_received`; `None`:
        the site has no rows yet.
        """
        statement = sql.SQL("WITH old AS (DELETE FROM {0} RETURNING *) INSERT INTO {0} SELECT * FROM old")
        with as_owner(self.connection), self.connection.transaction():
            partitions = [sql.Identifier(partition_name(table, self.site)) for table in STATUS_TABLES]
            count = sum(self.connection.execute(statement.format(own)).rowcount for own in partitions)
        return self.log_position() if count else None

    def log_position(self) -> str:
        """Return the current position (LSN) of the site's write-ahead log."""
        return str(fetch_one(self.connection, "SELECT pg_current_wal_flush_lsn()::text AS log_position").log_position)

    def has_received(self, lsn: str) -> bool:
        """Whether the hub has confirmed all changes up to the log position *lsn*."""
        query = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND confirmed_flush_lsn >= %s::pg_lsn"
        return self.connection.execute(query, [slot_of(self.hub), lsn]).fetchone() is not None

    def slot(self) -> Slot | None:
        """Return the hub's slot; `None`: there is none."""
        row = self.connection.execute(
            "SELECT active_pid, wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint AS lag_bytes"
            " FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()",
            [slot_of(self.hub)],
        ).fetchone()
        if row is None:
            return None
        return Slot(reader=row.active_pid, is_lost=row.wal_status == "lost", lag_bytes=row.lag_bytes or 0)

    def make_slot(self) -> None:
        """Create the hub's slot, which retains the log from now on."""
        self.connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot_of(self.hub)])

    def drop_slot(self) -> None:
        """Drop the hub's slot; terminate the server process that reads it. Raise `SiteRefusedError`."""
        name, deadline = slot_of(self.hub), time.monotonic() + _DROP_TIMEOUT_SECONDS
        while (slot := self.slot()) is not None:
            if slot.reader is not None:
                self.connection.execute(
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [name]
                )
            else:
                self.connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
            if time.monotonic() > deadline:
                raise SiteRefusedError(f"site {self.site}: another process still reads the slot {name}")
            time.sleep(0.05)

    def other_readers(self) -> list[str]:
        """Return the names of the slots of other hubs that read the site."""
        rows = self.connection.execute(
            "SELECT slot_name AS name FROM pg_replication_slots WHERE database = current_database()"
            " AND starts_with(slot_name, %s) AND slot_name <> %s ORDER BY slot_name",
            [slot_of(""), slot_of(self.hub)],
        )
        return [row.name for row in rows]

    def withdraw(self) -> None:
        """Drop the hub's slot. If no other hub reads the site, also drop the publications and remove the partitions."""
        self.drop_slot()
        if self.other_readers():
            return
        with as_owner(self.connection):
            for name in (PUBLICATION, RUN_PUBLICATION):
                self.connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name)))
            remove_partitions(self.connection, self.site, keep_statuses=True)

    def foreign_sites(self) -> list[str]:
        """Return the names of other sites whose rows this site publishes."""
        sites = set[str]()
        tables = known_tables(self.connection, self.site)
        for own in (sql.Identifier(partition_name(table, self.site)) for table in tables):
            query = sql.SQL("SELECT DISTINCT site FROM {} WHERE site <> {}").format(own, sql.Literal(self.site))
            sites |= {row.site for row in self.connection.execute(query)}
        return sorted(sites)
