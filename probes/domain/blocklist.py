"""DNS block lists of mail servers (RFC 5782).

Only an answer within 127.0.0.0/8 lists the queried address. A list may also return an address to a client that it
refuses to serve, and an abandoned list may answer every query; neither is evidence about the queried address.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum

from probes.domain.names import DnsClient, IPAddress

#: Lists that serve everyone who runs a name server and sends few queries. Each list's website defines "few".
DEFAULT_LISTS = ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com")

_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
#: Answers that refuse the client (Spamhaus): .252 mistyped list, .254 public or unknown name server, .255 too many
#: queries.
_REFUSALS = ipaddress.ip_network("127.255.255.0/24")
#: Test entries: always listed, and never listed (RFC 5782 5).
_TEST_LISTED, _TEST_UNLISTED = ipaddress.ip_address("127.0.0.2"), ipaddress.ip_address("127.0.0.1")


class Listing(StrEnum):
    """Meaning of a list's answer about one address."""

    LISTED = "listed"
    CLEAN = "not listed"
    #: The list refuses this client.
    REFUSED = "the list refuses to answer us"
    #: The list gives invalid answers, or does not contain the test entries.
    INVALID = "the list does not work"


def classify_answer(addresses: tuple[IPAddress, ...]) -> Listing:
    """Return the meaning of the addresses in a list's answer."""
    if not addresses:
        return Listing.CLEAN
    if any(address in _REFUSALS for address in addresses):
        return Listing.REFUSED
    if any(address not in _LOOPBACK for address in addresses):
        return Listing.INVALID
    return Listing.LISTED


def query_name(address: IPAddress, zone: str) -> str:
    """Return the name to query in *zone*: "1.2.0.192.zone" for 192.0.2.1."""
    return f"{address.reverse_pointer.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


async def look_up(dns_client: DnsClient, zone: str, address: IPAddress) -> Listing:
    """Return the status of *address* on the list *zone*. Raise `DnsUnansweredError`."""
    answer = await dns_client.query(query_name(address, zone), "A")
    return classify_answer(tuple(ipaddress.ip_address(record.to_text()) for record in answer.records))


async def test_list(dns_client: DnsClient, zone: str) -> Listing | None:
    """Return why the list *zone* is not reliable, or `None` if it passes the test.

    Raise `DnsUnansweredError`.
    """
    listed = await look_up(dns_client, zone, _TEST_LISTED)
    if listed is Listing.REFUSED:
        return Listing.REFUSED
    if listed is not Listing.LISTED:
        return Listing.INVALID
    unlisted = await look_up(dns_client, zone, _TEST_UNLISTED)
    return None if unlisted is Listing.CLEAN else Listing.INVALID
