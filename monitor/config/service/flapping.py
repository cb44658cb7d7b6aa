"""Flapping as it is configured: when an agency that is well again is not believed."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator

from monitor.config.files.section import Blank, Section, Span, wrong
from monitor.judging.flapping import FlappingPolicy

#: Longer, and nobody would be told for days that mail works again.
_LONGEST = timedelta(days=1)


def _more_than_one(falls: int) -> int:
    if not 2 <= falls <= 100:
        raise wrong(f"{falls} is no number of falls", "2 to 100: an agency that goes down once is not unsteady")
    return falls


def _within_a_day(span: timedelta) -> timedelta:
    if span > _LONGEST:
        raise wrong("is longer than a day", "2h, at most 1d: for so long nobody is told that mail works again")
    return span


class FlappingSettings(Section):
    """So many falls within so long are too many: the incident stays open until it has been quiet for as long."""

    falls: Annotated[int, AfterValidator(_more_than_one), Blank(3)] = 3
    """How often an agency may go down; the fall with this number is told as unsteady, and its recovery not at once."""
    within: Annotated[Span, AfterValidator(_within_a_day)] = timedelta(hours=2)

    def build(self) -> FlappingPolicy:
        """Return it as the judge holds it."""
        return FlappingPolicy(falls=self.falls, within=self.within)
