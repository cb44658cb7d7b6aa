"""Phone users for stories: what they expect, answer, press and reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pantau_lab.carrier.carrier import Carrier
from pantau_lab.carrier.phone import Phone, PhoneBehaviour


@dataclass(slots=True)
class PhoneUser:
    """A person with a phone."""

    phone: Phone
    carrier: Carrier
    #: Processes everything that is due.
    settle: Callable[[], Awaitable[object]]

    async def gets(self, *words: str) -> str:
        """Expect an SMS that has arrived; return its text."""
        return (await self.phone.expect_sms(*words, within=0)).body

    async def is_called(self, *words: str, keys: str | None = None) -> str:
        """Expect a call that has ended, in which these *keys* were pressed; return the spoken text."""
        call = await self.phone.expect_call(*words, within=0)
        if keys is not None:
            assert call.keys == keys
        return call.text

    @property
    def waits(self) -> bool:
        """Whether an SMS or call has not been expected yet."""
        return self.phone.unexpected() != []

    async def misses_call(self) -> None:
        """Expect an unanswered call."""
        assert await self.is_called() == ""

    def presses(self, *keys: str) -> None:
        """Press these keys, one a menu, in the next calls."""
        self.phone.behaviour = PhoneBehaviour.ANSWERS
        self.phone.keys.extend(keys)

    def behaves(self, how: PhoneBehaviour) -> None:
        """Set how the phone behaves: busy, voicemail, off, or answered."""
        self.phone.behaviour = how

    async def replies(self, text: str) -> str:
        """Send an SMS to the service; return its answer, or ""."""
        before = list(self.phone.inbox)
        await self.carrier.send_reply(self.phone, text)
        await self.settle()
        new = [sms for sms in self.phone.inbox if sms not in before]
        answers = [sms for sms in new if sms.callback == ""]
        for sms in answers:
            sms.expected = True
        assert len(answers) <= 1
        return answers[0].body if answers else ""
