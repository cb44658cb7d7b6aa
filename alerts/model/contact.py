"""People, and the addresses at which they can be reached by a sanctioned channel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.notification import Addressee, Language


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One place where a person answers on one channel."""

    channel: Channel
    #: E.164 for SMS, voice and fax; the organisation's name for a letter.
    number: str = field(repr=False)
    #: Digits to press after an office line answers ("W1234#"), or empty.
    extension: str = field(default="", repr=False)
    #: When somebody is there; `None`: always. Says nothing about which address it is.
    hours: OfficeHours | None = field(default=None, compare=False, repr=False)
    #: Rung once a notice: whoever decided on the notice decides when to ring again. Says nothing about which it is.
    once: bool = field(default=False, compare=False, repr=False)
    #: When somebody last answered there, as written down; `None`: never.
    verified: date | None = field(default=None, compare=False, repr=False)

    def answers(self, at: datetime) -> bool:
        """Return whether somebody may answer there at *at*."""
        return self.hours is None or self.hours.is_open(at)

    def is_verified(self, within: timedelta, day: date) -> bool:
        """Return whether somebody is known to have answered there, *within* so many days before *day*."""
        return self.verified is not None and self.verified <= day <= self.verified + within


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A member of staff. Addresses are in the order in which they are tried."""

    key: str
    name: str
    language: Language
    addresses: tuple[Address, ...]
    #: What they sign in to the portal with; empty: nothing, or not known.
    user: str = ""

    def addresses_on(self, channels: Iterable[Channel]) -> tuple[Address, ...]:
        """Return the addresses to try, in the order of *channels* and then of the contact's own list."""
        return tuple(a for channel in channels for a in self.addresses if a.channel is channel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Somebody outside who is told that the agency's mail is down. Each channel is used, not the first that works."""

    key: str
    language: Language
    addressee: Addressee
    #: One address a channel: a fax now and a letter for the file, say.
    addresses: tuple[Address, ...]
