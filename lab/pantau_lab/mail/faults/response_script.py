"""How a server says what it has to say. Pure: the steps are carried out by `pantau_lab.mail.server.wire`.

A manner is made for one connection and asked at each write of the server; the first is the greeting. What it answers
may go on for ever, so it is read one step at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce

_IMAP = b"* "
_SELECTED = b"[READ-WRITE]"
_LITERAL = re.compile(rb"(BODY\[[^]]*\](?:<0>)? )\{\d+\}\r\n")

#: Of a command; what begins otherwise is untagged, a continuation, or in the middle of a message.
_END = re.compile(rb"[^\s*+]+ (?:OK|NO|BAD) ")

_GARBAGE = b"HTTP/1.1 418 I'm a teapot\r\n\x00\xfe\xff\x16\x03 \r\n\r\n"
_BURST = b"* OK Still searching the mailbox\r\n" * 1500
_BYE = b"* BYE Server shutting down\r\n"
_BYE_AT_ONCE = b"* BYE Too many connections, try later\r\n"
_BUSY = b"421 4.3.2 Too many connections, try later\r\n"
#: A flood of 6 MB/s fills any buffer soon enough and leaves the processor to others.
_FLOOD_OCTETS = 64 * 1024
_FLOOD_PAUSE = timedelta(seconds=0.01)


@dataclass(frozen=True, slots=True)
class Say:
    """Send this, and wait until most of it has left."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Delay:
    """Do nothing for a while."""

    span: timedelta


@dataclass(frozen=True, slots=True)
class HalfClose:
    """End the own side of the connection; the other stays open."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Send what is still to be sent, and close the connection."""


Step = Say | Delay | HalfClose | HangUp
#: From what the server writes to what becomes of it.
Manner = Callable[[bytes], Iterable[Step]]


def tarpit(drip: timedelta) -> Manner:
    """Say one byte at a time."""

    def speak(written: bytes) -> Iterator[Step]:
        for place in range(len(written)):
            yield Say(written[place : place + 1])
            yield Delay(drip)

    return speak


def flood() -> Manner:
    """Begin a greeting and never end it: in SMTP its lines have no last one, in IMAP its line has no end."""

    def speak(written: bytes) -> Iterator[Step]:
        piece = written.rstrip() if written.startswith(_IMAP) else b"220-" + written[4:]
        chunk = piece * (_FLOOD_OCTETS // len(piece))
        while True:
            yield Say(chunk)
            yield Delay(_FLOOD_PAUSE)

    return speak


def half_closed() -> Manner:
    """Greet, then close the own side instead of answering."""
    return _after_greeting(HalfClose())


def mute() -> Manner:
    """Greet, then answer nothing."""
    return _after_greeting()


def _after_greeting(*steps: Step) -> Manner:
    replies: Iterator[Iterable[Step] | None] = iter((None, steps))

    def speak(written: bytes) -> Iterable[Step]:
        reply = next(replies, ())
        return (Say(written),) if reply is None else reply

    return speak


def garbage() -> Manner:
    """Answer something else."""
    return lambda _written: (Say(_GARBAGE),)


def busy() -> Manner:
    """Turn SMTP clients away in the greeting (RFC 5321 section 3.8)."""
    return lambda _written: (Say(_BUSY), HangUp())


def bye() -> Manner:
    """Turn IMAP clients away in the greeting (RFC 9051 section 7.1.5)."""
    return lambda _written: (Say(_BYE_AT_ONCE), HangUp())


def bye_in_the_middle() -> Manner:
    """Say BYE instead of opening a folder, and leave the connection open, as some servers do."""
    return lambda written: (Say(_BYE),) if _SELECTED in written else (Say(written),)


def burst() -> Manner:
    """Put 1,500 lines before each answer that ends a command, in one write."""
    return lambda written: (Say(_BURST + written if _END.match(written) else written),)


def endless() -> Manner:
    """Announce a mail of 4 GiB instead of the one asked for, and send as much of it as is taken."""

    def speak(written: bytes) -> Iterator[Step]:
        announced = _LITERAL.search(written)
        if announced is None:
            yield Say(written)
            return
        yield Say(written[: announced.start()] + announced[1] + b"{%d}\r\n" % (2**32 - 1))
        body = written[announced.end() :] or b"\r\n"
        chunk = body * (_FLOOD_OCTETS // len(body) + 1)
        while True:
            yield Say(chunk)
            yield Delay(_FLOOD_PAUSE)

    return speak


def together(manners: Iterable[Manner]) -> Manner | None:
    """Return a manner that puts what the first makes of a write through the second, and so on."""
    return reduce(_one_after_the_other, manners) if (manners := tuple(manners)) else None


def _one_after_the_other(first: Manner, second: Manner) -> Manner:
    def speak(written: bytes) -> Iterator[Step]:
        for step in first(written):
            if isinstance(step, Say):
                yield from second(step.octets)
            else:
                yield step

    return speak
