"""Check runner: runs checks on schedule and exports their findings.

A check examines something that mail depends on, such as a certificate. It never changes an agency's health and opens no
incident. Findings are exported to Prometheus, whose alerts notify the NOC, and shown on the status page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta

import structlog

from alerts.hours.elapsed import is_recent
from alerts.persistence.clock import Clock
from monitor.config.files.duration import format_duration
from monitor.metrics import Metrics
from monitor.planning.check_run import CheckAssignment, CheckRun, VerdictChange, changes, printable, unknown_findings
from monitor.planning.schedule import Schedule
from monitor.probing.ticker import Ticker
from monitor.runtime.cooperative import yielding
from probes.model.check import Finding, Verdict

log = structlog.get_logger()

#: Maximum number of checks that run at once. Some use threads, which other work needs too.
_MAX_CONCURRENT = 4
#: Delay between the first runs of two checks. Findings are not stored, so all checks run soon after the start.
_START_SPACING = timedelta(seconds=2)
#: All first runs start within this time. With many checks, the delay between two of them is shorter.
_MAX_START_DELAY = timedelta(minutes=5)
#: A first run with unknown findings is repeated once after this time. Often the message to examine had not arrived yet.
_RETRY_AFTER = timedelta(minutes=10)

#: The latest runs, by agency and kind.
LatestRuns = dict[tuple[str, str], CheckRun]


class CheckRunner:
    """Runs checks until cancelled: each on its schedule, a few at a time."""

    def __init__(
        self,
        assignments: Sequence[CheckAssignment],
        *,
        latest: LatestRuns,
        metrics: Metrics,
        clock: Clock,
        start_spacing: timedelta = _START_SPACING,
        retry_after: timedelta = _RETRY_AFTER,
    ) -> None:
        """*latest*: the latest runs, updated in place. *start_spacing*: delay between the first runs of two checks.

        *retry_after*: delay until a first run with unknown findings is repeated.
        """
        #: By name, which is "agency/kind".
        self._assignments: dict[str, CheckAssignment] = {}
        self._latest = latest
        #: Names of the assignments, by agency and kind.
        self._names: dict[str, dict[str, str]] = {}
        self._metrics = metrics
        self._clock = clock
        self._start_spacing = start_spacing
        self._semaphore = asyncio.Semaphore(_MAX_CONCURRENT)
        self._retry_after = retry_after
        #: Names of the assignments that have a first run planned.
        self._first_runs: set[str] = set()
        #: By agency and kind: aspect and subject of the findings that were unknown at the first run. Only their number
        #: is logged.
        self._unknown_at_first_run: dict[tuple[str, str], set[tuple[str, str]]] = {}
        #: Start time of the next first run.
        self._next_first_run_at = clock.now()
        self._schedule = Schedule()
        self._ticker = Ticker(self._schedule, clock)
        self.assign(assignments, {agency for agency, _ in latest})

    # -- assignments ---------------------------------------------------------------------------------------------

    def assign(self, assignments: Sequence[CheckAssignment], agencies: Collection[str] = ()) -> None:
        """Replace all assignments of *agencies* and of the agencies in *assignments*; other agencies keep theirs.

        An assignment whose scope is unchanged keeps its findings and its next run.
        """
        self._remove_assignments(assignments, agencies)
        self._register(assignments, [each for each in assignments if self._add_assignment(each)])

    async def assign_cooperatively(self, assignments: Sequence[CheckAssignment], agencies: Collection[str]) -> None:
        """Do the same as `assign`, but yield to the event loop, because there may be thousands of agencies."""
        self._remove_assignments(assignments, agencies)
        self._register(assignments, [each async for each in yielding(assignments) if self._add_assignment(each)])

    def _remove_assignments(self, assignments: Sequence[CheckAssignment], agencies: Collection[str]) -> None:
        """For *agencies* and the agencies in *assignments*: remove the assignments that are not in *assignments*."""
        keys = {each.key for each in assignments}
        affected_agencies = {*agencies, *(agency for agency, _ in keys)}
        for key in [key for key in self._latest if key[0] in affected_agencies and key not in keys]:
            del self._latest[key]
            self._unknown_at_first_run.pop(key, None)
        for agency in affected_agencies:
            names = self._names.pop(agency, {})
            for kind, name in names.items():
                if (agency, kind) not in keys:
                    del self._assignments[name]
                    self._schedule.remove(name)
                    self._first_runs.discard(name)
            if remaining := {kind: name for kind, name in names.items() if (agency, kind) in keys}:
                self._names[agency] = remaining

    def _register(self, assignments: Sequence[CheckAssignment], to_run_soon: Sequence[CheckAssignment]) -> None:
        """Register the names of *assignments*, and plan first runs of the assignments *to_run_soon*."""
        names: dict[str, dict[str, str]] = {}
        for each in assignments:
            agency, kind = each.key
            names.setdefault(agency, {})[kind] = "/".join(each.key)
        self._names |= names
        self._plan_first_runs(to_run_soon)
        self._ticker.wake()

    def release(self, agencies: Collection[str]) -> None:
        """Remove the assignments and findings of *agencies*."""
        self.assign((), agencies)

    def _add_assignment(self, assignment: CheckAssignment) -> bool:
        """Add an assignment to the schedule; return whether it needs a first run soon."""
        name, now = "/".join(assignment.key), self._clock.now()
        previous = self._assignments.get(name)
        self._assignments[name] = assignment
        if previous is None:
            self._schedule.add(name, assignment.interval, now, assignment.hours)
        else:
            self._schedule.change(name, assignment.interval, now, assignment.hours)
        if assignment.kind.opt_in:
            # No first run: if the service restarted repeatedly, an opt-in check could lock an account.
            return False
        latest = self._latest.get(assignment.key)
        if previous is not None and previous.check_scope == assignment.check_scope:
            return False
        return (
            latest is None
            or latest.check_scope != assignment.check_scope
            or not is_recent(latest.at, now, assignment.interval)
        )

    def _plan_first_runs(self, assignments: Sequence[CheckAssignment]) -> None:
        spacing = min(self._start_spacing, _MAX_START_DELAY / max(1, len(self._assignments)))
        now = self._clock.now()
        # A time too far in the future was computed before the clock was set back.
        self._next_first_run_at = (
            max(now, self._next_first_run_at) if self._next_first_run_at <= now + _MAX_START_DELAY else now
        )
        for assignment in assignments:
            name = "/".join(assignment.key)
            self._first_runs.add(name)
            self._schedule.advance(name, self._next_first_run_at)
            self._next_first_run_at += spacing

    # -- results -------------------------------------------------------------------------------------------------

    def latest(self, agency: str) -> dict[str, CheckRun | None]:
        """Return the latest run of each kind for an agency; `None`: not run yet."""
        return {kind: self._latest.get((agency, kind)) for kind in self._names.get(agency, ())}

    async def run(self) -> None:
        """Run until cancelled. Checks are tasks in its task group."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for name in await self._ticker.wait_for_due():
                    tasks.create_task(self._run_assignment(name, self._assignments[name]))

    async def _run_assignment(self, name: str, assignment: CheckAssignment) -> None:
        try:
            async with self._semaphore:
                findings = await self._run_check(assignment) if self._is_current(assignment) else ()
        # An unexpected error of a check, which is a bug, must not stop the others, or leave an outdated finding.
        except Exception:
            log.exception("check failed unexpectedly", **_log_context(assignment))
            findings = self._unknown_findings(assignment, "not examined because of a bug in Pantau")
        now = self._clock.now()
        self._schedule.plan_next(name, now)
        # If the scope has changed during the run, the findings are outdated.
        if self._is_current(assignment):
            self._store_findings(assignment, findings)
            if name in self._first_runs and any(finding.verdict is Verdict.UNKNOWN for finding in findings):
                self._schedule.advance(name, now + self._retry_after)
            self._end_first_run(name)
        self._ticker.wake()

    def _end_first_run(self, name: str) -> None:
        if name in self._first_runs:
            self._first_runs.remove(name)
            if not self._first_runs:
                unknown = sum(len(each) for each in self._unknown_at_first_run.values())
                log.info("first check runs finished", checks=len(self._latest), unknown=unknown)

    def _is_current(self, assignment: CheckAssignment) -> bool:
        current = self._assignments.get("/".join(assignment.key))
        return current is not None and current.check_scope == assignment.check_scope

    async def _run_check(self, assignment: CheckAssignment) -> tuple[Finding, ...]:
        kind = assignment.kind
        try:
            async with asyncio.timeout(kind.within.total_seconds()) as deadline:
                findings = await kind.build(assignment.check_scope, self._clock.now).run()
        except TimeoutError:
            if not deadline.expired():
                raise  # A bug: a check handles its own time-outs.
            log.warning("check timed out", **_log_context(assignment))
            return self._unknown_findings(assignment, f"not examined within {format_duration(kind.within)}")
        if unexpected_aspects := {finding.aspect for finding in findings} - set(kind.aspects):
            raise ValueError(f"{kind.name} has no aspect {', '.join(sorted(unexpected_aspects))}")
        return printable(findings)

    def _unknown_findings(self, assignment: CheckAssignment, reason: str) -> tuple[Finding, ...]:
        latest = self._latest.get(assignment.key)
        return unknown_findings(assignment.kind, latest.findings if latest else (), reason)

    def _store_findings(self, assignment: CheckAssignment, findings: tuple[Finding, ...]) -> None:
        agency, kind = assignment.key
        previous, now = self._latest.get(assignment.key), self._clock.now()
        self._latest[assignment.key] = CheckRun(findings=findings, at=now, check_scope=assignment.check_scope)
        # Unknown findings of first runs are not logged one by one, because there may be hundreds after a start.
        if previous is None and "/".join(assignment.key) in self._first_runs:
            self._unknown_at_first_run[assignment.key] = {
                (finding.aspect, finding.subject) for finding in findings if finding.verdict is Verdict.UNKNOWN
            }
        for change in changes(previous.findings if previous else (), findings):
            if self._is_expected_change(assignment, change):
                continue
            log.info(
                "check verdict changed",
                **_log_context(assignment),
                aspect=change.finding.aspect,
                subject=change.finding.subject,
                verdict=change.finding.verdict,
                previous=change.before,
                detail=change.finding.detail,
            )
        self._metrics.record_check_run(agency, kind, findings, now)

    def _is_expected_change(self, assignment: CheckAssignment, change: VerdictChange) -> bool:
        """Whether *change* is not logged: the finding was unknown at the first run, and still is, or passes now."""
        unknown, finding = self._unknown_at_first_run.get(assignment.key, set()), change.finding
        if (key := (finding.aspect, finding.subject)) not in unknown or finding.verdict is Verdict.UNKNOWN:
            return key in unknown
        unknown.remove(key)
        return finding.verdict is Verdict.PASS


def _log_context(assignment: CheckAssignment) -> dict[str, str]:
    agency, kind = assignment.key
    return {"agency": agency, "kind": kind}
