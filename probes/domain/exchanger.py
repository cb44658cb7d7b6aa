"""MX hosts ("exchangers") of a domain (RFC 5321 5.1, RFC 7505)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from dns.rdtypes.ANY.MX import MX

from probes.domain.names import DnsClient

#: One DNS answer may contain thousands of hosts, each of which would be resolved and connected to. The largest
#: providers have seven.
_MAX_HOSTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchangers:
    """MX hosts of one domain."""

    domain: str
    #: In lower case, by preference, at most `_MAX_HOSTS`. Empty if no host accepts mail for the domain.
    hosts: tuple[str, ...]
    #: There is no MX record, but the domain itself has an address, which receives the mail (RFC 5321 5.1).
    is_implicit_mx: bool = False
    #: The domain declares that it accepts no mail: its only MX host is the root (RFC 7505).
    is_null_mx: bool = False
    #: The domain's name exists.
    exists: bool = True
    #: Our name server has validated the records by DNSSEC.
    is_validated: bool = False


async def find_exchangers(dns_client: DnsClient, domain: str) -> Exchangers:
    """Return the MX hosts of *domain*. Raise `probes.domain.names.DnsUnansweredError`."""
    answer = await dns_client.query(domain, "MX")
    if answer.records:
        hosts = ranked_hosts(cast("Iterable[MX]", answer.records))
        return Exchangers(domain=domain, hosts=hosts, is_null_mx=not hosts, is_validated=answer.is_validated)
    is_implicit_mx = answer.exists and bool(await dns_client.resolve(domain))
    return Exchangers(
        domain=domain,
        hosts=(domain,) if is_implicit_mx else (),
        is_implicit_mx=is_implicit_mx,
        exists=answer.exists,
        is_validated=answer.is_validated,
    )


def ranked_hosts(records: Iterable[MX]) -> tuple[str, ...]:
    """Return the hosts of *records* by preference, without the root, which declares "no mail" (RFC 7505 3)."""
    ranked = sorted((record.preference, record.exchange.to_text(omit_final_dot=True).lower()) for record in records)
    hosts = dict.fromkeys(host for _, host in ranked if host not in {"", ".", "@"})
    return tuple(hosts)[:_MAX_HOSTS]
