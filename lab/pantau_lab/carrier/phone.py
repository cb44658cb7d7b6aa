"""Phones that belong to nobody: how they behave, what reached them, and what a story expects of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeVar

#: In seconds. What is expected ends the wait; on a machine that is busy with other things that may take long.
PATIENCE = 90.0


class PhoneBehaviour(StrEnum):
    """What happens when the phone is called (and, for `OFF`, when it is sent an SMS)."""

    ANSWERS = "answers"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    #: Answers, hears everything, presses nothing.
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
    validity: int
    segments: int
    status: str = "queued"
    error_code: int | None = None
    sent_at: datetime | None = None
    expected: bool = False
    #: "inbound": somebody has sent it to the customer.
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
    extension: str
    status: str = "queued"
    sip_code: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    spoken: list[Spoken] = field(default_factory=list)
    keys: str = ""
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
    #: What is pressed, one entry a menu heard ("280146#" where a PIN is asked for); "" lets the menu pass. Afterwards
    #: nothing is pressed.
    keys: list[str] = field(default_factory=list)
    #: How long it rings, and how long the person thinks before pressing: real time, short or zero in tests.
    answers_after: timedelta = timedelta()
    presses_after: timedelta = timedelta()
    #: A landline takes no SMS (21614).
    landline: bool = False
    #: Its owner has answered STOP to an SMS (21610).
    stopped: bool = False
    #: Calls that it takes part in now, or that ring it: a further one finds it busy.
    ringing: list[Call] = field(default_factory=list)
    #: An office line: without these digits the caller reaches the switchboard, where nobody presses keys.
    extension: str = ""
    inbox: list[Sms] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def receive(self, sms: Sms) -> None:
        self.inbox.append(sms)
        self._news.set()

    def rang(self, call: Call) -> None:
        """Note a call that is over, answered or not."""
        self.calls.append(call)
        self._news.set()

    def next_key(self) -> str:
        return self.keys.pop(0) if self.keys else ""

    async def expect_sms(self, *words: str, within: float = PATIENCE) -> Sms:
        """Return the first SMS nobody has expected yet that holds all *words*; wait for it."""
        return await self._expect(self.inbox, words, within)

    async def expect_call(self, *words: str, within: float = PATIENCE) -> Call:
        """Return the first call nobody has expected yet in which all *words* were spoken; wait for its end."""
        return await self._expect(self.calls, words, within)

    def unexpected(self) -> list[str]:
        """Say what came that no story expected."""
        things: list[Sms | Call] = [*self.inbox, *self.calls]
        return [f"{self.number}: {thing.text!r}" for thing in things if not thing.expected]

    async def _expect(self, things: list[T], words: tuple[str, ...], within: float) -> T:
        try:
            async with asyncio.timeout(within):
                while True:
                    self._news.clear()
                    for thing in things:
                        if not thing.expected and all(word in thing.text for word in words):
                            thing.expected = True
                            return thing
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.number} waited for {words} and got {self.unexpected()}") from None
