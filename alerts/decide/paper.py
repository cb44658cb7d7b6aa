"""What a clerk does with a letter after it was laid in the tray: it is printed and posted, each once. Pure.

Printed and posted are words of people: who says so first is written down, and whoever says so again hears who did. What
nobody has recorded as printed is recorded as posted only by somebody who says that; and that a letter was posted can be taken
back, as long as no other page rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.delivery import Notification, NotificationState
from alerts.model.notification import Addressee, Plan, Purpose


class LetterStep(StrEnum):
    """Progress of a letter. A clerk records printing and posting."""

    #: The letter is in the tray.
    LAID = "laid"
    #: A clerk printed it. It has to be signed and posted.
    PRINTED = "printed"
    #: A clerk posted it. Its recipient gets a letter when mail works again.
    POSTED = "posted"
    #: The outage ended before it was posted. A printed copy must not be posted.
    TAKEN_BACK = "taken_back"


#: It is for a clerk to do something with it.
WAITING = (LetterStep.LAID, LetterStep.PRINTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """Who has printed or posted a letter, and when that was written down."""

    by: str
    at: datetime
    #: On which day it was posted, where that was said; `None`: on the day of `at`.
    day: date | None = None

    def on(self, zone: ZoneInfo) -> date:
        """Return on which day it was done."""
        return self.day or self.at.astimezone(zone).date()


class ImpossibleDay(StrEnum):
    """Why a letter cannot have been posted on a day."""

    #: It has not come yet.
    FUTURE = "future"
    #: There was no letter then.
    BEFORE_LAID = "before_laid"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedLetter:
    """What was laid in a tray."""

    gateway: str
    #: Of the attempt.
    reference: str
    #: Of its octets, as the journal has it.
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrayLetter:
    """A letter, from the tray on."""

    notice_id: int
    #: Of its incident.
    number: str
    #: Short code; "" for something of ours.
    agency: str
    purpose: Purpose
    addressee: Addressee | None
    laid_at: datetime
    printed: Handling | None = None
    posted: Handling | None = None
    #: It has left the tray by a clerk's hand, whether or not it was written down by whose.
    is_posted: bool = False
    taken_back_at: datetime | None = None

    @property
    def step(self) -> LetterStep:
        """How far it has come."""
        if self.taken_back_at is not None:
            return LetterStep.TAKEN_BACK
        if self.is_posted:
            return LetterStep.POSTED
        return LetterStep.LAID if self.printed is None else LetterStep.PRINTED

    def is_overdue(self, hours: OfficeHours, now: datetime) -> bool:
        """Whether it should have been posted by *now* by a clerk who works these *hours*."""
        return self.step in WAITING and now >= post_by(self.laid_at, hours)


def post_by(laid_at: datetime, hours: OfficeHours) -> datetime:
    """Return until when a letter is to be posted: the end of the first workday after the day it was laid on."""
    return hours.end_of_next_workday(laid_at)


def why_not_posted_on(day: date, laid_at: datetime, now: datetime, zone: ZoneInfo) -> ImpossibleDay | None:
    """Return why a letter cannot have been posted on a *day*, as the clerk's clock has it; `None`: it can."""
    if day > now.astimezone(zone).date():
        return ImpossibleDay.FUTURE
    return ImpossibleDay.BEFORE_LAID if day < laid_at.astimezone(zone).date() else None


def page_resting_on(letter: Notification, notices: Sequence[Notification]) -> Notification | None:
    """Return a later letter to the same reader that cites *letter*, so that it stays posted; `None`: there is none.

    One that tells the end and is still in its tray is no obstacle: it is taken back with it.
    """
    later = (
        n
        for n in notices
        if n.plan is Plan.ANNOUNCEMENT
        and n.channel is Channel.LETTER
        and n.person == letter.person
        and n.id > letter.id
        and n.state is not NotificationState.WITHDRAWN
    )
    return next((n for n in later if n.has_arrived or n.purpose is Purpose.UPDATE), None)
