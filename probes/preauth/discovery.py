"""Discovery of the servers of a mail address: by its domain's SRV records, its MX hosts, and common host names.

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

#: Timeouts of one DNS query, and of all queries together. They are short, because a user is waiting.
_QUERY_TIMEOUT: Final = timedelta(seconds=2)
_TOTAL_TIMEOUT_SECONDS: Final = 6.0
#: Limit of suggested servers for sending, and as many for reading. It is low, because Pantau connects to each.
MAX_CANDIDATES: Final = 6

#: Services in SRV records, in the order of preference (RFC 6186, RFC 8314): implicit TLS before STARTTLS, IMAP before
#: POP3.
_SERVICES: Final = (
    ("_submissions", Protocol.SMTP, Security.IMPLICIT),
    ("_submission", Protocol.SMTP, Security.STARTTLS),
    ("_imaps", Protocol.IMAP, Security.IMPLICIT),
    ("_imap", Protocol.IMAP, Security.STARTTLS),
    ("_pop3s", Protocol.POP3, Security.IMPLICIT),
)
#: Common host names of mail servers, in English and in Malay.
_COMMON_HOST_NAMES: Final[Mapping[Protocol, Sequence[str]]] = {
    Protocol.SMTP: ("smtp", "mail", "mel", "webmel"),
    Protocol.IMAP: ("imap", "mail", "mel", "webmel"),
}
#: Ports to try at a guessed host, in this order (RFC 8314, 7).
_STANDARD_PORTS: Final[Mapping[Protocol, Sequence[tuple[int, Security]]]] = {
    Protocol.SMTP: ((465, Security.IMPLICIT), (587, Security.STARTTLS)),
    Protocol.IMAP: ((993, Security.IMPLICIT), (143, Security.STARTTLS)),
}
#: Limit of guessed hosts for each protocol; each has two ports.
_MAX_GUESSED_HOSTS: Final = MAX_CANDIDATES // 2
#: Pattern of a host name. It is checked, because a DNS name may contain any octets.
_HOST_PATTERN: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)+", re.ASCII
)

#: Platforms by the parent domain of their MX hosts.
_PLATFORM_BY_EXCHANGER: Final = {
    "google.com": MailPlatform.GOOGLE,
    "googlemail.com": MailPlatform.GOOGLE,
    "outlook.com": MailPlatform.MICROSOFT,
}
#: Platforms by the parent domain of their submission, IMAP and POP3 servers.
_PLATFORM_BY_SERVER: Final = {name: platform for platform, names in PLATFORM_SERVERS.items() for name in names}


class ServerSource(StrEnum):
    """Source of a suggested server."""

    #: The domain announces it in an SRV record (RFC 6186).
    ANNOUNCED = "announced"
    #: It belongs to the platform to which the domain's MX hosts belong.
    PLATFORM = "platform"
    #: It is a guess: a host with a common name, or an MX host within the domain, exists.
    USUAL = "usual"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCandidate:
    """Suggested server of a mail address."""

    protocol: Protocol
    host: str
    port: int
    security: Security
    source: ServerSource


#: The platforms' servers, from their documentation.
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

    #: For each protocol, the best first.
    candidates: Sequence[ServerCandidate] = ()
    #: The platform that hosts the domain's mail, by its MX hosts; `None` for others.
    platform: MailPlatform | None = None
    #: Some DNS queries were not answered: there may be more servers.
    is_incomplete: bool = False

    def for_protocols(self, *protocols: Protocol) -> Sequence[ServerCandidate]:
        """Return the candidates for the given protocols."""
        return [each for each in self.candidates if each.protocol in protocols]


async def find_servers(domain: str, name_servers: NameServers | None = None) -> DiscoveredServers:
    """Return candidates for the servers of *domain*. Unanswered queries make the result incomplete; none raises."""
    name_servers = name_servers or NameServers()
    name_servers = replace(name_servers, within=min(name_servers.within, _QUERY_TIMEOUT))
    search = _Search(DnsClient(name_servers), domain.lower())
    try:
        async with asyncio.timeout(_TOTAL_TIMEOUT_SECONDS):
            return await search.run()
    except TimeoutError:
        return DiscoveredServers(is_incomplete=True)


class _Search:
    """Search for the servers of one domain."""

    def __init__(self, dns_client: DnsClient, domain: str) -> None:
        self._dns_client = dns_client
        self._domain = domain
        self._is_incomplete = False
        #: Whether any query was answered.
        self._has_answer = False

    async def run(self) -> DiscoveredServers:
        async with asyncio.TaskGroup() as group:
            srv_records = [
                group.create_task(self._records(f"{service}._tcp.{self._domain}", "SRV")) for service, _, _ in _SERVICES
            ]
            mx_records = group.create_task(self._records(self._domain, "MX"))
        if not self._has_answer:
            # No further queries follow after none was answered, because a user is waiting.
            return DiscoveredServers(is_incomplete=True)
        announced = [
            ServerCandidate(protocol=protocol, host=host, port=port, security=security, source=ServerSource.ANNOUNCED)
            for (_, protocol, security), records in zip(_SERVICES, srv_records, strict=True)
            for host, port in srv_hosts(records.result())
        ]
        # A record whose target is "." says that the domain does not offer the service (RFC 2782).
        denied = {
            protocol
            for (_, protocol, _), records in zip(_SERVICES, srv_records, strict=True)
            if records.result() and not srv_hosts(records.result())
        }
        mx_hosts = [name for each in mx_records.result() if (name := _host_name(each.exchange))]
        platform = platform_of_exchangers(mx_hosts)
        announced_protocols = {each.protocol for each in announced}
        # No servers are guessed for a protocol that the domain announces or denies.
        guessed = [] if platform else await self._guess_servers(announced_protocols | denied, mx_hosts)
        return DiscoveredServers(
            candidates=choose_candidates(
                announced, platform_candidates(platform), guessed, denied=denied - announced_protocols
            ),
            platform=platform,
            is_incomplete=self._is_incomplete,
        )

    async def _guess_servers(
        self, excluded: Collection[Protocol], mx_hosts: Sequence[str]
    ) -> Sequence[ServerCandidate]:
        # An MX host within the domain is often the mail server itself. An MX host elsewhere is a filter or a relay.
        own_mx_hosts = [each for each in mx_hosts if each.endswith(f".{self._domain}")]
        hosts_by_protocol = {
            protocol: [f"{name}.{self._domain}" for name in names] + own_mx_hosts
            for protocol, names in _COMMON_HOST_NAMES.items()
            if not _is_excluded(protocol, excluded)
        }
        # The number of hosts is limited, because each is resolved.
        hosts = list(dict.fromkeys(host for each in hosts_by_protocol.values() for host in each))[: 3 * MAX_CANDIDATES]
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
    """Return the hosts and ports of SRV records, by priority (RFC 2782), without the target ".", which means "none"."""
    ordered = sorted(records, key=lambda record: (record.priority, -record.weight))
    return [(name, record.port) for record in ordered if record.port and (name := _host_name(record.target))]


def platform_of_exchangers(hosts: Sequence[str]) -> MailPlatform | None:
    """Return the platform to which one of these MX hosts belongs, or `None`."""
    return next((found for host in hosts if (found := _find_platform(host, _PLATFORM_BY_EXCHANGER))), None)


def platform_of_server(host: str) -> MailPlatform | None:
    """Return the platform to which this mail server belongs, or `None`."""
    return _find_platform(host, _PLATFORM_BY_SERVER)


def platform_candidates(platform: MailPlatform | None) -> Sequence[ServerCandidate]:
    """Return the servers of a platform; none for `None`."""
    return [
        ServerCandidate(protocol=protocol, host=host, port=port, security=security, source=ServerSource.PLATFORM)
        for protocol, host, port, security in (_PLATFORM_CANDIDATES[platform] if platform else ())
    ]


def guess_candidates(protocol: Protocol, host: str) -> Sequence[ServerCandidate]:
    """Return the candidates for *protocol* on *host*, at its standard ports."""
    return [
        ServerCandidate(protocol=protocol, host=host, port=port, security=security, source=ServerSource.USUAL)
        for port, security in _STANDARD_PORTS[protocol]
    ]


def choose_candidates(
    *sources: Sequence[ServerCandidate], denied: Collection[Protocol] = ()
) -> tuple[ServerCandidate, ...]:
    """Return at most `MAX_CANDIDATES` servers for sending, and as many for reading.

    For each of the two purposes, the first of *sources* with candidates is used. Protocols in *denied* are excluded.
    """
    chosen: list[ServerCandidate] = []
    for protocols in ({Protocol.SMTP}, {Protocol.IMAP, Protocol.POP3}):
        allowed = protocols - set(denied)
        candidates_by_source = ([each for each in source if each.protocol in allowed] for source in sources)
        chosen += list(dict.fromkeys(next(filter(None, candidates_by_source), [])))[:MAX_CANDIDATES]
    return tuple(chosen)


def _is_excluded(protocol: Protocol, excluded: Collection[Protocol]) -> bool:
    """Return whether *excluded* has *protocol*; POP3 counts as IMAP, because one protocol for reading suffices."""
    return protocol in excluded or (protocol is Protocol.IMAP and Protocol.POP3 in excluded)


def _find_platform(host: str, platforms: Mapping[str, MailPlatform]) -> MailPlatform | None:
    domain = find_parent(host, platforms)
    return None if domain is None else platforms[domain]


def _host_name(name: Any) -> str:
    """Return a DNS name as a host name; "" if it is not valid as a host name."""
    text = str(name.to_text(omit_final_dot=True)).lower()
    return text if _HOST_PATTERN.fullmatch(text) else ""
