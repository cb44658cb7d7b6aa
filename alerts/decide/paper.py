"""Handling of queued letters by clerks, who print and post them. Pure.

Letters wait in a tray: a directory from which a clerk prints and posts them. The clerk records the printing and the
posting. Each is recorded once, and a second clerk sees the name of the first. If the printing was not recorded, the
posting is recorded only after an explicit confirmation. A posting can be undone as long as no later letter cites it.
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
    """Progress of a letter."""

    #: The letter is in the tray.
    QUEUED = "queued"
    #: A clerk has printed the letter, which must be signed and posted.
    PRINTED = "printed"
    #: A clerk has posted the letter. Its recipient gets a further letter when mail works again.
    POSTED = "posted"
    #: Pantau withdrew the letter, because the incident ended first. A printed copy must not be posted.
    TAKEN_BACK = "taken_back"


#: Steps after which a clerk must act.
PENDING_STEPS = (LetterStep.QUEUED, LetterStep.PRINTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """A clerk's printing or posting of a letter, as recorded."""

    #: Name of the clerk.
    by: str
    #: When it was recorded.
    at: datetime
    #: Day of posting as the clerk states it; `None`: the day of `at`.
    day: date | None = None

    def action_day(self, zone: ZoneInfo) -> date:
        """Return the day of printing or posting in the time zone *zone*."""
        return self.day or self.at.astimezone(zone).date()


class ImpossibleDay(StrEnum):
    """Reason why a letter cannot have been posted on a stated day."""

    #: The day is in the future.
    FUTURE = "future"
    #: The letter did not exist yet.
    BEFORE_QUEUED = "before_queued"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedLetter:
    """A letter in a tray."""

    #: Name of the tray.
    gateway: str
    #: Pantau's reference of the attempt that put the letter into the tray.
    reference: str
    #: Hash of the PDF, as in the audit log.
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrayLetter:
    """A letter with its progress since it was queued."""

    notification_id: int
    #: Number of the incident.
    number: str
    #: Short code of the agency; "" for a monitoring fault.
    agency: str
    purpose: Purpose
    #: `None`: the letter goes to a staff member.
    addressee: Addressee | None
    queued_at: datetime
    #: Records of printing and posting; `None`: not recorded.
    printed: Handling | None = None
    posted: Handling | None = None
    #: Whether the letter counts as posted (its attempt is SENT or DELIVERED). The record `posted` may still be `None`.
    is_posted: bool = False
    #: When the letter was withdrawn; `None`: it was not.
    taken_back_at: datetime | None = None

    @property
    def step(self) -> LetterStep:
        """The current step."""
        if self.taken_back_at is not None:
            return LetterStep.TAKEN_BACK
        if self.is_posted:
            return LetterStep.POSTED
        return LetterStep.QUEUED if self.printed is None else LetterStep.PRINTED

    def is_overdue(self, hours: OfficeHours, now: datetime) -> bool:
        """Whether a clerk with these office *hours* should have posted the letter by *now*."""
        return self.step in PENDING_STEPS and now >= post_by(self.queued_at, hours)


def post_by(queued_at: datetime, hours: OfficeHours) -> datetime:
    """Return by when a letter must be posted: the end of the first workday after the day on which it was queued."""
    return hours.end_of_next_workday(queued_at)


def impossible_day_reason(day: date, queued_at: datetime, now: datetime, zone: ZoneInfo) -> ImpossibleDay | None:
    """Return why a letter cannot have been posted on *day* in the clerk's time zone; `None` if it can."""
    if day > now.astimezone(zone).date():
        return ImpossibleDay.FUTURE
    return ImpossibleDay.BEFORE_QUEUED if day < queued_at.astimezone(zone).date() else None


def citing_letter(letter: Notification, notifications: Sequence[Notification]) -> Notification | None:
    """Return a later letter to the same reader that cites *letter*; `None`: the posting of *letter* can be undone.

    A letter about the end of the incident that is still in the tray does not count: it is withdrawn when the posting is
    undone.
    """
    later = (
        n
        for n in notifications
        if n.plan is Plan.ANNOUNCEMENT
        and n.channel is Channel.LETTER
        and n.person == letter.person
        and n.id > letter.id
        and n.state is not NotificationState.WITHDRAWN
    )
    return next((n for n in later if n.has_arrived or n.purpose is Purpose.UPDATE), None)
