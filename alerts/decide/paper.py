"""Handling of queued letters by clerks, who print and post them. Pure.

Letters wait in a tray, a directory from which a clerk prints and posts them. The clerk records both; the first record
counts, and a second clerk sees the name of the first. A letter that nobody recorded as printed is recorded as posted
only on explicit confirmation. A posting can be undone as long as no later page cites the letter.
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

    #: It is in the tray.
    QUEUED = "queued"
    #: Printed by a clerk; to be signed and posted.
    PRINTED = "printed"
    #: A clerk posted it. Its recipient gets a letter when mail works again.
    POSTED = "posted"
    #: The incident ended before it was posted: printed copies must not be posted.
    TAKEN_BACK = "taken_back"


#: Steps in which a clerk must act.
PENDING_STEPS = (LetterStep.QUEUED, LetterStep.PRINTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """Who printed or posted a letter, and when that was recorded."""

    by: str
    at: datetime
    #: The stated day; `None`: the day of `at`.
    day: date | None = None

    def on(self, zone: ZoneInfo) -> date:
        """Return the day of the action."""
        return self.day or self.at.astimezone(zone).date()


class ImpossibleDay(StrEnum):
    """Reason why a letter cannot have been posted on a day."""

    #: The day is in the future.
    FUTURE = "future"
    #: The letter did not exist yet.
    BEFORE_QUEUED = "before_queued"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedLetter:
    """A letter in a tray."""

    gateway: str
    #: Reference of the attempt.
    reference: str
    #: Hash of its octets, as in the audit log.
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
    addressee: Addressee | None
    queued_at: datetime
    printed: Handling | None = None
    posted: Handling | None = None
    #: A clerk has removed it from the tray, recorded or not.
    is_posted: bool = False
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
        """Whether a clerk with these *hours* should have posted it by *now*."""
        return self.step in PENDING_STEPS and now >= post_by(self.queued_at, hours)


def post_by(queued_at: datetime, hours: OfficeHours) -> datetime:
    """Return when a letter must be posted: the end of the first workday after the day it was queued."""
    return hours.end_of_next_workday(queued_at)


def why_not_posted_on(day: date, queued_at: datetime, now: datetime, zone: ZoneInfo) -> ImpossibleDay | None:
    """Return why a letter cannot have been posted on *day* in the clerk's time zone; `None` if it can."""
    if day > now.astimezone(zone).date():
        return ImpossibleDay.FUTURE
    return ImpossibleDay.BEFORE_QUEUED if day < queued_at.astimezone(zone).date() else None


def citing_letter(letter: Notification, notifications: Sequence[Notification]) -> Notification | None:
    """Return a later letter to the same reader that cites *letter*, so that its posting cannot be undone; or `None`.

    A letter about the end that is still in the tray does not count, because undoing withdraws it too.
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
