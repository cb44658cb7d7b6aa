"""Filter and order of agency lists. Pure: the module reads no clock and does no I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from alerts.model.incident import OUTAGES
from monitor.evaluation.incident_type import TYPE_DIRECTIONS
from monitor.model.route import Direction
from monitor.views.agency_status import AgencyStatus
from monitor.views.overview import AgencyView

#: Rank of each status: 0 for the worst.
_RANKS = {status: rank for rank, status in enumerate(AgencyStatus)}
#: Start time of an agency without a problem: it sorts last.
_NEVER = datetime.max.replace(tzinfo=UTC)


def sort_key(agency: AgencyView) -> tuple[int, datetime, str]:
    """Return the sort key of an agency: the worst status first, then the oldest problem, then the code."""
    return _RANKS[agency.state], agency.since or _NEVER, agency.agency


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyFilter:
    """Filter of agencies by text and status."""

    #: Words that must each occur in the code, the name or the domain; "" matches any agency.
    text: str = ""
    #: Accepted statuses; an empty set accepts all.
    statuses: AbstractSet[AgencyStatus] = frozenset()

    @property
    def is_narrow(self) -> bool:
        """Whether the filter may exclude an agency."""
        return bool(self.text or self.statuses)

    def matches(self, agency: AgencyView) -> bool:
        """Whether an agency matches both the text and the statuses."""
        if self.statuses and agency.state not in self.statuses:
            return False
        words: Sequence[str] = self.text.casefold().split()
        searched_text = f"{agency.agency} {agency.name} {agency.domain}".casefold()
        return all(word in searched_text for word in words)


def status_in_directions(agency: AgencyView, directions: Collection[Direction]) -> AgencyStatus | None:
    """Return the agency's status in *directions* only; `None`: none of these directions is probed.

    A direction (internal, outbound, inbound) is seen from the agency. An outage that a person has declared, or on which
    a quorum (the required number of sites) agrees, counts only if it concerns one of *directions*.
    """
    healths = {each: health for each, health in agency.health.items() if each in directions}
    if not healths:
        return None
    declared = agency.declared
    if declared is not None and not set(TYPE_DIRECTIONS.get(declared, ())).intersection(directions):
        declared = None
    quorum_type = agency.quorum_type
    # A quorum may also agree on a type that is no outage, such as slow mail: it has no direction, and counts for each.
    if quorum_type in OUTAGES and not set(TYPE_DIRECTIONS[quorum_type]).intersection(directions):
        quorum_type = None
    unobserved = [each for each in agency.unobserved if each in directions]
    disputed = [each for each in agency.disputed if each in directions]
    return replace(
        agency, health=healths, declared=declared, quorum_type=quorum_type, unobserved=unobserved, disputed=disputed
    ).state
