"""PostgreSQL backend, which several processes share: connection, common clock, and requirements of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import URL, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from monitor.runtime.clock import uptime
from monitor.store.backend.process_lock import ProcessNameLock
from monitor.store.schema.lock import LOCK_CLASS, Lock
from monitor.store.schema.migrations import upgrade

log = structlog.get_logger()

#: Oldest supported major version of PostgreSQL.
_MIN_VERSION = 15
#: Connections of a process: the maximum, and the number that stays open when idle.
CONNECTIONS, _IDLE_CONNECTIONS = 10, 5
#: Smaller clock differences are ignored: they come from network delays, and would set the clock back repeatedly.
_CLOCK_TOLERANCE = timedelta(milliseconds=100)
#: CA certificates that Debian trusts. The OpenSSL inside psycopg searches elsewhere.
_SYSTEM_CA_FILE = Path("/etc/ssl/certs/ca-certificates.crt")

#: Session settings, which override the server's defaults. The timeouts keep a process that hangs from blocking others.
_SESSION = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "default_transaction_isolation": r"read\ committed",
    "lock_timeout": "8s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "10s",
    "synchronous_commit": "on",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class StoreUnusableError(Exception):
    """The server is unreachable or unsuitable as a store. The message says what to do and contains no secret."""


class ServerClock:
    """Common time of all processes on a server, independent of their machines' clocks.

    The clock starts from the server's time and advances with this machine's uptime. So an outage of the server or a
    change of the machine's clock has no effect.
    """

    def __init__(self) -> None:
        #: The server's time at zero uptime of this machine.
        self._epoch = datetime.now(UTC) - uptime()
        #: Whether the server has reported its time; until then the machine's clock is used.
        self._is_set = False

    def set_server_time(self, moment: datetime) -> None:
        """Set the clock: *moment* is the server's time now. Small differences are ignored."""
        epoch = moment.astimezone(UTC) - uptime()
        if not self._is_set or abs(epoch - self._epoch) > _CLOCK_TOLERANCE:
            self._epoch, self._is_set = epoch, True

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return self._epoch + uptime()


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """Address and credentials of the shared store."""

    #: A host name, an IP address, or the directory of a Unix socket. Several with commas: a primary and its standbys.
    host: str
    port: int = 5432
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    #: Whether TLS is used. The server's certificate must be valid for `host`.
    tls: bool
    #: CA certificates as PEM; `None`: those that this machine trusts.
    ca_file: Path | None = None
    #: Client certificate and key as PEM; `None`: none.
    cert_file: Path | None = None
    key_file: Path | None = None

    def __str__(self) -> str:
        """Describe the server for messages, without its credentials."""
        return f"database {self.database} of the PostgreSQL at {self.host}, port {self.port}"

    def url(self) -> URL:
        """Return the URL for SQLAlchemy; it contains the password."""
        return URL.create(
            "postgresql+psycopg",
            username=self.user,
            password=self.password,
            database=self.database,
            # The host is in the query, because the host part of a URL cannot be a path or a list. SQLAlchemy requires a
            # port for each host.
            query={"host": self.host, "port": ",".join([str(self.port)] * len(self.host.split(",")))},
        )

    def arguments(self) -> dict[str, Any]:
        """Return the connection parameters of libpq."""
        arguments: dict[str, Any] = {
            "connect_timeout": 5,
            # Milliseconds. If the server does not confirm sent data for this long, the connection counts as broken.
            "tcp_user_timeout": 10_000,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "application_name": "pantau",
            "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
            "gssencmode": "disable",
            "sslmode": "disable",
        }
        if "," in self.host:
            # Connect to the host that is the primary now. For a single host, `_check_server` has a better message.
            arguments["target_session_attrs"] = "primary"
        if self.tls:
            system = _SYSTEM_CA_FILE if _SYSTEM_CA_FILE.exists() else "system"
            arguments |= {"sslmode": "verify-full", "sslrootcert": str(self.ca_file or system)}
            if self.cert_file is not None and self.key_file is not None:
                arguments |= {"sslcert": str(self.cert_file), "sslkey": str(self.key_file)}
        return arguments

    def environ(self) -> dict[str, str]:
        """Return environment variables for PostgreSQL's programs. All users could read a password on a command line."""
        arguments = self.arguments()
        variables = {"PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": self.user, "PGDATABASE": self.database}
        used = ("sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs")
        variables |= {f"PG{name.upper().replace('_', '')}": arguments[name] for name in used if name in arguments}
        return variables if self.password is None else variables | {"PGPASSWORD": self.password}


