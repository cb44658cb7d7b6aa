"""Queue of incidents that the engine processes next.

A change thus causes processing only of the changed incidents, and not of all open ones, of which a mass outage has a
thousand. The queue is kept in memory only. It may be lost, because all active incidents are periodically read from the
database and processed. An *active* incident is open or has actions due.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain

from alerts.engine.processing_result import OpenIncident
from alerts.model.incident import combined_type
from alerts.model.notification import IncidentType
from alerts.model.urgency import RANK, Priority, Urgency

#: Interval for reading the active incidents from the database.
REFRESH_INTERVAL = timedelta(seconds=30)
#: Interval for processing every active incident, changed or not, if no other engine uses the database.
FULL_PASS_INTERVAL = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """Result of the last processing of an incident."""

    #: When the next action is due; `None`: not before another event.
    next_due_at: datetime | None = None
    #: Since when the oldest unsent notification is due; `None`: none is unsent.
    oldest_pending: datetime | None = None
    #: `None`: the incident has ended.
    open_incident: OpenIncident | None = None
    #: Whether processing has succeeded at least once.
    was_processed: bool = True


class WorkQueue:
    """Active incidents with the result of their last processing, and the incidents that changed since."""

    def __init__(self) -> None:
        #: Active incidents that were processed, by id.
        self._items: dict[int, WorkItem] = {}
        # The two dictionaries are used as ordered sets.
        #: Ids of never processed incidents that come before all others, in order of arrival: their first notification
        #: is due.
        self._new: dict[int, None] = {}
        #: Ids of other incidents with an event since their last processing, in order of arrival.
        self._changed: dict[int, None] = {}
        #: When the active incidents were last read from the database.
        self._refreshed_at: datetime | None = None
        #: When all active incidents were last enqueued.
        self._full_pass_at: datetime | None = None

    def enqueue(self, incident_ids: Iterable[int], *, first: bool = True) -> None:
        """Enqueue incidents that have an event. *first*: process new ones among them before all others.

        Callers set *first* to `False` for incidents of alerts, so that many alerts at once do not delay the first
        notification of an outage.
        """
        for incident_id in incident_ids:
            is_new = first and incident_id not in self._items and incident_id not in self._changed
            (self._new if is_new else self._changed)[incident_id] = None

    def enqueue_all(self) -> None:
        """Make all active incidents due: the next cycle reads them from the database and enqueues them."""
        self._refreshed_at = self._full_pass_at = None

    def enqueue_agencies(self, agencies: Collection[str]) -> None:
        """Enqueue the open incidents of these agencies."""
        self.enqueue(
            incident_id
            for incident_id, item in list(self._items.items())
            if item.open_incident is not None and item.open_incident.agency in agencies
        )

    def is_refresh_due(self, now: datetime) -> bool:
        """Whether the active incidents must be read from the database, because of their age or a clock set back."""
        return self._refreshed_at is None or not timedelta(0) <= now - self._refreshed_at < REFRESH_INTERVAL

    def set_active(self, active: Iterable[int], now: datetime, *, shared: bool) -> None:
        """Replace the active incidents: enqueue new ones, and remove those that are no longer active.

        All active incidents are enqueued every `FULL_PASS_INTERVAL` or, if several engines share the database
        (*shared*), each time, because the other engines may have changed incidents.
        """
        ids = dict.fromkeys(active)
        self._items = {i: item for i, item in self._items.items() if i in ids}
        self._new = {i: None for i in self._new if i in ids}
        self._changed = {i: None for i in self._changed if i in ids}
        is_full_pass = self._full_pass_at is None or not timedelta(0) <= now - self._full_pass_at < FULL_PASS_INTERVAL
        self.enqueue(ids if shared or is_full_pass else ids.keys() - self._items.keys())
        self._refreshed_at = now
        if is_full_pass:
            self._full_pass_at = now

    def take_next(self, waiters: Sequence[tuple[Priority, int]], now: datetime, limit: int) -> list[int]:
        """Return up to *limit* incidents to process now, the most urgent first, and remove them from the queue.

        *waiters*: incidents that can get a free slot of a gateway now, with the priorities of their gateway calls. If
        some *waiters* have a first notification to send, or if there are new incidents, only these two kinds are
        returned: the returned incidents are committed together, and a first notification must not wait for the
        processing of others. Otherwise *waiters* come first, then incidents with an event, then incidents whose next
        action is due.
        """
        first_rank = RANK[Urgency.FIRST]
        first_notifications = [incident_id for (rank, *_), incident_id in waiters if rank <= first_rank]
        other_waiters = [incident_id for (rank, *_), incident_id in waiters if rank > first_rank]
        due = (i for i, item in self._items.items() if item.next_due_at is not None and item.next_due_at <= now)
        urgent = [*first_notifications, *self._new]
        selected: dict[int, None] = {}
        for incident_id in urgent or chain(other_waiters, list(self._changed), due):
            if len(selected) == limit:
                break
            selected[incident_id] = None
        for incident_id in selected:
            self._new.pop(incident_id, None)
            self._changed.pop(incident_id, None)
        return list(selected)

    def record(self, incident_id: int, item: WorkItem | None) -> None:
        """Record the result of processing an incident. *item* `None`: the incident is not active any more."""
        if item is None:
            self._items.pop(incident_id, None)
        else:
            self._items[incident_id] = item

    def postpone(self, incident_id: int, until: datetime) -> None:
        """Record that processing an incident failed and is repeated at *until*."""
        item = self._items.get(incident_id, WorkItem(was_processed=False))
        self._items[incident_id] = replace(item, next_due_at=until)

    @property
    def enqueued(self) -> Sequence[int]:
        """Ids of the enqueued incidents."""
        return [*self._new, *self._changed]

    @property
    def is_empty(self) -> bool:
        """Whether no incident is enqueued."""
        return not self._new and not self._changed

    @property
    def next_due_at(self) -> datetime | None:
        """When the next action of any incident is due; `None`: not before another event."""
        return min((item.next_due_at for item in self._items.values() if item.next_due_at is not None), default=None)

    @property
    def oldest_pending(self) -> datetime | None:
        """Since when the oldest unsent notification of any incident is due; `None`: none is unsent."""
        return min((item.oldest_pending for item in self._items.values() if item.oldest_pending), default=None)

    @property
    def open_incidents(self) -> Sequence[OpenIncident]:
        """The open incidents."""
        return [item.open_incident for item in self._items.values() if item.open_incident is not None]

    @property
    def declared(self) -> Mapping[str, IncidentType]:
        """Types of the outages that people have declared and not ended, by agency.

        If an agency has several, the types are combined: sending and receiving to both.
        """
        types: dict[str, IncidentType] = {}
        for incident in self.open_incidents:
            if incident.declared is not None:
                types[incident.agency] = (
                    combined_type(incident.declared, types.get(incident.agency)) or incident.declared
                )
        return types

    @property
    def has_processed_all(self) -> bool:
        """Whether each active incident was processed at least once; until then `open_incidents` may be incomplete."""
        return not self._new and all(item.was_processed for item in self._items.values())
