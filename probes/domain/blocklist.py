"""Block lists of mail servers in the DNS (RFC 5782).

Only an answer out of 127.0.0.0/8 is a listing. Some lists answer those whom they will not serve with an address, too, and
a list that was given up may answer everything: neither says anything about the address that was asked for.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum

from probes.domain.names import IPAddress, Names

#: Lists that serve anybody who asks little and by a name server of his own. Each says on its pages what "little" is.
USUAL = ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com")

_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
#: "You ask wrongly": .252 a mistyped list, .254 a public or unknown name server, .255 too much (Spamhaus).
_REFUSALS = ipaddress.ip_network("127.255.255.0/24")
#: Listed for testing, and never listed (RFC 5782 5).
_ALWAYS, _NEVER = ipaddress.ip_address("127.0.0.2"), ipaddress.ip_address("127.0.0.1")


class Listing(StrEnum):
    """What a list's answer about one address comes down to."""

    LISTED = "listed"
    CLEAN = "not listed"
    #: It does not answer us in particular.
    REFUSED = "the list refuses to answer us"
    #: It answers what no list answers, or does not know its own test entries.
    DEAD = "the list does not work"


def standing(answers: tuple[IPAddress, ...]) -> Listing:
    """Say what the addresses mean that a list answers with."""
    if not answers:
        return Listing.CLEAN
    if any(one in _REFUSALS for one in answers):
        return Listing.REFUSED
    if any(one not in _LOOPBACK for one in answers):
        return Listing.DEAD
    return Listing.LISTED


def question(address: IPAddress, zone: str) -> str:
    """Return the name that *zone* is asked for: "1.2.0.192.zone" for 192.0.2.1."""
    return f"{address.reverse_pointer.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


async def ask(names: Names, zone: str, address: IPAddress) -> Listing:
    """Return how *address* stands on the list *zone*. Raise `MissingReceipt`."""
    answer = await names.ask(question(address, zone), "A")
    return standing(tuple(ipaddress.ip_address(record.to_text()) for record in answer.records))


async def trial(names: Names, zone: str) -> Listing | None:
    """Return why the list *zone* is not to be believed, or `None` when it knows its test entries. Raise `MissingReceipt`."""
    always = await ask(names, zone, _ALWAYS)
    if always is Listing.REFUSED:
        return Listing.REFUSED
    if always is not Listing.LISTED:
        return Listing.DEAD
    never = await ask(names, zone, _NEVER)
    return None if never is Listing.CLEAN else Listing.DEAD
