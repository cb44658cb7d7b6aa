"""DNS client that distinguishes the reasons for a missing record (RFC 1035, RFC 2308, RFC 4035).

A name that does not exist, a name without such a record, a server failure, and no answer are four cases: the first two
are facts about the domain, the last two say nothing about it.
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
#: Octets: answers up to this size are not fragmented in UDP (DNS flag day 2020).
_PAYLOAD = 1232
_Resolver = TypeVar("_Resolver", bound=dns.resolver.BaseResolver)


class DnsNoAnswerReason(StrEnum):
    """Reason for a missing answer."""

    #: A name server failed (SERVFAIL) or refused (REFUSED).
    FAILED = "the name servers could not find out"
    #: No server answered in time.
    SILENT = "the name servers do not answer"
    #: This machine has no name servers, or the query is invalid.
    UNASKED = "could not be asked"


class DnsUnansweredError(Exception):
    """The query had no answer about the name, which says nothing about the domain."""

    def __init__(self, name: str, reason: DnsNoAnswerReason) -> None:
        super().__init__(f"{reason}: {name}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsAnswer:
    """Answer for one name and one type of record."""

    #: Empty when there is none of this type.
    records: tuple[dns.rdata.Rdata, ...]
    #: The name exists (otherwise NXDOMAIN).
    exists: bool
    #: The name server reports the answer as validated by DNSSEC (the AD flag, RFC 4035 3.2.3).
    validated: bool
    #: The name is an alias of another (CNAME).
    alias: bool = False
    #: The complete answer, with its signatures and its authority section.
    message: dns.message.Message | None = field(default=None, repr=False, compare=False)


class DnsClient:
    """DNS client for the name servers of one check scope."""

    def __init__(self, servers: NameServers) -> None:
        self._servers = servers

    async def query(self, name: str, kind: str, *, unchecked: bool = False) -> DnsAnswer:
        """Return the records of type *kind* ("MX") at *name*.

        *unchecked* asks a validating server to return answers that it would otherwise reject as forged (the CD flag).
        Raise `DnsUnansweredError`; an empty answer is valid.
        """
        try:
            resolver = configure_resolver(dns.asyncresolver.Resolver, self._servers)
            resolver.use_edns(0, dns.flags.DO, _PAYLOAD)
            resolver.flags = dns.flags.RD | (dns.flags.CD if unchecked else dns.flags.AD)
            absolute = dns.name.from_text(name)
            answer = await resolver.resolve(absolute, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as nxdomain:
            message = nxdomain.responses().get(absolute)  # type: ignore[no-untyped-call]
            return DnsAnswer(records=(), exists=False, validated=_is_validated(message), message=message)
        except dns.resolver.LifetimeTimeout as error:
            raise DnsUnansweredError(name, DnsNoAnswerReason.SILENT) from error
        except dns.resolver.NoNameservers as error:
            raise DnsUnansweredError(name, DnsNoAnswerReason.FAILED) from error
        except (dns.exception.DNSException, UnicodeError, OSError) as error:
            raise DnsUnansweredError(name, DnsNoAnswerReason.UNASKED) from error
        return DnsAnswer(
            records=tuple(answer.rrset or ()),
            exists=True,
            validated=_is_validated(answer.response),
            alias=answer.canonical_name != absolute,
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

    Raise `dns.resolver.NoResolverConfiguration` when that is this machine and it has none.
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
