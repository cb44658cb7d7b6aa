"""A fake MX host."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field


@dataclass(slots=True)
class MxHost:
    """A fake MX host that answers the SMTP envelope and takes no message."""

    greeting: str = "220-mx1 tunggu\r\n220 mx1 ESMTP\r\n"
    tls: ssl.SSLContext | None = None
    #: Offered in clear, besides STARTTLS.
    extensions: tuple[str, ...] = ("PIPELINING",)
    #: Answer by the first word of a command, or by the whole line in upper case.
    answers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    #: Set when the client spoke before the greeting was whole.
    client_spoke_early: bool = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        first, _, rest = self.greeting.partition("\n")
        writer.write(f"{first}\n".encode())
        if rest:
            await self._detect_early_client(reader)
            writer.write(rest.encode())
        secure = False
        while line := (await reader.readline()).decode().strip():
            self.asked.append(line)
            word = line.upper().partition(" ")[0]
            if (answer := self.answers.get(line.upper()) or self.answers.get(word)) is not None:
                writer.write(f"{answer}\r\n".encode())
            elif word == "STARTTLS" and self.tls is not None:
                writer.write(b"220 mula\r\n")
                await writer.start_tls(self.tls)
                secure = True
            else:
                writer.write(self._usual(word, secure=secure).encode())
            if word == "QUIT":
                return

    async def _detect_early_client(self, reader: asyncio.StreamReader) -> None:
        try:
            async with asyncio.timeout(0.05):
                self.client_spoke_early = bool(await reader.read(1))
        except TimeoutError:
            pass

    def _usual(self, word: str, *, secure: bool) -> str:
        if word != "EHLO":
            return {"QUIT": "221 jumpa lagi\r\n", "AUTH": "503 5.5.1 tiada\r\n"}.get(word, "250 2.0.0 baik\r\n")
        offered = [*(() if secure else self.extensions), *(("STARTTLS",) if self.tls and not secure else ())]
        return "".join(f"250-{line}\r\n" for line in ("mx1", *offered)) + "250 8BITMIME\r\n"
