"""Silences of incidents. Pure: the caller passes the time.

A silence is set by a person. The incident is still evaluated, stored and shown; nobody is notified.
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

    def holds(self, at: datetime) -> bool:
        """Whether the silence is active *at* that time."""
        return self.starts_at <= at < self.ends_at


def is_about(silence: Silence, incident: Incident) -> bool:
    """Whether the silence matches the incident's key, or the agency of an alert from the NOC's monitoring."""
    return silence.target == incident.dedup_key or silence.target.casefold() == incident.policy.of_agency.casefold()


def silence_over(incident: Incident, silences: Iterable[Silence], now: datetime) -> Silence | None:
    """Return the active silence of an incident, of several the one that ends last; `None` without any."""
    over = [s for s in silences if is_about(s, incident) and s.holds(now)]
    return max(over, key=lambda silence: silence.ends_at, default=None)


#: Returns the active silence of an incident among those that have not ended. An implementation may use more than the
#: incident's key, unlike `silence_over`.
Muter = Callable[[Incident, Sequence[Silence], datetime], Silence | None]
