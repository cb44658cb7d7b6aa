"""Letters in the trays: their contents, who printed and posted them, and which are overdue."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import NoReturn

from alerts.decide.paper import (
    ImpossibleDay,
    LetterStep,
    QueuedLetter,
    TrayLetter,
    page_resting_on,
    post_by,
    why_not_posted_on,
)
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_pool import GatewayPool
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.delivery import Attempt, AttemptState, Notification
from alerts.model.gateway import DeliveryError, SupportsManualPosting
from alerts.model.notification import Purpose
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.config.loading import Configuration
from monitor.metrics import Metrics
from monitor.runtime.cooperative import yielding
from monitor.runtime.repeat import run_periodically
from monitor.service.errors import OperationRejectedError
from monitor.store.engine.ledger import SqlStore

#: How long a letter that has left a tray is shown: a week and the days around it.
_GONE_FOR = timedelta(days=10)
#: Letters that were queued earlier are on no docket: none is posted that late.
_ON_DOCKETS = timedelta(days=92)
#: Interval of checks for overdue letters: a letter becomes overdue at a change of day, and a tray changes rarely.
EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterView:
    """A letter, as the page, the API and the command line show it."""

    #: Of the notification.
    id: int
    #: Number of the incident.
    incident: str
    agency: str
    purpose: Purpose
    #: "Ketua Setiausaha, Kementerian Contoh"
    to: str
    step: LetterStep
    queued_at: datetime
    #: Latest day of posting.
    post_by: datetime
    overdue: bool
    printed_at: datetime | None = None
    printed_by: str | None = None
    posted_at: datetime | None = None
    posted_by: str | None = None
    #: The day that the clerk entered, or the day of the record.
    posted_on: date | None = None
    taken_back_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRecord:
    """Record of who has printed or posted a letter."""

    by: str
    at: datetime
    #: Whether it was recorded just now.
    anew: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterNotRecorded:
    """A letter that could not be recorded as printed or posted, and why."""

    id: int
    reason: str


class Letters:
    """Reads the trays, and records what clerks report."""

    def __init__(
        self,
        *,
        store: SqlStore,
        pool: GatewayPool,
        dispatcher: Dispatcher,
        metrics: Metrics,
        clock: Clock,
        hours: Callable[[str], OfficeHours],
    ) -> None:
        """*hours* returns the office hours of an agency by its code, or our own by ""."""
        self._store = store
        self._pool = pool
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._clock = clock
        self._hours = hours

    async def letters(self) -> Sequence[LetterView]:
        """Return the letters in the trays, oldest first, and then those that have left them recently, newest first."""
        return await self._views(_GONE_FOR)

    async def _views(self, since: timedelta) -> Sequence[LetterView]:
        now = self._clock.now()
        async with self._store.reading() as ledger:
            found = await ledger.letters(self._trays(), now - since)
        hours = cache(self._hours)
        return [_view(each, hours(each.agency), now) async for each in yielding(found)]

    async def lying(self, notice_ids: Collection[int]) -> Mapping[int, bytes]:
        """Return the PDFs of unchanged letters in their trays, by notification, for printing.

        Letters that were changed or removed meanwhile are left out, as are those in an unreadable tray.
        """
        async with self._store.reading() as ledger:
            laid = await ledger.laid(notice_ids)
        found = dict[str, bytes]()
        for name, tray in self._dispatching():
            with suppress(DeliveryError):
                found |= await tray.read({each.reference for each in laid.values() if each.gateway == name})
        return await asyncio.to_thread(_unchanged, laid, found)

    def _dispatching(self) -> Sequence[tuple[str, SupportsManualPosting]]:
        return [(line.name, line.gateway) for line in self._pool if isinstance(line.gateway, SupportsManualPosting)]

    def _trays(self) -> Sequence[str]:
        return [line.name for line in self._pool if line.channel is Channel.LETTER]

    def today(self) -> date:
        """Return the current date at the place of posting."""
        return self._clock.now().astimezone(self._hours("").zone).date()

    async def note_all(
        self, notice_ids: Iterable[int], step: LetterStep, by: str, *, day: date | None = None
    ) -> Sequence[LetterNotRecorded]:
        """Record several letters as printed or posted; return those that could not be recorded.

        *day*: the day of posting.
        """
        unnoted: list[LetterNotRecorded] = []
        for notification_id in dict.fromkeys(notice_ids):
            try:
                await self.note(notification_id, step, by, day=day)
            except OperationRejectedError as wrong:
                unnoted.append(LetterNotRecorded(id=notification_id, reason=str(wrong)))
        return unnoted

    async def posted_on(self, day: date) -> Sequence[LetterView]:
        """Return the letters that were posted on a day, in the order in which they were queued; of the last quarter only."""
        views = [each for each in await self._views(_ON_DOCKETS) if each.posted_on == day]
        return sorted(views, key=lambda each: (each.queued_at, each.id))

    async def note(
        self,
        notification_id: int,
        step: LetterStep,
        by: str,
        *,
        already_posted: bool = False,
        unprinted: bool = False,
        day: date | None = None,
    ) -> LetterRecord:
        """Record once that a clerk has printed or posted a letter. Raise `OperationRejectedError`.

        *already_posted*: it had been posted before it was withdrawn, and the clerk reports that only now. Then its
        recipient also gets the notifications that others have received since. *unprinted*: it was posted without a
        record that it was printed. *day*: the day of posting; by default the day of the record.
        """
        try:
            async with self._store.reading() as ledger:
                notice = await ledger.notice(notification_id)
                incident = await ledger.incident(notice.incident_id)
        except LookupError:
            raise OperationRejectedError.said("no_letter", notice=notification_id) from None
        last = notice.last_attempt
        is_taken_back = last is not None and last.state is AttemptState.WITHDRAWN and notice.channel is Channel.LETTER
        already_posted = already_posted and step is LetterStep.POSTED
        if is_taken_back and not already_posted:
            raise OperationRejectedError.said("letter_taken_back", notice=notification_id)
        if last is None or not (is_taken_back or last.state in {AttemptState.ACCEPTED, AttemptState.SENT}):
            raise OperationRejectedError.said("not_in_a_tray", notice=notification_id, state=notice.state)
        gateway = self._tray_of(notice, last)
        async with self._store.reading() as ledger:
            handled = await ledger.handled(last.id)
        is_unprinted = step is LetterStep.POSTED and not handled.keys() & {LetterStep.PRINTED, LetterStep.POSTED}
        if is_unprinted and not (unprinted or already_posted):
            raise OperationRejectedError.said("letter_not_printed", notice=notification_id)
        if step is not LetterStep.POSTED:
            day = None
        elif day is not None:
            self._check(day, incident.policy.agency if incident else "", last.started_at)
        # The file first: if the process dies before the record is written, a clerk can report it again.
        if step is LetterStep.POSTED:
            await self._dispatch(gateway, notification_id, last.reference, already_posted=already_posted)
        before = await self._dispatcher.note_letter(last.reference, step, by, day=day, unprinted=is_unprinted)
        if before is not None:
            return LetterRecord(by=before.by, at=before.at, anew=False)
        return LetterRecord(by=by, at=self._clock.now(), anew=True)

    async def undo_posting(self, notification_id: int, by: str) -> None:
        """Undo the record that a letter was posted: it returns to its tray. Raise `OperationRejectedError`."""
        try:
            async with self._store.reading() as ledger:
                notice = await ledger.notice(notification_id)
                notices = await ledger.notices(notice.incident_id)
        except LookupError:
            raise OperationRejectedError.said("no_letter", notice=notification_id) from None
        last = notice.last_attempt
        if last is None or last.state is not AttemptState.SENT or notice.channel is not Channel.LETTER:
            raise OperationRejectedError.said("letter_not_posted", notice=notification_id)
        if (other := page_resting_on(notice, notices)) is not None:
            raise OperationRejectedError.said("letter_cited", notice=notification_id, other=other.id)
        tray = self._tray_of(notice, last)
        # The file first, as when it was posted: in between it counts as posted, and a clerk can repeat the operation.
        try:
            is_there = await tray.undispatch(last.reference)
        except DeliveryError as error:
            raise OperationRejectedError.said("tray_stuck", notice=notification_id, detail=error.detail) from None
        if not is_there:
            raise OperationRejectedError.said("letter_gone", notice=notification_id)
        await self._dispatcher.undo_posting(last.reference, by)

    def _tray_of(self, notice: Notification, last: Attempt) -> SupportsManualPosting:
        gateway: object = self._pool[last.gateway].gateway if last.gateway in self._pool else None
        if not isinstance(gateway, SupportsManualPosting):
            raise OperationRejectedError.said("no_paper", notice=notice.id, channel=notice.channel)
        return gateway

    def _check(self, day: date, agency: str, queued_at: datetime) -> None:
        zone = self._hours(agency).zone
        match why_not_posted_on(day, queued_at, self._clock.now(), zone):
            case ImpossibleDay.FUTURE:
                raise OperationRejectedError.said("day_ahead", day=f"{day:%d/%m/%Y}")
            case ImpossibleDay.BEFORE_QUEUED:
                laid = queued_at.astimezone(zone)
                raise OperationRejectedError.said("day_before", laid=f"{laid:%d/%m/%Y}", day=f"{day:%d/%m/%Y}")
            case None:
                pass

    async def _dispatch(
        self, tray: SupportsManualPosting, notification_id: int, reference: str, *, already_posted: bool
    ) -> None:
        try:
            is_there = await tray.dispatch(reference, already_posted=already_posted)
        except DeliveryError as error:
            raise OperationRejectedError.said("tray_stuck", notice=notification_id, detail=error.detail) from None
        if not is_there:
            raise OperationRejectedError.said("tray_left", notice=notification_id)

    async def keep_in_order(self) -> NoReturn:
        """Remove incomplete files from the trays, and export metrics of pending letters, until cancelled."""
        await run_periodically("letters", self.look, EVERY)

    async def look(self) -> None:
        """Do both once."""
        await self.tidy()
        await self.count()

    async def tidy(self) -> None:
        """Remove incomplete files from the trays. An unreachable tray is reported when a letter is queued."""
        for _, tray in self._dispatching():
            with suppress(DeliveryError):
                await tray.tidy()

    async def count(self) -> None:
        """Export the numbers of pending and overdue letters; NaN while the database is unavailable."""
        try:
            found = await self.letters()
        except StoreUnavailable:
            self._metrics.letters_known(None, overdue=0)
            raise
        self._metrics.letters_known(Counter(each.step for each in found), overdue=sum(each.overdue for each in found))


def _unchanged(laid: Mapping[int, QueuedLetter], found: Mapping[str, bytes]) -> Mapping[int, bytes]:
    return {
        notification_id: pdf
        for notification_id, each in laid.items()
        if (pdf := found.get(each.reference)) is not None and sha256(pdf).hexdigest() == each.sha256
    }


def _view(letter: TrayLetter, hours: OfficeHours, now: datetime) -> LetterView:
    printed, posted = letter.printed, letter.posted
    return LetterView(
        id=letter.notification_id,
        incident=letter.number,
        agency=letter.agency,
        purpose=letter.purpose,
        to=str(letter.addressee or ""),
        step=letter.step,
        queued_at=letter.queued_at,
        post_by=post_by(letter.queued_at, hours),
        overdue=letter.is_overdue(hours, now),
        printed_at=printed.at if printed else None,
        printed_by=printed.by if printed else None,
        posted_at=posted.at if posted else None,
        posted_by=posted.by if posted else None,
        posted_on=posted.on(hours.zone) if posted else None,
        taken_back_at=letter.taken_back_at,
    )


def office_hours(configuration: Configuration, agency: str) -> OfficeHours:
    """Return the office hours of an agency; our own for an unknown agency."""
    shared = configuration.settings.shared()
    found = configuration.registry.agencies.get(agency)
    return shared.calendar.build(shared.zone) if found is None else found.build_hours(shared)
