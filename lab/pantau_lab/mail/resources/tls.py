"""How a port of a mail system keeps to TLS."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Tls(StrEnum):
    """What a client meets where encryption should begin."""

    SOUND = "sound"
    #: A certificate that was valid once.
    EXPIRED = "expired"
    #: A certificate of somebody else.
    OTHER_NAME = "other name"
    #: A certificate from an authority that nobody knows.
    UNTRUSTED = "untrusted"
    #: The server speaks nothing newer than TLS 1.1, which clients have not offered since 2020 (RFC 8996).
    OLD = "old"
    #: STARTTLS is not offered. Says nothing about ports that are encrypted from their first byte.
    UNOFFERED = "unoffered"
    #: The server goes on in plain text.
    PLAIN = "plain"
    #: The server says nothing.
    SILENT = "silent"


#: What is answered to a client's hello by those that do not go on with the handshake: an alert that tells of another
#: version (RFC 8446 section 6.2), a line, nothing.
INSTEAD: Mapping[Tls, bytes] = {
    Tls.OLD: b"\x15\x03\x01\x00\x02\x02\x46",
    Tls.PLAIN: b"500 5.5.1 Command unrecognized\r\n",
    Tls.SILENT: b"",
}
