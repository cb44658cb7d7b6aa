"""What is said with a submission server: aiosmtplib's protocol, with every line told to the trace and secrets masked."""

from __future__ import annotations

import asyncio

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from probes.credentials.sign_in import Bearer, masked, shown
from probes.model.mailbox import Password
from probes.model.probe import Trace
from probes.model.result import Party

_SENDER = Party.SENDER


class SmtpWire(SMTPProtocol):
    """The commands and replies of one connection."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        #: What the last challenge said (RFC 4954 4); with XOAUTH2, why the token is refused.
        self.challenge = ""
        #: What is signed in with: a server that repeats it does not get it into the trace.
        self.key: Password | Bearer | None = None
        self._trace = trace
        self._secret_next = False
        self._signing_in = False

    def write(self, data: bytes) -> None:
        # Every command comes by here. aiosmtplib drops what arrives unasked between two packets, but takes what came
        # in the same packet for the answer to the next command: a refusal would be blamed on the wrong one.
        if self._buffer:
            raise aiosmtplib.SMTPException("it said more than it was asked for")
        super().write(data)

    async def execute_command(self, *args: bytes, timeout: float | None = None) -> aiosmtplib.SMTPResponse:  # noqa: ASYNC109 - the library's signature
        line = b" ".join(args).decode("ascii", "replace")
        began = line.upper().startswith("AUTH ")
        self._signing_in = began or self._secret_next
        if self._secret_next:
            line = "***"
        elif began:
            line = f"{' '.join(line.split()[:2])} ***"
        self._trace.said(_SENDER, f"C: {line}")
        return await super().execute_command(*args, timeout=timeout)

    async def read_response(self, timeout: float | None = None) -> aiosmtplib.SMTPResponse:  # noqa: ASYNC109 - the library's signature
        try:
            response = await super().read_response(timeout=timeout)
        except aiosmtplib.SMTPResponseException as error:
            # A line that is no reply, which is quoted in the error.
            raise aiosmtplib.SMTPResponseException(error.code, shown(error.message, self.key)) from None
        # Only the challenge 334 (RFC 4954) is followed by a line of credentials; it may quote them back, too.
        self._secret_next = self._signing_in and response.code == 334
        if self._secret_next:
            # As it came: what is answered to it follows from it.
            self.challenge = response.message
            self._trace.said(_SENDER, f"S: {response.code} ***")
            return response
        if self.key is not None:
            # From here on nobody has to think of it: a server may repeat what it was told to whatever it is asked.
            response = aiosmtplib.SMTPResponse(response.code, masked(response.message, self.key))
        for line in response.message.split("\n"):
            self._trace.said(_SENDER, f"S: {response.code} {line}")
        return response

    @property
    def unfinished(self) -> str:
        """What there is to say of an answer that has begun and not ended; "" when there is none."""
        return f"{len(self._buffer)} octets of an answer without an end" if self._buffer else ""
