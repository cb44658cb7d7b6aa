"""Status and runs of an agency at each site, for pages, API and audit log. Pure: no clock, no I/O.

A site is a place from which mail is probed; a hub decides by the reports of several sites. A run is one probe of a
route. A run is *implausible* if the record that its site has published is invalid. The API returns views as JSON, so
that the fields of `SiteReport`, `SiteRun`, `SiteIncidentSummary` and `SiteSumsView` keep their names.
"""

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
    """A site's verdict on an agency."""

    #: The site finds a fault.
    WRONG = "wrong"
    #: The site finds that mail works.
    UP = "up"
    #: The site cannot decide yet.
    UNCLEAR = "unclear"
    #: The site's data is too old to count.
    STALE = "stale"

    @classmethod
    def _missing_(cls, value: object) -> SiteVerdict | None:
        """Return the member for the value in audit logs of version 0.2.0."""
        return cls.UP if value == "well" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteReport:
    """Status of an agency at one site."""

    #: Name of the site.
    site: str
    #: The site's verdict.
    says: SiteVerdict
    #: Type of the problem; `None`: no problem is known.
    type: IncidentType | None = None
    #: Start of the problem; `None` like the type.
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRun:
    """Last failed run of a route at a site, by that site's clock."""

    route: str
    started_at: datetime
    outcome: Outcome
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteIncidentSummary:
    """Status and failed runs of an agency at one site during an incident."""

    site: str
    #: Status of the agency at the site; `None`: it has none, or the incident is over.
    report: SiteReport | None = None
    #: The last failed run of each route, the newest first.
    last_failures: Sequence[SiteRun] = ()
    #: Number of implausible runs; not related to `SiteVerdict.UNCLEAR`.
    unclear: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteIncidentData:
    """Status and failed runs of an agency at one site during an incident, with times by the site's own clock."""

    site: str
    #: Status of the agency at the site; `None`: it has none, or the incident is over.
    report: SiteReport | None = None
    #: Failed runs, the oldest first.
    failed_runs: Sequence[ProbeResult] = ()
    #: Number of implausible runs.
    implausible_count: int = 0

    @property
    def last_failures(self) -> Sequence[ProbeResult]:
        """The last failed run of each route, the newest first."""
        by_route = {each.route: each for each in self.failed_runs}
        return sorted(by_route.values(), key=lambda each: each.started_at, reverse=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSumsView:
    """Sums of a site's plausible and conclusive runs of an agency."""

    site: str
    #: Number of runs.
    runs: int
    #: Number of runs whose message was delivered.
    delivered: int
    #: Share of delivered runs, 0 to 1; `None`: no runs.
    share: float | None = None
    #: Mean and maximum transit time; `None`: no transit time is known.
    transit_seconds: float | None = None
    slowest_seconds: float | None = None


def view_site_incident(data: SiteIncidentData) -> SiteIncidentSummary:
    """Return the summary of a site's data, with only the last failed run of each route."""
    last_failures = [
        SiteRun(route=each.route, started_at=each.started_at, outcome=each.outcome, failure=each.failure)
        for each in data.last_failures
    ]
    return SiteIncidentSummary(
        site=data.site, report=data.report, last_failures=last_failures, unclear=data.implausible_count
    )


def view_sums(sums: SiteSums) -> SiteSumsView:
    """Return the view of *sums*. The share is rounded down, so that it is 1 only if all runs were delivered.

    `sums.timed` is the number of runs with a known transit time.
    """
    return SiteSumsView(
        site=sums.site,
        runs=sums.runs,
        delivered=sums.delivered,
        share=math.floor(min(sums.delivered / sums.runs, 1) * 10_000) / 10_000 if sums.runs else None,
        transit_seconds=round(sums.transit / sums.timed, 3) if sums.timed else None,
        slowest_seconds=round(sums.slowest, 3) if sums.timed else None,
    )


#: Stored name of the audit event that records the reports of all sites, and the key of its detail that contains them.
SITES_EVENT, SITES_DETAIL = "sites say", "sites"


def format_report(report: SiteReport) -> str:
    """Return a report in the format of the audit log: "both 2026-11-24T06:15:00+00:00", or "up"."""
    if report.type is None or report.since is None:
        return str(report.says)
    return f"{report.type} {report.since.isoformat()}"


def parse_reports(entries: Sequence[str]) -> Mapping[str, SiteReport]:
    """Return a report for each site: its first problem in *entries*, or else its last report.

    *entries*: texts of audit entries, the oldest first, such as "johor: up; kuching: both 2026-11-24T06:15:00+00:00".
    Reports of unknown format are left out.
    """
    reports: dict[str, SiteReport] = {}
    for entry in entries:
        for each in entry.split("; "):
            site, _, text = each.partition(": ")
            if (earlier := reports.get(site)) is not None and earlier.says is SiteVerdict.WRONG:
                continue
            if (report := _parse_report(site, text)) is not None:
                reports[site] = report
    return reports


def _parse_report(site: str, text: str) -> SiteReport | None:
    first, _, since = text.partition(" ")
    try:
        if not since:
            return SiteReport(site=site, says=SiteVerdict(first))
        return SiteReport(
            site=site, says=SiteVerdict.WRONG, type=IncidentType(first), since=datetime.fromisoformat(since)
        )
    except ValueError:
        return None


def view_sites(statuses: Mapping[str, SiteStatus | None]) -> Sequence[SiteReport]:
    """Return the report of each site. A status of `None`: the site has no vote, because its data is too old."""
    return [_report(site, status) for site, status in statuses.items()]


def _report(site: str, status: SiteStatus | None) -> SiteReport:
    if status is None:
        return SiteReport(site=site, says=SiteVerdict.STALE)
    if status.trouble is not None:
        problem = status.trouble
        return SiteReport(site=site, says=SiteVerdict.WRONG, type=problem.type, since=problem.since)
    # A report omits `up_since`, which changes often if one route is probed less often than others.
    return SiteReport(site=site, says=SiteVerdict.UNCLEAR if status.up_since is None else SiteVerdict.UP)
