"""Section `announcement`: the offices outside the agency that are notified of an outage.

An announcement is *released* by a duty officer or automatically; before that, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from pydantic import Field

from alerts.hours.calendar import State
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address, Recipient
from alerts.model.notification import Addressee, Language
from alerts.model.policy_snapshot import AnnouncementPlan
from monitor.config.agency.calendar import CalendarSettings
from monitor.config.fields.phone import AnsweringHours, build_address, format_printed
from monitor.config.files.section import Extension, OneLine, PositiveDuration, Section, Slug


class ReleaseMode(StrEnum):
    """How an announcement is released."""

    #: A duty officer releases it.
    MANUAL = "manual"
    #: It is released automatically after `release_offered_after`. A letter that is sent by mistake cannot be recalled.
    AUTOMATIC = "automatic"


class UpdateDays(StrEnum):
    """When recipients of an announcement are notified again although the outage has neither changed nor ended."""

    #: Once on each working day of the agency, during its office hours.
    WORKDAYS = "workdays"
    NEVER = "never"


class RecipientSettings(Section):
    """Office outside the agency. Each of `channels` is used, not only the first one that works."""

    title: OneLine = Field(examples=["Ketua Setiausaha"])
    """Title of the office holder: "Ketua Setiausaha"."""
    organisation: OneLine = Field(examples=["Kementerian Contoh"])
    """Name of the organisation."""
    channels: tuple[Channel, ...] = Field(examples=["[fax, letter]"])
    """Channels, all of which are used."""
    address: tuple[OneLine, ...] = ()
    """Postal address without the organisation; the last line is "<postcode> <TOWN>"."""
    attention: OneLine | None = None
    """Name of an officer, printed as "(u.p.: ...)" (for the attention of)."""
    fax: OneLine | None = None
    """Fax number."""
    sms: OneLine | None = None
    """Mobile number."""
    voice: OneLine | None = None
    """Telephone number for calls."""
    extension: Extension | None = None
    """Digits to dial after the landline answers."""
    hours: AnsweringHours = AnsweringHours.ALWAYS
    """When this office may be called and faxed: always, or in its office hours."""
    state: State | None = None
    """State whose weekends and holidays apply to this office; default: that of the agency."""
    salutation: OneLine = "Tuan/Puan,"
    """Salutation with its comma, such as "YBhg. Datuk,"."""
    language: Language = Language.MALAY
    """Language of its letters, fax pages, SMS and calls."""

    def has_address_for(self, channel: Channel) -> bool:
        """Return whether the recipient has an address for *channel*."""
        return bool(self.address if channel is Channel.LETTER else getattr(self, channel.value))

    def build(self, key: str, calendar: CalendarSettings, zone: ZoneInfo) -> Recipient:
        """Return the recipient for notifications, with one address per channel. *key*: its key in the configuration."""
        hours = calendar.build(zone, self.state) if self.hours is AnsweringHours.OFFICE else None
        return Recipient(
            key=key,
            language=self.language,
            addressee=self.build_addressee(),
            addresses=tuple(self._build_address(channel, hours) for channel in self.channels),
        )

    def build_addressee(self) -> Addressee:
        """Return the addressee that letters and fax pages print."""
        return Addressee(
            title=self.title,
            organisation=self.organisation,
            address=self.address,
            attention=self.attention or "",
            fax=format_printed(self.fax) if self.fax else "",
            salutation=self.salutation,
        )

    def _build_address(self, channel: Channel, hours: OfficeHours | None) -> Address:
        # A letter has no number: the organisation identifies its address.
        if channel is Channel.LETTER:
            return Address(channel=channel, number=self.organisation)
        return build_address(channel, getattr(self, channel.value), self.extension, hours=hours)


class AnnouncementSettings(Section):
    """Recipients of announcements, and how announcements are released."""

    release: ReleaseMode = ReleaseMode.MANUAL
    """How an announcement is released: by a duty officer (manual), or automatically."""
    release_offered_after: PositiveDuration = timedelta(minutes=30)
    """Duration of an outage after which the announcement can be released or, if automatic, is released: a shorter
    outage needs no letter.
    """
    updates: UpdateDays = UpdateDays.WORKDAYS
    """When recipients are notified again that the outage continues: on workdays, or never."""
    recipients: Mapping[Slug, RecipientSettings] = {}
    """Offices outside the agency, by key."""

    def build(self, calendar: CalendarSettings, zone: ZoneInfo) -> AnnouncementPlan:
        """Return the plan, of which each incident keeps a copy. *calendar* and *zone*: those of the agency."""
        return AnnouncementPlan(
            recipients=tuple(recipient.build(key, calendar, zone) for key, recipient in self.recipients.items()),
            automatic=self.release is ReleaseMode.AUTOMATIC,
            release_offered_after=self.release_offered_after,
            updates=calendar.build(zone),  # The office hours in which recipients are notified again.
            follows_up=self.updates is UpdateDays.WORKDAYS,
        )
