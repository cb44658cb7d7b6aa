"""The section `store`: a PostgreSQL that several engines share, instead of the file in the state directory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr

from monitor.config.fields.listen import is_loopback
from monitor.config.fields.trust import Trust, check_authorities
from monitor.config.files.findings import Findings
from monitor.config.files.section import Blank, File, Section, wrong
from monitor.store.backend.postgres import PostgresServer

_EXAMPLE = "postgresql://pantau@pangkalan.kementerian-contoh.gov.my/pantau"
_SOCKETS = "/run/postgresql"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where the database is, taken from its URL."""

    #: A name, an address, or the directory of a Unix socket.
    host: str
    port: int
    user: str
    database: str

    @property
    def is_local(self) -> bool:
        """Whether nobody else can listen on the way there."""
        return self.host.startswith("/") or is_loopback(self.host)


def _url(written: object) -> object:
    if isinstance(written, StoreUrl):
        return written
    if not isinstance(written, str):
        raise wrong("must be a text", _EXAMPLE)
    try:
        url = urlsplit(written.strip())
        query = parse_qs(url.query, keep_blank_values=True, strict_parsing=True) if url.query else {}
        port, host = url.port or 5432, unquote(url.hostname or "")
    except ValueError:
        raise wrong("is no URL", _EXAMPLE) from None
    if url.scheme not in ("postgresql", "postgres"):
        raise wrong("must begin with postgresql://; for the SQLite file leave `store` out", _EXAMPLE)
    if url.password is not None:
        raise wrong("holds a password", "the URL without it, and password_file: PATH or password_env: NAME")
    if query.keys() - {"host"} or url.fragment:
        raise wrong("has options that are not known here", "tls: and ca_file: beside the URL")
    user, database = unquote(url.username or ""), unquote(url.path.removeprefix("/"))
    if not _NAME.fullmatch(user) or not _NAME.fullmatch(database):
        raise wrong("must name a user and a database", _EXAMPLE)
    return StoreUrl(host=host or query.get("host", [_SOCKETS])[0], port=port, user=user, database=database)


class StoreSettings(Section):
    """Where the store is, when it is not the file in `state`."""

    url: Annotated[StoreUrl, BeforeValidator(_url), Blank(StoreUrl("127.0.0.1", 1, "x", "x"))] = Field(
        examples=[_EXAMPLE]
    )
    """postgresql://USER@HOST:PORT/DATABASE; without a host the Unix socket in /run/postgresql."""
    password: SecretStr | None = None
    """By `password_file:` or `password_env:`; none where the server knows us otherwise (peer)."""
    tls: bool | None = None
    """TLS with a certificate that is right for the host. Default: always, except on this machine itself."""
    ca_file: File | None = None
    """Certificate authorities of the server, as PEM; default: those this machine trusts."""

    def build(self) -> PostgresServer:
        """Return the server as the store connects to it."""
        return PostgresServer(
            host=self.url.host,
            port=self.url.port,
            database=self.url.database,
            user=self.url.user,
            password=None if self.password is None else self.password.get_secret_value(),
            tls=(not self.url.is_local) if self.tls is None else self.tls,
            ca_file=self.ca_file,
        )


def check_store(store: StoreSettings, findings: Findings, trust: Trust) -> None:
    """Note a connection that others could listen to, and authorities that cannot be used."""
    if findings["url"].is_broken:
        return
    if store.tls is False and not store.url.is_local:
        message = f"{store.url.host} is another machine, and the store holds people's telephone numbers"
        findings["tls"].error(message, "tls: true, or a tunnel to this machine")
    if store.tls and store.url.host.startswith("/"):
        findings["tls"].error("a Unix socket has no TLS", "leave it out")
    check_authorities(store.ca_file, trust, findings["ca_file"])
