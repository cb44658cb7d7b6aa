"""Simulated phones: their behaviour, received messages and calls, and the expectations of tests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeVar

#: Time limit for an expected message or call, in seconds. It is long because the machine may be busy.
PATIENCE = 90.0


class PhoneBehaviour(StrEnum):
    """Behaviour of a phone in a call, and for `OFF` also for an SMS."""

    ANSWERS = "answers"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    #: Answers, stays until the end, and presses no keys.
    VOICEMAIL = "voicemail"
    #: Calls fail, and an SMS ends as undelivered (30003).
    OFF = "off"


@dataclass(slots=True, kw_only=True)
class Sms:
    sid: str
    to: str
    sender: str
    body: str
    created_at: datetime
    callback: str
    #: Time limit for the delivery, in seconds.
    validity: int
    segments: int
    status: str = "queued"
    error_code: int | None = None
    sent_at: datetime | None = None
    #: Whether `Phone.expect_sms` has returned it.
    expected: bool = False
    #: "inbound": a person has sent it to the customer.
    direction: str = "outbound-api"

    @property
    def text(self) -> str:
        return self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    text: str
    language: str
    voice: str


@dataclass(slots=True, kw_only=True)
class Call:
    sid: str
    to: str
    caller: str
    created_at: datetime
    twiml: str
    url: str
    fallback_url: str
    callback: str
    callback_events: tuple[str, ...]
    #: Keys that the caller dials once the line is open, such as an extension.
    extension: str
    status: str = "queued"
    sip_code: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    spoken: list[Spoken] = field(default_factory=list)
    #: Keys that the phone pressed.
    keys: str = ""
    #: Whether `Phone.expect_call` has returned it.
    expected: bool = False

    @property
    def text(self) -> str:
        """The transcript: one line a sentence."""
        return "\n".join(line.text for line in self.spoken)


class _Thing(Protocol):
    expected: bool

    @property
    def text(self) -> str: ...


T = TypeVar("T", bound=_Thing)


@dataclass(slots=True, kw_only=True)
class Phone:
    """A phone. Behaviour and keys may be changed at any time; the next message or menu finds them changed."""

    number: str
    owner: str = ""
    behaviour: PhoneBehaviour = PhoneBehaviour.ANSWERS
    #: Keys that it presses, one entry for each menu, such as "280146#" for a PIN; "" or no entry left: none.
    keys: list[str] = field(default_factory=list)
    #: How long it rings, and how long the person waits before pressing keys: real time, short or zero in tests.
    answers_after: timedelta = timedelta()
    presses_after: timedelta = timedelta()
    #: A landline takes no SMS (21614).
    landline: bool = False
    #: Its owner has answered STOP to an SMS (21610).
    stopped: bool = False
    #: Calls that ring or are in progress. A further call finds the phone busy.
    active_calls: list[Call] = field(default_factory=list)
    #: An office line: without these digits the caller reaches the switchboard, where nobody presses keys.
    extension: str = ""
    inbox: list[Sms] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def receive(self, sms: Sms) -> None:
        self.inbox.append(sms)
        self._changed.set()

    def rang(self, call: Call) -> None:
        """Record a call that has ended, answered or not."""
        self.calls.append(call)
        self._changed.set()

    def next_keys(self) -> str:
        return self.keys.pop(0) if self.keys else ""

    async def expect_sms(self, *words: str, within: float = PATIENCE) -> Sms:
        """Wait for an SMS that contains all *words* and was not returned before; return it."""
        return await self._expect(self.inbox, words, within)

    async def expect_call(self, *words: str, within: float = PATIENCE) -> Call:
        """Wait for an ended call in which all *words* were spoken and that was not returned before; return it."""
        return await self._expect(self.calls, words, within)

    def unexpected(self) -> list[str]:
        """Return the messages and calls that no test expected."""
        things: list[Sms | Call] = [*self.inbox, *self.calls]
        return [f"{self.number}: {thing.text!r}" for thing in things if not thing.expected]

    async def _expect(self, things: list[T], words: tuple[str, ...], within: float) -> T:
        try:
            async with asyncio.timeout(within):
                while True:
                    self._changed.clear()
                    for thing in things:
                        if not thing.expected and all(word in thing.text for word in words):
                            thing.expected = True
                            return thing
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{self.number} waited for {words} and got {self.unexpected()}") from None
