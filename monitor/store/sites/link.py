"""The hub's connection to a site's database, and readable messages for its errors, without passwords or keys.

A *site* probes mail; a *hub* combines the results of several sites.
"""

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
from monitor.store.schema.migrations import NO_REVISION_TEXT

Connection = psycopg.Connection[Any]

#: Patterns of error messages of libpq or the server, with explanations. "It" is the server, "we" are the hub.
_EXPLANATIONS: tuple[tuple[str, str], ...] = (
    (
        "certificate verify failed",
        "no authority in ca_file has issued its certificate, or it has expired, or is not valid yet by the clock here",
    ),
    (
        "does not match host name",
        "its certificate is for another host name: write the name of the certificate in `url`",
    ),
    (
        "unknown ca|unknown certificate authority",
        "it does not trust the authority that issued our certificate (cert_file)",
    ),
    (
        "bad certificate",
        "it refuses our certificate (cert_file): by its clock the certificate is not valid yet, or the file is damaged",
    ),
    ("certificate expired", "our certificate (cert_file) has expired"),
    ("certificate required|valid client certificate", "it requires a certificate: write cert_file and key_file"),
    (
        "certificate authentication failed",
        "our certificate (cert_file) has another name: its common name must be that of the role",
    ),
    ("group or world access", "key_file can be read by others: chown root:ssl-cert, chmod 640"),
    ("password authentication failed", "it refuses the role's password"),
    ("no password supplied", "it requires a password: write password_file"),
    ("no pg_hba.conf entry", "its pg_hba.conf has no line for us: add one with hostssl, this role and this address"),
    ("on socket .* failed: No such file", "no PostgreSQL runs there, or its socket is elsewhere"),
    (
        "Peer authentication failed",
        "run this command as the user of that name, as in runuser -u pantau -- pantau site check",
    ),
    ("Connection refused", "no program listens there: is PostgreSQL running, and is listen_addresses correct?"),
    (
        "timeout expired|timed out|No route|unreachable",
        "it does not respond: is the network up, or does a firewall block the connection?",
    ),
    ("could not translate host name", "its host name cannot be resolved"),
    (
        "password is required",
        "the role must also sign in with a password: write password_file, and scram-sha-256 in its pg_hba.conf",
    ),
    ("(database|role) .* does not exist", "it has no such database or role"),
)

#: Connection parameters of this process that the hub's PostgreSQL uses as well for its own connection to the site.
_SUBSCRIPTION_PARAMETERS = (
    *("connect_timeout", "tcp_user_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    *("gssencmode", "sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConnection:
    """A site as the hub's settings define it."""

    #: Name of the site.
    site: str
    #: The site's database.
    server: PostgresServer
    #: The hub's own name among the sites.
    hub: str
    #: The hub's database.
    store: PostgresServer


class SiteRefusedError(Exception):
    """An operation on a site failed. The message gives the reason and the remedy; it contains no secret."""


class SiteSilentError(SiteRefusedError):
    """A site has joined, and the hub does not receive its rows."""


@contextmanager
def connect_to_store(server: PostgresServer, label: str) -> Iterator[Connection]:
    """Connect to a store, with autocommit. *label*: description of the store in messages ("site johor").

    Raise `SiteRefusedError` if the connection or a query in the `with` block fails.
    """
    certificate_name = _certificate_name(server.cert_file, label)
    try:
        connection = psycopg.connect(
            autocommit=True, row_factory=namedtuple_row, **_address(server), **server.arguments()
        )
    except psycopg.OperationalError as error:
        reason = error_text(error)
        if "password authentication" in reason and certificate_name not in (None, server.user):
            # The server gives no details to a client that it has not authenticated.
            reason = f"our certificate in {server.cert_file} is for {certificate_name}, and must be for {server.user}"
        raise SiteRefusedError(f"{label} ({server}) cannot be reached: {reason}") from None
    try:
        yield connection
    except psycopg.Error as error:
        raise SiteRefusedError(f"{label} ({server}): {error_text(error)}") from None
    finally:
        connection.close()


def accepts_missing_certificate(server: PostgresServer) -> bool:
    """Whether a server to which we present a certificate also accepts the password alone."""
    if server.cert_file is None:
        return False
    # A path that cannot exist: without a path, libpq uses a certificate in the user's home directory.
    arguments = server.arguments() | {"sslcert": f"{server.cert_file}/none"}
    try:
        psycopg.connect(**_address(server), **arguments).close()
    except psycopg.OperationalError:
        return False
    return True


def fetch_one(connection: Connection, query: LiteralString, values: Sequence[object] = ()) -> Any:
    """Return the row of a query that returns exactly one row."""
    (row,) = connection.execute(query, values)
    return row


def table_exists(connection: Connection, table: str) -> bool:
    """Whether a database has a table of this name."""
    return bool(fetch_one(connection, "SELECT to_regclass(quote_ident(%s)) IS NOT NULL AS there", [table]).there)


def schema_of(connection: Connection) -> str:
    """Return the schema revision of a store. Raise `SiteRefusedError` if it has none."""
    row = connection.execute("SELECT version_num AS number FROM alembic_version").fetchone()
    if row is None:
        raise SiteRefusedError(f"database {connection.info.dbname} at {connection.info.host} {NO_REVISION_TEXT}")
    return str(row.number)


def time_of(connection: Connection) -> datetime:
    """Return the time by a server's clock."""
    at: datetime = fetch_one(connection, "SELECT clock_timestamp() AS at").at
    return at


def conninfo(server: PostgresServer) -> str:
    """Return the connection string by which the hub's PostgreSQL connects to *server*. It contains the password."""
    arguments = server.arguments()
    arguments_used = {name: arguments[name] for name in _SUBSCRIPTION_PARAMETERS if name in arguments}
    return make_conninfo(**_address(server), **arguments_used)


def _address(server: PostgresServer) -> dict[str, Any]:
    address = {"host": server.host, "port": server.port, "dbname": server.database, "user": server.user}
    return address if server.password is None else address | {"password": server.password}


def error_text(error: psycopg.Error) -> str:
    """Return a message for an error, without the statement, which may contain a password."""
    message = error.diag.message_primary or str(error)
    # If libpq cannot read a key file, its message contains arbitrary memory.
    message = " ".join("".join(each if each.isprintable() else " " for each in message).split())
    for pattern, explanation in _EXPLANATIONS:
        if re.search(pattern, message):
            return f"{explanation} ({message})"
    return message


def _certificate_name(file: Path | None, label: str) -> str | None:
    """Return the common name in our own certificate ("": it has none); `None`: there is no certificate.

    Raise `SiteRefusedError` if the certificate is unusable: the server would only report "bad certificate".
    """
    if file is None:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except OSError as error:
        raise SiteRefusedError(f"{label}: {file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise SiteRefusedError(f"{label}: {file} contains no certificate in PEM format") from None
    if certificate.not_valid_after_utc < datetime.now(UTC):
        expired_at = f"{certificate.not_valid_after_utc:%Y-%m-%d at %H:%M} UTC"
        raise SiteRefusedError(f"{label}: our certificate in {file} has expired on {expired_at}; have a new one issued")
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
