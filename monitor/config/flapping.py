"""Flapping as it is configured: when an agency that is well again is not believed."""

from __future__ import annotations

from datetime import timedelta

from monitor.config.section import Count, Section, Span
from monitor.judging.flapping import FlappingPolicy


class FlappingSettings(Section):
    """So many falls within so long are too many: the incident stays open until it has been quiet for as long."""

    falls: Count = 3
    """How often an agency may go down; the fall with this number is told as unsteady, and its recovery not at once."""
    within: Span = timedelta(hours=1)

    def build(self) -> FlappingPolicy:
        """Return it as the judge holds it."""
        return FlappingPolicy(falls=self.falls, within=self.within)
