"""Letters in the trays, the directories from which clerks print and post notifications on paper.

`Letters` returns the letters, records that clerks have printed and posted them, and exports metrics of overdue ones.
"""

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
    citing_letter,
    impossible_day_reason,
    post_by,
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
from monitor.store.engine.unit_of_work import SqlStore

#: How long a letter is shown after it has left its tray: a week, and some days of a clerk's leave.
_SHOWN_AFTER_LEAVING = timedelta(days=10)
#: A docket (the list of letters posted on a day) contains only letters that were queued within this period: clerks post
#: no letter later than that.
_DOCKET_PERIOD = timedelta(days=92)
#: Interval of checks for overdue letters. A letter becomes overdue when a day ends, and a tray changes rarely.
CHECK_INTERVAL = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterView:
    """A letter, as the page, the API and the command line show it."""

    #: Id of the notification.
    id: int
    #: Number of the incident.
    incident: str
    #: Code of the agency; "": the incident is a fault of Pantau itself.
    agency: str
    purpose: Purpose
    #: Addressee, such as "Ketua Setiausaha, Kementerian Contoh".
    to: str
    step: LetterStep
    queued_at: datetime
    #: By when it must be posted: the end of the workday after `queued_at`.
    post_by: datetime
    #: Whether it should have been posted by now.
    overdue: bool
    printed_at: datetime | None = None
    printed_by: str | None = None
    posted_at: datetime | None = None
    posted_by: str | None = None
    #: The day of posting that the clerk entered, or else the day of the record.
    posted_on: date | None = None
    #: When it was withdrawn from the tray; `None`: it was not.
    taken_back_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRecord:
    """Record of who has printed or posted a letter."""

    by: str
    at: datetime
    #: Whether this call made the record; `False`: it existed before.
    anew: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterNotRecorded:
    """A letter that could not be recorded as printed or posted, with the reason."""

    #: Id of the notification.
    id: int
    reason: str


