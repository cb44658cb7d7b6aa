"""PostgreSQL backend shared by several engines: connection, clock, and requirements of the server."""

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
from monitor.store.schema.lock import LOCKS, Lock
from monitor.store.schema.migrations import upgrade

log = structlog.get_logger()

_OLDEST = 15
#: Connections of a process: maximum, and kept when idle.
CONNECTIONS, _KEPT = 10, 5
#: Smaller differences are ignored: they come from network delays, and would set the clock back repeatedly.
_TOLERANCE = timedelta(milliseconds=100)
#: Debian's trusted authorities. The library's own OpenSSL searches elsewhere.
_SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")

#: Session settings, which override the server's defaults. Timeouts keep an engine that hangs from blocking others.
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
    """Common time of all engines on a store, independent of their machines' clocks.

    The clock starts from the time that the server reported last, and advances with this machine's uptime. So an outage
    of the server or a change of the machine's clock has no effect.
    """

    def __init__(self) -> None:
        #: The server's time at zero uptime of this machine.
        self._zero = datetime.now(UTC) - uptime()
        self._told = False

    def tell(self, moment: datetime) -> None:
        """Record the server's time at this moment."""
        zero = moment.astimezone(UTC) - uptime()
        if not self._told or abs(zero - self._zero) > _TOLERANCE:
            self._zero, self._told = zero, True

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return self._zero + uptime()


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """Address and credentials of the shared store."""

    #: A name, an address, or the directory of a Unix socket; or several of these with commas: a primary and its
    #: standbys.
    host: str
    port: int = 5432
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    #: TLS with a certificate that is valid for `host`.
    tls: bool
    #: Authorities as PEM; `None`: those that this machine trusts.
    ca_file: Path | None = None
    #: Client certificate and key as PEM; `None`: none.
    cert_file: Path | None = None
    key_file: Path | None = None

    def __str__(self) -> str:
        """Return the server for messages."""
        return f"database {self.database} of the PostgreSQL at {self.host}, port {self.port}"

    def url(self) -> URL:
        """Return the URL for SQLAlchemy; it contains the password."""
        return URL.create(
            "postgresql+psycopg",
            username=self.user,
            password=self.password,
            database=self.database,
            # In the query, because the host part of a URL takes no path. SQLAlchemy requires a port for each host.
            query={"host": self.host, "port": ",".join([str(self.port)] * len(self.host.split(",")))},
        )

    def arguments(self) -> dict[str, Any]:
        """Return the connection arguments."""
        arguments: dict[str, Any] = {
            "connect_timeout": 5,
            # Milliseconds. If sent data is unconfirmed for this long, the server's machine is gone.
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
            # Connect to the host that is the primary now. A single server is checked later, with a better message.
            arguments["target_session_attrs"] = "primary"
        if self.tls:
            system = _SYSTEM_AUTHORITIES if _SYSTEM_AUTHORITIES.exists() else "system"
            arguments |= {"sslmode": "verify-full", "sslrootcert": str(self.ca_file or system)}
            if self.cert_file is not None and self.key_file is not None:
                arguments |= {"sslcert": str(self.cert_file), "sslkey": str(self.key_file)}
        return arguments

    def environ(self) -> dict[str, str]:
        """Return environment variables for PostgreSQL's programs: a command line would be visible to all users."""
        arguments = self.arguments()
        variables = {"PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": self.user, "PGDATABASE": self.database}
        variables |= {f"PG{name.upper()}": arguments[name] for name in ("sslmode", "sslrootcert") if name in arguments}
        if "target_session_attrs" in arguments:
            variables["PGTARGETSESSIONATTRS"] = arguments["target_session_attrs"]
        return variables if self.password is None else variables | {"PGPASSWORD": self.password}


@asynccontextmanager
async def shared(
    server: PostgresServer, clock: ServerClock, name: str
) -> AsyncIterator[tuple[AsyncEngine, ProcessNameLock]]:
    """Connect to *server* and migrate its schema; disconnect at the end of the block.

    *name*: the name of this process, which is locked. Raise `StoreInUseError` if another process uses the name,
    `StoreUnusableError` if the server is unreachable or unsuitable, `StoreTooNewError` if a newer version has migrated
    the schema, and `StoreBarredError` if the store is blocked.
    """
    async with connected(server, clock) as engine:
        own = ProcessNameLock(engine, name, str(server))
        # Lock the name first: `store copy` checks the names on a target before it blocks it.
        await own.take()
        try:
            await migrate(server)
            yield engine, own
        finally:
            await own.let_go()


def _disable_client_batching(connection: DBAPIConnection, *_: object) -> None:
    # After a read SQLAlchemy sets READ WRITE, which would override a read-only server or database.
    connection.set_read_only(None)


@asynccontextmanager
async def connected(server: PostgresServer, clock: ServerClock) -> AsyncIterator[AsyncEngine]:
    """Connect to *server* if it can be a store; disconnect at the end of the block. Raise `StoreUnusableError`."""
    engine = create_async_engine(
        server.url(),
        connect_args=server.arguments(),
        # Connections that broke while idle are replaced transparently.
        pool_pre_ping=True,
        pool_size=_KEPT,
        max_overflow=CONNECTIONS - _KEPT,
        pool_timeout=10,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "checkout", _disable_client_batching)
    try:
        await _examine(engine, server, clock)
        yield engine
    finally:
        await engine.dispose()


async def take_turn(connection: AsyncConnection, clock: ServerClock) -> None:
    """Lock out other exclusive transactions (`Database.exclusive`) until this one ends; set *clock* by the server."""
    query = text("SELECT pg_advisory_xact_lock(:locks, :deciding), clock_timestamp() AS now")
    row = (await connection.execute(query, {"locks": LOCKS, "deciding": Lock.DECIDING})).one()
    clock.tell(row.now)


async def _examine(engine: AsyncEngine, server: PostgresServer, clock: ServerClock) -> None:
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
    problem = objection(version=row.version, standby=row.standby, encoding=row.encoding)
    if problem is not None:
        raise StoreUnusableError(f"the store, {server}, {problem}")
    if row.fsync != "on":
        log.warning("database runs with fsync off: a power failure loses the record of what was sent")
    clock.tell(row.now)


def objection(*, version: int, standby: bool, encoding: str) -> str | None:
    """Return why a server cannot be the store, and what to do. *version*: 150004 for 15.4."""
    if version < _OLDEST * 10_000:
        return f"is version {version // 10_000}; Pantau needs PostgreSQL {_OLDEST} or newer"
    if standby:
        return "is a standby that takes no writes; name the primary"
    if encoding != "UTF8":
        return f"keeps text as {encoding}; make a database with ENCODING 'UTF8' TEMPLATE template0"
    return None


async def migrate(server: PostgresServer) -> None:
    """Migrate the schema. Raise `StoreUnusableError`, `StoreTooNewError` or `StoreBarredError`."""
    try:
        await asyncio.to_thread(upgrade, server.url(), arguments=server.arguments())
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42501":
            raise
        raise StoreUnusableError(
            f"the store, {server}: the role {server.user} may not make tables there; "
            f"let it own the database: ALTER DATABASE {server.database} OWNER TO {server.user}"
        ) from None
