"""Discovery of an address's servers: by its domain's SRV records, its MX hosts, and usual host names.

A discovered server is only a suggestion. Pantau connects to it before a person sees it, and the person confirms it
before a password is sent to it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from probes.domain.names import DnsClient, DnsUnansweredError
from probes.model.check import NameServers
from probes.model.domain import find_parent
from probes.model.mail_platform import PLATFORM_SERVERS, MailPlatform
from probes.model.mailbox import Security
from probes.preauth.session import Protocol

#: Timeouts of one query, and of all queries together. They are short, because a user is waiting.
_QUERY_TIMEOUT: Final = timedelta(seconds=2)
_WHOLE_SECONDS: Final = 6.0
#: Limit of suggested servers, each for sending and for reading. It is low, because Pantau connects to each.
MOST_CANDIDATES: Final = 6

#: Services in SRV records, in the order of preference (RFC 6186, RFC 8314): implicit TLS before STARTTLS, IMAP before
#: POP3.
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
_MAX_GUESSED_HOSTS: Final = MOST_CANDIDATES // 2
#: Pattern of a host name. A DNS name may contain any octets.
_HOST_PATTERN: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)+", re.ASCII
)


_PLATFORM_BY_EXCHANGER: Final = {
    "google.com": MailPlatform.GOOGLE,
    "googlemail.com": MailPlatform.GOOGLE,
    "outlook.com": MailPlatform.MICROSOFT,
}
_PLATFORM_BY_SERVER: Final = {name: platform for platform, names in PLATFORM_SERVERS.items() for name in names}


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
_PLATFORM_CANDIDATES: Final = {
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
    short_timeouts = replace(servers, within=min(servers.within, _QUERY_TIMEOUT))
    search = _Search(DnsClient(short_timeouts), domain.lower())
    try:
        async with asyncio.timeout(_WHOLE_SECONDS):
            return await search.run()
    except TimeoutError:
        return DiscoveredServers(is_incomplete=True)


class _Search:
    def __init__(self, dns_client: DnsClient, domain: str) -> None:
        self._dns_client = dns_client
        self._domain = domain
        self._is_incomplete = False
        self._has_answer = False

    async def run(self) -> DiscoveredServers:
        async with asyncio.TaskGroup() as group:
            services = [
                group.create_task(self._records(f"{service}._tcp.{self._domain}", "SRV")) for service, _, _ in _SERVICES
            ]
            exchangers = group.create_task(self._records(self._domain, "MX"))
        if not self._has_answer:
            # A name server that has answered no query is not asked again, because a user is waiting.
            return DiscoveredServers(is_incomplete=True)
        announced = [
            ServerCandidate(protocol=protocol, host=host, port=port, security=security, source=ServerSource.ANNOUNCED)
            for (_, protocol, security), records in zip(_SERVICES, services, strict=True)
            for host, port in srv_hosts(records.result())
        ]
        denied = {
            protocol
            for (_, protocol, _), records in zip(_SERVICES, services, strict=True)
            if records.result() and not srv_hosts(records.result())
        }
        mail_hosts = [name for each in exchangers.result() if (name := _host_name(each.exchange))]
        platform = platform_of_exchangers(mail_hosts)
        return DiscoveredServers(
            candidates=choose_candidates(
                announced,
                platform_candidates(platform),
                # No servers are guessed for a protocol that the domain announces or denies (RFC 2782, target ".").
                []
                if platform
                else await self._guess_servers({each.protocol for each in announced} | denied, mail_hosts),
                denied=denied - {each.protocol for each in announced},
            ),
            platform=platform,
            is_incomplete=self._is_incomplete,
        )

    async def _guess_servers(
        self, announced: Collection[Protocol], exchangers: Sequence[str]
    ) -> Sequence[ServerCandidate]:
        # An MX host in the domain is often the mail server itself. An MX host elsewhere is a filter or a relay.
        own = [each for each in exchangers if each.endswith(f".{self._domain}")]
        hosts_by_protocol = {
            protocol: [f"{name}.{self._domain}" for name in names] + own
            for protocol, names in _USUAL_NAMES.items()
            if not _is_covered(protocol, announced)
        }
        hosts = list(dict.fromkeys(host for each in hosts_by_protocol.values() for host in each))[: 3 * MOST_CANDIDATES]
        async with asyncio.TaskGroup() as group:
            lookups = {host: group.create_task(self._exists(host)) for host in hosts}
        existing = {host for host, found in lookups.items() if found.result()}
        return [
            candidate
            for protocol, names in hosts_by_protocol.items()
            for host in [each for each in dict.fromkeys(names) if each in existing][:_MAX_GUESSED_HOSTS]
            for candidate in guess_candidates(protocol, host)
        ]

    async def _exists(self, host: str) -> bool:
        return bool(await self._records(host, "A") or await self._records(host, "AAAA"))

    async def _records(self, name: str, kind: str) -> Sequence[Any]:
        try:
            answer = await self._dns_client.query(name, kind)
        except DnsUnansweredError:
            self._is_incomplete = True
            return ()
        self._has_answer = True
        return answer.records


def srv_hosts(records: Sequence[Any]) -> Sequence[tuple[str, int]]:
    """Return hosts and ports of SRV records, by priority (RFC 2782); "." means none."""
    ordered = sorted(records, key=lambda record: (record.priority, -record.weight))
    return [(name, record.port) for record in ordered if record.port and (name := _host_name(record.target))]


def platform_of_exchangers(hosts: Sequence[str]) -> MailPlatform | None:
    """Return the platform of these MX hosts; `None`: none."""
    return next((found for host in hosts if (found := _find_platform(host, _PLATFORM_BY_EXCHANGER))), None)


def platform_of_server(host: str) -> MailPlatform | None:
    """Return the platform of this mail server; `None`: none."""
    return _find_platform(host, _PLATFORM_BY_SERVER)


def platform_candidates(platform: MailPlatform | None) -> Sequence[ServerCandidate]:
    """Return the servers of a platform."""
    return [
        ServerCandidate(protocol=protocol, host=host, port=port, security=security, source=ServerSource.PLATFORM)
        for protocol, host, port, security in (_PLATFORM_CANDIDATES[platform] if platform else ())
    ]


def guess_candidates(protocol: Protocol, host: str) -> Sequence[ServerCandidate]:
    """Return the candidates for a protocol at a host."""
    return [
        ServerCandidate(protocol=protocol, host=host, port=port, security=security, source=ServerSource.USUAL)
        for port, security in _USUAL_PORTS[protocol]
    ]


def choose_candidates(
    *sources: Sequence[ServerCandidate], denied: Collection[Protocol] = ()
) -> tuple[ServerCandidate, ...]:
    """Return at most `MOST_CANDIDATES` servers for sending, and as many for reading.

    For each of the two purposes, the first of *sources* that has candidates is used. A protocol in *denied* is
    excluded.
    """
    found: list[ServerCandidate] = []
    for side in ((Protocol.SMTP,), (Protocol.IMAP, Protocol.POP3)):
        of_side = (
            [each for each in source if each.protocol in side and each.protocol not in denied] for source in sources
        )
        found += list(dict.fromkeys(next(filter(None, of_side), [])))[:MOST_CANDIDATES]
    return tuple(found)


def _is_covered(protocol: Protocol, protocols: Collection[Protocol]) -> bool:
    return protocol in protocols or (protocol is Protocol.IMAP and Protocol.POP3 in protocols)


def _find_platform(host: str, platforms: Mapping[str, MailPlatform]) -> MailPlatform | None:
    domain = find_parent(host, platforms)
    return None if domain is None else platforms[domain]


def _host_name(name: Any) -> str:
    """Return a DNS name as a host name; "" if it is not valid as a host name."""
    text = str(name.to_text(omit_final_dot=True)).lower()
    return text if _HOST_PATTERN.fullmatch(text) else ""
