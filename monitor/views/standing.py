"""In which state an agency is, which come first, and which somebody has asked for. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from monitor.model.health import Health
from monitor.views.overview import AgencyView


class AgencyStanding(StrEnum):
    """The one state of an agency by which it is counted and sorted, the worst first."""

    #: Mail is down in a direction, or a person has declared so.
    DOWN = "down"
    #: For a fault of ours nothing is known of a direction now.
    OWN_FAULT = "own_fault"
    #: Nothing is proven yet of a direction.
    UNPROVEN = "unproven"
    #: Mail is slow, in junk, or only on some routes.
    DEGRADED = "degraded"
    #: It is not probed now: so it was planned.
    MAINTENANCE = "maintenance"
    #: It is well, and nobody would be told if it were not.
    SILENCED = "silenced"
    #: Every direction is proven.
    WELL = "well"


_ORDER = {standing: place for place, standing in enumerate(AgencyStanding)}
_LAST = datetime.max.replace(tzinfo=UTC)


def standing(agency: AgencyView) -> AgencyStanding:
    """Return the state of an agency. What is not known to be well is not well."""
    found = set(agency.health.values())
    if agency.declared is not None or Health.DOWN in found:
        return AgencyStanding.DOWN
    # Of what is under maintenance nothing new is known, and that is nobody's fault.
    if agency.maintenance is None:
        if agency.unseen:
            return AgencyStanding.OWN_FAULT
        if not found or found - {Health.UP, Health.DEGRADED}:
            return AgencyStanding.UNPROVEN
    if Health.DEGRADED in found:
        return AgencyStanding.DEGRADED
    if agency.maintenance is not None:
        return AgencyStanding.MAINTENANCE
    return AgencyStanding.WELL if agency.silence is None else AgencyStanding.SILENCED


def place(agency: AgencyView, of: AgencyStanding) -> tuple[int, datetime, str]:
    """Return by what an agency in this state is sorted: the worst first, then the oldest; else by code, so that none jumps."""
    return _ORDER[of], agency.since or _LAST, agency.agency


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyFilter:
    """Which agencies somebody wants to see."""

    #: In the code, the name or the domain; "": all.
    text: str = ""
    #: In one of these states; none: in any.
    standings: AbstractSet[AgencyStanding] = frozenset()

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves any out."""
        return bool(self.text or self.standings)

    def takes(self, agency: AgencyView, of: AgencyStanding) -> bool:
        """Whether an agency in this state is among them."""
        if self.standings and of not in self.standings:
            return False
        words: Sequence[str] = self.text.casefold().split()
        told = f"{agency.agency} {agency.name} {agency.domain}".casefold()
        return all(word in told for word in words)
