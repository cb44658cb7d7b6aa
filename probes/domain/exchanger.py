"""MX hosts of a domain (RFC 5321 5.1, RFC 7505)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from dns.rdtypes.ANY.MX import MX

from probes.domain.names import DnsClient

#: One answer has room for thousands, each of which would be resolved and connected to. The largest providers have
#: seven.
_HOSTS_AT_MOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchangers:
    """MX hosts of one domain."""

    domain: str
    #: In lower case, by preference, and limited in number. Empty when no host accepts mail for it.
    hosts: tuple[str, ...]
    #: There is no MX record, and the domain itself has an address, which receives the mail.
    implicit: bool = False
    #: The domain declares that it accepts no mail.
    null: bool = False
    #: The domain's name exists.
    exists: bool = True
    #: DNSSEC validates the records.
    validated: bool = False


async def find_exchangers(dns_client: DnsClient, domain: str) -> Exchangers:
    """Return the MX hosts of *domain*. Raise `probes.domain.names.DnsUnansweredError`."""
    answer = await dns_client.query(domain, "MX")
    if answer.records:
        hosts = ranked_hosts(cast("Iterable[MX]", answer.records))
        return Exchangers(domain=domain, hosts=hosts, null=not hosts, validated=answer.validated)
    implicit = answer.exists and bool(await dns_client.resolve(domain))
    return Exchangers(
        domain=domain,
        hosts=(domain,) if implicit else (),
        implicit=implicit,
        exists=answer.exists,
        validated=answer.validated,
    )


def ranked_hosts(records: Iterable[MX]) -> tuple[str, ...]:
    """Return the hosts of *records* by preference, without the root, which means no mail (RFC 7505 3)."""
    ranked = sorted((record.preference, record.exchange.to_text(omit_final_dot=True).lower()) for record in records)
    hosts = dict.fromkeys(host for _, host in ranked if host not in {"", ".", "@"})
    return tuple(hosts)[:_HOSTS_AT_MOST]
