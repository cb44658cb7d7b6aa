"""From which address a message left its sender's mail system, as the receiving system wrote it down. Pure.

Headers above the one that tells of the crossing are the receiver's own; below it the sender may have written anything. The
crossing is the first, from the top, where a host of one organization took the message from a host of another.
"""

from __future__ import annotations

import ipaddress
import re

from checkdmarc.utils import get_base_domain

from probes.domain.names import IPAddress
from probes.mail.mime import header_of

_HEADERS_AT_MOST = 30
_HEADER_AT_MOST = 2_000
_FROM = re.compile(r"from (\S{1,255}) (.{1,500}?) by ([^\s;]{1,255})", re.IGNORECASE)
_ADDRESS = re.compile(r"[\[(](?:IPv6:)?([0-9a-f:.]{2,45})[\])]", re.IGNORECASE)
#: Inside of somebody's network: RFC 1918, RFC 4193, loopback, link-local.
_INSIDE = tuple(
    ipaddress.ip_network(one)
    for one in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    )
)


def outbound_address(message: bytes) -> IPAddress | None:
    """Return the address that handed *message* to the receiving system; `None` when the headers do not tell."""
    headers = header_of(message[:100_000])
    for header in (headers.get_all("Received") or [])[:_HEADERS_AT_MOST]:
        # One blank in the place of each run of them: otherwise all ways to share them out would be tried.
        match = _FROM.match(" ".join(str(header)[:_HEADER_AT_MOST].split()))
        if match is None or get_base_domain(match[1]) == get_base_domain(match[3]):
            continue
        if (address := _address(match[2])) is not None:
            return address
    return None


def _address(text: str) -> IPAddress | None:
    for found in _ADDRESS.findall(text):
        try:
            address = ipaddress.ip_address(found)
        except ValueError:
            continue
        if not any(address in network for network in _INSIDE):
            return address
    return None
