"""Answers about a first mailbox, and the configuration that results. No I/O."""

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
from monitor.config.files.section import Code, MailAddress
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from monitor.runtime.token_key import KEY_FILE
from probes.model.domain import is_within
from probes.model.egress import EgressPolicy
from probes.model.mailbox import Security
from probes.model.probe import Route, Timeouts
from probes.preauth.discovery import usual_at
from probes.preauth.session import Protocol

#: The only mailbox of the draft.
KEY = "utama"
SECRET_FILE = f"secrets/{KEY}"
CA_FILE = "ca.pem"
STATE_DIRECTORY = "state"

#: The registered ports for STARTTLS.
_STARTTLS_PORTS = frozenset({25, 587, 143})
_SERVER = re.compile(
    r"(?P<host>\[[0-9a-fA-F:]+\]|[^\s:]+)(?::(?P<port>\d{1,5}))?"
    r"(?:\s+(?P<security>starttls|implicit|tls))?(?:\s+as\s+(?P<name>\S+))?",
    re.IGNORECASE,
)
HOW_SERVERS_ARE_WRITTEN = (
    "HOST or HOST:PORT; at a port of its own `implicit` behind it (encrypted from the start, as at 465 and 993) or `starttls` "
    "(as at 587 and 143); and `as NAME` if its certificate is for another name"
)


class InvalidAnswerError(ValueError):
    """Invalid answer; the message gives the reason, and what to write instead."""


class Change(StrEnum):
    """What to do after an attempt that failed for a reason that no single answer explains."""

    ADDRESS = "address"
    SMTP = "smtp"
    IMAP = "imap"
    USERNAME = "username"
    PASSWORD = "password"  # noqa: S105 - a question, not a password
    CA = "ca"
    #: Nothing: repeat the attempt.
    AGAIN = "again"
    #: Nothing: end the command, and print how to continue.
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstMailbox:
    """What is known of the mailbox and its owner."""

    address: str
    smtp: ServerSettings
    imap: ServerSettings
    username: str
    password: str = field(repr=False)
    #: Whether a file with the servers' certificate authorities is given.
    has_ca: bool = False
    code: str = "AGENSI"

    @property
    def domain(self) -> str:
        """The domain of the address."""
        return domain_of(self.address)

    @property
    def other_address(self) -> str | None:
        """The mail address of the user name, if it differs from the mailbox's own; `None`: there is none.

        A user name without a domain belongs to the mailbox's domain.
        """
        whole = self.username if "@" in self.username else f"{self.username}@{self.domain}"
        with suppress(InvalidAnswerError):
            other: str = _read(MailAddress, whole)
            return None if other.casefold() == self.address.casefold() else other
        return None

    def with_address(self, address: str) -> FirstMailbox:
        """Return the draft with another address; a user name that equals the address changes with it."""
        username = address if self.username == self.address else self.username
        return replace(self, address=address, username=username)


def ways(written: ServerSettings, protocol: Protocol) -> Sequence[ServerSettings]:
    """Return the ways to connect to a server, the best first: as written, with the other TLS mode, at the registered ports."""
    at_port = [written.model_copy(update={"security": each}) for each in Security]
    usual = [written.model_copy(update={"port": None, "security": each.security}) for each in usual_at(protocol, "")]
    return list(dict.fromkeys([written, *at_port, *usual]))


def read_address(text: str) -> str:
    """Parse a mail address of an agency. Raise `InvalidAnswerError`."""
    address: str = _read(MailAddress, text)
    if is_within(domain_of(address), PRIVATE_PROVIDERS):
        raise InvalidAnswerError(f"'{address}' is at a private provider (circular, 3f); write an address of an agency")
    return address


def read_code(text: str) -> str:
    """Parse an agency's short code. Raise `InvalidAnswerError`."""
    code: str = _read(Code, text.upper())
    return code


def read_password(text: str) -> str:
    """Return a password unchanged.

    Raise `InvalidAnswerError` for an impossible one, before a sign-in attempt is made with it.
    """
    if not text.strip():
        raise InvalidAnswerError("is empty")
    if text != text.strip() or not text.isprintable():
        raise InvalidAnswerError(
            "has a blank at an end, or a character that is not seen, as what is copied may; in earnest it comes by "
            "--password-file"
        )
    return text


def read_server(text: str) -> ServerSettings:
    """Parse a server in the notation of `HOW_SERVERS_ARE_WRITTEN`. Raise `InvalidAnswerError`."""
    found = _SERVER.fullmatch(text.strip())
    if found is None:
        raise InvalidAnswerError(f"'{text.strip()}' is no server; write {HOW_SERVERS_ARE_WRITTEN}")
    port = int(found["port"]) if found["port"] else None
    said = (found["security"] or "").lower()
    starttls = said == "starttls" or (not said and port in _STARTTLS_PORTS)
    written: dict[str, Any] = {"host": found["host"].strip("[]"), "port": port, "tls_name": found["name"]}
    written |= {"security": Security.STARTTLS if starttls else Security.IMPLICIT}
    server: ServerSettings = _read(ServerSettings, written)
    return server