@asynccontextmanager
async def open_postgres(
    server: PostgresServer, clock: ServerClock, name: str
) -> AsyncIterator[tuple[AsyncEngine, ProcessNameLock]]:
    """Connect to *server* and migrate its schema; disconnect at the end of the block.

    *name*: the name of this process, which is locked. Raise `StoreInUseError` if another process uses the name,
    `StoreUnusableError` if the server is unreachable or unsuitable, `StoreTooNewError` if a newer version has migrated
    the schema, and `StoreBlockedError` if the store is blocked: a copy of it is in use instead.
    """
    async with connected(server, clock) as engine:
        name_lock = ProcessNameLock(engine, name, str(server))
        # Lock the name before the migration, so that `pantau store copy`, which checks the locked names on its target
        # before it blocks the target, sees this process.
        await name_lock.acquire()
        try:
            await migrate(server)
            yield engine, name_lock
        finally:
            await name_lock.release()


def _use_server_read_only_default(connection: DBAPIConnection, *_: object) -> None:
    # After a read-only transaction SQLAlchemy sets READ WRITE, which would override a read-only server or database.
    connection.set_read_only(None)


@asynccontextmanager
async def connected(server: PostgresServer, clock: ServerClock) -> AsyncIterator[AsyncEngine]:
    """Connect to *server* if it can be a store; disconnect at the end of the block. Raise `StoreUnusableError`."""
    engine = create_async_engine(
        server.url(),
        connect_args=server.arguments(),
        # Check idle connections before use, and replace broken ones.
        pool_pre_ping=True,
        pool_size=_IDLE_CONNECTIONS,
        max_overflow=CONNECTIONS - _IDLE_CONNECTIONS,
        pool_timeout=10,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "checkout", _use_server_read_only_default)
    try:
        await _check_server(engine, server, clock)
        yield engine
    finally:
        await engine.dispose()


async def lock_exclusively(connection: AsyncConnection, clock: ServerClock) -> None:
    """Exclude other transactions of `Database.exclusive` until this one ends. Set *clock* to the server's time."""
    query = text("SELECT pg_advisory_xact_lock(:locks, :deciding), clock_timestamp() AS now")
    row = (await connection.execute(query, {"locks": LOCK_CLASS, "deciding": Lock.DECIDING})).one()
    clock.set_server_time(row.now)


async def _check_server(engine: AsyncEngine, server: PostgresServer, clock: ServerClock) -> None:
    query = text(
        "SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS standby,"
        " current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync, clock_timestamp() AS now"
    )
    try:
        async with engine.connect() as connection:
            row = (await connection.execute(query)).one()
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())
        raise StoreUnusableError(f"the store, {server}, cannot be reached: {reason}") from None
    problem = unsuitable_reason(version=row.version, standby=row.standby, encoding=row.encoding)
    if problem is not None:
        raise StoreUnusableError(f"the store, {server}, {problem}")
    if row.fsync != "on":
        log.warning("database runs with fsync off: a power failure loses the record of what was sent")
    clock.set_server_time(row.now)


def unsuitable_reason(*, version: int, standby: bool, encoding: str) -> str | None:
    """Return why a server cannot be the store, and what to do; `None`: it can. *version*: 150004 for 15.4."""
    if version < _MIN_VERSION * 10_000:
        return f"is version {version // 10_000}; Pantau needs PostgreSQL {_MIN_VERSION} or newer"
    if standby:
        return "is a standby that takes no writes; name the primary"
    if encoding != "UTF8":
        return f"stores text as {encoding}; create a database with ENCODING 'UTF8' TEMPLATE template0"
    return None


async def migrate(server: PostgresServer) -> None:
    """Migrate the schema. Raise `StoreUnusableError`, `StoreTooNewError` or `StoreBlockedError`."""
    try:
        await asyncio.to_thread(upgrade, server.url(), arguments=server.arguments())
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42501":  # insufficient_privilege
            raise
        raise StoreUnusableError(
            f"the store, {server}: the role {server.user} may not create tables there; "
            f"let it own the database: ALTER DATABASE {server.database} OWNER TO {server.user}"
        ) from None
