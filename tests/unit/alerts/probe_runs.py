"""Stand-in for the newest probe runs of agencies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from alerts.decide.contradiction import LatestArrivals


@dataclass
class FakeProbeRuns:
    """Newest probe runs, set by a test."""

    delivered: dict[str, LatestArrivals] = field(default_factory=dict)
    #: The agencies whose runs were started, in order.
    begun: list[str] = field(default_factory=list)

    def begin(self, agencies: Collection[str]) -> None:
        """Record that new runs were started."""
        self.begun += agencies

    async def measure(self, agency: str) -> LatestArrivals:
        """Return the newest arrivals after new runs."""
        self.begin([agency])
        return self.delivered.get(agency, {})

    async def newest(self, agencies: Collection[str]) -> Mapping[str, LatestArrivals]:
        """Return the newest arrivals, by agency."""
        return {agency: self.delivered.get(agency, {}) for agency in agencies}