def _read(kind: Any, written: object) -> Any:
    """Return *written* as a field or a section of the configuration.

    Raise `InvalidAnswerError` with the message of that field.
    """
    try:
        return TypeAdapter(kind).validate_python(written.strip() if isinstance(written, str) else written)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        context = first.get("ctx", {})
        if first["type"] == "shape":
            raise InvalidAnswerError(f"{context['what']}; write {context['instead']}") from None
        raise InvalidAnswerError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")) from None


def read_change(text: str) -> Change:
    """Parse which answer is to be changed. Raise `InvalidAnswerError`."""
    word = text.strip().lower()
    found = [each for each in Change if word and each.startswith(word)]
    if len(found) != 1:
        raise InvalidAnswerError(f"'{text.strip()}' is none of these; write one of {', '.join(Change)}")
    return found[0]


def code_of(domain: str) -> str:
    """Return a code for an agency with this domain: JCONTOH for "jabatan-contoh.gov.my"."""
    words: list[str] = re.findall(r"[a-z0-9]+", domain.partition(".")[0].lower()) or ["agensi"]
    initials = "".join(word[0] for word in words[:-1])
    return f"{initials}{words[-1]}".upper()[:11]


def written(server: ServerSettings) -> str:
    """Return a server in the notation of `HOW_SERVERS_ARE_WRITTEN`."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    port = f":{server.port}" if server.port else ""
    is_usual = (server.security is Security.STARTTLS) is (server.port in _STARTTLS_PORTS)
    name = f" as {server.tls_name}" if server.tls_name else ""
    return f"{host}{port}{'' if is_usual else f' {server.security}'}{name}"


def route_of(draft: FirstMailbox, patience: Timeouts, trust: Trust, ca_file: Path | None) -> MonitoredRoute:
    """Return the route of a draft: from the mailbox to itself.

    Raise `TrustStoreError` for a file without certificates.
    """
    settings = MailboxSettings.model_validate(
        {
            "address": draft.address,
            "smtp": draft.smtp,
            "imap": draft.imap,
            "login": {"username": draft.username, "password": draft.password},
            "ca_file": ca_file,
        }
    )
    mailbox = settings.build(f"{draft.code}/{KEY}", trust, EgressPolicy())
    return MonitoredRoute(
        agency=draft.code,
        direction=Direction.INTERNAL,
        route=Route(name=f"{draft.code}/{Direction.INTERNAL}", sender=mailbox, recipient=mailbox),
        probing=ProbingPolicy(patience=patience),
    )


def files_of(draft: FirstMailbox, key: bytes, listen: str, callbacks: str) -> Mapping[str, bytes]:
    """Return the files of the configuration, by their paths in its directory. The last one makes it valid.

    *key*: signs its probe messages.
    """
    settings: dict[str, Any] = {
        "mode": "monitor_only",
        "state_dir": STATE_DIRECTORY,
        "agencies": "agencies/",
        "probing": {"interval": "1m", "retry_interval": "15s"},
    }
    if listen:
        settings |= {"listen": listen, "callbacks": {"listen": callbacks}}
    if not is_within(draft.domain, OFFICIAL_SUFFIXES):
        settings["official_suffixes"] = [*OFFICIAL_SUFFIXES, draft.domain]
    mailbox: dict[str, Any] = {
        "address": draft.address,
        "smtp": _server(draft.smtp),
        "imap": _server(draft.imap),
        "login": {"username": draft.username, "password_file": SECRET_FILE},
    }
    if draft.has_ca:
        mailbox["ca_file"] = CA_FILE
    agency = {
        "agency": draft.code,
        "name": draft.domain,
        "domains": [draft.domain],
        "mailboxes": {KEY: mailbox},
        "routes": [{"direction": RouteDirection.INTERNAL.value}],
    }
    files = {SECRET_FILE: f"{draft.password}\n".encode(), f"{STATE_DIRECTORY}/{KEY_FILE}": key}
    files[f"agencies/{draft.code.lower()}.yaml"] = _yaml(_AGENCY, agency)
    files["pantau.yaml"] = _yaml(_SETTINGS, settings)
    return files


_SETTINGS = """\
# Mail is watched, and nobody is told (mode: monitor_only). What else can be written, and how people are told: deploy/pantau.yaml and
# docs/tutorials/first-mailbox.md. Check it with: pantau check --config pantau.yaml
# A message a minute is for a first look; without `probing` there is one in five minutes.
"""
_AGENCY = """\
# One mailbox that sends to itself. With two mailboxes outside of the agency (references in pantau.yaml) leave `routes` out: then
# mail is proven both ways. Write the agency's own name.
"""


def _server(server: ServerSettings) -> dict[str, Any]:
    said = {"host": server.host, "port": server.port, "security": server.security.value, "tls_name": server.tls_name}
    usual = {"port": None, "security": Security.IMPLICIT.value, "tls_name": None}
    return {key: value for key, value in said.items() if key not in usual or value != usual[key]}


def _yaml(head: str, data: Mapping[str, Any]) -> bytes:
    return (head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)).encode()
