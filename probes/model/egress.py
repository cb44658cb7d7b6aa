"""Egress policy: which addresses connections may reach if no operator of this machine configured the host. Pure.

Without a policy, a user who enters a host could reach the prober's own network (CWE-918): services that listen on this
machine only, a cloud's metadata service, printers and databases behind the firewall. Each address is therefore checked
before a connection, in its canonical form: "::ffff:127.0.0.1" counts as 127.0.0.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Self

#: Submission, IMAP and POP3, with TLS from the first byte and without (RFC 8314 7, RFC 6409), and SMTP on port 25.
MAIL_PORTS: Final = frozenset({25, 465, 587, 143, 993, 110, 995})

#: The only IPv6 range that is allocated for the Internet (RFC 4291 2.4). All others are reserved or unassigned.
_GLOBAL: Final = IPv6Network("2000::/3")
#: IPv6 prefixes for which a gateway on the way connects to an IPv4 address, which cannot be checked here.
_TUNNELS: Final = tuple(
    IPv6Network(each)
    for each in (
        "64:ff9b::/96",  # NAT64 (RFC 6052).
        "64:ff9b:1::/48",  # NAT64 with a local prefix (RFC 8215).
        "2002::/16",  # 6to4 (RFC 3056).
        "2001::/32",  # Teredo (RFC 4380).
        "::/96",  # "IPv4-compatible", deprecated (RFC 4291 2.5.5.1).
    )
)
#: Relays of 6to4 (RFC 7526); Python classifies the range as global.
_RELAYS_6TO4: Final = IPv4Network("192.88.99.0/24")
#: Site-local IPv6, deprecated (RFC 3879).
_SITE_LOCAL: Final = IPv6Network("fec0::/10")
#: "This network" (RFC 1122 3.2.1.3): Linux connects 0.0.0.0 to the machine itself.
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")
_UNIQUE_LOCAL: Final = IPv6Network("fc00::/7")
#: Private networks (RFC 1918), and the shared address space of carriers (RFC 6598).
_PRIVATE: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
_ADDRESS_AND_PORT: Final = re.compile(
    r"(?:(?P<four>[0-9.]+(?:/[0-9]+)?)|\[(?P<six>[0-9a-fA-F:.]+(?:/[0-9]+)?)\]):(?P<port>[0-9]{1,5})"
)


class EgressDenial(StrEnum):
    """Reason why a connection is denied."""

    PORT = "a port that mail servers do not use"
    THIS_MACHINE = "this machine itself"
    #: Link-local addresses; includes the metadata services of clouds, such as 169.254.169.254.
    LINK = "the link of this machine"
    PRIVATE = "a private network that the settings do not name"
    #: Multicast, tunnels, and reserved ranges.
    RESERVED = "an address that no mail server has"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedNetwork:
    """Network that the operator's settings allow although the policy denies it."""

    network: IPv4Network | IPv6Network
    #: The only allowed port; `None` allows the policy's ports.
    port: int | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse "10.20.0.0/16", "10.20.0.5:2525" or "[fd00::5]:2525". Raise `ValueError` for any other text."""
        if (match := _ADDRESS_AND_PORT.fullmatch(text)) is None:
            return cls(network=ip_network(text))
        port = int(match["port"])
        if not 1 <= port <= 65535:
            raise ValueError("no port")
        return cls(network=ip_network(match["four"] or match["six"]), port=port)


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """Egress policy: allows the public Internet and the networks of the settings, on the ports of mail servers only."""

    #: Networks that the operator's settings allow in addition.
    exceptions: tuple[AllowedNetwork, ...] = ()
    ports: frozenset[int] = field(default=MAIL_PORTS)

    def with_ports(self, ports: Iterable[int]) -> EgressPolicy:
        """Return the same policy for other ports: an MTA-STS policy is fetched from 443."""
        return EgressPolicy(exceptions=self.exceptions, ports=frozenset(ports))

    def denial(self, address: str, port: int) -> EgressDenial | None:
        """Return why a connection to the IP *address* and *port* is denied; `None` if it is allowed.

        Raise `ValueError` for an invalid address.
        """
        destination = _canonical_address(address)
        exception_ports = [exception.port for exception in self.exceptions if destination in exception.network]
        if port in exception_ports:
            return None
        if port not in self.ports:
            return EgressDenial.PORT
        return None if None in exception_ports else _classify(destination)


def _canonical_address(address: str) -> IPv4Address | IPv6Address:
    """Parse *address*, without an IPv6 zone ("%eth0"); an IPv4-mapped IPv6 address becomes the IPv4 address."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def _classify(address: IPv4Address | IPv6Address) -> EgressDenial | None:
    if address.is_loopback or address.is_unspecified or (address.version == 4 and address in _THIS_NETWORK):
        return EgressDenial.THIS_MACHINE
    if address.is_link_local:
        return EgressDenial.LINK
    if address.is_multicast:
        return EgressDenial.RESERVED
    if isinstance(address, IPv6Address):
        if any(address in network for network in _TUNNELS):
            return EgressDenial.RESERVED
        if address in _SITE_LOCAL or address in _UNIQUE_LOCAL:
            return EgressDenial.PRIVATE
        return None if address in _GLOBAL and address.is_global else EgressDenial.RESERVED
    if any(address in network for network in _PRIVATE):
        return EgressDenial.PRIVATE
    return None if address.is_global and address not in _RELAYS_6TO4 else EgressDenial.RESERVED
