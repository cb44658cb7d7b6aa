"""TLS states of a port of a mail system."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Tls(StrEnum):
    """What a client gets when it begins TLS."""

    #: TLS works.
    SOUND = "sound"
    #: An expired certificate.
    EXPIRED = "expired"
    #: A certificate for another host name.
    OTHER_NAME = "other name"
    #: A certificate from an unknown authority.
    UNTRUSTED = "untrusted"
    #: The server speaks nothing newer than TLS 1.1, which clients have not offered since 2020 (RFC 8996).
    OLD = "old"
    #: STARTTLS is not offered. Ports with implicit TLS are not affected.
    UNOFFERED = "unoffered"
    #: The server continues in plain text.
    PLAIN = "plain"
    #: The server does not answer the handshake.
    SILENT = "silent"


#: Octets that answer the ClientHello in states without a handshake: an alert protocol_version (RFC 8446 section 6.2), a
#: line in plain text, nothing.
HANDSHAKE_REPLIES: Mapping[Tls, bytes] = {
    Tls.OLD: b"\x15\x03\x01\x00\x02\x02\x46",
    Tls.PLAIN: b"500 5.5.1 Command unrecognized\r\n",
    Tls.SILENT: b"",
}
