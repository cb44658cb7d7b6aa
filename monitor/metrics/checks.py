"""Metrics of checks, which examine an agency's DNS records, certificates and servers, and send no messages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Final

from monitor.metrics.definition import Definitions
from probes.model.check import Finding, Verdict

#: Maximum number of findings of one agency and check with a series; the worst are exported. The subjects of findings
#: come from an agency's configuration and its DNS, where a thousand MX hosts must not create a thousand series.
MAX_FINDINGS: Final = 100

#: Metric values of verdicts. Findings with another verdict (unknown) have no series.
STATES: Final = {Verdict.PASS: 0, Verdict.WARN: 1, Verdict.FAIL: 2}


class CheckSeries:
    """Series of all checks. Each run of a check replaces the series of its previous run."""

    def __init__(self, metrics: Definitions) -> None:
        self._definitions = metrics
        #: Findings with the expiry of a certificate, by agency and kind of check.
        self._expiring_findings: dict[str, dict[str, Sequence[Finding]]] = {}

    def export(self, agency: str, kind: str, findings: Sequence[Finding], at: datetime) -> None:
        """Export the findings of a run of the check *kind* that ended at *at*."""
        states = worst_states(findings)
        values = [((agency, kind, aspect, subject), state) for (aspect, subject), state in states.items()]
        self._definitions.check_state.put(agency, kind, values)
        self._definitions.check_unknown.put(agency, kind, [((agency, kind), count_unknown(findings))])
        self._definitions.check_last_run.put(agency, kind, [((agency, kind), at.timestamp())])
        self._export_expiries(agency, kind, [finding for finding in findings if finding.expires_at is not None])

    def keep(self, agency: str, kinds: Collection[str]) -> None:
        """Remove the series of an agency's checks that are not in *kinds*."""
        for family in (
            self._definitions.check_state,
            self._definitions.check_unknown,
            self._definitions.check_last_run,
        ):
            family.keep(agency, kinds)
        for kind in self._expiring_findings.get(agency, {}).keys() - set(kinds):
            self._export_expiries(agency, kind, ())

    def remove_state(self, agency: str) -> None:
        """Remove the state of an agency; the caller drops its series."""
        self._expiring_findings.pop(agency, None)

    def _export_expiries(self, agency: str, kind: str, findings: Sequence[Finding]) -> None:
        kinds = self._expiring_findings.setdefault(agency, {})
        kinds[kind] = findings
        # A server has one series, although several checks may examine it: all checks share one part (""), not by kind.
        servers = certificate_expiries(chain.from_iterable(kinds.values()))
        values = [((agency, server), at.timestamp()) for server, at in servers.items()]
        self._definitions.certificate_expiry.put(agency, "", values)


def worst_states(findings: Iterable[Finding]) -> dict[tuple[str, str], int]:
    """Return the worst state by aspect and subject, the worst first; at most `MAX_FINDINGS`."""
    worst: dict[tuple[str, str], int] = {}
    for finding in findings:
        if (state := STATES.get(finding.verdict)) is not None:
            key = finding.aspect, finding.subject
            worst[key] = max(state, worst.get(key, state))
    by_severity = sorted(worst.items(), key=lambda item: (-item[1], item[0]))
    return dict(by_severity[:MAX_FINDINGS])


def count_unknown(findings: Sequence[Finding]) -> int:
    """Return the number of findings that could not be determined."""
    return sum(finding.verdict is Verdict.UNKNOWN for finding in findings)


def certificate_expiries(findings: Iterable[Finding]) -> dict[str, datetime]:
    """Return the earliest expiry of each server's certificates, the earliest first; at most `MAX_FINDINGS`."""
    earliest: dict[str, datetime] = {}
    for finding in findings:
        if finding.expires_at is not None:
            earliest[finding.subject] = min(finding.expires_at, earliest.get(finding.subject, finding.expires_at))
    in_order = sorted(earliest.items(), key=lambda item: (item[1], item[0]))
    return dict(in_order[:MAX_FINDINGS])
