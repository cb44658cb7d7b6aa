"""The publishing end of a link: a site's publications, and the slot that retains rows until the hub has received them.

A *site* probes mail; a *hub* combines the results of several sites, and receives their tables by logical replication.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from psycopg import sql

from monitor.store.sites.link import Connection, SiteRefusedError, one
from monitor.store.sites.partition import (
    LEVELS,
    RUNS,
    as_owner,
    foreign_names,
    known_tables,
    make_parts,
    owner,
    part,
    unmake_parts,
)

PUBLICATION = "pantau_site"
#: Publication of tables whose insertions alone are published. The hub deletes these rows by its own retention.
OF_RUNS = "pantau_site_runs"
_OLDEST = 15
#: In seconds, until a slot without a reader is released.
_PATIENCE = 10.0


def slot_of(hub: str) -> str:
    """Return the name of a hub's slot: a site has one for each hub that reads it."""
    return f"pantau_{hub.replace('-', '_')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """The replication slot that a site keeps for the hub."""

    #: Process id of the server process by which the hub reads the slot; `None`: the hub does not read it.
    reader: int | None
    #: Whether the slot exceeded its size limit, so that the retained log is gone.
    is_lost: bool
    #: Bytes of the log that the hub has not confirmed.
    behind: int


@dataclass(frozen=True, slots=True)
class Publisher:
    """Queries and commands on a site's PostgreSQL."""

    connection: Connection
    site: str
    hub: str

    def objections(self) -> list[str]:
        """Return the reasons why the server cannot be that of a site, with remedies; empty: it can."""
        server = one(
            self.connection,
            "SELECT current_setting('server_version_num')::int / 10000 AS version, current_user AS role, current_database() AS db,"
            " current_setting('wal_level') AS level, pg_is_in_recovery() AS standby,"
            " (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) AS replicates,"
            " has_database_privilege(current_database(), 'CREATE') AS creates,"
            " current_setting('max_replication_slots')::int AS slots, (SELECT count(*) FROM pg_replication_slots) AS used,"
            " current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication) AS senders",
        )
        problems = []
        if server.version < _OLDEST:
            problems.append(f"its PostgreSQL is version {server.version}; {_OLDEST} or newer is needed")
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
            problems.append("its database holds no store yet, or one of an older Pantau: start the newest there once")
        elif not self._is_in(table_owner):
            problems.append(f"the role may do nothing to the store: GRANT {table_owner} TO {server.role}")
        elif not server.creates:
            problems.append(f"the role may not publish: GRANT CREATE ON DATABASE {server.db} TO {table_owner}")
        else:
            problems += self._other_names()
        return problems

    def _is_in(self, role: str) -> bool:
        return bool(one(self.connection, "SELECT pg_has_role(current_user, %s, 'MEMBER') AS is_in", [role]).is_in)

    def _other_names(self) -> list[str]:
        other_sites = [each for each in foreign_names(self.connection) if each != self.site]
        if not other_sites:
            return []
        return [
            f"it calls itself {', '.join(other_sites)}: write `site: {self.site}` in its settings, or add it by that name"
        ]

    def advice(self) -> list[str]:
        """Return hints about settings that may cause problems later."""
        warnings = []
        setting = one(self.connection, "SELECT current_setting('max_slot_wal_keep_size') AS most")
        if setting.most == "-1":
            warnings.append(
                "max_slot_wal_keep_size is -1: while the hub is away, its disk fills up with what is kept for the hub; "
                "set max_slot_wal_keep_size = 20GB"
            )
        if other_readers := self.other_readers():
            warnings.append(
                f"another hub reads it, too ({', '.join(other_readers)}): where both have `mode: notify`, people are told twice; "
                f"`pantau site remove {self.site}` at the one that is to leave"
            )
        return warnings

    def publish(self) -> tuple[str, ...]:
        """Create the site's partitions, and publish only them; return the names of the partitioned tables.

        Raise `SiteRefusedError`.
        """
        # After a connection is lost, the slot cannot be read for this long.
        self.connection.execute("ALTER ROLE CURRENT_USER SET wal_sender_timeout = '10s'")
        with as_owner(self.connection):
            tables = make_parts(self.connection, self.site)
            self._publish(PUBLICATION, LEVELS, "insert, update, delete, truncate")
            if {*RUNS} <= {*tables}:
                self._publish(OF_RUNS, RUNS, "insert")
        return tables

    def _publish(self, name: str, tables: tuple[str, ...], what: str) -> None:
        parts = sql.SQL(", ").join(sql.Identifier(part(table, self.site)) for table in tables)
        publication = self.connection.execute("SELECT FROM pg_publication WHERE pubname = %s", [name]).fetchone()
        statement = "CREATE PUBLICATION {} FOR TABLE {}" if publication is None else "ALTER PUBLICATION {} SET TABLE {}"
        self.connection.execute(sql.SQL(statement).format(sql.Identifier(name), parts))
        options = sql.SQL("ALTER PUBLICATION {} SET (publish = {})")
        self.connection.execute(options.format(sql.Identifier(name), sql.Literal(what)))

    def can_tell_of_runs(self) -> bool:
        """Whether the site's store has the tables of published runs."""
        return {*RUNS} <= {*known_tables(self.connection)}

    def publish_again(self) -> str | None:
        """Write the site's statuses and heartbeat again in one transaction, so that they precede every later heartbeat.

        The hub receives these rows like all others, and ignores deletions of rows that it does not have. Return the
        position in the log after the rows, for `has_received`; `None`: there are no rows yet.
        """
        statement = sql.SQL("WITH gone AS (DELETE FROM {0} RETURNING *) INSERT INTO {0} SELECT * FROM gone")
        with as_owner(self.connection), self.connection.transaction():
            parts = [sql.Identifier(part(table, self.site)) for table in LEVELS]
            count = sum(self.connection.execute(statement.format(own)).rowcount for own in parts)
        return self.place() if count else None

    def place(self) -> str:
        """Return the current write position of the site's log."""
        return str(one(self.connection, "SELECT pg_current_wal_flush_lsn()::text AS place").place)

    def has_received(self, lsn: str) -> bool:
        """Whether the hub has confirmed everything up to *lsn*."""
        query = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND confirmed_flush_lsn >= %s::pg_lsn"
        return self.connection.execute(query, [slot_of(self.hub), lsn]).fetchone() is not None

    def slot(self) -> Slot | None:
        """Return the hub's slot; `None`: there is none."""
        row = self.connection.execute(
            "SELECT active_pid, wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint AS behind"
            " FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()",
            [slot_of(self.hub)],
        ).fetchone()
        if row is None:
            return None
        return Slot(reader=row.active_pid, is_lost=row.wal_status == "lost", behind=row.behind or 0)

    def make_slot(self) -> None:
        """Retain the log for the hub from now on."""
        self.connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot_of(self.hub)])

    def drop_slot(self) -> None:
        """Drop the hub's slot; a process that reads it is terminated."""
        name, until = slot_of(self.hub), time.monotonic() + _PATIENCE
        while (slot := self.slot()) is not None:
            if slot.reader is not None:
                self.connection.execute(
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [name]
                )
            else:
                self.connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
            if time.monotonic() > until:
                raise SiteRefusedError(f"site {self.site}: somebody goes on reading the slot {name}")
            time.sleep(0.05)

    def other_readers(self) -> list[str]:
        """Return the slots of other hubs that read the site."""
        rows = self.connection.execute(
            "SELECT slot_name AS name FROM pg_replication_slots WHERE database = current_database()"
            " AND starts_with(slot_name, %s) AND slot_name <> %s ORDER BY slot_name",
            [slot_of(""), slot_of(self.hub)],
        )
        return [row.name for row in rows]

    def withdraw(self) -> None:
        """Drop the hub's slot; if no other hub reads the site, drop the publications and merge the partitions."""
        self.drop_slot()
        if self.other_readers():
            return
        with as_owner(self.connection):
            for name in (PUBLICATION, OF_RUNS):
                self.connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name)))
            unmake_parts(self.connection, self.site, keep=True)

    def foreign_sites(self) -> list[str]:
        """Return the names of other sites for which this site publishes rows."""
        sites = set[str]()
        for own in (sql.Identifier(part(table, self.site)) for table in known_tables(self.connection, self.site)):
            query = sql.SQL("SELECT DISTINCT site FROM {} WHERE site <> {}").format(own, sql.Literal(self.site))
            sites |= {row.site for row in self.connection.execute(query)}
        return sorted(sites)
