"""Decide whether nobody is to be told about an incident for a while. Pure: the caller passes the time.

A silence is a person's order. It hides nothing: the incident is judged, stored and shown; nobody is rung for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.model.incident import Incident


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Nobody is told about `about` from `begins` until `ends`."""

    id: int
    #: An incident's dedup key: an agency's code, or "ours/..." for something of ours.
    about: str
    begins: datetime
    #: No longer part of it.
    ends: datetime
    why: str
    by: str

    def holds(self, at: datetime) -> bool:
        """Whether *at* is in it."""
        return self.begins <= at < self.ends


def is_about(silence: Silence, incident: Incident) -> bool:
    """Whether it is the incident's matter that a silence names, or the agency that an alert of the NOC's monitoring is about."""
    return silence.about == incident.dedup_key or silence.about.casefold() == incident.brief.of_agency.casefold()


def silence_over(incident: Incident, silences: Iterable[Silence], now: datetime) -> Silence | None:
    """Return the silence that an incident falls under, of several the one that ends last; `None` if there is none."""
    over = [s for s in silences if is_about(s, incident) and s.holds(now)]
    return max(over, key=lambda silence: silence.ends, default=None)


#: Says which silence an incident falls under now, among those that have not ended. Whoever knows more of an incident than
#: its key may say more than `silence_over`.
Muter = Callable[[Incident, Sequence[Silence], datetime], Silence | None]
