"""DNS client that distinguishes the reasons for a missing record (RFC 1035, RFC 2308, RFC 4035).

A name that does not exist, and a name without such a record, are facts about the domain. A query without an answer
(`DnsNoAnswerReason`) is no evidence about it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import dns.resolver

from probes.model.check import NameServers

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
#: Octets of an answer that UDP does not fragment (DNS flag day 2020).
_MAX_UDP_PAYLOAD = 1232
_Resolver = TypeVar("_Resolver", bound=dns.resolver.BaseResolver)


class DnsNoAnswerReason(StrEnum):
    """Reason for a missing answer: the start of the error message."""

    #: A name server failed (SERVFAIL) or refused (REFUSED).
    FAILED = "the name servers could not find out"
    #: No server answered in time.
    SILENT = "the name servers do not answer"
    #: This machine has no name servers, or the query cannot be made or processed.
    UNASKED = "could not be asked"


class DnsUnansweredError(Exception):
    """The query had no answer. This is no evidence about the domain."""

    def __init__(self, name: str, reason: DnsNoAnswerReason) -> None:
        super().__init__(f"{reason}: {name}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsAnswer:
    """Answer for one name and one type of record."""

    #: Empty if the name has none of this type.
    records: tuple[dns.rdata.Rdata, ...]
    #: The name exists (otherwise NXDOMAIN).
    exists: bool
    #: The name server reports the answer as validated by DNSSEC (the AD flag, RFC 4035 3.2.3).
    is_validated: bool
    #: The name is an alias of another (CNAME).
    is_alias: bool = False
    #: The complete response of the name server, with its signatures and its authority section.
    message: dns.message.Message | None = field(default=None, repr=False, compare=False)


class DnsClient:
    """DNS client that queries the given name servers."""

    def __init__(self, servers: NameServers) -> None:
        self._servers = servers

    async def query(self, name: str, kind: str, *, checking_disabled: bool = False) -> DnsAnswer:
        """Return the records of type *kind* ("MX") at *name*.

        *checking_disabled* (the CD flag) asks a validating server to return answers that it would otherwise reject as
        forged. An empty answer is no error. Raise `DnsUnansweredError` if there is no answer.
        """
        try:
            resolver = configure_resolver(dns.asyncresolver.Resolver, self._servers)
            resolver.use_edns(0, dns.flags.DO, _MAX_UDP_PAYLOAD)
            resolver.flags = dns.flags.RD | (dns.flags.CD if checking_disabled else dns.flags.AD)
            absolute = dns.name.from_text(name)
            answer = await resolver.resolve(absolute, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as nxdomain:
            message = nxdomain.responses().get(absolute)  # type: ignore[no-untyped-call]
            return DnsAnswer(records=(), exists=False, is_validated=_is_validated(message), message=message)
        except dns.resolver.LifetimeTimeout as error:
            raise DnsUnansweredError(name, DnsNoAnswerReason.SILENT) from error
        except dns.resolver.NoNameservers as error:
            raise DnsUnansweredError(name, DnsNoAnswerReason.FAILED) from error
        except (dns.exception.DNSException, UnicodeError, OSError) as error:
            raise DnsUnansweredError(name, DnsNoAnswerReason.UNASKED) from error
        return DnsAnswer(
            records=tuple(answer.rrset or ()),
            exists=True,
            is_validated=_is_validated(answer.response),
            is_alias=answer.canonical_name != absolute,
            message=answer.response,
        )

    async def query_txt(self, name: str) -> tuple[bytes, ...]:
        """Return the TXT records of *name*, each with its strings joined. Raise `DnsUnansweredError`."""
        answer = await self.query(name, "TXT")
        return tuple(b"".join(record.strings) for record in answer.records)  # type: ignore[attr-defined]

    async def resolve(self, host: str) -> tuple[IPAddress, ...]:
        """Return the IPv4, then the IPv6 addresses of *host*. Raise `DnsUnansweredError`."""
        found: list[IPAddress] = []
        for kind in ("A", "AAAA"):
            answer = await self.query(host, kind)
            found += sorted(ipaddress.ip_address(record.to_text()) for record in answer.records)
        return tuple(found)


def configure_resolver(resolver_class: type[_Resolver], servers: NameServers) -> _Resolver:
    """Return a dnspython resolver that queries *servers*.

    Raise `dns.resolver.NoResolverConfiguration` if *servers* is empty and this machine has no name servers.
    """
    resolver = resolver_class(configure=not servers.addresses)
    if servers.addresses:
        resolver.nameservers = list(servers.addresses)
        resolver.port = servers.port
    resolver.lifetime = servers.within.total_seconds()
    # A lost datagram is retransmitted well before the timeout.
    resolver.timeout = min(resolver.timeout, resolver.lifetime / 3)
    return resolver


def _is_validated(message: dns.message.Message | None) -> bool:
    return message is not None and bool(message.flags & dns.flags.AD)
