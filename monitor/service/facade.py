"""Interface of the running service for the web: queries and operations."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from alerts.engine.composer import Composer
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.event_handler import take_in
from alerts.engine.gateway_pool import GatewayPool
from alerts.engine.manual_status import ManualStatus, ManualStatusRequest
from alerts.inbound.callback_handler import CallbackHandlers
from alerts.model.contradiction import Contradiction
from alerts.model.event import Acknowledge, AddNote, Escalate, Event, MarkFalseAlarm, Release
from alerts.model.gateway import CallbackRejectedError, CallbackRequest, CallbackResponse, Content
from alerts.model.incident import (
    FALSE_ALARM_WITHIN,
    REPEATED_WITHIN,
    Incident,
    may_mark_false_alarm,
    release_is_offered,
)
from alerts.persistence.clock import Clock
from monitor.config.files.problem import Problem
from monitor.evaluation.liveness import LivenessFailure, unready
from monitor.metrics import REFUSALS, Metrics
from monitor.service.errors import OperationRejectedError, no_incident, numbered
from monitor.service.gateways import callback_base
from monitor.service.order_check import OrderCheck
from monitor.service.probing_runtime import ProbingRuntime
from monitor.service.status_reader import StatusReader
from monitor.store.engine.ledger import SqlStore
from monitor.views.overview import IncidentView, NotificationView, view_incident, view_notice


class ServiceFacade:
    """The running service, as the web uses it."""

    def __init__(
        self,
        *,
        store: SqlStore,
        board: StatusReader,
        dispatcher: Dispatcher,
        desks: CallbackHandlers,
        pool: GatewayPool,
        composer: Composer,
        metrics: Metrics,
        clock: Clock,
        runtime: Callable[[], ProbingRuntime],
        reload: Callable[[str], Awaitable[Sequence[Problem]]],
        check: OrderCheck,
        away: Callable[[], tuple[datetime, str] | None] = lambda: None,
        ailments: Callable[[], AbstractSet[LivenessFailure]] = frozenset,
    ) -> None:
        """*runtime* returns the current one; *reload* reads the configuration again in the name of a principal.

        *away* returns since when the database is unavailable, and why; *ailments* the problems of this process.
        """
        self._store = store
        #: Status of everything.
        self.board = board
        self._away = away
        self._ailments = ailments
        self._dispatcher = dispatcher
        self._desks = desks
        self._pool = pool
        self._composer = composer
        self._metrics = metrics
        self._clock = clock
        self._runtime = runtime
        self._reload = reload
        self._order_check = check

    # -- state ---------------------------------------------------------------------------------------------------

    async def content(self, notification_id: int) -> tuple[NotificationView, Content] | None:
        """Return a notification and its content, composed again from its facts; `None`: it does not exist."""
        async with self._store.reading() as ledger:
            try:
                notice = await ledger.notice(notification_id)
            except LookupError:
                return None
            incident = await ledger.incident(notice.incident_id)
        if incident is None:
            return None
        return view_notice(notice, incident), await self._composer.compose(notice, notice.channel)

    def metrics(self, *, open_metrics: bool = False) -> Iterator[bytes]:
        """Yield Prometheus' text format in parts. The first one blocks for a while: request it in a thread."""
        return self._metrics.pieces(open_metrics=open_metrics)

    def unready(self) -> str | None:
        """Return why the service is not ready (it starts, the database is unavailable, the engine is stuck)."""
        if not self._dispatcher.is_running:
            return "starting"
        if (away := self._away()) is not None:
            since, why = away
            return f"the store is away since {since.isoformat(timespec='seconds')}: {why}"
        return unready(self._ailments())

    def is_monitor_only(self) -> bool:
        """Return whether mail is only monitored, and nobody is notified."""
        return not self._runtime().configuration.settings.notifies

    def now(self) -> datetime:
        """Return the current time."""
        return self._clock.now()

    # -- operations ----------------------------------------------------------------------------------------------

    async def reload(self, by: str) -> Sequence[Problem]:
        """Read the configuration again in the name of a principal.

        Return the problems; if one is an error, the old one stays active.
        """
        return await self._reload(by)

    def program(self, token: str) -> str | None:
        """Return the name of the program with this token; `None`: it is invalid."""
        known = self._runtime().configuration.settings.api
        # All are compared, each in constant time.
        found = [
            name
            for name, each in known.items()
            if hmac.compare_digest(each.token.get_secret_value().encode(), token.encode())
        ]
        return next(iter(found), None)

    async def acknowledge(self, number: str, by: str) -> Incident:
        """Acknowledge an incident in a person's name. Raise `NotFoundError`, as all operations on an incident."""
        return await self._order(number, partial(Acknowledge, by=by))

    async def take_over(self, number: str, by: str, of: str) -> Incident:
        """Transfer an incident from its assignee *of*; nothing changes if *of* is not the assignee any more.

        The notified staff and the previous assignee are notified of the new assignee by SMS.
        """
        return await self._order(number, partial(Acknowledge, by=by, of=of))

    async def remark(self, number: str, by: str, text: str) -> Incident:
        """Add a note to an incident; a note by the assignee extends the acknowledgement.

        The same note sent again at once changes nothing: a button was pressed twice.
        """
        now = self._clock.now()
        async with self._store.transaction() as ledger:
            found = await numbered(ledger, number)
            done = await ledger.listing.done_about(found.id, {"remark"}, most=10)
            if any((each.actor, each.said) == (by, text) and abs(now - each.at) < REPEATED_WITHIN for each in done):
                return found
            after = await take_in(ledger, AddNote(incident_id=found.id, at=now, by=by, text=text))
        self._dispatcher.stir(found.id)
        return after or found

    async def hand_on(self, number: str, by: str) -> Incident:
        """Escalate an incident to the next step at once."""
        return await self._order(number, partial(Escalate, by=by))

    async def release(self, number: str, by: str, *, despite: Contradiction | None = None) -> Incident:
        """Release an incident's announcement.

        Raise `OperationRejectedError` in monitor-only mode, or if probes contradict.
        """
        if self.is_monitor_only():
            raise OperationRejectedError.said("nothing_to_release")
        return await self._order(number, partial(Release, by=by, despite=despite))

    async def releases(self) -> Sequence[IncidentView]:
        """Return the outages whose announcements may be released, oldest first."""
        now = self._clock.now()
        async with self._store.reading() as ledger:
            found = await ledger.open_incidents()
        return [view_incident(incident) for incident in found if release_is_offered(incident, now)]

    async def correct(self, number: str, by: str, why: str, *, despite: Contradiction | None = None) -> Incident:
        """Mark an incident as a false alarm.

        Raise `OperationRejectedError` if it is too late, was done before, or probes contradict.
        """
        before = await self.numbered(number)
        if before.false_alarm_at is not None:
            raise OperationRejectedError.said("corrected_before", number=before.number, by=before.false_alarm_by)
        if not may_mark_false_alarm(before, self.now()):
            hours = FALSE_ALARM_WITHIN // timedelta(hours=1)
            raise OperationRejectedError.said("correct_too_late", number=before.number, hours=hours)
        return await self._order(number, partial(MarkFalseAlarm, by=by, reason=why, despite=despite))

    async def settle(self, notification_id: int, ruling: ManualStatus, by: str, why: str) -> None:
        """Set the status of a notification manually. Raise `OperationRejectedError`."""
        settlement = ManualStatusRequest(
            notification_id=notification_id, ruling=ruling, by=by, reason=why, at=self._clock.now()
        )
        if (problem := await self._dispatcher.settle(settlement)) is not None:
            raise OperationRejectedError(problem)

    async def numbered(self, number: str) -> Incident:
        """Return the incident with *number* in any notation. Raise `NotFoundError`."""
        async with self._store.reading() as ledger:
            return await numbered(ledger, number)

    async def _order(self, number: str, event: Callable[..., Event]) -> Incident:
        found = await self.numbered(number)
        order = event(incident_id=found.id, at=self._clock.now())
        if isinstance(order, Release | MarkFalseAlarm):
            await self._order_check.check(found, order)
            order = replace(order, at=self._clock.now())
        after = await self._dispatcher.submit(order)
        if after is None:
            raise no_incident(number)
        return after

    # -- providers -----------------------------------------------------------------------------------------------

    def callback_base(self, gateway: str) -> str | None:
        """Return the public URL that was given to this gateway's provider."""
        return callback_base(self._runtime().configuration.settings, gateway) if gateway in self._pool else None

    async def hear(self, gateway: str, incoming: CallbackRequest) -> CallbackResponse | None:
        """Pass a provider's callback to its gateway; `None`: no such gateway.

        Raise `alerts.model.gateway.CallbackRejectedError`.
        """
        if gateway not in self._pool:
            return None
        try:
            return await self._pool[gateway].gateway.hear(incoming, self._desks.of(gateway))
        except CallbackRejectedError as refusal:
            self._metrics.callback_refused(gateway, REFUSALS.get(refusal.status, ""))
            raise
