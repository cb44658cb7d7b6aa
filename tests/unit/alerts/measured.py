"""What the newest runs of agencies show, as a test says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from alerts.decide.contradiction import LatestArrivals


@dataclass
class Measured:
    """Stands for the probes."""

    delivered: dict[str, LatestArrivals] = field(default_factory=dict)
    #: The agencies that were measured anew, in order.
    begun: list[str] = field(default_factory=list)

    def begin(self, agencies: Collection[str]) -> None:
        """Note that new runs were asked for."""
        self.begun += agencies

    async def measure(self, agency: str) -> LatestArrivals:
        """Return what the newest runs show after new ones."""
        self.begin([agency])
        return self.delivered.get(agency, {})

    async def newest(self, agencies: Collection[str]) -> Mapping[str, LatestArrivals]:
        """Return what the newest runs show."""
        return {agency: self.delivered.get(agency, {}) for agency in agencies}
