"""Queue of incidents to process. A hint in memory: it may be lost, because all incidents are processed periodically.

Without it each change would cause processing of every open incident, of which a mass outage has a thousand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain

from alerts.engine.processing_result import OpenIncident
from alerts.model.incident import joined
from alerts.model.notification import IncidentType
from alerts.model.urgency import RANK, Priority, Urgency

#: Interval for reading the active incidents from the store.
SWEEP = timedelta(seconds=30)
#: Interval for processing each of them regardless, by an engine that has the store to itself.
THOROUGH = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """Result of the last processing of an incident."""

    #: Time of the next action.
    wake: datetime | None = None
    #: Since when the oldest unsent notification is due.
    oldest_pending: datetime | None = None
    #: The incident; `None`: it has ended.
    open: OpenIncident | None = None
    #: Whether it was processed at all.
    was_seen: bool = True


class WorkQueue:
    """Results of processing, and events since."""

    def __init__(self) -> None:
        self._seen: dict[int, WorkItem] = {}
        #: Never processed: a first notification is due. In order of arrival.
        self._fresh: dict[int, None] = {}
        self._stirred: dict[int, None] = {}
        self._swept_at: datetime | None = None
        self._thorough_at: datetime | None = None

    def stir(self, incident_ids: Iterable[int], *, first: bool = True) -> None:
        """Enqueue incidents with an event. *first*: before all others if they are new.

        Incidents of alerts are not, so that an alert storm does not delay the first notification of an outage.
        """
        for incident_id in incident_ids:
            is_new = first and incident_id not in self._seen and incident_id not in self._stirred
            (self._fresh if is_new else self._stirred)[incident_id] = None

    def sweep(self) -> None:
        """Enqueue all incidents: an event may concern any of them."""
        self._swept_at = self._thorough_at = None

    def stir_about(self, agencies: Collection[str]) -> None:
        """Enqueue the open incidents of these agencies."""
        self.stir([i for i, standing in self._seen.items() if standing.open and standing.open.agency in agencies])

    def is_sweep_due(self, now: datetime) -> bool:
        """Whether the active incidents must be read from the store; also after the clock was set back."""
        return self._swept_at is None or not timedelta(0) <= now - self._swept_at < SWEEP

    def swept(self, active: Iterable[int], now: datetime, *, shared: bool) -> None:
        """Replace the active incidents. New ones are enqueued, ended ones dropped.

        All are enqueued periodically, and each time if the store is *shared*, because other engines change it.
        """
        ids = dict.fromkeys(active)
        self._seen = {i: standing for i, standing in self._seen.items() if i in ids}
        self._fresh = {i: None for i in self._fresh if i in ids}
        self._stirred = {i: None for i in self._stirred if i in ids}
        thorough = self._thorough_at is None or not timedelta(0) <= now - self._thorough_at < THOROUGH
        self.stir(ids if shared or thorough else ids.keys() - self._seen.keys())
        self._swept_at = now
        if thorough:
            self._thorough_at = now

    def following(self, in_turn: Sequence[tuple[Priority, int]], now: datetime, at_most: int) -> list[int]:
        """Return the incidents to process now, the most urgent first, and mark them as processed.

        *in_turn*: those whose turn it is at a gateway. First notifications and new incidents come first, alone; then
        the rest of *in_turn*, changed and due incidents. Incidents processed together are committed together, and a
        first notification must not wait for the others.
        """
        news = RANK[Urgency.FIRST]
        first = [incident_id for (rank, *_), incident_id in in_turn if rank <= news]
        later = [incident_id for (rank, *_), incident_id in in_turn if rank > news]
        due = (i for i, standing in self._seen.items() if standing.wake is not None and standing.wake <= now)
        pressing = [*first, *self._fresh]
        chosen: dict[int, None] = {}
        for incident_id in pressing or chain(later, list(self._stirred), due):
            if len(chosen) == at_most:
                break
            chosen[incident_id] = None
        for incident_id in chosen:
            self._fresh.pop(incident_id, None)
            self._stirred.pop(incident_id, None)
        return list(chosen)

    def note(self, incident_id: int, standing: WorkItem | None) -> None:
        """Record the result of processing an incident; `None`: no action is due any more."""
        if standing is None:
            self._seen.pop(incident_id, None)
        else:
            self._seen[incident_id] = standing

    def postpone(self, incident_id: int, until: datetime) -> None:
        """Record that processing failed."""
        self._seen[incident_id] = replace(self._seen.get(incident_id, WorkItem(was_seen=False)), wake=until)

    @property
    def heard_of(self) -> Sequence[int]:
        """Incidents with events since they were processed."""
        return [*self._fresh, *self._stirred]

    @property
    def is_empty(self) -> bool:
        """Whether no event has occurred since everything was processed."""
        return not self._fresh and not self._stirred

    @property
    def wake(self) -> datetime | None:
        """Time of the next action."""
        return min((s.wake for s in self._seen.values() if s.wake is not None), default=None)

    @property
    def oldest_pending(self) -> datetime | None:
        """Since when the oldest unsent notification is due."""
        return min((s.oldest_pending for s in self._seen.values() if s.oldest_pending), default=None)

    @property
    def open(self) -> Sequence[OpenIncident]:
        """The open incidents."""
        return [s.open for s in self._seen.values() if s.open is not None]

    @property
    def declared(self) -> Mapping[str, IncidentType]:
        """Declared types by agency."""
        found: dict[str, IncidentType] = {}
        for each in self.open:
            if each.declared is not None:
                found[each.agency] = joined(each.declared, found.get(each.agency)) or each.declared
        return found

    @property
    def has_seen_all(self) -> bool:
        """Whether each incident was processed once; until then others may be open."""
        return not self._fresh and all(s.was_seen for s in self._seen.values())
