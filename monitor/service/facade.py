"""What the running service shows and answers: joins the web's questions to the store and the watch."""

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
from alerts.model.incident import CORRECTABLE_FOR, SAID_TWICE, Incident, may_correct, release_is_offered
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
    """The running service, as the web sees it."""

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
        watch: Callable[[], ProbingRuntime],
        reload: Callable[[str], Awaitable[Sequence[Problem]]],
        check: OrderCheck,
        away: Callable[[], tuple[datetime, str] | None] = lambda: None,
        ailments: Callable[[], AbstractSet[LivenessFailure]] = frozenset,
    ) -> None:
        """*watch* returns the one in force; *reload* reads the configuration again, by whose word.

        *away* returns since when the store is, and why; *ailments* what is wrong with this process.
        """
        self._store = store
        #: How everything stands.
        self.board = board
        self._away = away
        self._ailments = ailments
        self._dispatcher = dispatcher
        self._desks = desks
        self._pool = pool
        self._composer = composer
        self._metrics = metrics
        self._clock = clock
        self._watch = watch
        self._reload = reload
        self._order_check = check

    # -- state ---------------------------------------------------------------------------------------------------

    async def content(self, notice_id: int) -> tuple[NotificationView, Content] | None:
        """Return a notice and what it says, composed again from its facts; `None`: no such notice."""
        async with self._store.reading() as ledger:
            try:
                notice = await ledger.notice(notice_id)
            except LookupError:
                return None
            incident = await ledger.incident(notice.incident_id)
        if incident is None:
            return None
        return view_notice(notice, incident), await self._composer.compose(notice, notice.channel)

    def metrics(self, *, open_metrics: bool = False) -> Iterator[bytes]:
        """Return Prometheus' text format, a piece at a time. The first blocks for a while: fetch it in a thread."""
        return self._metrics.pieces(open_metrics=open_metrics)

    def unready(self) -> str | None:
        """Return why the service does not do all of its work (it starts, the store is away, the engine stands still)."""
        if not self._dispatcher.is_running:
            return "starting"
        if (away := self._away()) is not None:
            since, why = away
            return f"the store is away since {since.isoformat(timespec='seconds')}: {why}"
        return unready(self._ailments())

    def is_watch_only(self) -> bool:
        """Return whether mail is only watched, and nobody is told."""
        return not self._watch().configuration.settings.tells

    def now(self) -> datetime:
        """Return the present moment."""
        return self._clock.now()

    # -- orders --------------------------------------------------------------------------------------------------

    async def reload(self, by: str) -> Sequence[Problem]:
        """Read the configuration again, by somebody's word. Return the problems; with errors among them the old one stays in force."""
        return await self._reload(by)

    def program(self, token: str) -> str | None:
        """Return the name of the program whose token this is; `None`: nobody's."""
        known = self._watch().configuration.settings.api
        # All are compared, each in constant time.
        found = [
            name
            for name, each in known.items()
            if hmac.compare_digest(each.token.get_secret_value().encode(), token.encode())
        ]
        return next(iter(found), None)

    async def acknowledge(self, number: str, by: str) -> Incident:
        """Acknowledge an incident in a person's name. Raise `NotFoundError`, as every order about an incident does."""
        return await self._order(number, partial(Acknowledge, by=by))

    async def take_over(self, number: str, by: str, of: str) -> Incident:
        """Let a person have an incident that another has; nothing changes where *of* has it no more.

        Whoever was told of it hears by SMS who has it now, and so does whom it was taken over from.
        """
        return await self._order(number, partial(Acknowledge, by=by, of=of))

    async def remark(self, number: str, by: str, text: str) -> Incident:
        """Write down what a person says about an incident; whoever has taken it on has it for longer by it.

        What they say again at once changes nothing: a button is pressed twice.
        """
        now = self._clock.now()
        async with self._store.transaction() as ledger:
            found = await numbered(ledger, number)
            done = await ledger.listing.done_about(found.id, {"remark"}, most=10)
            if any((each.actor, each.said) == (by, text) and abs(now - each.at) < SAID_TWICE for each in done):
                return found
            after = await take_in(ledger, AddNote(incident_id=found.id, at=now, by=by, text=text))
        self._dispatcher.stir(found.id)
        return after or found

    async def hand_on(self, number: str, by: str) -> Incident:
        """Let the next of the staff be told of an incident at once."""
        return await self._order(number, partial(Escalate, by=by))

    async def release(self, number: str, by: str, *, despite: Contradiction | None = None) -> Incident:
        """Release an incident's announcement. Raise `OperationRejectedError` while nobody is told, or where mail works again as measured."""
        if self.is_watch_only():
            raise OperationRejectedError.said("nothing_to_release")
        return await self._order(number, partial(Release, by=by, despite=despite))

    async def releases(self) -> Sequence[IncidentView]:
        """Return the outages whose announcements wait for a release that is offered, oldest first."""
        now = self._clock.now()
        async with self._store.reading() as ledger:
            found = await ledger.open_incidents()
        return [view_incident(incident) for incident in found if release_is_offered(incident, now)]

    async def correct(self, number: str, by: str, why: str, *, despite: Contradiction | None = None) -> Incident:
        """Declare an incident a false alarm. Raise `OperationRejectedError` when it is too late for that, was done before, or it is measured still."""
        before = await self.numbered(number)
        if before.corrected_at is not None:
            raise OperationRejectedError.said("corrected_before", number=before.number, by=before.corrected_by)
        if not may_correct(before, self.now()):
            hours = CORRECTABLE_FOR // timedelta(hours=1)
            raise OperationRejectedError.said("correct_too_late", number=before.number, hours=hours)
        return await self._order(number, partial(MarkFalseAlarm, by=by, why=why, despite=despite))

    async def settle(self, notice_id: int, ruling: ManualStatus, by: str, why: str) -> None:
        """Take in what a person says became of a notice. Raise `OperationRejectedError`."""
        settlement = ManualStatusRequest(notice_id=notice_id, ruling=ruling, by=by, why=why, at=self._clock.now())
        if (problem := await self._dispatcher.settle(settlement)) is not None:
            raise OperationRejectedError(problem)

    async def numbered(self, number: str) -> Incident:
        """Return the incident that people quote as *number*. Raise `NotFoundError`."""
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
        """Return the public URL that this gateway's provider was given."""
        return callback_base(self._watch().configuration.settings, gateway) if gateway in self._pool else None

    async def hear(self, gateway: str, incoming: CallbackRequest) -> CallbackResponse | None:
        """Hand a provider's callback to its gateway; `None`: no such gateway. Raise `alerts.model.gateway.CallbackRejectedError`."""
        if gateway not in self._pool:
            return None
        try:
            return await self._pool[gateway].gateway.hear(incoming, self._desks.of(gateway))
        except CallbackRejectedError as refusal:
            self._metrics.callback_refused(gateway, REFUSALS.get(refusal.status, ""))
            raise
