"""Discovery of an address's servers: by its domain's SRV records, its MX hosts, and usual host names.

A result is only a suggestion: it is examined before it is shown, and a person confirms it before a password is sent
there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from probes.domain.names import DnsUnansweredError, Names
from probes.model.check import NameServers
from probes.model.domain import parent_of
from probes.model.mail_platform import PLATFORM_SERVERS, MailPlatform
from probes.model.mailbox import Security
from probes.preauth.session import Protocol

#: Timeouts of one query, and of all: a user is waiting.
_QUESTION: Final = timedelta(seconds=2)
_WHOLE_SECONDS: Final = 6.0
#: Limit of suggested servers, for sending and for reading: each is connected to.
MOST_CANDIDATES: Final = 6

#: RFC 6186 and RFC 8314: implicit TLS before STARTTLS, IMAP before POP3.
_SERVICES: Final = (
    ("_submissions", Protocol.SMTP, Security.IMPLICIT),
    ("_submission", Protocol.SMTP, Security.STARTTLS),
    ("_imaps", Protocol.IMAP, Security.IMPLICIT),
    ("_imap", Protocol.IMAP, Security.STARTTLS),
    ("_pop3s", Protocol.POP3, Security.IMPLICIT),
)
#: Usual host names, in English and in Malay.
_USUAL_NAMES: Final[Mapping[Protocol, Sequence[str]]] = {
    Protocol.SMTP: ("smtp", "mail", "mel", "webmel"),
    Protocol.IMAP: ("imap", "mail", "mel", "webmel"),
}
#: Ports to try at a guessed host, in this order (RFC 8314, 7).
_USUAL_PORTS: Final[Mapping[Protocol, Sequence[tuple[int, Security]]]] = {
    Protocol.SMTP: ((465, Security.IMPLICIT), (587, Security.STARTTLS)),
    Protocol.IMAP: ((993, Security.IMPLICIT), (143, Security.STARTTLS)),
}
_HOSTS_AT_MOST: Final = MOST_CANDIDATES // 2
#: A DNS name may contain any octets, a host name only these.
_HOST: Final = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)+", re.ASCII)


_BY_EXCHANGER: Final = {
    "google.com": MailPlatform.GOOGLE,
    "googlemail.com": MailPlatform.GOOGLE,
    "outlook.com": MailPlatform.MICROSOFT,
}
_BY_SERVER: Final = {name: platform for platform, names in PLATFORM_SERVERS.items() for name in names}


class ServerSource(StrEnum):
    """Source of a suggested server."""

    #: The domain announces it (RFC 6186).
    ANNOUNCED = "announced"
    #: The domain's MX records contain the platform's hosts.
    PLATFORM = "platform"
    #: A host with a usual name, or an MX host of the domain's own, exists.
    USUAL = "usual"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCandidate:
    """Suggested server of an address."""

    protocol: Protocol
    host: str
    port: int
    security: Security
    source: ServerSource


#: The platforms' servers, by their documentation.
_OF_PLATFORM: Final = {
    MailPlatform.GOOGLE: (
        (Protocol.SMTP, "smtp.gmail.com", 465, Security.IMPLICIT),
        (Protocol.IMAP, "imap.gmail.com", 993, Security.IMPLICIT),
    ),
    MailPlatform.MICROSOFT: (
        (Protocol.SMTP, "smtp.office365.com", 587, Security.STARTTLS),
        (Protocol.IMAP, "outlook.office365.com", 993, Security.IMPLICIT),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredServers:
    """Servers found for a domain."""

    #: The best first, of each protocol.
    candidates: Sequence[ServerCandidate] = ()
    #: The platform that runs its mail, as far as the MX hosts show.
    platform: MailPlatform | None = None
    #: Some DNS queries were not answered: there may be more servers.
    is_incomplete: bool = False

    def of(self, *protocols: Protocol) -> Sequence[ServerCandidate]:
        """Return the candidates of some protocols."""
        return [each for each in self.candidates if each.protocol in protocols]


async def find_servers(domain: str, servers: NameServers | None = None) -> DiscoveredServers:
    """Return candidates for the servers of *domain*. Never raises for a DNS answer or its absence."""
    servers = servers or NameServers()
    hasty = replace(servers, within=min(servers.within, _QUESTION))
    search = _Search(Names(hasty), domain.lower())
    try:
        async with asyncio.timeout(_WHOLE_SECONDS):
            return await search.run()
    except TimeoutError:
        return DiscoveredServers(is_incomplete=True)


class _Search:
    def __init__(self, names: Names, domain: str) -> None:
        self._names = names
        self._domain = domain
        self._is_incomplete = False
        self._is_answered = False

    async def run(self) -> DiscoveredServers:
        async with asyncio.TaskGroup() as group:
            services = [
                group.create_task(self._records(f"{service}._tcp.{self._domain}", "SRV")) for service, _, _ in _SERVICES
            ]
            exchangers = group.create_task(self._records(self._domain, "MX"))
        if not self._is_answered:
            # A name server that answers none of these will not answer others, and a user is waiting.
            return DiscoveredServers(is_incomplete=True)
        announced = [
            ServerCandidate(protocol=protocol, host=host, port=port, security=security, source=ServerSource.ANNOUNCED)
            for (_, protocol, security), found in zip(_SERVICES, services, strict=True)
            for host, port in announced_hosts(found.result())
        ]
        denied = {
            protocol
            for (_, protocol, _), found in zip(_SERVICES, services, strict=True)
            if found.result() and not announced_hosts(found.result())
        }
        mail_hosts = [name for each in exchangers.result() if (name := _name(each.exchange))]
        platform = platform_of(mail_hosts)
        return DiscoveredServers(
            candidates=chosen(
                announced,
                of_platform(platform),
                # A domain that announces one side, or denies it, needs no guesses for it.
                [] if platform else await self._usual({each.protocol for each in announced} | denied, mail_hosts),
                denied=denied - {each.protocol for each in announced},
            ),
            platform=platform,
            is_incomplete=self._is_incomplete,
        )

    async def _usual(self, told: Collection[Protocol], exchangers: Sequence[str]) -> Sequence[ServerCandidate]:
        # An MX host elsewhere is a filter or a relay; one in the domain is often the mail server itself.
        own = [each for each in exchangers if each.endswith(f".{self._domain}")]
        wanted = {
            protocol: [f"{name}.{self._domain}" for name in names] + own
            for protocol, names in _USUAL_NAMES.items()
            if not _told(protocol, told)
        }
        hosts = list(dict.fromkeys(host for each in wanted.values() for host in each))[: 3 * MOST_CANDIDATES]
        async with asyncio.TaskGroup() as group:
            asked = {host: group.create_task(self._is_there(host)) for host in hosts}
        there = {host for host, found in asked.items() if found.result()}
        return [
            candidate
            for protocol, names in wanted.items()
            for host in [each for each in dict.fromkeys(names) if each in there][:_HOSTS_AT_MOST]
            for candidate in usual_at(protocol, host)
        ]

    async def _is_there(self, host: str) -> bool:
        return bool(await self._records(host, "A") or await self._records(host, "AAAA"))

    async def _records(self, name: str, kind: str) -> Sequence[Any]:
        try:
            answer = await self._names.ask(name, kind)
        except DnsUnansweredError:
            self._is_incomplete = True
            return ()
        self._is_answered = True
        return answer.records


def announced_hosts(records: Sequence[Any]) -> Sequence[tuple[str, int]]:
    """Return hosts and ports of SRV records, by priority (RFC 2782); "." means none."""
    ordered = sorted(records, key=lambda record: (record.priority, -record.weight))
    return [(name, record.port) for record in ordered if record.port and (name := _name(record.target))]


def platform_of(hosts: Sequence[str]) -> MailPlatform | None:
    """Return the platform of these MX hosts; `None`: none."""
    return next((found for each in hosts if (found := _whose(each, _BY_EXCHANGER))), None)


def platform_at(host: str) -> MailPlatform | None:
    """Return the platform of this mail server; `None`: none."""
    return _whose(host, _BY_SERVER)


def of_platform(platform: MailPlatform | None) -> Sequence[ServerCandidate]:
    """Return the servers of a platform."""
    return [
        ServerCandidate(protocol=protocol, host=host, port=port, security=security, source=ServerSource.PLATFORM)
        for protocol, host, port, security in (_OF_PLATFORM[platform] if platform else ())
    ]


def usual_at(protocol: Protocol, host: str) -> Sequence[ServerCandidate]:
    """Return the candidates for a protocol at a host."""
    return [
        ServerCandidate(protocol=protocol, host=host, port=port, security=security, source=ServerSource.USUAL)
        for port, security in _USUAL_PORTS[protocol]
    ]


def chosen(*sources: Sequence[ServerCandidate], denied: Collection[Protocol] = ()) -> tuple[ServerCandidate, ...]:
    """Return the candidates of each side from the first source that has some, at most `MOST_CANDIDATES` of a side.

    A protocol that the domain denies is excluded from every source.
    """
    found: list[ServerCandidate] = []
    for side in ((Protocol.SMTP,), (Protocol.IMAP, Protocol.POP3)):
        of_side = (
            [each for each in source if each.protocol in side and each.protocol not in denied] for source in sources
        )
        found += list(dict.fromkeys(next(filter(None, of_side), [])))[:MOST_CANDIDATES]
    return tuple(found)


def _told(protocol: Protocol, told: Collection[Protocol]) -> bool:
    return protocol in told or (protocol is Protocol.IMAP and Protocol.POP3 in told)


def _whose(host: str, ends: Mapping[str, MailPlatform]) -> MailPlatform | None:
    end = parent_of(host, ends)
    return None if end is None else ends[end]


def _name(name: Any) -> str:
    """Return a DNS name as a host name; "": it is none."""
    text = str(name.to_text(omit_final_dot=True)).lower()
    return text if _HOST.fullmatch(text) else ""
