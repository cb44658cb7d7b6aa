"""People with telephones, for stories: what they expect, answer, press, reply and let pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pantau_lab.carrier.carrier import Carrier
from pantau_lab.carrier.phone import Phone, PhoneBehaviour


@dataclass(slots=True)
class Person:
    """Somebody with a telephone."""

    phone: Phone
    carrier: Carrier
    #: Lets everything happen that is due now.
    settle: Callable[[], Awaitable[object]]

    async def gets(self, *words: str) -> str:
        """Expect an SMS that has come already; return its text."""
        return (await self.phone.expect_sms(*words, within=0)).body

    async def is_called(self, *words: str, keys: str | None = None) -> str:
        """Expect a call that is over already, in which these *keys* were pressed; return what was said in it."""
        call = await self.phone.expect_call(*words, within=0)
        if keys is not None:
            assert call.keys == keys
        return call.text

    @property
    def waits(self) -> bool:
        """Whether something has come that was not expected yet."""
        return self.phone.unexpected() != []

    async def is_rung(self) -> None:
        """Expect a call that nobody took."""
        assert await self.is_called() == ""

    def presses(self, *keys: str) -> None:
        """Press these, one a menu, in the calls that follow."""
        self.phone.behaviour = PhoneBehaviour.ANSWERS
        self.phone.keys.extend(keys)

    def behaves(self, how: PhoneBehaviour) -> None:
        """Reject calls (`BUSY`), let a voicemail take them, be switched off, or answer again."""
        self.phone.behaviour = how

    async def replies(self, text: str) -> str:
        """Send an SMS to the service; return what it answers, "" when nothing."""
        before = list(self.phone.inbox)
        await self.carrier.answer(self.phone, text)
        await self.settle()
        new = [sms for sms in self.phone.inbox if sms not in before]
        answers = [sms for sms in new if sms.callback == ""]
        for sms in answers:
            sms.expected = True
        assert len(answers) <= 1
        return answers[0].body if answers else ""
