"""Filter and order of agency lists. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from alerts.model.incident import OUTAGES
from monitor.evaluation.incident_type import WAYS
from monitor.model.route import Direction
from monitor.views.agency_status import AgencyStatus
from monitor.views.overview import AgencyView

_ORDER = {standing: place for place, standing in enumerate(AgencyStatus)}
_LAST = datetime.max.replace(tzinfo=UTC)


def place(agency: AgencyView) -> tuple[int, datetime, str]:
    """Return the sort key of an agency: the worst first, then the oldest; otherwise by code, so that none jumps."""
    return _ORDER[agency.state], agency.since or _LAST, agency.agency


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyFilter:
    """Filter of agencies."""

    #: In the code, the name or the domain; "": all.
    text: str = ""
    #: In one of these states; empty: in any.
    standings: AbstractSet[AgencyStatus] = frozenset()

    @property
    def is_narrow(self) -> bool:
        """Whether it excludes any."""
        return bool(self.text or self.standings)

    def takes(self, agency: AgencyView) -> bool:
        """Whether an agency matches."""
        if self.standings and agency.state not in self.standings:
            return False
        words: Sequence[str] = self.text.casefold().split()
        told = f"{agency.agency} {agency.name} {agency.domain}".casefold()
        return all(word in told for word in words)


def state_in(agency: AgencyView, directions: Collection[Direction]) -> AgencyStatus | None:
    """Return the agency's state with regard to these directions only; `None`: none of them is probed."""
    found = {each: health for each, health in agency.health.items() if each in directions}
    if not found:
        return None
    declared = agency.declared
    if declared is not None and not set(WAYS.get(declared, ())).intersection(directions):
        declared = None
    agreed = agency.quorum_type
    # It is unknown which direction is only slow.
    if agreed in OUTAGES and not set(WAYS[agreed]).intersection(directions):
        agreed = None
    unseen = [each for each in agency.unobserved if each in directions]
    disputed = [each for each in agency.disputed if each in directions]
    return replace(
        agency, health=found, declared=declared, quorum_type=agreed, unobserved=unseen, disputed=disputed
    ).state
