"""How the hub comes to a site's store, and in words what keeps it from there. No word has a password or a key in it."""

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

#: What libpq or the server says, and what it means.
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

#: Of how we connect, what a server that connects can do, too.
_KEPT = (
    *("connect_timeout", "tcp_user_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    *("gssencmode", "sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConnection:
    """A site, as the hub's settings have it."""

    site: str
    server: PostgresServer
    #: What the hub itself is called among the sites.
    hub: str
    store: PostgresServer


class SiteRefusedError(Exception):
    """An operation on a site failed. The message gives the reason and the remedy; it contains no secret."""


class SiteUnheardError(SiteRefusedError):
    """A site has joined, and does not say anything that would be heard."""


@contextmanager
def dialled(server: PostgresServer, whose: str) -> Iterator[Connection]:
    """Connect to the store of *whose* ("site johor"), each statement a transaction of its own.

    Raise `SiteRefusedError` when that fails, or whatever is asked there.
    """
    name = _shown_name(server.cert_file, whose)
    try:
        connection = psycopg.connect(
            autocommit=True, row_factory=namedtuple_row, **_where(server), **server.arguments()
        )
    except psycopg.OperationalError as error:
        words = in_words(error)
        if "password authentication" in words and name not in (None, server.user):
            # It does not say more, to whoever may be a stranger.
            words = f"our certificate in {server.cert_file} is for {name}, and must be for {server.user}"
        raise SiteRefusedError(f"{whose} ({server}) cannot be reached: {words}") from None
    try:
        yield connection
    except psycopg.Error as error:
        raise SiteRefusedError(f"{whose} ({server}): {in_words(error)}") from None
    finally:
        connection.close()


def is_let_in_without_certificate(server: PostgresServer) -> bool:
    """Whether a server that knows us by a certificate lets in whoever has only the password, too."""
    if server.cert_file is None:
        return False
    # A path that cannot be there: without any, libpq takes a certificate from the user's home.
    arguments = server.arguments() | {"sslcert": f"{server.cert_file}/none"}
    try:
        psycopg.connect(**_where(server), **arguments).close()
    except psycopg.OperationalError:
        return False
    return True


def one(connection: Connection, asked: LiteralString, values: Sequence[object] = ()) -> Any:
    """Return the only row that *asked* has, always."""
    (row,) = connection.execute(asked, values)
    return row


def is_there(connection: Connection, table: str) -> bool:
    """Whether a database has a table of this name."""
    return bool(one(connection, "SELECT to_regclass(quote_ident(%s)) IS NOT NULL AS there", [table]).there)


def schema_of(connection: Connection) -> str:
    """Return the number of a store's schema. Raise `SiteRefusedError` when it has none."""
    row = connection.execute("SELECT version_num AS number FROM alembic_version").fetchone()
    if row is None:
        raise SiteRefusedError(f"database {connection.info.dbname} at {connection.info.host} {UNNUMBERED}")
    return str(row.number)


def time_of(connection: Connection) -> datetime:
    """Return the time by a server's clock."""
    at: datetime = one(connection, "SELECT clock_timestamp() AS at").at
    return at


def conninfo(server: PostgresServer) -> str:
    """Return by what the hub's own PostgreSQL connects to *server*. The password is in it."""
    arguments = server.arguments()
    kept = {name: arguments[name] for name in _KEPT if name in arguments}
    return make_conninfo(**_where(server), **kept)


def _where(server: PostgresServer) -> dict[str, Any]:
    where = {"host": server.host, "port": server.port, "dbname": server.database, "user": server.user}
    return where if server.password is None else where | {"password": server.password}


def in_words(error: psycopg.Error) -> str:
    """Return what is wrong. What was said to the server is left out: it may hold a password."""
    said = error.diag.message_primary or str(error)
    # Of a key that it may not read libpq says what it happens to have in memory, too.
    said = " ".join("".join(each if each.isprintable() else " " for each in said).split())
    for pattern, words in _WORDS:
        if re.search(pattern, said):
            return f"{words} ({said})"
    return said


def _shown_name(file: Path | None, whose: str) -> str | None:
    """Return the name in our own certificate. Raise `SiteRefusedError` when it is of no use: a server would only say "bad"."""
    if file is None:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except OSError as error:
        raise SiteRefusedError(f"{whose}: {file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise SiteRefusedError(f"{whose}: {file} holds no certificate in PEM form") from None
    if certificate.not_valid_after_utc < datetime.now(UTC):
        ended = f"{certificate.not_valid_after_utc:%Y-%m-%d at %H:%M} UTC"
        raise SiteRefusedError(f"{whose}: our certificate in {file} has expired on {ended}; have a new one made")
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
