"""What each site says of an agency, for people. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from alerts.model.notice import Matter
from monitor.judging.joint.standing import SiteStanding


class SiteOpinion(StrEnum):
    """What a site says, in one word."""

    #: Something is wrong.
    WRONG = "wrong"
    #: All is proven to work.
    WELL = "well"
    #: Neither: not known, or not clear yet.
    UNCLEAR = "unclear"
    #: What it said is too old to count.
    STALE = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteReport:
    """What one site says of an agency."""

    site: str
    says: SiteOpinion
    #: What is wrong, and since when; `None`: nothing is, as far as it is known.
    matter: Matter | None = None
    since: datetime | None = None


def view_sites(said: Mapping[str, SiteStanding | None]) -> Sequence[SiteReport]:
    """Return what each site says; `None`: it has no vote."""
    return [_report(site, standing) for site, standing in said.items()]


def _report(site: str, standing: SiteStanding | None) -> SiteReport:
    if standing is None:
        return SiteReport(site=site, says=SiteOpinion.STALE)
    if standing.trouble is not None:
        trouble = standing.trouble
        return SiteReport(site=site, says=SiteOpinion.WRONG, matter=trouble.matter, since=trouble.since)
    # Since when it is well is not said: that moves with each run where one route is probed less often than others.
    return SiteReport(site=site, says=SiteOpinion.UNCLEAR if standing.well_since is None else SiteOpinion.WELL)
