"""Composition of messages from stored notifications: equal facts give equal texts."""

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

#: Sender of a list if the operator is not configured.
NOBODY = IssuingOffice(short="PANTAU", name="Pantau", domain="")


class Composer(Protocol):
    """Composes the content of a notification for a channel."""

    async def compose(self, notice: Notification, channel: Channel, *, response: str = "") -> Content:
        """Return the content. *response*: the code for a reply to this SMS, or ""."""


class WordingComposer:
    """Composer with the editable wording."""

    def __init__(
        self,
        wording: Wording,
        may_release: Callable[[Notification], bool] = lambda _: False,
        operator: Callable[[], IssuingOffice] = lambda: NOBODY,
        crest: Callable[[str], Crest | None] = lambda _: None,
    ) -> None:
        """*may_release*: whether the person has a PIN now; *operator*: the office that operates Pantau.

        *crest*: returns an office's crest by its short name; it may read a file and is called in a thread.
        """
        self._wording = wording
        self._may_release = may_release
        self._operator = operator
        self._crest = crest

    async def compose(self, notice: Notification, channel: Channel, *, response: str = "") -> Content:
        """Return the content; pages are rendered in a thread, because typst blocks for about 50 ms."""
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
    # Staff may be notified by fax (an office without mobile reception); the page names the person.
    return Addressee(title=notice.person, organisation=notice.facts.office.name)
