"""Which incidents to look at next. A hint in memory: nothing is lost with it, and all are looked at again.

Without it every change would mean a look at every incident that is open, and in a mass outage those are a thousand.
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

#: This often the store is asked which incidents there are.
SWEEP = timedelta(seconds=30)
#: This often each of them is looked at, whatever it seems to need, by an engine that has the store to itself.
THOROUGH = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """What the last look at an incident showed."""

    #: When there is something to do again by itself.
    wake: datetime | None = None
    #: Since when the oldest of its notices is due and not sent.
    oldest_pending: datetime | None = None
    #: The incident; `None`: it is over.
    open: OpenIncident | None = None
    #: Whether there was such a look.
    was_seen: bool = True


class WorkQueue:
    """Remembers what was seen, and what has been heard of since."""

    def __init__(self) -> None:
        self._seen: dict[int, WorkItem] = {}
        #: Never looked at: somebody waits for their first notice. In the order in which they came.
        self._fresh: dict[int, None] = {}
        self._stirred: dict[int, None] = {}
        self._swept_at: datetime | None = None
        self._thorough_at: datetime | None = None

    def stir(self, incident_ids: Iterable[int], *, first: bool = True) -> None:
        """Something has happened to these: look at them soon. *first*: before all else, if they are new.

        Incidents of alerts are not: a storm of them must not delay the first notice of an outage.
        """
        for incident_id in incident_ids:
            is_new = first and incident_id not in self._seen and incident_id not in self._stirred
            (self._fresh if is_new else self._stirred)[incident_id] = None

    def sweep(self) -> None:
        """Something has happened, nobody knows to which: look at all of them soon."""
        self._swept_at = self._thorough_at = None

    def stir_about(self, agencies: Collection[str]) -> None:
        """Something has happened to these agencies: look soon at what is open of them."""
        self.stir([i for i, standing in self._seen.items() if standing.open and standing.open.agency in agencies])

    def is_sweep_due(self, now: datetime) -> bool:
        """Whether it is time to ask the store which incidents there are. A clock that was set back counts, too."""
        return self._swept_at is None or not timedelta(0) <= now - self._swept_at < SWEEP

    def swept(self, active: Iterable[int], now: datetime, *, shared: bool) -> None:
        """Take in which incidents the store has. New ones are looked at, and those that are gone forgotten.

        All are looked at from time to time; and each time where the store is *shared*, because others change it, too.
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
        """Return the incidents to look at now, most pressing first; they count as looked at.

        *in_turn*: those whose turn it is at a gateway. First those of them that have a first notice to send, and those that
        nobody has looked at. Only when there are none the others in their turn; what has changed; what has come due: looks
        that are taken together are stored together, and nobody is to wait for a first notice until the rest is done.
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
        """Take in what a look at an incident showed; `None`: nothing is owed to anybody any more."""
        if standing is None:
            self._seen.pop(incident_id, None)
        else:
            self._seen[incident_id] = standing

    def postpone(self, incident_id: int, until: datetime) -> None:
        """Note that an incident could not be looked at."""
        self._seen[incident_id] = replace(self._seen.get(incident_id, WorkItem(was_seen=False)), wake=until)

    @property
    def heard_of(self) -> Sequence[int]:
        """Those of which something was heard since they were looked at."""
        return [*self._fresh, *self._stirred]

    @property
    def is_empty(self) -> bool:
        """Whether nothing has happened since everything was looked at."""
        return not self._fresh and not self._stirred

    @property
    def wake(self) -> datetime | None:
        """When something is due next."""
        return min((s.wake for s in self._seen.values() if s.wake is not None), default=None)

    @property
    def oldest_pending(self) -> datetime | None:
        """Since when the oldest notice is due and not sent."""
        return min((s.oldest_pending for s in self._seen.values() if s.oldest_pending), default=None)

    @property
    def open(self) -> Sequence[OpenIncident]:
        """The incidents that are open."""
        return [s.open for s in self._seen.values() if s.open is not None]

    @property
    def declared(self) -> Mapping[str, IncidentType]:
        """What people have declared of each agency, where that stands."""
        found: dict[str, IncidentType] = {}
        for each in self.open:
            if each.declared is not None:
                found[each.agency] = joined(each.declared, found.get(each.agency)) or each.declared
        return found

    @property
    def has_seen_all(self) -> bool:
        """Whether each incident was looked at once; until then it is not known what is not open."""
        return not self._fresh and all(s.was_seen for s in self._seen.values())
