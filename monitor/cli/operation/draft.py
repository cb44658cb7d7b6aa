"""Answers to the questions of `pantau init` about a first mailbox, and the configuration files built from them.

This module does no I/O. The circular, which messages cite by paragraph, is the government's circular on e-mail of 2007.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from monitor.config.agency.mailbox import MailboxSettings, ServerSettings
from monitor.config.agency.route import RouteDirection
from monitor.config.fields.circular import OFFICIAL_SUFFIXES, PRIVATE_PROVIDERS, domain_of
from monitor.config.fields.trust import Trust
from monitor.config.files.section import AgencyCode, MailAddress
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from monitor.runtime.token_key import KEY_FILE
from probes.model.domain import is_within
from probes.model.egress import EgressPolicy
from probes.model.mailbox import Security
from probes.model.probe import Route, Timeouts
from probes.preauth.discovery import guess_candidates
from probes.preauth.session import Protocol

#: Key of the only mailbox in the configuration; Malay for "main".
MAILBOX_KEY = "utama"
SECRET_FILE = f"secrets/{MAILBOX_KEY}"
CA_FILE = "ca.pem"
STATE_DIRECTORY = "state"

#: Ports at which STARTTLS is usual; at others TLS is usual from the start.
_STARTTLS_PORTS = frozenset({25, 587, 143})
_SERVER_PATTERN = re.compile(
    r"(?P<host>\[[0-9a-fA-F:]+\]|[^\s:]+)(?::(?P<port>\d{1,5}))?"
    r"(?:\s+(?P<security>starttls|implicit|tls))?(?:\s+as\s+(?P<name>\S+))?",
    re.IGNORECASE,
)
SERVER_NOTATION = (
    "HOST or HOST:PORT; for an unusual port followed by `implicit` (encrypted from the start, as at 465 and 993) or `starttls` "
    "(as at 587 and 143); and by `as NAME` if its certificate is for another name"
)


class InvalidAnswerError(ValueError):
    """Invalid answer. The message gives the reason and the remedy."""


class Change(StrEnum):
    """Next step after a failed attempt: the answer that the user wants to change, AGAIN, or END."""

    ADDRESS = "address"
    SMTP = "smtp"
    IMAP = "imap"
    USERNAME = "username"
    PASSWORD = "password"  # noqa: S105 - a question, not a password
    CA = "ca"
    #: Change nothing, and repeat the attempt.
    AGAIN = "again"
    #: End the command, and print how to continue.
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstMailbox:
    """Answers about the mailbox and its agency."""

    address: str
    smtp: ServerSettings
    imap: ServerSettings
    username: str
    password: str = field(repr=False)
    #: Whether the user has given a file with the servers' certificate authorities.
    has_ca: bool = False
    #: Short code of the agency; by default a placeholder, Malay for "agency".
    code: str = "AGENSI"

    @property
    def domain(self) -> str:
        """The domain of the address."""
        return domain_of(self.address)

    @property
    def other_address(self) -> str | None:
        """The user name as a mail address; `None` if that is the mailbox's own address, or not an address.

        The mailbox's domain is added to a user name without a domain.
        """
        username_address = self.username if "@" in self.username else f"{self.username}@{self.domain}"
        with suppress(InvalidAnswerError):
            other: str = _validate(MailAddress, username_address)
            return None if other.casefold() == self.address.casefold() else other
        return None

    def with_address(self, address: str) -> FirstMailbox:
        """Return a copy with another address. A user name that equals the old address changes, too."""
        username = address if self.username == self.address else self.username
        return replace(self, address=address, username=username)


def connection_candidates(server: ServerSettings, protocol: Protocol) -> Sequence[ServerSettings]:
    """Return variants of *server*, the best first: unchanged, with each TLS mode, at the ports that IANA registered."""
    at_port = [server.model_copy(update={"security": each}) for each in Security]
    registered = [
        server.model_copy(update={"port": None, "security": each.security}) for each in guess_candidates(protocol, "")
    ]
    return list(dict.fromkeys([server, *at_port, *registered]))


def read_address(text: str) -> str:
    """Parse a mail address of an agency. Raise `InvalidAnswerError`."""
    address: str = _validate(MailAddress, text)
    if is_within(domain_of(address), PRIVATE_PROVIDERS):
        raise InvalidAnswerError(f"'{address}' is at a private provider (circular, 3f); write an address of an agency")
    return address


def read_code(text: str) -> str:
    """Parse an agency's short code. Raise `InvalidAnswerError`."""
    code: str = _validate(AgencyCode, text.upper())
    return code


def read_password(text: str) -> str:
    """Return a password unchanged.

    Raise `InvalidAnswerError` for a probable typing error: failed sign-ins may lock the account.
    """
    if not text.strip():
        raise InvalidAnswerError("is empty")
    if text != text.strip() or not text.isprintable():
        raise InvalidAnswerError(
            "begins or ends with a blank, or has an invisible character, perhaps from copying; "
            "if it is correct, give it with --password-file"
        )
    return text


def read_server(text: str) -> ServerSettings:
    """Parse a server in the notation of `SERVER_NOTATION`. Raise `InvalidAnswerError`."""
    match = _SERVER_PATTERN.fullmatch(text.strip())
    if match is None:
        raise InvalidAnswerError(f"'{text.strip()}' is no server; write {SERVER_NOTATION}")
    port = int(match["port"]) if match["port"] else None
    security = (match["security"] or "").lower()
    starttls = security == "starttls" or (not security and port in _STARTTLS_PORTS)
    data: dict[str, Any] = {"host": match["host"].strip("[]"), "port": port, "tls_name": match["name"]}
    data |= {"security": Security.STARTTLS if starttls else Security.IMPLICIT}
    server: ServerSettings = _validate(ServerSettings, data)
    return server


