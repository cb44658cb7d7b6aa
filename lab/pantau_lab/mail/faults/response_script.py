"""Response behaviors: replacements of what a server writes by a sequence of steps.

A behavior is created for one connection and called with each write of the server, of which the first is the greeting. Its
steps may be endless, so they are generated one at a time. `pantau_lab.mail.server.scripted_transport` executes them; this
module does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce

#: Start of an IMAP greeting.
_UNTAGGED = b"* "
#: Response code of SELECT.
_SELECTED = b"[READ-WRITE]"
#: Start of a message in a response to FETCH.
_LITERAL = re.compile(rb"(BODY\[[^]]*\](?:<0>)? )\{\d+\}\r\n")

#: Tagged response, which ends a command. Other writes are untagged responses, continuation requests or message text.
_TAGGED_RESPONSE = re.compile(rb"[^\s*+]+ (?:OK|NO|BAD) ")

_GARBAGE = b"HTTP/1.1 418 I'm a teapot\r\n\x00\xfe\xff\x16\x03 \r\n\r\n"
_BURST = b"* OK Still searching the mailbox\r\n" * 1500
_BYE = b"* BYE Server shutting down\r\n"
_BYE_AT_ONCE = b"* BYE Too many connections, try later\r\n"
_BUSY = b"421 4.3.2 Too many connections, try later\r\n"
#: A flood of 6 MB/s fills any buffer quickly without occupying the CPU.
_FLOOD_OCTETS = 64 * 1024
_FLOOD_PAUSE = timedelta(seconds=0.01)


@dataclass(frozen=True, slots=True)
class Send:
    """Send *octets*, and wait until most of them have left the buffer."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait for *span*."""

    span: timedelta


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Close the server's direction of the connection; the other stays open."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Discard later writes, send what is buffered, and close the connection."""


Step = Send | Delay | HalfClose | HangUp
#: Returns the steps that replace a write of the server.
ResponseBehavior = Callable[[bytes], Iterable[Step]]


def tarpit(drip: timedelta) -> ResponseBehavior:
    """Send one byte at a time, with the pause *drip* after each."""

    def respond(written: bytes) -> Iterator[Step]:
        for index in range(len(written)):
            yield Send(written[index : index + 1])
            yield Delay(drip)

    return respond


def flood() -> ResponseBehavior:
    """Send an endless greeting: in SMTP endless lines, in IMAP one endless line."""

    def respond(written: bytes) -> Iterator[Step]:
        piece = written.rstrip() if written.startswith(_UNTAGGED) else b"220-" + written[4:]
        chunk = piece * (_FLOOD_OCTETS // len(piece))
        while True:
            yield Send(chunk)
            yield Delay(_FLOOD_PAUSE)

    return respond


def half_closed() -> ResponseBehavior:
    """Greet, then close the server's direction instead of answering."""
    return _after_greeting(HalfClose())


def mute() -> ResponseBehavior:
    """Greet, then answer nothing."""
    return _after_greeting()


def _after_greeting(*steps: Step) -> ResponseBehavior:
    replies: Iterator[Iterable[Step] | None] = iter((None, steps))

    def respond(written: bytes) -> Iterable[Step]:
        reply = next(replies, ())
        return (Send(written),) if reply is None else reply

    return respond


def garbage() -> ResponseBehavior:
    """Answer with octets that are neither SMTP nor IMAP."""
    return lambda _written: (Send(_GARBAGE),)


def busy() -> ResponseBehavior:
    """Reject SMTP clients in the greeting (RFC 5321 section 3.8)."""
    return lambda _written: (Send(_BUSY), HangUp())


def bye() -> ResponseBehavior:
    """Reject IMAP clients in the greeting (RFC 9051 section 7.1.5)."""
    return lambda _written: (Send(_BYE_AT_ONCE), HangUp())


def bye_in_the_middle() -> ResponseBehavior:
    """Send BYE instead of opening a folder, and leave the connection open, as some servers do."""
    return lambda written: (Send(_BYE),) if _SELECTED in written else (Send(written),)


def burst() -> ResponseBehavior:
    """Put 1,500 lines before each tagged response, in one write."""
    return lambda written: (Send(_BURST + written if _TAGGED_RESPONSE.match(written) else written),)


def endless() -> ResponseBehavior:
    """Announce a message of 4 GiB instead of the requested one, and send it until the client disconnects."""

    def respond(written: bytes) -> Iterator[Step]:
        announced = _LITERAL.search(written)
        if announced is None:
            yield Send(written)
            return
        yield Send(written[: announced.start()] + announced[1] + b"{%d}\r\n" % (2**32 - 1))
        body = written[announced.end() :] or b"\r\n"
        chunk = body * (_FLOOD_OCTETS // len(body) + 1)
        while True:
            yield Send(chunk)
            yield Delay(_FLOOD_PAUSE)

    return respond


def chain(behaviors: Iterable[ResponseBehavior]) -> ResponseBehavior | None:
    """Return a behavior that passes what the first behavior sends to the second, and so on; `None` if there are none."""
    return reduce(_chain_two, behaviors) if (behaviors := tuple(behaviors)) else None


def _chain_two(first: ResponseBehavior, second: ResponseBehavior) -> ResponseBehavior:
    def respond(written: bytes) -> Iterator[Step]:
        for step in first(written):
            if isinstance(step, Send):
                yield from second(step.octets)
            else:
                yield step

    return respond
