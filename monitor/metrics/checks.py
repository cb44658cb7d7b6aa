"""Metrics of the checks: tests of an agency's DNS records, certificates and servers, beside the probes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Final

from monitor.metrics.definition import Definitions
from probes.model.check import Finding, Verdict

#: Maximum number of findings with a series; the worst are exported. Subjects come from an agency's configuration and
#: its DNS, where a thousand MX hosts must not make a thousand series.
MAX_FINDINGS: Final = 100

#: Metric values of verdicts. Findings with another verdict (unknown) have no series.
STATES: Final = {Verdict.PASS: 0, Verdict.WARN: 1, Verdict.FAIL: 2}


class CheckSeries:
    """Series of all checks: a run of a check replaces the series of the run before."""

    def __init__(self, metrics: Definitions) -> None:
        self._definitions = metrics
        #: Findings with an expiry date, by agency and kind of check.
        self._expiring_findings: dict[str, dict[str, Sequence[Finding]]] = {}

    def show(self, agency: str, kind: str, findings: Sequence[Finding], at: datetime) -> None:
        """Export the findings of a run."""
        values = [((agency, kind, *series), state) for series, state in states(findings).items()]
        self._definitions.check_state.put(agency, kind, values)
        self._definitions.check_unknown.put(agency, kind, [((agency, kind), unknown(findings))])
        self._definitions.check_last_run.put(agency, kind, [((agency, kind), at.timestamp())])
        self._show_expiries(agency, kind, [finding for finding in findings if finding.expires_at is not None])

    def keep(self, agency: str, kinds: Collection[str]) -> None:
        """Remove the series of all other checks of an agency."""
        for family in (
            self._definitions.check_state,
            self._definitions.check_unknown,
            self._definitions.check_last_run,
        ):
            family.keep(agency, kinds)
        for kind in self._expiring_findings.get(agency, {}).keys() - set(kinds):
            self._show_expiries(agency, kind, ())

    def forget(self, agency: str) -> None:
        """Remove the state of an agency; the caller drops its series."""
        self._expiring_findings.pop(agency, None)

    def _show_expiries(self, agency: str, kind: str, findings: Sequence[Finding]) -> None:
        kinds = self._expiring_findings.setdefault(agency, {})
        kinds[kind] = findings
        # Two checks may examine the same server, which has one series.
        servers = expiries(chain.from_iterable(kinds.values()))
        values = [((agency, server), at.timestamp()) for server, at in servers.items()]
        self._definitions.certificate_expiry.put(agency, "", values)


def states(findings: Iterable[Finding]) -> dict[tuple[str, str], int]:
    """Return the worst state of each aspect and subject, the worst first."""
    worst: dict[tuple[str, str], int] = {}
    for finding in findings:
        if (state := STATES.get(finding.verdict)) is not None:
            series = finding.aspect, finding.subject
            worst[series] = max(state, worst.get(series, state))
    by_severity = sorted(worst.items(), key=lambda item: (-item[1], item[0]))
    return dict(by_severity[:MAX_FINDINGS])


def unknown(findings: Sequence[Finding]) -> int:
    """Return the number of findings that could not be determined."""
    return sum(finding.verdict is Verdict.UNKNOWN for finding in findings)


def expiries(findings: Iterable[Finding]) -> dict[str, datetime]:
    """Return when each server's certificate expires; the earliest time, if it has several."""
    first: dict[str, datetime] = {}
    for finding in findings:
        if finding.expires_at is not None:
            first[finding.subject] = min(finding.expires_at, first.get(finding.subject, finding.expires_at))
    soonest = sorted(first.items(), key=lambda item: (item[1], item[0]))
    return dict(soonest[:MAX_FINDINGS])