class Letters:
    """Reader of the trays, and recorder of what clerks report."""

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
        """Take *hours*, which returns the office hours of an agency by its code ("": the operators' own office)."""
        self._store = store
        self._pool = pool
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._clock = clock
        self._hours = hours

    async def letters(self) -> Sequence[LetterView]:
        """Return the letters in the trays, oldest first, and then those that left a tray recently, newest first."""
        return await self._views(_SHOWN_AFTER_LEAVING)

    async def _views(self, period: timedelta) -> Sequence[LetterView]:
        now = self._clock.now()
        async with self._store.reading() as uow:
            tray_letters = await uow.letters(self._tray_names(), now - period)
        hours = cache(self._hours)
        return [_view(each, hours(each.agency), now) async for each in yielding(tray_letters)]

    async def unchanged_pdfs(self, notification_ids: Collection[int]) -> Mapping[int, bytes]:
        """Return the PDFs of letters in the trays, by notification id, for printing.

        Omit letters whose file was changed or removed, and letters in an unreadable tray.
        """
        async with self._store.reading() as uow:
            letters = await uow.queued_letters(notification_ids)
        pdfs = dict[str, bytes]()
        for name, tray in self._gateways():
            with suppress(DeliveryError):
                pdfs |= await tray.read({each.reference for each in letters.values() if each.gateway == name})
        return await asyncio.to_thread(_unchanged, letters, pdfs)

    def _gateways(self) -> Sequence[tuple[str, SupportsManualPosting]]:
        return [
            (configured.name, configured.gateway)
            for configured in self._pool
            if isinstance(configured.gateway, SupportsManualPosting)
        ]

    def _tray_names(self) -> Sequence[str]:
        return [configured.name for configured in self._pool if configured.channel is Channel.LETTER]

    def today(self) -> date:
        """Return the current date at the place of posting."""
        return self._clock.now().astimezone(self._hours("").zone).date()

    async def record_steps(
        self, notification_ids: Iterable[int], step: LetterStep, by: str, *, day: date | None = None
    ) -> Sequence[LetterNotRecorded]:
        """Record several letters as printed or posted; return those that could not be recorded.

        *day*: the day of posting.
        """
        not_recorded: list[LetterNotRecorded] = []
        for notification_id in dict.fromkeys(notification_ids):
            try:
                await self.record_step(notification_id, step, by, day=day)
            except OperationRejectedError as error:
                not_recorded.append(LetterNotRecorded(id=notification_id, reason=str(error)))
        return not_recorded

    async def posted_on(self, day: date) -> Sequence[LetterView]:
        """Return the letters of the docket of *day*, in the order of queueing."""
        views = [each for each in await self._views(_DOCKET_PERIOD) if each.posted_on == day]
        return sorted(views, key=lambda each: (each.queued_at, each.id))

    async def record_step(
        self,
        notification_id: int,
        step: LetterStep,
        by: str,
        *,
        already_posted: bool = False,
        unprinted: bool = False,
        day: date | None = None,
    ) -> LetterRecord:
        """Record that a clerk has printed or posted a letter, unless a record exists. Raise `OperationRejectedError`.

        *already_posted*: accept also a withdrawn letter, because the clerk had posted it before the withdrawal. The
        recipient of the letter then also gets the later notifications of the incident. *unprinted*: accept also a
        letter without a record of printing. *day*: the day of posting; by default the day of the record.
        """
        try:
            async with self._store.reading() as uow:
                notification = await uow.notification(notification_id)
                incident = await uow.incident(notification.incident_id)
        except LookupError:
            raise OperationRejectedError.from_text("no_letter", notice=notification_id) from None
        attempt = notification.last_attempt
        is_withdrawn = (
            attempt is not None and attempt.state is AttemptState.WITHDRAWN and notification.channel is Channel.LETTER
        )
        already_posted = already_posted and step is LetterStep.POSTED
        if is_withdrawn and not already_posted:
            raise OperationRejectedError.from_text("letter_taken_back", notice=notification_id)
        # ACCEPTED: the letter is in its tray. SENT: it is posted.
        if attempt is None or not (is_withdrawn or attempt.state in {AttemptState.ACCEPTED, AttemptState.SENT}):
            raise OperationRejectedError.from_text("not_in_a_tray", notice=notification_id, state=notification.state)
        gateway = self._tray_of(notification, attempt)
        async with self._store.reading() as uow:
            steps = await uow.letter_steps(attempt.id)
        is_unprinted = step is LetterStep.POSTED and not steps.keys() & {LetterStep.PRINTED, LetterStep.POSTED}
        if is_unprinted and not (unprinted or already_posted):
            raise OperationRejectedError.from_text("letter_not_printed", notice=notification_id)
        if step is not LetterStep.POSTED:
            day = None
        elif day is not None:
            self._check_posting_day(day, incident.policy.agency if incident else "", attempt.started_at)
        # Move the file before writing the record: if the process dies in between, the clerk can report the posting
        # again.
        if step is LetterStep.POSTED:
            await self._record_posting(gateway, notification_id, attempt.reference, already_posted=already_posted)
        earlier = await self._dispatcher.record_letter_step(
            attempt.reference, step, by, day=day, is_unprinted=is_unprinted
        )
        if earlier is not None:
            return LetterRecord(by=earlier.by, at=earlier.at, anew=False)
        return LetterRecord(by=by, at=self._clock.now(), anew=True)

    async def undo_posting(self, notification_id: int, by: str) -> None:
        """Undo the record that a letter was posted: it returns to its tray. Raise `OperationRejectedError`."""
        try:
            async with self._store.reading() as uow:
                notification = await uow.notification(notification_id)
                notifications = await uow.notifications(notification.incident_id)
        except LookupError:
            raise OperationRejectedError.from_text("no_letter", notice=notification_id) from None
        attempt = notification.last_attempt
        if attempt is None or attempt.state is not AttemptState.SENT or notification.channel is not Channel.LETTER:
            raise OperationRejectedError.from_text("letter_not_posted", notice=notification_id)
        # A later letter may refer to this one as posted. Then the posting cannot be undone.
        if (citing := citing_letter(notification, notifications)) is not None:
            raise OperationRejectedError.from_text("letter_cited", notice=notification_id, other=citing.id)
        tray = self._tray_of(notification, attempt)
        # Move the file before writing the record: if the process dies in between, the letter still counts as posted,
        # and a clerk can undo the posting again.
        try:
            is_in_tray = await tray.undo_posting(attempt.reference)
        except DeliveryError as error:
            raise OperationRejectedError.from_text("tray_stuck", notice=notification_id, detail=error.detail) from None
        if not is_in_tray:
            raise OperationRejectedError.from_text("letter_gone", notice=notification_id)
        await self._dispatcher.undo_posting(attempt.reference, by)

    def _tray_of(self, notification: Notification, attempt: Attempt) -> SupportsManualPosting:
        gateway: object = self._pool[attempt.gateway].gateway if attempt.gateway in self._pool else None
        if not isinstance(gateway, SupportsManualPosting):
            raise OperationRejectedError.from_text("no_paper", notice=notification.id, channel=notification.channel)
        return gateway

    def _check_posting_day(self, day: date, agency: str, queued_at: datetime) -> None:
        zone = self._hours(agency).zone
        match impossible_day_reason(day, queued_at, self._clock.now(), zone):
            case ImpossibleDay.FUTURE:
                raise OperationRejectedError.from_text("day_ahead", day=f"{day:%d/%m/%Y}")
            case ImpossibleDay.BEFORE_QUEUED:
                queued_on = queued_at.astimezone(zone)
                raise OperationRejectedError.from_text(
                    "day_before", laid=f"{queued_on:%d/%m/%Y}", day=f"{day:%d/%m/%Y}"
                )
            case None:
                pass

    async def _record_posting(
        self, tray: SupportsManualPosting, notification_id: int, reference: str, *, already_posted: bool
    ) -> None:
        """Move a letter's file out of the tray. *reference*: Pantau's reference of the attempt that queued the letter.

        Raise `OperationRejectedError` if the tray does not answer or does not contain the letter.
        """
        try:
            is_in_tray = await tray.record_posting(reference, already_posted=already_posted)
        except DeliveryError as error:
            raise OperationRejectedError.from_text("tray_stuck", notice=notification_id, detail=error.detail) from None
        if not is_in_tray:
            raise OperationRejectedError.from_text("tray_left", notice=notification_id)

    async def run(self) -> NoReturn:
        """Maintain the trays periodically, until cancelled."""
        await run_periodically("letters", self.maintain, CHECK_INTERVAL)

    async def maintain(self) -> None:
        """Remove incomplete files from the trays, and export metrics of pending letters, once."""
        await self.remove_incomplete()
        await self.export_metrics()

    async def remove_incomplete(self) -> None:
        """Remove incomplete files from the trays. Ignore unreachable trays: the next letter to queue reports them."""
        for _, tray in self._gateways():
            with suppress(DeliveryError):
                await tray.remove_incomplete()

    async def export_metrics(self) -> None:
        """Export the number of letters by step, and the number of overdue letters.

        While the database is unavailable, export NaN, and raise `StoreUnavailable`.
        """
        try:
            views = await self.letters()
        except StoreUnavailable:
            self._metrics.set_letters(None, overdue=0)
            raise
        self._metrics.set_letters(Counter(each.step for each in views), overdue=sum(each.overdue for each in views))


def _unchanged(letters: Mapping[int, QueuedLetter], pdfs: Mapping[str, bytes]) -> Mapping[int, bytes]:
    """Return, by notification id, the PDFs whose hash is still the recorded one.

    *pdfs*: the PDFs by the reference of the attempt that queued the letter.
    """
    return {
        notification_id: pdf
        for notification_id, each in letters.items()
        if (pdf := pdfs.get(each.reference)) is not None and sha256(pdf).hexdigest() == each.sha256
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
        posted_on=posted.action_day(hours.zone) if posted else None,
        taken_back_at=letter.taken_back_at,
    )


def office_hours(configuration: Configuration, agency: str) -> OfficeHours:
    """Return the office hours of *agency*, or those of the settings for an unknown agency."""
    shared = configuration.settings.build_shared()
    agency_settings = configuration.registry.agencies.get(agency)
    return shared.calendar.build(shared.zone) if agency_settings is None else agency_settings.build_hours(shared)
