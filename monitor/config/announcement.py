"""Announcement as it is configured: whom outside the agency to tell of an outage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from pydantic import Field

from alerts.brief import AnnouncementPlan
from alerts.channel import Channel
from alerts.contact import Address, Recipient
from alerts.notice import Addressee, Language
from monitor.config.contact import line
from monitor.config.phone import printed
from monitor.config.section import Extension, Line, Section, Slug, Span


class ReleaseMode(StrEnum):
    """Who lets an announcement go out."""

    #: A duty officer does.
    MANUAL = "manual"
    #: It goes by itself. A false letter cannot be called back.
    AUTOMATIC = "automatic"


class RecipientSettings(Section):
    """Somebody outside. Each of `channels` is used, not the first that works."""

    title: Line = Field(examples=["Ketua Setiausaha"])
    """The office held, not the person: "Ketua Setiausaha"."""
    organisation: Line = Field(examples=["Kementerian Contoh"])
    channels: tuple[Channel, ...] = Field(examples=["[fax, letter]"])
    address: tuple[Line, ...] = ()
    """Postal address without the organisation; the last line is "<postcode> <TOWN>"."""
    attention: Line | None = None
    """A named officer: printed as "(u.p.: ...)"."""
    fax: Line | None = None
    sms: Line | None = None
    voice: Line | None = None
    extension: Extension | None = None
    salutation: Line = "Tuan/Puan,"
    """ "YBhg. Datuk," and the like."""
    language: Language = Language.MALAY

    def answers_on(self, channel: Channel) -> bool:
        """Return whether there is an address for *channel*."""
        return bool(self.address if channel is Channel.LETTER else getattr(self, channel.value))

    def build(self, key: str) -> Recipient:
        """Return the recipient as notices are addressed, with one address a channel."""
        return Recipient(
            key=key,
            language=self.language,
            addressee=self.build_addressee(),
            addresses=tuple(self._address(channel) for channel in self.channels),
        )

    def build_addressee(self) -> Addressee:
        """Return to whom pages are addressed."""
        return Addressee(
            title=self.title,
            organisation=self.organisation,
            address=self.address,
            attention=self.attention or "",
            fax=printed(self.fax) if self.fax else "",
            salutation=self.salutation,
        )

    def _address(self, channel: Channel) -> Address:
        if channel is Channel.LETTER:
            return Address(channel=channel, number=self.organisation)
        return line(channel, getattr(self, channel.value), self.extension)


class AnnouncementSettings(Section):
    """Whom to tell, and who lets it go out."""

    release: ReleaseMode = ReleaseMode.MANUAL
    offered_after: Span = timedelta(minutes=30)
    """When release is offered (or, if automatic, happens): a shorter outage needs no letter."""
    recipients: Mapping[Slug, RecipientSettings] = {}

    def build(self) -> AnnouncementPlan:
        """Return the plan as incidents freeze it."""
        return AnnouncementPlan(
            recipients=tuple(recipient.build(key) for key, recipient in self.recipients.items()),
            automatic=self.release is ReleaseMode.AUTOMATIC,
            offered_after=self.offered_after,
        )
