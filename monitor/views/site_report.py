"""What each site says of an agency and has seen of it, for people. No clock, no I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from alerts.model.notification import IncidentType
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.model.site_sums import SiteSums
from probes.model.result import Failure, Outcome, ProbeResult


class SiteVerdict(StrEnum):
    """What a site says of an agency, in one word."""

    #: The site finds a fault.
    WRONG = "wrong"
    #: The site finds that mail works.
    UP = "up"
    #: The site cannot say yet.
    UNCLEAR = "unclear"
    #: The site's data is too old to count.
    STALE = "stale"

    @classmethod
    def _missing_(cls, value: object) -> SiteVerdict | None:
        """Return the member for the value that audit logs of 0.2.0 have."""
        return cls.UP if value == "well" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteReport:
    """What one site says of an agency."""

    site: str
    says: SiteVerdict
    #: What is wrong, and since when; `None`: nothing is, as far as it is known.
    type: IncidentType | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRun:
    """The last run of a route that did not deliver at a site, by that site's clock."""

    route: str
    started_at: datetime
    outcome: Outcome
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteIncidentSummary:
    """What one site says of an agency, and has seen of it in the time of an incident."""

    site: str
    #: What it says now; `None`: the incident is over, or it says nothing.
    report: SiteReport | None = None
    #: Of each route, the newest first.
    last_failures: Sequence[SiteRun] = ()
    #: How many it told of that make no sense.
    unclear: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteIncidentData:
    """What one site says of an agency, and its runs that did not deliver in the time of an incident, by its own clock."""

    site: str
    #: What it says now; `None`: the incident is over, or it says nothing.
    report: SiteReport | None = None
    #: The oldest first.
    results: Sequence[ProbeResult] = ()
    #: How many it told of that make no sense.
    unclear: int = 0

    @property
    def last(self) -> Sequence[ProbeResult]:
        """The last of each route, the newest first."""
        by_route = {each.route: each for each in self.results}
        return sorted(by_route.values(), key=lambda each: each.started_at, reverse=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSumsView:
    """What came of a site's runs of an agency; of those that the site had reason to believe."""

    site: str
    runs: int
    delivered: int
    #: The share that was delivered; `None`: there were no runs.
    share: float | None = None
    #: Seconds on the way, on average and at most, of those of which it is known.
    transit_seconds: float | None = None
    slowest_seconds: float | None = None


def view_evidence(told: SiteIncidentData) -> SiteIncidentSummary:
    """Return what is shown of it."""
    last = [
        SiteRun(route=each.route, started_at=each.started_at, outcome=each.outcome, failure=each.failure)
        for each in told.last
    ]
    return SiteIncidentSummary(site=told.site, report=told.report, last_failures=last, unclear=told.unclear)


def view_sums(sums: SiteSums) -> SiteSumsView:
    """Return what is shown of it. A share is rounded down: what failed once was not all delivered."""
    return SiteSumsView(
        site=sums.site,
        runs=sums.runs,
        delivered=sums.delivered,
        share=math.floor(min(sums.delivered / sums.runs, 1) * 10_000) / 10_000 if sums.runs else None,
        transit_seconds=round(sums.transit / sums.timed, 3) if sums.timed else None,
        slowest_seconds=round(sums.slowest, 3) if sums.timed else None,
    )


#: The event of the journal that tells what sites say, and the key of its detail.
SITES_SAY, WORDS_OF_SITES = "sites say", "sites"


def written_word(report: SiteReport) -> str:
    """Return what a site says as the journal has it: "both 2026-11-24T06:15:00+00:00", "up"."""
    if report.type is None or report.since is None:
        return str(report.says)
    return f"{report.type} {report.since.isoformat()}"


def read_words(written: Sequence[str]) -> Mapping[str, SiteReport]:
    """Return what each site said, by what the journal has of it in order: what was wrong first, if anything was, else the last.

    What is not understood is left out.
    """
    found: dict[str, SiteReport] = {}
    for entry in written:
        for each in entry.split("; "):
            site, _, word = each.partition(": ")
            if (before := found.get(site)) is not None and before.says is SiteVerdict.WRONG:
                continue
            if (report := _read_word(site, word)) is not None:
                found[site] = report
    return found


def _read_word(site: str, word: str) -> SiteReport | None:
    first, _, since = word.partition(" ")
    try:
        if not since:
            return SiteReport(site=site, says=SiteVerdict(first))
        return SiteReport(
            site=site, says=SiteVerdict.WRONG, type=IncidentType(first), since=datetime.fromisoformat(since)
        )
    except ValueError:
        return None


def view_sites(said: Mapping[str, SiteStatus | None]) -> Sequence[SiteReport]:
    """Return what each site says; `None`: it has no vote."""
    return [_report(site, standing) for site, standing in said.items()]


def _report(site: str, standing: SiteStatus | None) -> SiteReport:
    if standing is None:
        return SiteReport(site=site, says=SiteVerdict.STALE)
    if standing.trouble is not None:
        trouble = standing.trouble
        return SiteReport(site=site, says=SiteVerdict.WRONG, type=trouble.matter, since=trouble.since)
    # Since when it is well is not said: that moves with each run where one route is probed less often than others.
    return SiteReport(site=site, says=SiteVerdict.UNCLEAR if standing.well_since is None else SiteVerdict.UP)
