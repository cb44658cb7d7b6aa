"""People and offices who are notified, and their addresses on the permitted channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.notification import Addressee, Language


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Address of a person or office on one channel.

    Two addresses are equal if `channel`, `number` and `extension` are equal.
    """

    channel: Channel
    #: E.164 number for SMS, voice and fax; the organisation's name for a letter.
    number: str = field(repr=False)
    #: Digits to dial after an office line answers ("W1234#", where W is a pause), or empty.
    extension: str = field(default="", repr=False)
    #: Office hours; `None`: always available.
    hours: OfficeHours | None = field(default=None, compare=False, repr=False)
    #: Whether a notification calls the address once only, without retries: each redial is a notification of its own.
    once: bool = field(default=False, compare=False, repr=False)
    #: Day on which somebody last answered at the address, as recorded; `None`: never.
    verified: date | None = field(default=None, compare=False, repr=False)

    def is_available(self, at: datetime) -> bool:
        """Whether the address is available *at* that time."""
        return self.hours is None or self.hours.is_open(at)

    def is_verified(self, within: timedelta, day: date) -> bool:
        """Whether an answer was recorded on *day* or *within* that time before it."""
        return self.verified is not None and self.verified <= day <= self.verified + within


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A staff member."""

    #: Key in the configuration.
    key: str
    name: str
    language: Language
    #: In order of preference.
    addresses: tuple[Address, ...]
    #: Portal account; empty: none or unknown.
    user: str = ""

    def addresses_on(self, channels: Iterable[Channel]) -> tuple[Address, ...]:
        """Return the addresses to use, in the order of *channels*, then of the contact."""
        return tuple(a for channel in channels for a in self.addresses if a.channel is channel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """An office outside the agency that is notified of an outage by an announcement.

    It is notified on each of its channels, while a `Contact` is notified on the first channel that works.
    """

    #: Key in the configuration.
    key: str
    language: Language
    addressee: Addressee
    #: One address per channel, for example a fax now and a letter for the file.
    addresses: tuple[Address, ...]
