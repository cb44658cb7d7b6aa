"""Composition of SMS, calls, faxes and letters from stored notifications.

Composing a notification again gives the same content. A *bundle* is a notification with several parts: one for each
incident that it reports.
"""

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

#: Sender of a fax list (a fax about several incidents) if the operator of Pantau is not configured.
UNKNOWN_OPERATOR = IssuingOffice(short="PANTAU", name="Pantau", domain="")


class Composer(Protocol):
    """Composer of the content of a notification for a channel."""

    async def compose(self, notification: Notification, channel: Channel, *, response: str = "") -> Content:
        """Return the content. *response*: code that the reader of an SMS sends back ("1A"), or ""."""


class WordingComposer:
    """Composer that uses the wording, the texts that an operator can edit."""

    def __init__(
        self,
        wording: Wording,
        has_pin: Callable[[Notification], bool] = lambda _: False,
        operator: Callable[[], IssuingOffice] = lambda: UNKNOWN_OPERATOR,
        crest: Callable[[str], Crest | None] = lambda _: None,
    ) -> None:
        """*has_pin* returns whether the reader of a notification has a PIN to release (approve) an announcement.

        *operator* returns the office that operates Pantau, the sender of faxes about several agencies. *crest* returns
        the crest of the office with a short name. *crest* may read a file, and is called in a thread.
        """
        self._wording = wording
        self._has_pin = has_pin
        self._operator = operator
        self._crest = crest

    async def compose(self, notification: Notification, channel: Channel, *, response: str = "") -> Content:
        """Return the content. Pages are rendered in a thread, because typst blocks for about 50 ms."""
        if len(notification.parts) > 1:
            return await self._compose_bundle(notification, channel, response)
        match channel:
            case Channel.SMS:
                return compose_sms(notification.facts, notification.language, self._wording, response=response)
            case Channel.VOICE:
                # `Facts.may_release`: an announcement waits for its release, for which the reader may be asked.
                may_release = notification.facts.may_release and self._has_pin(notification)
                return compose_call(notification.facts, notification.language, self._wording, may_release=may_release)
            case Channel.FAX:
                return await asyncio.to_thread(fax, notification.facts, _addressee(notification), self._wording)
            case Channel.LETTER:
                return await asyncio.to_thread(self._letter, notification)

    def _letter(self, notification: Notification) -> PageContent:
        crest = self._crest(notification.facts.office.short)
        return letter(notification.facts, _addressee(notification), self._wording, crest=crest)

    async def _compose_bundle(self, notification: Notification, channel: Channel, response: str) -> Content:
        facts = [part.facts for part in notification.parts]
        match channel:
            case Channel.SMS:
                return bundle.compose_sms(facts, notification.language, self._wording, response=response)
            case Channel.VOICE:
                may_release = any(incident.may_release for incident in facts) and self._has_pin(notification)
                return bundle.compose_call(facts, notification.language, self._wording, may_release=may_release)
            case Channel.FAX:
                return await asyncio.to_thread(
                    fax_list, facts, _addressee(notification), self._wording, self._operator()
                )
            case Channel.LETTER:
                raise ValueError("a letter is signed by one agency and reports no incidents of other agencies")


def _addressee(notification: Notification) -> Addressee:
    if notification.addressee is not None:
        return notification.addressee
    # Staff without mobile reception may be notified by fax, which is addressed to the person.
    return Addressee(title=notification.person, organisation=notification.facts.office.name)
