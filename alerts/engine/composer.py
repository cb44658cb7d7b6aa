"""From a stored notice to what a gateway sends: the same facts always give the same words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from alerts.documents.crest import Crest
from alerts.documents.render import fax, fax_list, letter
from alerts.model.channel import Channel
from alerts.model.delivery import Notification
from alerts.model.gateway import Content, PageContent
from alerts.model.notification import Addressee, IssuingOffice
from alerts.wording import bundle
from alerts.wording.call import compose as compose_call
from alerts.wording.sms import compose as compose_sms
from alerts.wording.texts import Wording

#: Who sends a list where nobody has said who runs Pantau.
NOBODY = IssuingOffice(short="PANTAU", name="Pantau", domain="")


class Composer(Protocol):
    """Puts a notice into words for a channel."""

    async def compose(self, notice: Notification, channel: Channel, *, response: str = "") -> Content:
        """Return what to send. *response*: the code by which the person can answer this SMS, or nothing."""


class WordingComposer:
    """The composer that reads the editable wording."""

    def __init__(
        self,
        wording: Wording,
        may_release: Callable[[Notification], bool] = lambda _: False,
        operator: Callable[[], IssuingOffice] = lambda: NOBODY,
        crest: Callable[[str], Crest | None] = lambda _: None,
    ) -> None:
        """*may_release*: whether the person of a notice has a PIN, now; *operator*: the office that runs Pantau.

        *crest*: that of an office by its short name; it may read a file, and is asked in a thread.
        """
        self._wording = wording
        self._may_release = may_release
        self._operator = operator
        self._crest = crest

    async def compose(self, notice: Notification, channel: Channel, *, response: str = "") -> Content:
        """Return what to send; pages are set in a thread, because typst blocks for some 50 ms."""
        if len(notice.parts) > 1:
            return await self._compose_bundle(notice, channel, response)
        match channel:
            case Channel.SMS:
                return compose_sms(notice.facts, notice.language, self._wording, response=response)
            case Channel.VOICE:
                may_release = notice.facts.may_release and self._may_release(notice)
                return compose_call(notice.facts, notice.language, self._wording, may_release=may_release)
            case Channel.FAX:
                return await asyncio.to_thread(fax, notice.facts, _addressee(notice), self._wording)
            case Channel.LETTER:
                return await asyncio.to_thread(self._letter, notice)

    def _letter(self, notice: Notification) -> PageContent:
        crest = self._crest(notice.facts.office.short)
        return letter(notice.facts, _addressee(notice), self._wording, crest=crest)

    async def _compose_bundle(self, notice: Notification, channel: Channel, response: str) -> Content:
        facts = [part.facts for part in notice.parts]
        match channel:
            case Channel.SMS:
                return bundle.compose_sms(facts, notice.language, self._wording, response=response)
            case Channel.VOICE:
                may_release = any(each.may_release for each in facts) and self._may_release(notice)
                return bundle.compose_call(facts, notice.language, self._wording, may_release=may_release)
            case Channel.FAX:
                return await asyncio.to_thread(fax_list, facts, _addressee(notice), self._wording, self._operator())
            case Channel.LETTER:
                raise ValueError("a letter is signed by one agency, and never tells of several")


def _addressee(notice: Notification) -> Addressee:
    if notice.addressee is not None:
        return notice.addressee
    # Staff can be told by fax too (an office without mobile reception); the page then names the person.
    return Addressee(title=notice.person, organisation=notice.facts.office.name)
