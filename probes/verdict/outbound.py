"""Address from which a message left its sender's mail system, by the Received headers of the receiving system. Pure.

The transfer between the two systems is the first header, from the top, in which a host of one organization received the
message from a public address of a host of another. The headers above it are the receiver's own. The sender may have
written the headers below it.
"""

from __future__ import annotations

import ipaddress
import re

from checkdmarc.utils import get_base_domain

from probes.domain.names import IPAddress
from probes.mail.mime import parse_header

#: Limits of parsing: Received headers, and characters of one header.
_MAX_HEADERS = 30
_MAX_HEADER = 2_000
#: Name of the sending host, text with its address, and name of the receiving host.
_FROM = re.compile(r"from (\S{1,255}) (.{1,500}?) by ([^\s;]{1,255})", re.IGNORECASE)
_ADDRESS = re.compile(r"[\[(](?:IPv6:)?([0-9a-f:.]{2,45})[\])]", re.IGNORECASE)
#: Internal networks: RFC 1918, RFC 4193, loopback, link-local.
_INTERNAL = tuple(
    ipaddress.ip_network(network)
    for network in (
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
    """Return the address that sent *message* to the receiving system; `None` if the headers do not contain it."""
    headers = parse_header(message[:100_000])
    for header in (headers.get_all("Received") or [])[:_MAX_HEADERS]:
        # Each run of blanks is replaced by one, so that the pattern does not backtrack over all ways to split it.
        match = _FROM.match(" ".join(str(header)[:_MAX_HEADER].split()))
        if match is None or get_base_domain(match[1]) == get_base_domain(match[3]):
            continue
        if (address := _public_address(match[2])) is not None:
            return address
    return None


def _public_address(text: str) -> IPAddress | None:
    for candidate in _ADDRESS.findall(text):
        try:
            address = ipaddress.ip_address(candidate)
        except ValueError:
            continue
        if not any(address in network for network in _INTERNAL):
            return address
    return None
