"""From a stored notice to what a gateway sends: the same facts always give the same words."""

from __future__ import annotations

import asyncio
from typing import Protocol

from alerts.channel import Channel
from alerts.delivery import Notice
from alerts.documents.render import fax, letter
from alerts.gateway import Content
from alerts.notice import Addressee
from alerts.wording.call import compose as compose_call
from alerts.wording.sms import compose as compose_sms
from alerts.wording.texts import Wording


class Composer(Protocol):
    """Puts a notice into words for a channel."""

    async def compose(self, notice: Notice, channel: Channel) -> Content:
        """Return what to send."""


class WordingComposer:
    """The composer that reads the editable wording."""

    def __init__(self, wording: Wording) -> None:
        self._wording = wording

    async def compose(self, notice: Notice, channel: Channel) -> Content:
        """Return what to send; pages are set in a thread, because typst blocks for some 50 ms."""
        match channel:
            case Channel.SMS:
                return compose_sms(notice.facts, notice.language, self._wording)
            case Channel.VOICE:
                return compose_call(notice.facts, notice.language, self._wording)
            case Channel.FAX:
                return await asyncio.to_thread(fax, notice.facts, _addressee(notice), self._wording)
            case Channel.LETTER:
                return await asyncio.to_thread(letter, notice.facts, _addressee(notice), self._wording)


def _addressee(notice: Notice) -> Addressee:
    if notice.addressee is not None:
        return notice.addressee
    # Staff can be told by fax too (an office without mobile reception); the page then names the person.
    return Addressee(title=notice.person, organisation=notice.facts.office.name)
