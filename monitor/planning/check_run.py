"""Assignments of checks to agencies, and results of check runs. Pure.

A check examines something that mail depends on, such as a certificate. It sends no message and never changes an
agency's health. A *finding* is the verdict on one aspect ("spf") of one subject (a domain or server).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from monitor.config.agency.checks import CheckSettings, enabled_check_intervals
from monitor.model.window import ALWAYS, Hours
from probes.model.check import CheckKind, CheckScope, Finding, Verdict

#: Maximum characters of a text in a finding. Longer answers of servers are truncated.
_MAX_TEXT = 400

#: Order of severity, ascending.
_SEVERITY = (Verdict.PASS, Verdict.UNKNOWN, Verdict.WARN, Verdict.FAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckAssignment:
    """A kind of check that runs periodically for one agency."""

    kind: CheckKind
    #: What the check examines: the agency's mailboxes and domains.
    check_scope: CheckScope = field(repr=False)
    interval: timedelta
    #: The check runs only in these hours, which exclude maintenance.
    hours: Hours = ALWAYS

    @property
    def key(self) -> tuple[str, str]:
        """The agency's short code ("" for reference mailboxes) and the name of the kind."""
        return self.check_scope.agency, self.kind.name


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """One finished run of a check."""

    findings: tuple[Finding, ...]
    #: End of the run.
    at: datetime
    #: The findings are valid for this scope only.
    check_scope: CheckScope = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictChange:
    """A verdict that differs from that of the previous run."""

    finding: Finding
    #: The previous verdict; `None` at the first run.
    before: Verdict | None


def assignments(
    kinds: Mapping[str, CheckKind],
    check_scopes: Iterable[CheckScope],
    service_settings: Mapping[str, CheckSettings],
    agency_settings: Mapping[str, Mapping[str, CheckSettings]],
    hours: Mapping[str, Hours],
) -> tuple[CheckAssignment, ...]:
    """Return the assignments, ordered by kind, so that no server receives all checks at once.

    *service_settings*: the check settings of the settings file; *agency_settings*: those of each agency's document.
    *hours*: by agency, the hours in which its checks run; always without an entry. An opt-in kind never runs for
    reference mailboxes (the operator's mailboxes outside the agencies), because their provider has not opted in.
    """
    check_assignments = []
    for scope in check_scopes:
        intervals = enabled_check_intervals(kinds, service_settings, agency_settings.get(scope.agency, {}))
        for name, interval in intervals.items():
            if scope.agency or not kinds[name].opt_in:
                active_hours = hours.get(scope.agency, ALWAYS)
                check_assignments.append(
                    CheckAssignment(kind=kinds[name], check_scope=scope, interval=interval, hours=active_hours)
                )
    order = {name: number for number, name in enumerate(kinds)}
    return tuple(sorted(check_assignments, key=lambda assignment: order[assignment.kind.name]))


def changes(before: Sequence[Finding], after: Sequence[Finding]) -> tuple[VerdictChange, ...]:
    """Return the verdicts that changed. A pass at the first run is no change."""
    verdicts_before = {(finding.aspect, finding.subject): finding.verdict for finding in before}
    verdict_changes = []
    for finding in after:
        verdict_before = verdicts_before.get((finding.aspect, finding.subject))
        if finding.verdict is not (verdict_before or Verdict.PASS):
            verdict_changes.append(VerdictChange(finding=finding, before=verdict_before))
    return tuple(verdict_changes)


def printable(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return *findings* with text that is safe to print, because a server may answer anything, at any length."""
    return tuple(
        replace(finding, subject=_printable(finding.subject), detail=_printable(finding.detail)) for finding in findings
    )


def _printable(text: str) -> str:
    if len(text) > _MAX_TEXT:
        text = f"{text[: _MAX_TEXT - 1]}…"
    return text if text.isprintable() else "".join(character if character.isprintable() else "?" for character in text)


def unknown_findings(kind: CheckKind, before: Sequence[Finding], reason: str) -> tuple[Finding, ...]:
    """Return the findings of a run that failed: those of the run *before*, or one per aspect, with unknown verdicts."""
    if before:
        return tuple(replace(finding, verdict=Verdict.UNKNOWN, detail=reason, expires_at=None) for finding in before)
    return tuple(Finding(aspect=aspect, subject="", verdict=Verdict.UNKNOWN, detail=reason) for aspect in kind.aspects)


def worst_verdict(findings: Iterable[Finding]) -> Verdict:
    """Return the most severe verdict; `PASS` without findings."""
    return max((finding.verdict for finding in findings), key=_SEVERITY.index, default=Verdict.PASS)


def problem_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that did not pass, the most severe first."""
    failed = (finding for finding in findings if finding.verdict is not Verdict.PASS)
    return tuple(sorted(failed, key=lambda finding: -_SEVERITY.index(finding.verdict)))
