"""IMAP wire protocol: the only module that uses aioimaplib.

aioimaplib writes the commands and keeps the protocol's state. Its reading half is replaced, because it recurses once a
line (more than a thousand lines at once break it), starts a task of its own, lets pending commands wait for ever after
the connection is lost or the server has sent BYE, and includes the password in some of its errors.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import aioimaplib

from probes.credentials.sign_in import Bearer, shown
from probes.model.mailbox import Password
from probes.model.polling import cost
from probes.model.probe import ProtocolError, StartTlsInjectionError
from probes.protocol.imap_response import Framer, ImapResponse
from probes.protocol.transcript import Transcript

_LOST = "LOST"
#: Seconds: a server that has sent something this recently is not silent.
_SILENCE = 3.0
#: Limits of the responses, by `probes.model.polling.cost`: to a command with a long list or many mails; to any other;
#: unsolicited before the next command.
_PLENTY = 32 * 1024 * 1024
_LITTLE = 4 * 1024 * 1024
_UNASKED = 1024 * 1024
_PLENTIFUL = frozenset({"FETCH", "LIST"})


class ImapWire(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]
    """aioimaplib's protocol with another reading half.

    After any error the pending command raises it and the connection is unusable.
    """

    def __init__(self, stir: Callable[[], None], leg: float) -> None:
        super().__init__(asyncio.get_running_loop())
        # aioimaplib's queue for announcements. It is not used here, and its deques take 3 KiB for every idle mailbox.
        del self.idle_queue
        self.greeted = asyncio.Event()
        self.greeting = ""
        #: Untagged responses to the last command.
        self.heard: list[ImapResponse] = []
        #: Set when the server requests continuation, or has rejected the command.
        self.going_on = asyncio.Event()
        #: Text of the continuation request (RFC 3501 7.5).
        self.prompt = ""
        #: A message was announced since this was last set to `False`.
        self.news = False
        #: Receives the dialogue for people; `None` without a reader.
        self.transcript: Transcript | None = None
        #: Credentials, which are removed from errors if the server repeats them.
        self.key: Password | Bearer | None = None
        #: Why the connection is unusable.
        self.cause: Exception | None = None
        #: Time of the server's last data, on the loop's clock.
        self._heard_at = float("-inf")
        #: Cost of the server's responses so far, and the remaining limit for now.
        self.cost = 0
        self._room = _UNASKED
        #: IDLE has been sent, and DONE has not.
        self._listening = False
        self._stir = stir
        self._leg = leg
        self._framer = Framer()

    def data_received(self, d: bytes) -> None:
        if self.cause is not None:
            return
        self._heard_at = self.loop.time()
        spent = cost(d)
        self.cost += spent
        self._room -= spent
        if self._room < 0:
            # Excess data is not parsed.
            self.fail(ProtocolError("it says more than anything that was asked for takes"))
            return
        try:
            for answer in self._framer.feed(d):
                self._hear(answer)
        except ProtocolError as error:
            self.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(exc or EOFError("the server closed the connection"))

    def fail(self, cause: Exception) -> None:
        """Abort the connection and wake all waiters."""
        if self.cause is None:
            self.cause = cause
        if self.transport is not None:
            self.transport.abort()
        self.greeted.set()
        self.going_on.set()
        if (pending := self._pending()) is not None:
            self._finish(pending, "", _LOST)
        self._stir()

    def lost(self) -> Exception:
        """Return the error to raise for the lost connection."""
        if isinstance(self.cause, ProtocolError | TimeoutError | ssl.SSLError):
            return self.cause
        return ConnectionResetError(str(self.cause) or "connection lost")

    def hasten(self, leg: float) -> None:
        """Wait for each response at most *leg* seconds from now on."""
        self._leg = leg

    def send(self, line: str, scrub: str | None = None) -> None:  # noqa: ARG002 - the signature of aioimaplib
        if self.transcript is not None:
            self._show(self.transcript, line)
        # aioimaplib logs what it sends, and does not mask a password that had to be escaped.
        self.transport.write(f"{line}\r\n".encode())

    def _show(self, transcript: Transcript, line: str) -> None:
        _, _, command = line.partition(" ")
        words = command.split(" ")
        if words[0] in {"LOGIN", "AUTHENTICATE"}:
            transcript.asked(" ".join([*words[: 1 if words[0] == "LOGIN" else 2], "***"]))
        else:
            pending = self._pending()
            transcript.asked(command or line, secret=pending is not None and pending.name == "AUTHENTICATE")

    def command(self, name: str, *arguments: str) -> Any:
        return aioimaplib.aioimaplib.Command(name, self.new_tag(), *arguments)

    def enter(self, *, signed_in: bool) -> None:
        """Record the greeting."""
        self.state = aioimaplib.AUTH if signed_in else aioimaplib.NONAUTH

    @property
    def is_signed_in(self) -> bool:
        return bool(self.state not in {aioimaplib.aioimaplib.CONNECTED, aioimaplib.NONAUTH})

    async def login(self, user: str, password: str) -> Any:
        # aioimaplib quotes the password only.
        return await super().login(aioimaplib.aioimaplib.quoted(user), password)

    async def examine(self, folder: str) -> Any:
        """Open *folder* read-only (RFC 9051 6.3.3)."""
        answer = await self.simple_command("EXAMINE", folder)
        # aioimaplib sets the selected state for SELECT only.
        self.state = aioimaplib.SELECTED if answer.result == "OK" else aioimaplib.AUTH
        return answer

    async def authenticate(self, mechanism: str, response: str, *, at_once: bool) -> tuple[Any, str]:
        """Sign in with one *response*, in base64; return the server's response and the challenge before it, if any.

        *at_once* sends it with the command (RFC 4959). A challenge after it is the server's reason for a refusal, which
        follows only after an empty line from the client; aioimaplib does not send it, and waits until the timeout.
        """
        words = (mechanism, response) if at_once else (mechanism,)
        command = aioimaplib.aioimaplib.Command("AUTHENTICATE", self.new_tag(), *words)
        self.begin(command)
        await self.until(self.going_on)
        if not at_once and self._pending() is command:
            self.going_on.clear()
            self.send(response)
            await self.until(self.going_on)
        challenge = ""
        if self._pending() is command:
            challenge = self.prompt
            self.send("")
        answer = await self.end(command)
        if answer.result == "OK":
            self.enter(signed_in=True)
        return answer, challenge

    def leave(self) -> None:
        """Send LOGOUT without waiting for a response."""
        if self.cause is not None:
            return
        if self._listening:
            # During IDLE the server accepts only DONE, and a session without LOGOUT may count as open for a while.
            self.idle_done()
        self.send(f"{self.new_tag()} LOGOUT")
        self.fail(ConnectionAbortedError("closed"))

    async def execute(self, command: Any, scrub: str | None = None) -> Any:
        """Send *command* and wait for its completion, as every command method of aioimaplib does."""
        self.begin(command, scrub)
        return await self.end(command)

    def begin(self, command: Any, scrub: str | None = None) -> None:
        if self.cause is not None:
            raise self.lost()
        if self.state not in aioimaplib.aioimaplib.Commands[command.name].valid_states:
            raise RuntimeError(f"{command.name} in state {self.state}")
        self.heard = []
        self._room = _PLENTY if command.name in _PLENTIFUL else _LITTLE
        self.going_on.clear()
        # One command at a time, so that every untagged response belongs to it.
        self.pending_sync_command = command
        self._listening = command.name == "IDLE"
        self.send(str(command), scrub=scrub)

    def idle_done(self) -> None:
        self._listening = False
        self.send("DONE")

    async def end(self, command: Any) -> Any:
        try:
            async with asyncio.timeout(self._leg):
                await command.wait()
        except TimeoutError as error:
            self.fail(error)
            raise self._late() from error
        except Exception as error:
            # The rest of a response may still arrive: the connection cannot be used again.
            self.fail(error)
            raise
        except BaseException:
            self.leave()
            raise
        if command.response.result == _LOST:
            raise self.lost()
        return command.response

    async def until(self, event: asyncio.Event) -> None:
        """Wait for the server's *event*, at most as long as for a response."""
        try:
            async with asyncio.timeout(self._leg):
                await event.wait()
        except TimeoutError as error:
            self.fail(error)
            raise self._late() from error
        if self.cause is not None:
            raise self.lost()

    def _late(self) -> TimeoutError:
        """Return the timeout error: the server was silent, or its response is incomplete."""
        talks = self.loop.time() - self._heard_at < min(_SILENCE, self._leg / 2)
        return TimeoutError("an answer without an end" if talks else "")

    def _hear(self, answer: ImapResponse) -> None:
        text = answer.text
        if self.transcript is not None:
            told = text if text.startswith(("* ", "+")) else text.partition(" ")[2]
            self.transcript.answered(told, secret=text.startswith("+"))
        if not self.greeted.is_set():
            self.greeting = text
            self.greeted.set()
        elif text.startswith("* "):
            self._untagged(ImapResponse(text=text[2:], literals=answer.literals))
        elif text.startswith("+"):
            self.prompt = text[1:].strip()
            self.going_on.set()
        else:
            self._tagged(text)

    def _untagged(self, answer: ImapResponse) -> None:
        text = answer.text.upper()
        if text.startswith("BYE"):
            # Some servers send BYE and keep the connection open, without sending more.
            self.fail(EOFError(f"the server said {shown(answer.text, self.key)}"))
            return
        if text.endswith(" EXISTS"):
            self.news = True
            if (pending := self._pending()) is None or pending.name == "IDLE":
                # Some servers announce with each response: the caller of a command sees it anyway, and would poll
                # without end.
                self._stir()
        if self._pending() is not None:
            self.heard.append(answer)

    def _tagged(self, text: str) -> None:
        tag, _, rest = text.partition(" ")
        result, _, rest = rest.partition(" ")
        pending = self._pending()
        if pending is None or pending.tag != tag or result.upper() not in {"OK", "NO", "BAD"}:
            # The text is not quoted: it comes from an unknown peer.
            raise ProtocolError("an answer to nothing that was asked")
        if pending.name == "STARTTLS" and not self._framer.is_empty:
            # A response sent before TLS and read after the handshake would count as the server's own (RFC 9051 11.1).
            raise StartTlsInjectionError("an answer before TLS was up")
        # Only the text of a refusal is shown.
        self._finish(pending, rest if result.upper() == "OK" else shown(rest, self.key), result.upper())
        self.going_on.set()

    def _finish(self, pending: Any, text: str, result: str) -> None:
        self.pending_sync_command = None
        self._room = _UNASKED
        # Always valid UTF-8: aioimaplib decodes parts of it without error handling.
        pending.close(text.encode("latin-1").decode("utf-8", "replace").encode(), result)

    def _pending(self) -> Any:
        return self.pending_sync_command
