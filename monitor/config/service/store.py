"""Sections `store` and `retention`: the database, and how long it keeps results of probe runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from monitor.config.fields.listen import is_loopback
from monitor.config.fields.trust import Trust, check_authorities
from monitor.config.files.duration import InvalidDurationError, format_duration, parse_duration
from monitor.config.files.findings import Findings
from monitor.config.files.section import PositiveDuration, ResolvedPath, Section, SubstituteIfInvalid, shape_error
from monitor.store.backend.postgres import PostgresServer
from monitor.store.probing.retention import RetentionPolicy

#: Minimum for results of runs: after a restart, failure counts and quotas are restored from the latest results.
_MIN_RETENTION = timedelta(days=1)
#: Minimum for daily timelines: a year, and the previous year for comparison.
_MIN_TIMELINE_RETENTION = timedelta(days=400)


class RetentionSettings(Section):
    """How long results of probe runs are kept. Incidents, notifications and the audit log are kept for ever."""

    delivered: PositiveDuration = timedelta(days=30)
    """Results of runs whose message was delivered. They are hundreds of times more than all others."""
    failed: PositiveDuration = timedelta(days=365)
    """Results of all other runs. Records of incidents contain these results."""
    hourly: PositiveDuration = timedelta(days=365)
    """Hourly counts by route, for availability and latency after the runs are deleted."""
    daily: PositiveDuration = timedelta(days=1096)
    """Daily timelines of agencies (the state of mail in each minute), for availability: at least 400 days."""

    @model_validator(mode="before")
    @classmethod
    def _apply_single_duration(cls, value: object) -> object:
        """Accept a single duration for `delivered` and `failed`, as in earlier versions."""
        if not isinstance(value, str):
            return value
        try:
            span = parse_duration(value)
        except InvalidDurationError as error:
            raise shape_error(str(error), "{delivered: 30d, failed: 365d, hourly: 365d}") from None
        return {"delivered": span, "failed": span}

    def build(self) -> RetentionPolicy:
        """Return the retention policy for the database."""
        return RetentionPolicy(delivered=self.delivered, failed=self.failed, hourly=self.hourly, daily=self.daily)


def check_retention(settings: RetentionSettings, findings: Findings) -> None:
    """Record durations that are too short or inconsistent, and a single duration for all runs."""
    if findings.is_broken:
        return
    for name, span in (("delivered", settings.delivered), ("failed", settings.failed), ("hourly", settings.hourly)):
        # A single duration is at the path of the section itself.
        key_findings = findings[name] if findings[name].is_in_file else findings
        if span < _MIN_RETENTION:
            key_findings.error(f"{format_duration(span)} is shorter than a day", "1d or longer")
    if settings.daily < _MIN_TIMELINE_RETENTION:
        message = f"{format_duration(settings.daily)} of history are not enough to compare a year with the one before"
        findings["daily"].error(message, f"{format_duration(_MIN_TIMELINE_RETENTION)} or longer")
    if settings.delivered > settings.failed:
        message = "delivered runs would be kept for longer than failed ones"
        findings.error(message, f"failed: {format_duration(settings.delivered)} or longer")
    if isinstance(findings.document.data.get(str(findings.path[-1])), str):
        duration = format_duration(settings.failed)
        findings.warning(
            f"keeps all runs for {duration}, also those that delivered, of which there are hundreds of times more",
            f"{{delivered: 30d, failed: {duration}, hourly: 365d}}",
        )


_EXAMPLE = "postgresql://pantau@pangkalan.kementerian-contoh.gov.my/pantau"
_DEFAULT_SOCKET_DIRECTORY = "/run/postgresql"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Location and role of a PostgreSQL database, parsed from its URL."""

    #: Host name, address, or directory of a Unix socket; or several of them, separated by commas.
    host: str
    port: int
    user: str
    database: str

    @property
    def is_local(self) -> bool:
        """Whether all hosts are this machine, so that nobody else can intercept connections."""
        return all(host.startswith("/") or is_loopback(host) for host in self.hosts)

    @property
    def hosts(self) -> Sequence[str]:
        """The hosts in `host` as a list."""
        return self.host.split(",")

    def server(self, password: SecretStr | None, *, tls: bool, ca_file: Path | None) -> PostgresServer:
        """Return the connection parameters. *tls*: whether TLS is required; *ca_file*: `None`: system's authorities."""
        return PostgresServer(
            host=self.host,
            port=self.port,
            database=self.database,
            user=self.user,
            password=None if password is None else password.get_secret_value(),
            tls=tls,
            ca_file=ca_file,
        )


def _parse_url(value: object) -> object:
    if isinstance(value, StoreUrl):
        return value
    if not isinstance(value, str):
        raise shape_error("must be a text", _EXAMPLE)
    try:
        url = urlsplit(value.strip())
        query = parse_qs(url.query, keep_blank_values=True, strict_parsing=True) if url.query else {}
        port, host = url.port or 5432, unquote(url.hostname or "")
    except ValueError:
        raise shape_error("is no URL", _EXAMPLE) from None
    if url.scheme not in ("postgresql", "postgres"):
        raise shape_error("must begin with postgresql://; for the SQLite file leave `store` out", _EXAMPLE)
    if url.password is not None:
        raise shape_error("holds a password", "the URL without it, and password_file: PATH or password_env: NAME")
    if query.keys() - {"host"} or url.fragment:
        raise shape_error("has options that are not known here", "tls: and ca_file: beside the URL")
    user, database = unquote(url.username or ""), unquote(url.path.removeprefix("/"))
    if not _IDENTIFIER.fullmatch(user) or not _IDENTIFIER.fullmatch(database):
        raise shape_error("must name a user and a database", _EXAMPLE)
    return StoreUrl(
        host=host or query.get("host", [_DEFAULT_SOCKET_DIRECTORY])[0], port=port, user=user, database=database
    )


#: URL of a PostgreSQL database, including the role.
DatabaseUrl = Annotated[StoreUrl, BeforeValidator(_parse_url), SubstituteIfInvalid(StoreUrl("127.0.0.1", 1, "x", "x"))]


class StoreSettings(Section):
    """PostgreSQL database, which replaces the SQLite file in `state_dir`."""

    url: DatabaseUrl = Field(examples=[_EXAMPLE])
    """postgresql://USER@HOST:PORT/DATABASE. Without a host, the Unix socket in /run/postgresql is used; with
    `?host=A,B` instead, the one of these hosts that is the primary.
    """
    password: SecretStr | None = None
    """Password of USER, by `password_file:` or `password_env:`; omit it if the server needs none (peer)."""
    tls: bool | None = None
    """Require TLS with a certificate that is valid for the host. Default: always, except on this machine."""
    ca_file: ResolvedPath | None = None
    """Certificate authorities of the server, as PEM; default: the system's."""

    def build(self) -> PostgresServer:
        """Return the connection parameters of the database."""
        tls = (not self.url.is_local) if self.tls is None else self.tls
        return self.url.server(self.password, tls=tls, ca_file=self.ca_file)


def check_store(store: StoreSettings, findings: Findings, trust: Trust) -> None:
    """Record connections that can be intercepted, TLS on a Unix socket, and unusable certificate authorities."""
    if findings["url"].is_broken:
        return
    if store.tls is False and not store.url.is_local:
        message = f"{store.url.host} is another machine, and the store holds people's telephone numbers"
        findings["tls"].error(message, "tls: true, or a tunnel to this machine")
    if store.tls and any(host.startswith("/") for host in store.url.hosts):
        findings["tls"].error("a Unix socket has no TLS", "leave it out")
    check_authorities(store.ca_file, trust, findings["ca_file"])
