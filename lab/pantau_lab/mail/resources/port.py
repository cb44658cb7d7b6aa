"""Ports of a mail system."""

from __future__ import annotations

from enum import StrEnum


class Port(StrEnum):
    """The services of a mail system, each on a port of its own."""

    #: Mail from its own users, encrypted by STARTTLS (RFC 6409, port 587).
    SUBMISSION = "submission"
    #: Mail from its own users, with implicit TLS (RFC 8314, port 465).
    SUBMISSIONS = "submissions"
    #: Mail from other systems (RFC 5321, port 25).
    MX = "mx"
    #: Reading of mail by its own users, with implicit TLS (RFC 8314, port 993).
    IMAP = "imap"
