"""Silences of incidents. Pure: the caller passes the time.

A person silences an agency or a monitoring fault for a time: its incidents are still evaluated, stored and shown, but
nobody is notified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.model.incident import Incident


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """No notifications about `target` from `starts_at` until `ends_at`."""

    id: int
    #: Dedup key of an incident: an agency's code, or "ours/..." for a monitoring fault.
    target: str
    starts_at: datetime
    #: Exclusive.
    ends_at: datetime
    reason: str
    by: str

    def is_active(self, at: datetime) -> bool:
        """Whether the silence is active *at* that time."""
        return self.starts_at <= at < self.ends_at


def matches_incident(silence: Silence, incident: Incident) -> bool:
    """Whether the silence matches the incident's key, or the agency of an alert from the NOC's monitoring."""
    return silence.target == incident.dedup_key or silence.target.casefold() == incident.policy.of_agency.casefold()


def active_silence(incident: Incident, silences: Iterable[Silence], now: datetime) -> Silence | None:
    """Return the active silence of an incident; if there are several, the one that ends last; `None` without any."""
    matching = [s for s in silences if matches_incident(s, incident) and s.is_active(now)]
    return max(matching, key=lambda silence: silence.ends_at, default=None)


#: Function that returns the active silence of an incident, given the silences that have not ended. Unlike
#: `active_silence`, an implementation may use more than the incident's key.
SilenceLookup = Callable[[Incident, Sequence[Silence], datetime], Silence | None]
