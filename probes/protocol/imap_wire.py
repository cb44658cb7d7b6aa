"""IMAP wire protocol of one connection; the only module that uses aioimaplib.

aioimaplib writes the commands and keeps the protocol's state. Its parser of responses is replaced for four reasons. The
parser recurses for each line, so that a thousand lines at once break it. It starts a task. After the connection is
lost, or the server has sent BYE, pending commands wait for ever. Some of its errors contain the password.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import aioimaplib

from probes.credentials.sign_in import Bearer, mask_refusal
from probes.model.mailbox import Password
from probes.model.polling import reading_cost
from probes.model.probe import ProtocolError, StartTlsInjectionError
from probes.protocol.imap_response import Framer, ImapResponse
from probes.protocol.transcript import Transcript

#: Result of a command that the loss of the connection has ended.
_LOST_RESULT = "LOST"
#: Time without data after which the server counts as silent; half the response timeout if that is shorter.
_SILENCE_SECONDS = 3.0
#: Limits of the cost of responses, by `probes.model.polling.reading_cost`: for a command with a long response, for any
#: other command, and for data that the server sends without a command.
_MAX_LONG_COST = 32 * 1024 * 1024
_MAX_COST = 4 * 1024 * 1024
_MAX_UNSOLICITED_COST = 1024 * 1024
_LONG_COMMANDS = frozenset({"FETCH", "LIST"})


class ImapWire(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]
    """aioimaplib's protocol with another parser of responses.

    The pending command raises any error of the connection or of a response. The connection is then unusable.
    """

    def __init__(self, wake: Callable[[], None], response_timeout: float) -> None:
        """Call *wake* if the server announces a message or the connection is lost. *response_timeout*: seconds."""
        super().__init__(asyncio.get_running_loop())
        # aioimaplib's queue of announcements is not used, and would take 3 KiB for each idle mailbox.
        del self.idle_queue
        #: Set when `greeting` has been received, or the connection is lost.
        self.greeted = asyncio.Event()
        self.greeting = ""
        #: Untagged responses to the last command.
        self.untagged: list[ImapResponse] = []
        #: Set when the server requests a continuation of the command or has completed or rejected it, and when the
        #: connection is lost.
        self.continuation_ready = asyncio.Event()
        #: Text of the continuation request (RFC 3501 7.5).
        self.continuation_text = ""
        #: Whether the server has announced a message. A caller that reads the new mail sets it to `False`.
        self.has_new_mail = False
        #: Receives the dialogue; `None` if it is not recorded.
        self.transcript: Transcript | None = None
        #: Credentials, which are masked in errors if the server repeats them.
        self.credential: Password | Bearer | None = None
        #: Error that made the connection unusable; `None` while it can be used.
        self.failure: Exception | None = None
        #: Time of the server's last data, in seconds of the loop's clock.
        self._received_at = float("-inf")
        #: Cost of the server's responses so far, and the rest of the present limit.
        self.cost = 0
        self._cost_left = _MAX_UNSOLICITED_COST
        #: Whether IDLE has been sent, but not yet DONE.
        self._is_idling = False
        self._wake = wake
        self._response_timeout = response_timeout
        self._framer = Framer()

    def data_received(self, d: bytes) -> None:
        if self.failure is not None:
            return
        self._received_at = self.loop.time()
        cost = reading_cost(d)
        self.cost += cost
        self._cost_left -= cost
        if self._cost_left < 0:
            # Data above the limit is not parsed.
            self.fail(ProtocolError("the response is larger than any that is expected"))
            return
        try:
            for response in self._framer.feed(d):
                self._on_response(response)
        except ProtocolError as error:
            self.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(exc or EOFError("the server closed the connection"))

    def fail(self, failure: Exception) -> None:
        """Abort the connection and wake all waiters."""
        if self.failure is None:
            self.failure = failure
        if self.transport is not None:
            self.transport.abort()
        self.greeted.set()
        self.continuation_ready.set()
        if (pending := self._pending()) is not None:
            self._complete(pending, "", _LOST_RESULT)
        self._wake()

    def connection_error(self) -> Exception:
        """Return the error to raise for the lost connection."""
        if isinstance(self.failure, ProtocolError | TimeoutError | ssl.SSLError):
            return self.failure
        return ConnectionResetError(str(self.failure) or "connection lost")

    def set_response_timeout(self, response_timeout: float) -> None:
        """Wait for each response at most *response_timeout* seconds from now on."""
        self._response_timeout = response_timeout

    def send(self, line: str, scrub: str | None = None) -> None:  # noqa: ARG002 - the signature of aioimaplib
        if self.transcript is not None:
            self._record_command(self.transcript, line)
        # This replaces aioimaplib's `send`, which logs the line and does not mask a password that had to be escaped.
        self.transport.write(f"{line}\r\n".encode())

    def _record_command(self, transcript: Transcript, line: str) -> None:
        _, _, command = line.partition(" ")
        words = command.split(" ")
        if words[0] in {"LOGIN", "AUTHENTICATE"}:
            transcript.add_command(" ".join([*words[: 1 if words[0] == "LOGIN" else 2], "***"]))
        else:
            pending = self._pending()
            transcript.add_command(command or line, secret=pending is not None and pending.name == "AUTHENTICATE")

    def command(self, name: str, *arguments: str) -> Any:
        return aioimaplib.aioimaplib.Command(name, self.new_tag(), *arguments)

    def set_signed_in(self, *, signed_in: bool) -> None:
        """Record whether the session is signed in, by the greeting (PREAUTH) or by a sign-in."""
        self.state = aioimaplib.AUTH if signed_in else aioimaplib.NONAUTH

    @property
    def is_signed_in(self) -> bool:
        return bool(self.state not in {aioimaplib.aioimaplib.CONNECTED, aioimaplib.NONAUTH})

    async def login(self, user: str, password: str) -> Any:
        # aioimaplib quotes only the password.
        return await super().login(aioimaplib.aioimaplib.quoted(user), password)

    async def examine(self, folder: str) -> Any:
        """Open *folder* read-only (RFC 9051 6.3.3)."""
        response = await self.simple_command("EXAMINE", folder)
        # aioimaplib sets the selected state only for SELECT.
        self.state = aioimaplib.SELECTED if response.result == "OK" else aioimaplib.AUTH
        return response

    async def authenticate(self, mechanism: str, response: str, *, with_initial_response: bool) -> tuple[Any, str]:
        """Sign in with *response*, in base64. Return the server's final response, and its challenge or "".

        *with_initial_response*: *response* is sent in the command itself (RFC 4959). When the server refuses, it first
        sends a challenge with the reason, and waits for an empty line, which aioimaplib does not send.
        """
        words = (mechanism, response) if with_initial_response else (mechanism,)
        command = aioimaplib.aioimaplib.Command("AUTHENTICATE", self.new_tag(), *words)
        self.begin_command(command)
        await self.wait_for_event(self.continuation_ready)
        if not with_initial_response and self._pending() is command:
            self.continuation_ready.clear()
            self.send(response)
            await self.wait_for_event(self.continuation_ready)
        challenge = ""
        if self._pending() is command:
            challenge = self.continuation_text
            self.send("")
        final_response = await self.finish_command(command)
        if final_response.result == "OK":
            self.set_signed_in(signed_in=True)
        return final_response, challenge

    def log_out(self) -> None:
        """Send LOGOUT without waiting for a response."""
        if self.failure is not None:
            return
        if self._is_idling:
            # During IDLE the server accepts only DONE. Without LOGOUT, the session may count against the server's limit of connections for some time.
            self.idle_done()
        self.send(f"{self.new_tag()} LOGOUT")
        self.fail(ConnectionAbortedError("closed"))

    async def execute(self, command: Any, scrub: str | None = None) -> Any:
        """Send *command* and wait for its completion. All command methods of aioimaplib call this method."""
        self.begin_command(command, scrub)
        return await self.finish_command(command)

    def begin_command(self, command: Any, scrub: str | None = None) -> None:
        if self.failure is not None:
            raise self.connection_error()
        if self.state not in aioimaplib.aioimaplib.Commands[command.name].valid_states:
            raise RuntimeError(f"{command.name} in state {self.state}")
        self.untagged = []
        self._cost_left = _MAX_LONG_COST if command.name in _LONG_COMMANDS else _MAX_COST
        self.continuation_ready.clear()
        # Only one command is pending at a time, so every untagged response belongs to it.
        self.pending_sync_command = command
        self._is_idling = command.name == "IDLE"
        self.send(str(command), scrub=scrub)

    def idle_done(self) -> None:
        self._is_idling = False
        self.send("DONE")

    async def finish_command(self, command: Any) -> Any:
        try:
            async with asyncio.timeout(self._response_timeout):
                await command.wait()
        except TimeoutError as error:
            self.fail(error)
            raise self._timeout_error() from error
        except Exception as error:
            # The rest of the response may still arrive, so the connection cannot be used again.
            self.fail(error)
            raise
        except BaseException:
            self.log_out()
            raise
        if command.response.result == _LOST_RESULT:
            raise self.connection_error()
        return command.response

    async def wait_for_event(self, event: asyncio.Event) -> None:
        """Wait until *event* is set, at most for the response timeout. Raise the error if the connection is lost."""
        try:
            async with asyncio.timeout(self._response_timeout):
                await event.wait()
        except TimeoutError as error:
            self.fail(error)
            raise self._timeout_error() from error
        if self.failure is not None:
            raise self.connection_error()

    def _timeout_error(self) -> TimeoutError:
        """Return the timeout error. Its text describes an incomplete response; "" means a silent server."""
        is_sending = self.loop.time() - self._received_at < min(_SILENCE_SECONDS, self._response_timeout / 2)
        return TimeoutError("an answer without an end" if is_sending else "")

    def _on_response(self, response: ImapResponse) -> None:
        text = response.text
        if self.transcript is not None:
            line = text if text.startswith(("* ", "+")) else text.partition(" ")[2]
            self.transcript.add_response(line, secret=text.startswith("+"))
        if not self.greeted.is_set():
            self.greeting = text
            self.greeted.set()
        elif text.startswith("* "):
            self._on_untagged(ImapResponse(text=text[2:], literals=response.literals))
        elif text.startswith("+"):
            self.continuation_text = text[1:].strip()
            self.continuation_ready.set()
        else:
            self._on_tagged(text)

    def _on_untagged(self, response: ImapResponse) -> None:
        text = response.text.upper()
        if text.startswith("BYE"):
            # The connection is aborted, because some servers send BYE and keep it open without sending more.
            self.fail(EOFError(f"the server said {mask_refusal(response.text, self.credential)}"))
            return
        if text.endswith(" EXISTS"):
            self.has_new_mail = True
            if (pending := self._pending()) is None or pending.name == "IDLE":
                # An announcement during another command does not call `wake`, because the command's caller checks
                # `has_new_mail`. Some servers announce mail with each response, which would cause endless polls.
                self._wake()
        if self._pending() is not None:
            self.untagged.append(response)

    def _on_tagged(self, text: str) -> None:
        tag, _, rest = text.partition(" ")
        result, _, rest = rest.partition(" ")
        pending = self._pending()
        if pending is None or pending.tag != tag or result.upper() not in {"OK", "NO", "BAD"}:
            # The error does not quote the text, because the peer may not be a mail server.
            raise ProtocolError("a response to no pending command")
        if pending.name == "STARTTLS" and not self._framer.is_empty:
            # An attacker may append a response before TLS starts. After the handshake it would seem to come from the
            # server (RFC 9051 11.1).
            raise StartTlsInjectionError("plain text after the response to STARTTLS")
        # Only the text of a refusal is masked, because no other text is shown to people.
        self._complete(pending, rest if result.upper() == "OK" else mask_refusal(rest, self.credential), result.upper())
        self.continuation_ready.set()

    def _complete(self, pending: Any, text: str, result: str) -> None:
        self.pending_sync_command = None
        self._cost_left = _MAX_UNSOLICITED_COST
        # The text is made valid UTF-8, because aioimaplib decodes parts of it without error handling.
        pending.close(text.encode("latin-1").decode("utf-8", "replace").encode(), result)

    def _pending(self) -> Any:
        return self.pending_sync_command
