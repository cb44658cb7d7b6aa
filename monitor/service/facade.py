"""Facade of the running service for pages, the API and the control socket: queries, and operations on incidents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from alerts.engine.composer import Composer
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.event_handler import handle_event
from alerts.engine.gateway_pool import GatewayPool
from alerts.engine.manual_status import ManualStatus, ManualStatusRequest
from alerts.inbound.callback_handler import CallbackHandlers
from alerts.model.contradiction import Contradiction
from alerts.model.event import Acknowledge, AddNote, Escalate, Event, MarkFalseAlarm, Release
from alerts.model.gateway import CallbackRejectedError, CallbackRequest, CallbackResponse, Content
from alerts.model.incident import (
    FALSE_ALARM_PERIOD,
    REPEAT_WINDOW,
    Incident,
    may_mark_false_alarm,
    release_is_offered,
)
from alerts.persistence.clock import Clock
from monitor.config.files.problem import Problem
from monitor.evaluation.liveness import LivenessFailure, unready_reason
from monitor.metrics import REFUSALS, Metrics
from monitor.service.errors import OperationRejectedError, find_incident, incident_not_found
from monitor.service.gateways import callback_base
from monitor.service.operation_check import OperationCheck
from monitor.service.probing_runtime import ProbingRuntime
from monitor.service.status_reader import StatusReader
from monitor.store.engine.unit_of_work import SqlStore
from monitor.views.overview import IncidentView, NotificationView, view_incident, view_notification


class ServiceFacade:
    """Queries and operations of the running service."""

    def __init__(
        self,
        *,
        store: SqlStore,
        status_reader: StatusReader,
        dispatcher: Dispatcher,
        callback_handlers: CallbackHandlers,
        pool: GatewayPool,
        composer: Composer,
        metrics: Metrics,
        clock: Clock,
        runtime: Callable[[], ProbingRuntime],
        reload: Callable[[str], Awaitable[Sequence[Problem]]],
        operation_check: OperationCheck,
        store_outage: Callable[[], tuple[datetime, str] | None] = lambda: None,
        liveness_failures: Callable[[], AbstractSet[LivenessFailure]] = frozenset,
    ) -> None:
        """Take the current configuration, and the objects built from it, from *runtime*.

        *reload* reads the configuration again, in the name of a principal (user or API client). *store_outage* returns
        since when the database is unavailable, and why; *liveness_failures* returns which parts of this process hang.
        """
        self._store = store
        self.status_reader = status_reader
        self._store_outage = store_outage
        self._liveness_failures = liveness_failures
        self._dispatcher = dispatcher
        self._callback_handlers = callback_handlers
        self._pool = pool
        self._composer = composer
        self._metrics = metrics
        self._clock = clock
        self._runtime = runtime
        self._reload = reload
        self._operation_check = operation_check

    # -- state ---------------------------------------------------------------------------------------------------

    async def composed_notification(self, notification_id: int) -> tuple[NotificationView, Content] | None:
        """Return a notification with its text or page, composed again from the stored facts; `None`: unknown ID."""
        async with self._store.reading() as uow:
            try:
                notification = await uow.notification(notification_id)
            except LookupError:
                return None
            incident = await uow.incident(notification.incident_id)
        if incident is None:
            return None
        content = await self._composer.compose(notification, notification.channel)
        return view_notification(notification, incident), content

    def metrics(self, *, open_metrics: bool = False) -> Iterator[bytes]:
        """Yield the metrics in Prometheus' text format or, with *open_metrics*, in OpenMetrics, in parts.

        Generating the first part blocks: call `next` for it in a thread.
        """
        return self._metrics.pieces(open_metrics=open_metrics)

    def not_ready_reason(self) -> str | None:
        """Return why the service is not ready; `None`: it is ready.

        Reasons: the service starts, the database is unavailable, or a part of this process hangs.
        """
        if not self._dispatcher.is_running:
            return "starting"
        if (outage := self._store_outage()) is not None:
            since, reason = outage
            return f"the database is unavailable since {since.isoformat(timespec='seconds')}: {reason}"
        return unready_reason(self._liveness_failures())

    def is_monitor_only(self) -> bool:
        """Return whether mail is only monitored, and nobody is notified."""
        return not self._runtime().configuration.settings.notifies

    def now(self) -> datetime:
        """Return the current time."""
        return self._clock.now()

    # -- operations ----------------------------------------------------------------------------------------------

    async def reload(self, by: str) -> Sequence[Problem]:
        """Read the configuration again. *by*: the name of the principal who requested the reload.

        Return the problems of the configuration; if one is an error, the old configuration stays active.
        """
        return await self._reload(by)

    async def acknowledge(self, number: str, by: str) -> Incident:
        """Acknowledge an incident. Raise `NotFoundError`, as all operations on an incident do.

        *by* is the author of an operation: the name of a user or a program, for the audit log.
        """
        return await self._submit(number, partial(Acknowledge, by=by))

    async def take_over(self, number: str, by: str, previous_assignee: str) -> Incident:
        """Assign an incident to *by*, if *previous_assignee* is still its assignee; otherwise change nothing.

        The notified staff and the previous assignee receive an SMS that names the new assignee.
        """
        return await self._submit(number, partial(Acknowledge, by=by, previous_assignee=previous_assignee))

    async def add_note(self, number: str, by: str, text: str) -> Incident:
        """Add a note to an incident; a note by the assignee extends the acknowledgement.

        The same note, sent again within `REPEAT_WINDOW`, counts as a second click and is ignored.
        """
        now = self._clock.now()
        async with self._store.transaction() as uow:
            incident = await find_incident(uow, number)
            # "remark" is the audit event of a note.
            notes = await uow.listing.incident_history(incident.id, {"remark"}, most=10)
            if any((each.actor, each.text) == (by, text) and abs(now - each.at) < REPEAT_WINDOW for each in notes):
                return incident
            updated = await handle_event(uow, AddNote(incident_id=incident.id, at=now, by=by, text=text))
        self._dispatcher.enqueue(incident.id)
        return updated or incident

    async def escalate(self, number: str, by: str) -> Incident:
        """Start the next step of an incident's escalation at once."""
        return await self._submit(number, partial(Escalate, by=by))

    async def release(self, number: str, by: str, *, despite: Contradiction | None = None) -> Incident:
        """Release the announcement of an outage: notify the agency's recipients, which are other offices.

        *despite*: how the newest probe runs contradict the outage, if the author overrides the contradiction. Raise
        `OperationRejectedError` in monitor-only mode, and for a contradiction that the author does not override.
        """
        if self.is_monitor_only():
            raise OperationRejectedError.from_text("nothing_to_release")
        return await self._submit(number, partial(Release, by=by, despite=despite))

    async def releases(self) -> Sequence[IncidentView]:
        """Return the open outages whose announcements are offered for release, oldest first."""
        now = self._clock.now()
        async with self._store.reading() as uow:
            incidents = await uow.open_incidents()
        return [view_incident(incident) for incident in incidents if release_is_offered(incident, now)]

    async def mark_false_alarm(
        self, number: str, by: str, reason: str, *, despite: Contradiction | None = None
    ) -> Incident:
        """Mark an incident as a false alarm. *despite*: as in `release`.

        Raise `OperationRejectedError` if the incident ended long ago, if it is marked already, or if the newest runs
        fail and the author does not override that.
        """
        incident = await self.find_incident(number)
        if incident.false_alarm_at is not None:
            raise OperationRejectedError.from_text(
                "marked_false_before", number=incident.number, by=incident.false_alarm_by
            )
        if not may_mark_false_alarm(incident, self.now()):
            hours = FALSE_ALARM_PERIOD // timedelta(hours=1)
            raise OperationRejectedError.from_text("correct_too_late", number=incident.number, hours=hours)
        return await self._submit(number, partial(MarkFalseAlarm, by=by, reason=reason, despite=despite))

    async def set_notification_status(self, notification_id: int, status: ManualStatus, by: str, reason: str) -> None:
        """Set the status of a notification whose delivery is unknown. Raise `OperationRejectedError`."""
        status_request = ManualStatusRequest(
            notification_id=notification_id, status=status, by=by, reason=reason, at=self._clock.now()
        )
        if (problem := await self._dispatcher.set_notification_status(status_request)) is not None:
            raise OperationRejectedError(problem)

    async def find_incident(self, number: str) -> Incident:
        """Return the incident with *number*, in any notation. Raise `NotFoundError`."""
        async with self._store.reading() as uow:
            return await find_incident(uow, number)

    async def _submit(self, number: str, make_event: Callable[..., Event]) -> Incident:
        """Submit the event that *make_event* builds for an incident.

        First check a release or false alarm, which states whether mail works, against the newest probe runs.
        """
        incident = await self.find_incident(number)
        event = make_event(incident_id=incident.id, at=self._clock.now())
        if isinstance(event, Release | MarkFalseAlarm):
            await self._operation_check.check(incident, event)
            # Read the clock again, because the check may take seconds.
            event = replace(event, at=self._clock.now())
        updated = await self._dispatcher.submit(event)
        if updated is None:
            raise incident_not_found(number)
        return updated

    # -- providers -----------------------------------------------------------------------------------------------

    def callback_base(self, gateway: str) -> str | None:
        """Return the base URL to which this gateway's provider sends callbacks.

        `None`: there is no such gateway, or no public URL is configured.
        """
        return callback_base(self._runtime().configuration.settings, gateway) if gateway in self._pool else None

    async def handle_callback(self, gateway: str, request: CallbackRequest) -> CallbackResponse | None:
        """Pass a provider's callback to its gateway; `None`: no such gateway.

        Raise `alerts.model.gateway.CallbackRejectedError`.
        """
        if gateway not in self._pool:
            return None
        try:
            return await self._pool[gateway].gateway.handle_callback(
                request, self._callback_handlers.for_gateway(gateway)
            )
        except CallbackRejectedError as error:
            # `REFUSALS` contains the metric's reason for an HTTP status; "" is counted as another reason.
            self._metrics.count_rejected_callback(gateway, REFUSALS.get(error.status, ""))
            raise
