"""Silences of incidents. Pure: the caller passes the time.

A person silences an agency, or a monitoring fault (a problem of Pantau itself), for a time. Its incidents are still
detected, stored and shown, but nobody is notified of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.model.incident import Incident


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Time in which nobody is notified of `target`."""

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
    """Whether the silence matches the incident's dedup key or, for an alert of the NOC's Alertmanager, its agency."""
    return silence.target == incident.dedup_key or silence.target.casefold() == incident.policy.of_agency.casefold()


def active_silence(incident: Incident, silences: Iterable[Silence], now: datetime) -> Silence | None:
    """Return the active silence of an incident that ends last; `None` without any."""
    matching = [s for s in silences if matches_incident(s, incident) and s.is_active(now)]
    return max(matching, key=lambda silence: silence.ends_at, default=None)


#: Function like `active_silence`: it takes an incident, the silences that have not ended, and the time, and returns the
#: incident's active silence. An implementation may compare more than the incident's key and agency.
SilenceLookup = Callable[[Incident, Sequence[Silence], datetime], Silence | None]
