"""One connection to a mail server that is spoken to in lines, and may turn to TLS on the way."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Self, cast

from probes.model.probe import Injected, Unreadable
from probes.protocol.connection import address_literal

#: A server that says more than this in one breath is not waited for.
_AHEAD_AT_MOST = 64 * 1024


class Dialogue(asyncio.Protocol):
    """Lines out, lines in. The caller sets the deadlines, and closes it."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self._lost: Exception | None = None
        self._news = asyncio.Event()
        self._transports: list[asyncio.Transport] = []

    @classmethod
    async def over(cls, sock: Any, *, tls: ssl.SSLContext | None = None, name: str | None = None) -> Self:
        """Return the dialogue over a connected socket, which is its own from now on; with *tls*, after the handshake.

        Raise `OSError`, of which `ssl.SSLError` is one.
        """
        dialogue = cls()
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: dialogue, sock=sock, ssl=tls, server_hostname=name if tls else None
            )
        except BaseException:
            dialogue.close()
            sock.close()
            raise
        return dialogue

    async def secure(self, tls: ssl.SSLContext, name: str) -> None:
        """Turn to TLS. Raise `OSError` or, when the peer has said more already than it was asked, `Injected`.

        What comes in clear behind the permission would pass for something said under TLS (CVE-2011-0411).
        """
        if self._heard:
            raise Injected("more was said in clear after TLS was granted")
        transport = await asyncio.get_running_loop().start_tls(self._transports[-1], self, tls, server_hostname=name)
        self._transports.append(cast(asyncio.Transport, transport))

    def say(self, line: str) -> None:
        if any(character in line for character in "\r\n\0"):
            raise ValueError("a command is one line")
        self._transports[-1].write(line.encode("utf-8", "replace") + b"\r\n")

    async def hear(self) -> str:
        """Return the next line without its end. Raise `OSError` when the peer has gone, `Unreadable` when it drones."""
        while (end := self._heard.find(b"\n")) < 0:
            if self._lost is not None:
                raise self._lost
            self._news.clear()
            await self._news.wait()
        line = bytes(self._heard[: end + 1])
        del self._heard[: end + 1]
        return line.decode("utf-8", "replace").rstrip("\r\n")

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates that the peer showed, its own first, in DER; only that one where Python tells no more."""
        spoken = self._transports[-1].get_extra_info("ssl_object")
        return () if spoken is None else _shown(spoken)

    @property
    def literal(self) -> str:
        """Our own address as EHLO takes it."""
        return address_literal(self._transports[0])

    def close(self) -> None:
        """Let go at once; a TLS farewell to a silent peer would keep the socket for another half minute."""
        for transport in reversed(self._transports):
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transports.append(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if len(self._heard) > _AHEAD_AT_MOST:
            self._end(Unreadable("it does not stop talking"))
            self.close()
        self._news.set()

    def eof_received(self) -> None:
        self._end(ConnectionResetError("closed by the peer"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionResetError("closed by the peer"))

    def _end(self, why: Exception) -> None:
        self._lost = self._lost or why
        self._news.set()


def _shown(spoken: Any) -> tuple[bytes, ...]:
    # Public since Python 3.13; before, the same is there one level below.
    read = getattr(spoken, "get_unverified_chain", None) or getattr(spoken._sslobj, "get_unverified_chain", None)  # noqa: SLF001 - see above
    shown = (read() or ()) if read is not None else ()
    chain = tuple(one if isinstance(one, bytes) else _der(one) for one in shown)
    own = spoken.getpeercert(binary_form=True)
    return chain or ((own,) if own else ())


def _der(certificate: Any) -> bytes:
    # Without an argument this one returns PEM.
    return ssl.PEM_cert_to_DER_cert(certificate.public_bytes())
