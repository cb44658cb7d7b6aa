"""DNS block lists of mail servers (RFC 5782).

Only an answer within 127.0.0.0/8 is a listing. Some lists also answer clients that they refuse to serve with an
address, and an abandoned list may answer every question: neither says anything about the address in question.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum

from probes.domain.names import IPAddress, Names

#: Lists that serve anyone with few queries and an own name server. Each defines "few" on its website.
USUAL = ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com")

_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
#: Refusals: .252 a mistyped list, .254 a public or unknown name server, .255 too many queries (Spamhaus).
_REFUSALS = ipaddress.ip_network("127.255.255.0/24")
#: Test entries: always listed, and never listed (RFC 5782 5).
_ALWAYS, _NEVER = ipaddress.ip_address("127.0.0.2"), ipaddress.ip_address("127.0.0.1")


class Listing(StrEnum):
    """Meaning of a list's answer about one address."""

    LISTED = "listed"
    CLEAN = "not listed"
    #: The list refuses this client.
    REFUSED = "the list refuses to answer us"
    #: The list gives invalid answers, or lacks its own test entries.
    DEAD = "the list does not work"


def standing(answers: tuple[IPAddress, ...]) -> Listing:
    """Return the meaning of the addresses in a list's answer."""
    if not answers:
        return Listing.CLEAN
    if any(one in _REFUSALS for one in answers):
        return Listing.REFUSED
    if any(one not in _LOOPBACK for one in answers):
        return Listing.DEAD
    return Listing.LISTED


def question(address: IPAddress, zone: str) -> str:
    """Return the name to query in *zone*: "1.2.0.192.zone" for 192.0.2.1."""
    return f"{address.reverse_pointer.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


async def ask(names: Names, zone: str, address: IPAddress) -> Listing:
    """Return the status of *address* on the list *zone*. Raise `DnsUnansweredError`."""
    answer = await names.ask(question(address, zone), "A")
    return standing(tuple(ipaddress.ip_address(record.to_text()) for record in answer.records))


async def trial(names: Names, zone: str) -> Listing | None:
    """Return why the list *zone* is not reliable, or `None` when it has its test entries.

    Raise `DnsUnansweredError`.
    """
    always = await ask(names, zone, _ALWAYS)
    if always is Listing.REFUSED:
        return Listing.REFUSED
    if always is not Listing.LISTED:
        return Listing.DEAD
    never = await ask(names, zone, _NEVER)
    return None if never is Listing.CLEAN else Listing.DEAD
