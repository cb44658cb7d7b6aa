"""Queue of incidents that the engine processes next.

Without the queue, each change would cause processing of every open incident, and a mass outage has a thousand. The
queue is kept in memory only and may be lost, because all active incidents are read from the store and processed
periodically.
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

#: Interval for reading the active incidents from the store.
REFRESH_INTERVAL = timedelta(seconds=30)
#: Interval for processing every active incident, changed or not, by an engine that has the store to itself.
FULL_PASS_INTERVAL = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """Result of the last processing of an incident."""

    #: Time of the next action.
    wake: datetime | None = None
    #: Since when the oldest unsent notification is due.
    oldest_pending: datetime | None = None
    #: The incident; `None`: it has ended.
    open: OpenIncident | None = None
    #: `False`: processing has failed each time so far.
    was_processed: bool = True


class WorkQueue:
    """Active incidents with the result of their last processing, and the incidents that changed since."""

    def __init__(self) -> None:
        self._items: dict[int, WorkItem] = {}
        #: Ids of incidents that were never processed, in order of arrival: a first notification is due.
        self._new: dict[int, None] = {}
        #: Ids of incidents with an event since their last processing, in order of arrival.
        self._changed: dict[int, None] = {}
        self._refreshed_at: datetime | None = None
        self._full_pass_at: datetime | None = None

    def enqueue(self, incident_ids: Iterable[int], *, first: bool = True) -> None:
        """Enqueue incidents with an event. *first*: new incidents are processed before all others.

        Callers set *first* to `False` for incidents of alerts, so that an alert storm does not delay the first
        notification of an outage.
        """
        for incident_id in incident_ids:
            is_new = first and incident_id not in self._items and incident_id not in self._changed
            (self._new if is_new else self._changed)[incident_id] = None

    def enqueue_all(self) -> None:
        """Make all active incidents due: the next cycle reads them from the store and enqueues them."""
        self._refreshed_at = self._full_pass_at = None

    def enqueue_agencies(self, agencies: Collection[str]) -> None:
        """Enqueue the open incidents of these agencies."""
        self.enqueue([i for i, item in self._items.items() if item.open and item.open.agency in agencies])

    def is_refresh_due(self, now: datetime) -> bool:
        """Whether the active incidents must be read from the store. It is also due after the clock was set back."""
        return self._refreshed_at is None or not timedelta(0) <= now - self._refreshed_at < REFRESH_INTERVAL

    def set_active(self, active: Iterable[int], now: datetime, *, shared: bool) -> None:
        """Replace the active incidents: enqueue new ones, and drop those that are no longer active.

        All are enqueued every `FULL_PASS_INTERVAL`, and each time if the store is *shared*, because other engines
        change it.
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

        *waiters*: incidents that can get a free slot of a gateway now. If there are waiters with a first notification
        or new incidents, only these are returned: incidents processed together are committed together, and a first
        notification must not wait for others. Otherwise *waiters* come first, then changed and due incidents.
        """
        first_rank = RANK[Urgency.FIRST]
        first_notifications = [incident_id for (rank, *_), incident_id in waiters if rank <= first_rank]
        other_waiters = [incident_id for (rank, *_), incident_id in waiters if rank > first_rank]
        due = (i for i, item in self._items.items() if item.wake is not None and item.wake <= now)
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
        """Record the result of processing an incident; `None`: it is not active any more."""
        if item is None:
            self._items.pop(incident_id, None)
        else:
            self._items[incident_id] = item

    def postpone(self, incident_id: int, until: datetime) -> None:
        """Record that processing an incident failed and is repeated at *until*."""
        self._items[incident_id] = replace(self._items.get(incident_id, WorkItem(was_processed=False)), wake=until)

    @property
    def enqueued(self) -> Sequence[int]:
        """Ids of the enqueued incidents."""
        return [*self._new, *self._changed]

    @property
    def is_empty(self) -> bool:
        """Whether no incident is enqueued."""
        return not self._new and not self._changed

    @property
    def wake(self) -> datetime | None:
        """Time of the next action."""
        return min((item.wake for item in self._items.values() if item.wake is not None), default=None)

    @property
    def oldest_pending(self) -> datetime | None:
        """Since when the oldest unsent notification is due."""
        return min((item.oldest_pending for item in self._items.values() if item.oldest_pending), default=None)

    @property
    def open(self) -> Sequence[OpenIncident]:
        """The open incidents."""
        return [item.open for item in self._items.values() if item.open is not None]

    @property
    def declared(self) -> Mapping[str, IncidentType]:
        """Types of the declared outages, by agency."""
        types: dict[str, IncidentType] = {}
        for incident in self.open:
            if incident.declared is not None:
                types[incident.agency] = (
                    combined_type(incident.declared, types.get(incident.agency)) or incident.declared
                )
        return types

    @property
    def has_processed_all(self) -> bool:
        """Whether each active incident was processed at least once; until then `open` may be incomplete."""
        return not self._new and all(item.was_processed for item in self._items.values())
