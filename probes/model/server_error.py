"""What a server may say instead of an answer, whatever its protocol."""

from __future__ import annotations


class Unreadable(Exception):
    """The peer says what its protocol does not know, or more than anybody needs."""


class Injected(Unreadable):
    """Something was said in clear after TLS was granted: read after the handshake, it would pass for the server's word."""


class CommandRefused(Exception):
    """The server said no: NO or BAD in IMAP, -ERR in POP3."""

    def __init__(self, result: str, text: str) -> None:
        super().__init__(f"{result} {text}")
        self.result = result
        self.text = text