def _validate(field_type: Any, value: object) -> Any:
    """Return *value* as a configuration field or section of *field_type*.

    Raise `InvalidAnswerError` with the message of that field.
    """
    try:
        return TypeAdapter(field_type).validate_python(value.strip() if isinstance(value, str) else value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        context = first.get("ctx", {})
        if first["type"] == "shape":  # The project's own error type, which has a remedy in its context.
            raise InvalidAnswerError(f"{context['what']}; write {context['instead']}") from None
        raise InvalidAnswerError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")) from None


def read_change(text: str) -> Change:
    """Parse a next step, which may be abbreviated unambiguously. Raise `InvalidAnswerError`."""
    word = text.strip().lower()
    matches = [each for each in Change if word and each.startswith(word)]
    if len(matches) != 1:
        raise InvalidAnswerError(f"'{text.strip()}' is none of these; write one of {', '.join(Change)}")
    return matches[0]


def suggest_code(domain: str) -> str:
    """Return a possible code of the agency with this domain: JCONTOH for "jabatan-contoh.gov.my"."""
    words: list[str] = re.findall(r"[a-z0-9]+", domain.partition(".")[0].lower()) or ["agensi"]
    initials = "".join(word[0] for word in words[:-1])
    return f"{initials}{words[-1]}".upper()[:11]


def format_server(server: ServerSettings) -> str:
    """Return a server in the notation of `SERVER_NOTATION`. Omit the TLS mode if it is usual at the port."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    port = f":{server.port}" if server.port else ""
    is_usual = (server.security is Security.STARTTLS) is (server.port in _STARTTLS_PORTS)
    name = f" as {server.tls_name}" if server.tls_name else ""
    return f"{host}{port}{'' if is_usual else f' {server.security}'}{name}"


def build_route(first_mailbox: FirstMailbox, timeouts: Timeouts, trust: Trust, ca_file: Path | None) -> MonitoredRoute:
    """Return the route from the mailbox to itself.

    Raise `TrustStoreError` if *ca_file* has no certificates.
    """
    settings = MailboxSettings.model_validate(
        {
            "address": first_mailbox.address,
            "smtp": first_mailbox.smtp,
            "imap": first_mailbox.imap,
            "login": {"username": first_mailbox.username, "password": first_mailbox.password},
            "ca_file": ca_file,
        }
    )
    mailbox = settings.build(f"{first_mailbox.code}/{MAILBOX_KEY}", trust, EgressPolicy())
    return MonitoredRoute(
        agency=first_mailbox.code,
        direction=Direction.INTERNAL,
        route=Route(name=f"{first_mailbox.code}/{Direction.INTERNAL}", sender=mailbox, recipient=mailbox),
        probing=ProbingPolicy(timeouts=timeouts),
    )


def build_files(first_mailbox: FirstMailbox, key: bytes, listen: str, callbacks_listen: str) -> Mapping[str, bytes]:
    """Return the contents of the configuration files by their paths. The last one is the settings file.

    *key*: signs the probe messages. *listen* and *callbacks_listen*: listening addresses; "": the defaults.
    """
    settings: dict[str, Any] = {
        "mode": "monitor_only",
        "state_dir": STATE_DIRECTORY,
        "agencies": "agencies/",
        "probing": {"interval": "1m", "retry_interval": "15s"},
    }
    if listen:
        settings |= {"listen": listen, "callbacks": {"listen": callbacks_listen}}
    if not is_within(first_mailbox.domain, OFFICIAL_SUFFIXES):
        settings["official_suffixes"] = [*OFFICIAL_SUFFIXES, first_mailbox.domain]
    mailbox: dict[str, Any] = {
        "address": first_mailbox.address,
        "smtp": _server_settings(first_mailbox.smtp),
        "imap": _server_settings(first_mailbox.imap),
        "login": {"username": first_mailbox.username, "password_file": SECRET_FILE},
    }
    if first_mailbox.has_ca:
        mailbox["ca_file"] = CA_FILE
    agency = {
        "agency": first_mailbox.code,
        "name": first_mailbox.domain,
        "domains": [first_mailbox.domain],
        "mailboxes": {MAILBOX_KEY: mailbox},
        "routes": [{"direction": RouteDirection.INTERNAL.value}],
    }
    files = {SECRET_FILE: f"{first_mailbox.password}\n".encode(), f"{STATE_DIRECTORY}/{KEY_FILE}": key}
    files[f"agencies/{first_mailbox.code.lower()}.yaml"] = _dump_yaml(_AGENCY_COMMENT, agency)
    files["pantau.yaml"] = _dump_yaml(_SETTINGS_COMMENT, settings)
    return files


_SETTINGS_COMMENT = """\
# Mail is monitored, and nobody is notified (mode: monitor_only). All settings, and how to notify people: deploy/pantau.yaml and
# docs/tutorials/first-mailbox.md. Check this file with: pantau check --config pantau.yaml
# One message a minute is for a first test; without `probing` a message is sent every five minutes.
"""
_AGENCY_COMMENT = """\
# One mailbox that sends to itself. After adding two mailboxes outside of the agency (references in pantau.yaml) remove `routes`:
# then mail is monitored in both directions. Replace `name` by the agency's name.
"""


def _server_settings(server: ServerSettings) -> dict[str, Any]:
    values = {"host": server.host, "port": server.port, "security": server.security.value, "tls_name": server.tls_name}
    defaults = {"port": None, "security": Security.IMPLICIT.value, "tls_name": None}
    return {key: value for key, value in values.items() if key not in defaults or value != defaults[key]}


def _dump_yaml(comment: str, data: Mapping[str, Any]) -> bytes:
    return (comment + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)).encode()
