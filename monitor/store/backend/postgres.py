"""The shared store: a PostgreSQL server that several engines use, its clock, and whether a server can be one."""

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
#: So many connections a process opens at most, and keeps while there is less to do.
CONNECTIONS, _KEPT = 10, 5
#: Smaller differences are the network's. Following them would set the clock back again and again.
_TOLERANCE = timedelta(milliseconds=100)
#: Where Debian keeps the authorities that the machine trusts. The library brings an OpenSSL that looks elsewhere.
_SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")

#: Of the session, whatever the server's or the role's defaults are. An engine that hangs must hold up nobody for long.
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
    """The server cannot be reached, or cannot be our store. The message says what to do; it holds no secret."""


class ServerClock:
    """One time for all engines that share a store, whatever their machines' clocks say.

    It goes on from what the server last said; also while that is away, and when this machine's clock is set.
    """

    def __init__(self) -> None:
        #: The server's time when this machine's uptime was nothing.
        self._zero = datetime.now(UTC) - uptime()
        self._told = False

    def tell(self, moment: datetime) -> None:
        """Take in what the server's clock says at this moment."""
        zero = moment.astimezone(UTC) - uptime()
        if not self._told or abs(zero - self._zero) > _TOLERANCE:
            self._zero, self._told = zero, True

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        return self._zero + uptime()


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """Where the shared store is."""

    #: A name, an address, or the directory of a Unix socket; or several of these with commas: a primary and its standbys.
    host: str
    port: int = 5432
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    #: TLS, with a certificate that is right for `host`.
    tls: bool
    #: Authorities, as PEM; `None`: those this machine trusts.
    ca_file: Path | None = None
    #: By what it knows us, and the key to that, as PEM; `None`: by neither.
    cert_file: Path | None = None
    key_file: Path | None = None

    def __str__(self) -> str:
        """Return it as people know it."""
        return f"database {self.database} of the PostgreSQL at {self.host}, port {self.port}"

    def url(self) -> URL:
        """Return what SQLAlchemy connects to; it has the password in it."""
        return URL.create(
            "postgresql+psycopg",
            username=self.user,
            password=self.password,
            database=self.database,
            # Not as the host of the URL: there a path has no place. SQLAlchemy wants a port with each.
            query={"host": self.host, "port": ",".join([str(self.port)] * len(self.host.split(",")))},
        )

    def arguments(self) -> dict[str, Any]:
        """Return how it is connected to."""
        arguments: dict[str, Any] = {
            "connect_timeout": 5,
            # What is sent and not confirmed for so long is lost: the other machine is gone.
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
            # Whichever it is by now. Of one alone it is looked at afterwards, and said in words that it is none.
            arguments["target_session_attrs"] = "primary"
        if self.tls:
            system = _SYSTEM_AUTHORITIES if _SYSTEM_AUTHORITIES.exists() else "system"
            arguments |= {"sslmode": "verify-full", "sslrootcert": str(self.ca_file or system)}
            if self.cert_file is not None and self.key_file is not None:
                arguments |= {"sslcert": str(self.cert_file), "sslkey": str(self.key_file)}
        return arguments

    def environ(self) -> dict[str, str]:
        """Return by which variables PostgreSQL's own programs connect to it: on a command line all could read them."""
        arguments = self.arguments()
        told = {"PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": self.user, "PGDATABASE": self.database}
        told |= {f"PG{name.upper()}": arguments[name] for name in ("sslmode", "sslrootcert") if name in arguments}
        if "target_session_attrs" in arguments:
            told["PGTARGETSESSIONATTRS"] = arguments["target_session_attrs"]
        return told if self.password is None else told | {"PGPASSWORD": self.password}


@asynccontextmanager
async def shared(
    server: PostgresServer, clock: ServerClock, name: str
) -> AsyncIterator[tuple[AsyncEngine, ProcessNameLock]]:
    """Connect to *server*, bringing its schema up to date; disconnect at the end of the block.

    *name*: the prober's, which it is to `keep`. Raise `StoreInUseError` when another has it,
    `StoreUnusableError` when the server cannot be reached or used, `StoreTooNewError` when a newer version has used it,
    `StoreBarredError` when nobody may.
    """
    async with connected(server, clock) as engine:
        own = ProcessNameLock(engine, name, str(server))
        # Before anything is made there: whoever copies a store to it looks who has a name, and then shuts it.
        await own.take()
        try:
            await migrate(server)
            yield engine, own
        finally:
            await own.let_go()


def _leave_writing_to_the_server(connection: DBAPIConnection, *_: object) -> None:
    # After a reading SQLAlchemy asks for READ WRITE, which overrules a server or a database that is to take no writes.
    connection.set_read_only(None)


@asynccontextmanager
async def connected(server: PostgresServer, clock: ServerClock) -> AsyncIterator[AsyncEngine]:
    """Connect to *server*, if it can be a store; disconnect at the end of the block. Raise `StoreUnusableError`."""
    engine = create_async_engine(
        server.url(),
        connect_args=server.arguments(),
        # Connections that broke while nobody used them are replaced, and nobody notices.
        pool_pre_ping=True,
        pool_size=_KEPT,
        max_overflow=CONNECTIONS - _KEPT,
        pool_timeout=10,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "checkout", _leave_writing_to_the_server)
    try:
        await _examine(engine, server, clock)
        yield engine
    finally:
        await engine.dispose()


async def take_turn(connection: AsyncConnection, clock: ServerClock) -> None:
    """Wait until no other engine decides, and keep the others waiting until this transaction ends."""
    asked = text("SELECT pg_advisory_xact_lock(:locks, :deciding), clock_timestamp() AS now")
    row = (await connection.execute(asked, {"locks": LOCKS, "deciding": Lock.DECIDING})).one()
    clock.tell(row.now)


async def _examine(engine: AsyncEngine, server: PostgresServer, clock: ServerClock) -> None:
    asked = text(
        "SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS standby,"
        " current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync, clock_timestamp() AS now"
    )
    try:
        async with engine.connect() as connection:
            found = (await connection.execute(asked)).one()
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())
        raise StoreUnusableError(f"the store, {server}, cannot be reached: {reason}") from None
    wrong = objection(version=found.version, standby=found.standby, encoding=found.encoding)
    if wrong is not None:
        raise StoreUnusableError(f"the store, {server}, {wrong}")
    if found.fsync != "on":
        log.warning("the database does not wait for its disk (fsync is off): a power cut loses what was sent to whom")
    clock.tell(found.now)


def objection(*, version: int, standby: bool, encoding: str) -> str | None:
    """Return why a server cannot be the store, and what to do. *version*: as 150004, of 15.4."""
    if version < _OLDEST * 10_000:
        return f"is version {version // 10_000}; Pantau needs PostgreSQL {_OLDEST} or newer"
    if standby:
        return "is a standby that takes no writes; name the primary"
    if encoding != "UTF8":
        return f"keeps text as {encoding}; make a database with ENCODING 'UTF8' TEMPLATE template0"
    return None


async def migrate(server: PostgresServer) -> None:
    """Bring its schema up to date. Raise `StoreUnusableError`, `StoreTooNewError` or `StoreBarredError`."""
    try:
        await asyncio.to_thread(upgrade, server.url(), arguments=server.arguments())
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42501":
            raise
        raise StoreUnusableError(
            f"the store, {server}: the role {server.user} may not make tables there; "
            f"let it own the database: ALTER DATABASE {server.database} OWNER TO {server.user}"
        ) from None
