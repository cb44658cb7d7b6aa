"""What a mail system listens for."""

from __future__ import annotations

from enum import StrEnum


class Port(StrEnum):
    """The services of a mail system, each on a port of its own."""

    #: Mail from its own people, upgraded with STARTTLS (RFC 6409, port 587).
    SUBMISSION = "submission"
    #: The same with TLS from the first byte (RFC 8314, port 465).
    SUBMISSIONS = "submissions"
    #: Mail from other systems (RFC 5321, port 25).
    MX = "mx"
    #: Its people reading their mail, with TLS from the first byte (RFC 8314, port 993).
    IMAP = "imap"
