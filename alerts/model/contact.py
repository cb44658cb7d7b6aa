"""People, and their addresses on the sanctioned channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.notification import Addressee, Language


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address of a person on one channel."""

    channel: Channel
    #: E.164 for SMS, voice and fax; the organisation's name for a letter.
    number: str = field(repr=False)
    #: Digits to dial after an office line answers ("W1234#"), or empty.
    extension: str = field(default="", repr=False)
    #: Office hours; `None`: always available. Not part of the identity.
    hours: OfficeHours | None = field(default=None, compare=False, repr=False)
    #: The address is called once per notification, because each redial (repeated call) is a notification of its own.
    #: Not part of the identity.
    once: bool = field(default=False, compare=False, repr=False)
    #: Day of the last recorded answer; `None`: never. Not part of the identity.
    verified: date | None = field(default=None, compare=False, repr=False)

    def is_available(self, at: datetime) -> bool:
        """Return whether the address is available *at* that time."""
        return self.hours is None or self.hours.is_open(at)

    def is_verified(self, within: timedelta, day: date) -> bool:
        """Return whether somebody has answered *within* so many days before *day*."""
        return self.verified is not None and self.verified <= day <= self.verified + within


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A staff member. Addresses are in order of preference."""

    key: str
    name: str
    language: Language
    addresses: tuple[Address, ...]
    #: Portal account; empty: none or unknown.
    user: str = ""

    def addresses_on(self, channels: Iterable[Channel]) -> tuple[Address, ...]:
        """Return the addresses to use, in the order of *channels*, then of the contact."""
        return tuple(a for channel in channels for a in self.addresses if a.channel is channel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A recipient outside who is notified of an outage. Each channel is used, not only the first that works."""

    key: str
    language: Language
    addressee: Addressee
    #: One address per channel, for example a fax now and a letter for the file.
    addresses: tuple[Address, ...]
