"""The hub's connection to a site's database, and its errors in words, which contain no password or key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from cryptography import x509
from cryptography.x509.oid import NameOID
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row

from monitor.store.backend.postgres import PostgresServer
from monitor.store.schema.migrations import UNNUMBERED

Connection = psycopg.Connection[Any]

#: Messages of libpq or the server, and their meaning.
_WORDS: tuple[tuple[str, str], ...] = (
    (
        "certificate verify failed",
        "its certificate is none that ca_file vouches for, or has expired, or is not valid yet by the clock here",
    ),
    ("does not match host name", "its certificate is another machine's: name it in `url` as the certificate does"),
    ("unknown ca|unknown certificate authority", "it does not know who made our certificate (cert_file)"),
    (
        "bad certificate",
        "it takes our certificate (cert_file) for a bad one: by its clock it is not valid yet, if that is behind; or it is damaged",
    ),
    ("certificate expired", "our certificate (cert_file) has expired"),
    ("certificate required|valid client certificate", "it wants a certificate: write cert_file and key_file"),
    (
        "certificate authentication failed",
        "our certificate (cert_file) is another's: its name must be that of the role",
    ),
    ("group or world access", "key_file can be read by others: chown root:ssl-cert, chmod 640"),
    ("password authentication failed", "it refuses the role's password"),
    ("no password supplied", "it wants a password: write password_file"),
    ("no pg_hba.conf entry", "its pg_hba.conf does not let us in: hostssl, this role, and from this address"),
    ("on socket .* failed: No such file", "no PostgreSQL runs there, or its socket is elsewhere"),
    ("Peer authentication failed", "call this as the user of that name, as in runuser -u pantau -- pantau site check"),
    ("Connection refused", "nothing listens there: is PostgreSQL running, and listen_addresses right?"),
    (
        "timeout expired|timed out|No route|unreachable",
        "nothing answers: is the wire up, or a firewall in the way?",
    ),
    ("could not translate host name", "its name is not found"),
    (
        "password is required",
        "the role must sign in by a password, too: write password_file, and scram-sha-256 in its pg_hba.conf",
    ),
    ("(database|role) .* does not exist", "it has no such database or role"),
)

#: Connection parameters that a server that connects back can use as well.
_KEPT = (
    *("connect_timeout", "tcp_user_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    *("gssencmode", "sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConnection:
    """A site as the hub's settings define it."""

    site: str
    server: PostgresServer
    #: The hub's own name among the sites.
    hub: str
    store: PostgresServer


class SiteRefusedError(Exception):
    """An operation on a site failed. The message gives the reason and the remedy; it contains no secret."""


class SiteUnheardError(SiteRefusedError):
    """A site has joined and publishes nothing that would be received."""


@contextmanager
def dialled(server: PostgresServer, whose: str) -> Iterator[Connection]:
    """Connect to the store of *whose* ("site johor"), with autocommit.

    Raise `SiteRefusedError` when the connection or a query fails.
    """
    name = _shown_name(server.cert_file, whose)
    try:
        connection = psycopg.connect(
            autocommit=True, row_factory=namedtuple_row, **_where(server), **server.arguments()
        )
    except psycopg.OperationalError as error:
        reason = error_text(error)
        if "password authentication" in reason and name not in (None, server.user):
            # The server gives no details to a client that it has not authenticated.
            reason = f"our certificate in {server.cert_file} is for {name}, and must be for {server.user}"
        raise SiteRefusedError(f"{whose} ({server}) cannot be reached: {reason}") from None
    try:
        yield connection
    except psycopg.Error as error:
        raise SiteRefusedError(f"{whose} ({server}): {error_text(error)}") from None
    finally:
        connection.close()


def is_let_in_without_certificate(server: PostgresServer) -> bool:
    """Whether a server that identifies us by a certificate also accepts the password alone."""
    if server.cert_file is None:
        return False
    # A path that cannot exist: without any, libpq uses a certificate in the user's home.
    arguments = server.arguments() | {"sslcert": f"{server.cert_file}/none"}
    try:
        psycopg.connect(**_where(server), **arguments).close()
    except psycopg.OperationalError:
        return False
    return True


def one(connection: Connection, query: LiteralString, values: Sequence[object] = ()) -> Any:
    """Return the row of a query that always returns one."""
    (row,) = connection.execute(query, values)
    return row


def is_there(connection: Connection, table: str) -> bool:
    """Whether a database has a table of this name."""
    return bool(one(connection, "SELECT to_regclass(quote_ident(%s)) IS NOT NULL AS there", [table]).there)


def schema_of(connection: Connection) -> str:
    """Return the schema revision of a store. Raise `SiteRefusedError` when it has none."""
    row = connection.execute("SELECT version_num AS number FROM alembic_version").fetchone()
    if row is None:
        raise SiteRefusedError(f"database {connection.info.dbname} at {connection.info.host} {UNNUMBERED}")
    return str(row.number)


def time_of(connection: Connection) -> datetime:
    """Return the time by a server's clock."""
    at: datetime = one(connection, "SELECT clock_timestamp() AS at").at
    return at


def conninfo(server: PostgresServer) -> str:
    """Return the connection string by which the hub's PostgreSQL connects to *server*. It contains the password."""
    arguments = server.arguments()
    arguments_used = {name: arguments[name] for name in _KEPT if name in arguments}
    return make_conninfo(**_where(server), **arguments_used)


def _where(server: PostgresServer) -> dict[str, Any]:
    where = {"host": server.host, "port": server.port, "dbname": server.database, "user": server.user}
    return where if server.password is None else where | {"password": server.password}


def error_text(error: psycopg.Error) -> str:
    """Return a message for an error, without the statement: it may contain a password."""
    message = error.diag.message_primary or str(error)
    # If libpq cannot read a key file, its message contains arbitrary memory.
    message = " ".join("".join(each if each.isprintable() else " " for each in message).split())
    for pattern, words in _WORDS:
        if re.search(pattern, message):
            return f"{words} ({message})"
    return message


def _shown_name(file: Path | None, name: str) -> str | None:
    """Return the name in our own certificate.

    Raise `SiteRefusedError` when the certificate is unusable: the server would only report "bad".
    """
    if file is None:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except OSError as error:
        raise SiteRefusedError(f"{name}: {file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise SiteRefusedError(f"{name}: {file} holds no certificate in PEM form") from None
    if certificate.not_valid_after_utc < datetime.now(UTC):
        ended = f"{certificate.not_valid_after_utc:%Y-%m-%d at %H:%M} UTC"
        raise SiteRefusedError(f"{name}: our certificate in {file} has expired on {ended}; have a new one made")
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
