"""Which hosts take mail for a domain (RFC 5321 5.1, RFC 7505)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from dns.rdtypes.ANY.MX import MX

from probes.domain.names import Names

#: One answer has room for thousands, each of which would be asked for and called at. The largest providers name seven.
_HOSTS_AT_MOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchangers:
    """The hosts that take mail for one domain."""

    domain: str
    #: In lower case, the preferred ones first, and not all of very many. Empty when nobody takes mail for it.
    hosts: tuple[str, ...]
    #: There is no MX record, and the domain itself has an address: mail goes there.
    implicit: bool = False
    #: It says that it takes no mail.
    null: bool = False
    #: Whether the domain's name exists.
    exists: bool = True
    #: Whether DNSSEC proves the records.
    validated: bool = False


async def exchangers(names: Names, domain: str) -> Exchangers:
    """Return the hosts that take mail for *domain*. Raise `probes.domain.names.DnsUnansweredError`."""
    answer = await names.ask(domain, "MX")
    if answer.records:
        hosts = named(cast("Iterable[MX]", answer.records))
        return Exchangers(domain=domain, hosts=hosts, null=not hosts, validated=answer.validated)
    implicit = answer.exists and bool(await names.addresses(domain))
    return Exchangers(
        domain=domain,
        hosts=(domain,) if implicit else (),
        implicit=implicit,
        exists=answer.exists,
        validated=answer.validated,
    )


def named(records: Iterable[MX]) -> tuple[str, ...]:
    """Return the hosts of *records* by preference; the root, which takes no mail (RFC 7505 3), is none."""
    ranked = sorted((record.preference, record.exchange.to_text(omit_final_dot=True).lower()) for record in records)
    hosts = dict.fromkeys(host for _, host in ranked if host not in {"", ".", "@"})
    return tuple(hosts)[:_HOSTS_AT_MOST]
