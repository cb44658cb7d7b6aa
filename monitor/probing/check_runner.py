"""Check runner: runs checks on schedule and exports their findings.

A check never changes an agency's health and opens no incident. Findings are exported to Prometheus, whose alerts notify
the NOC, and shown on the status page.
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

#: Maximum number of checks that run at once: some use threads, which other work needs too.
_MAX_CONCURRENT = 4
#: Delay between the first runs of two checks. Findings are not stored, so all checks run soon after the start.
_START_SPACING = timedelta(seconds=2)
#: Time in which all first runs start. With many checks, the delay between two of them is shorter.
_MAX_START_DELAY = timedelta(minutes=5)
#: A first run with unknown findings is repeated once after this time. Often no message had arrived yet to examine.
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
        second_look: timedelta = _RETRY_AFTER,
    ) -> None:
        """Take *latest*, the previous results, and *start_spacing*, the delay between the first runs of two checks.

        *second_look*: delay until a first run with unknown findings is repeated.
        """
        self._assignments: dict[str, CheckAssignment] = {}
        self._latest = latest
        #: By agency: names of its assignments by kind.
        self._kinds: dict[str, dict[str, str]] = {}
        self._metrics = metrics
        self._clock = clock
        self._start_spacing = start_spacing
        self._semaphore = asyncio.Semaphore(_MAX_CONCURRENT)
        self._retry_after = second_look
        #: Assignments that have not run yet.
        self._first_runs: set[str] = set()
        #: Unknown findings of first runs, of which only the number is logged.
        self._first_unknown: dict[tuple[str, str], set[tuple[str, str]]] = {}
        #: Time of the next first run.
        self._first_at = clock.now()
        self._schedule = Schedule()
        self._ticker = Ticker(self._schedule, clock)
        self.assign(assignments, {agency for agency, _ in latest})

    # -- assignments ---------------------------------------------------------------------------------------------

    def assign(self, assignments: Sequence[CheckAssignment], agencies: Collection[str] = ()) -> None:
        """Replace all assignments of *agencies*, and of those in *assignments*; other agencies keep theirs.

        An assignment with the same scope keeps its findings and its next run.
        """
        self._remove_assignments(assignments, agencies)
        self._plan(assignments, [each for each in assignments if self._add_assignment(each)])

    async def assign_cooperatively(self, assignments: Sequence[CheckAssignment], agencies: Collection[str]) -> None:
        """Assign like `assign`, but yield to the event loop, because thousands of agencies may be concerned."""
        self._remove_assignments(assignments, agencies)
        self._plan(assignments, [each async for each in yielding(assignments) if self._add_assignment(each)])

    def _remove_assignments(self, assignments: Sequence[CheckAssignment], agencies: Collection[str]) -> None:
        """Remove assignments of these agencies that are not among *assignments*."""
        keys = {each.key for each in assignments}
        affected_agencies = {*agencies, *(agency for agency, _ in keys)}
        for key in [key for key in self._latest if key[0] in affected_agencies and key not in keys]:
            del self._latest[key]
            self._first_unknown.pop(key, None)
        for agency in affected_agencies:
            kinds = self._kinds.pop(agency, {})
            for kind, name in kinds.items():
                if (agency, kind) not in keys:
                    del self._assignments[name]
                    self._schedule.remove(name)
                    self._first_runs.discard(name)
            if remaining := {kind: name for kind, name in kinds.items() if (agency, kind) in keys}:
                self._kinds[agency] = remaining

    def _plan(self, assignments: Sequence[CheckAssignment], unplanned: Sequence[CheckAssignment]) -> None:
        """Add *assignments*, of which those *unplanned* have no planned run."""
        kinds: dict[str, dict[str, str]] = {}
        for each in assignments:
            agency, kind = each.key
            kinds.setdefault(agency, {})[kind] = "/".join(each.key)
        self._kinds |= kinds
        self._run_first(unplanned)
        self._ticker.wake()

    def release(self, agencies: Collection[str]) -> None:
        """Remove the assignments and findings of these agencies."""
        self.assign((), agencies)

    def _add_assignment(self, assignment: CheckAssignment) -> bool:
        """Add an assignment; return whether it needs a run that is not planned."""
        name, now = "/".join(assignment.key), self._clock.now()
        previous = self._assignments.get(name)
        self._assignments[name] = assignment
        if previous is None:
            self._schedule.add(name, assignment.interval, now, assignment.hours)
        else:
            self._schedule.change(name, assignment.interval, now, assignment.hours)
        if assignment.kind.opt_in:
            # Not at the start: if the service restarted repeatedly, an opt-in check could lock an account.
            return False
        latest = self._latest.get(assignment.key)
        if previous is not None and previous.check_scope == assignment.check_scope:
            return False
        return (
            latest is None
            or latest.check_scope != assignment.check_scope
            or not is_recent(latest.at, now, assignment.interval)
        )

    def _run_first(self, assignments: Sequence[CheckAssignment]) -> None:
        spacing = min(self._start_spacing, _MAX_START_DELAY / max(1, len(self._assignments)))
        now = self._clock.now()
        # A time too far in the future was planned before the clock was set back.
        self._first_at = max(now, self._first_at) if self._first_at <= now + _MAX_START_DELAY else now
        for assignment in assignments:
            name = "/".join(assignment.key)
            self._first_runs.add(name)
            self._schedule.advance(name, self._first_at)
            self._first_at += spacing

    # -- results -------------------------------------------------------------------------------------------------

    def latest(self, agency: str) -> dict[str, CheckRun | None]:
        """Return the latest run of each kind for an agency; `None`: not run yet."""
        return {kind: self._latest.get((agency, kind)) for kind in self._kinds.get(agency, ())}

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
        # A bug in a check must not stop the others, or leave an outdated finding.
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
                unknown = sum(len(each) for each in self._first_unknown.values())
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
                raise
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
        # Unknown findings of first runs are not logged one by one: there may be hundreds after a start.
        if previous is None and "/".join(assignment.key) in self._first_runs:
            self._first_unknown[assignment.key] = {
                (f.aspect, f.subject) for f in findings if f.verdict is Verdict.UNKNOWN
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
        """Whether not to log a change: the finding was unknown at the first run, and is unknown still or passes now."""
        unknown, finding = self._first_unknown.get(assignment.key, set()), change.finding
        if (key := (finding.aspect, finding.subject)) not in unknown or finding.verdict is Verdict.UNKNOWN:
            return key in unknown
        unknown.remove(key)
        return finding.verdict is Verdict.PASS


def _log_context(assignment: CheckAssignment) -> dict[str, str]:
    agency, kind = assignment.key
    return {"agency": agency, "kind": kind}
