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

#: Some checks read in threads, which other work needs too.
_AT_ONCE = 4
#: Findings are not stored. All checks run soon after the start instead, one after the other, ...
_APART = timedelta(seconds=2)
#: ... and in a large service closer together, so that the last finding is not missing for longer than this.
_ALL_WITHIN = timedelta(minutes=5)
#: A first run with unknown findings is repeated once after this: no message had arrived, or the network was down.
_SECOND_LOOK = timedelta(minutes=10)

#: The latest runs, by agency and kind.
Inspections = dict[tuple[str, str], CheckRun]


class CheckRunner:
    """Runs checks until cancelled: each on its schedule, a few at a time."""

    def __init__(
        self,
        assignments: Sequence[CheckAssignment],
        *,
        latest: Inspections,
        metrics: Metrics,
        clock: Clock,
        apart: timedelta = _APART,
        second_look: timedelta = _SECOND_LOOK,
    ) -> None:
        """*latest*: previous results. *apart*: delay between first runs."""
        self._assignments: dict[str, CheckAssignment] = {}
        self._latest = latest
        #: By agency: names of its assignments by kind.
        self._kinds: dict[str, dict[str, str]] = {}
        self._metrics = metrics
        self._clock = clock
        self._most_apart = apart
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._second_look = second_look
        #: Assignments that have not run yet.
        self._new: set[str] = set()
        #: Unknown findings of first runs, of which only the number is logged.
        self._unknown: dict[tuple[str, str], set[tuple[str, str]]] = {}
        #: Time of the next first run.
        self._first_at = clock.now()
        self._schedule = Schedule()
        self._ticker = Ticker(self._schedule, clock)
        self.assign(assignments, {agency for agency, _ in latest})

    # -- assignments ---------------------------------------------------------------------------------------------

    def assign(self, assignments: Sequence[CheckAssignment], agencies: Collection[str] = ()) -> None:
        """Replace the assignments of their agencies and of *agencies*; others stay.

        Findings and the next run stay while the scope is the same.
        """
        self._let_go(assignments, agencies)
        self._plan(assignments, [each for each in assignments if self._take_on(each)])

    async def assign_in_turn(self, assignments: Sequence[CheckAssignment], agencies: Collection[str]) -> None:
        """As `assign`, but yielding: a change may concern all of thousands of agencies."""
        self._let_go(assignments, agencies)
        self._plan(assignments, [each async for each in yielding(assignments) if self._take_on(each)])

    def _let_go(self, assignments: Sequence[CheckAssignment], agencies: Collection[str]) -> None:
        """Remove assignments of these agencies that are not among *assignments*."""
        mine = {each.key for each in assignments}
        concerned = {*agencies, *(agency for agency, _ in mine)}
        for key in [key for key in self._latest if key[0] in concerned and key not in mine]:
            del self._latest[key]
            self._unknown.pop(key, None)
        for agency in concerned:
            kinds = self._kinds.pop(agency, {})
            for kind, name in kinds.items():
                if (agency, kind) not in mine:
                    del self._assignments[name]
                    self._schedule.remove(name)
                    self._new.discard(name)
            if kept := {kind: name for kind, name in kinds.items() if (agency, kind) in mine}:
                self._kinds[agency] = kept

    def _plan(self, assignments: Sequence[CheckAssignment], wanting: Sequence[CheckAssignment]) -> None:
        """Add *assignments*, of which those *wanting* have no planned run."""
        kinds: dict[str, dict[str, str]] = {}
        for each in assignments:
            agency, kind = each.key
            kinds.setdefault(agency, {})[kind] = "/".join(each.key)
        self._kinds |= kinds
        self._look_first_at(wanting)
        self._ticker.poke()

    def release(self, agencies: Collection[str]) -> None:
        """Remove the assignments and findings of these agencies."""
        self.assign((), agencies)

    def _take_on(self, assignment: CheckAssignment) -> bool:
        """Add an assignment; return whether it needs a run that is not planned."""
        name, now = "/".join(assignment.key), self._clock.now()
        before = self._assignments.get(name)
        self._assignments[name] = assignment
        if before is None:
            self._schedule.add(name, assignment.interval, now, assignment.hours)
        else:
            self._schedule.change(name, assignment.interval, now, assignment.hours)
        if assignment.kind.opt_in:
            # On schedule only: a service that restarts repeatedly must not lock an account.
            return False
        known = self._latest.get(assignment.key)
        if before is not None and before.check_scope == assignment.check_scope:
            return False
        return (
            known is None
            or known.check_scope != assignment.check_scope
            or not is_recent(known.at, now, assignment.interval)
        )

    def _look_first_at(self, assignments: Sequence[CheckAssignment]) -> None:
        apart = min(self._most_apart, _ALL_WITHIN / max(1, len(self._assignments)))
        now = self._clock.now()
        # A later time was planned before the clock was set back.
        self._first_at = max(now, self._first_at) if self._first_at <= now + _ALL_WITHIN else now
        for assignment in assignments:
            name = "/".join(assignment.key)
            self._new.add(name)
            self._schedule.bring_forward(name, self._first_at)
            self._first_at += apart

    # -- results -------------------------------------------------------------------------------------------------

    def latest(self, agency: str) -> dict[str, CheckRun | None]:
        """Return the latest run of each kind for an agency; `None`: not run yet."""
        return {kind: self._latest.get((agency, kind)) for kind in self._kinds.get(agency, ())}

    async def run(self) -> None:
        """Run until cancelled. Checks are tasks in its task group."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for name in await self._ticker.due():
                    tasks.create_task(self._inspect(name, self._assignments[name]))

    async def _inspect(self, name: str, assignment: CheckAssignment) -> None:
        try:
            async with self._room:
                findings = await self._look(assignment) if self._is_current(assignment) else ()
        # A bug in a check must not stop the others, or leave an outdated finding.
        except Exception:
            log.exception("check failed unexpectedly", **_whose(assignment))
            findings = self._nothing(assignment, "we could not look, by a fault of ours")
        now = self._clock.now()
        self._schedule.finished(name, now)
        # Otherwise its scope has changed meanwhile.
        if self._is_current(assignment):
            self._take(assignment, findings)
            if name in self._new and any(finding.verdict is Verdict.UNKNOWN for finding in findings):
                self._schedule.bring_forward(name, now + self._second_look)
            self._end_first_look(name)
        self._ticker.poke()

    def _end_first_look(self, name: str) -> None:
        if name in self._new:
            self._new.remove(name)
            if not self._new:
                unknown = sum(len(each) for each in self._unknown.values())
                log.info("first check runs finished", checks=len(self._latest), unknown=unknown)

    def _is_current(self, assignment: CheckAssignment) -> bool:
        known = self._assignments.get("/".join(assignment.key))
        return known is not None and known.check_scope == assignment.check_scope

    async def _look(self, assignment: CheckAssignment) -> tuple[Finding, ...]:
        kind = assignment.kind
        try:
            async with asyncio.timeout(kind.within.total_seconds()) as deadline:
                findings = await kind.build(assignment.check_scope, self._clock.now).run()
        except TimeoutError:
            if not deadline.expired():
                raise
            log.warning("check timed out", **_whose(assignment))
            return self._nothing(assignment, f"could not be looked at within {format_duration(kind.within)}")
        if strange := {finding.aspect for finding in findings} - set(kind.aspects):
            raise ValueError(f"{kind.name} has no aspect {', '.join(sorted(strange))}")
        return printable(findings)

    def _nothing(self, assignment: CheckAssignment, why: str) -> tuple[Finding, ...]:
        known = self._latest.get(assignment.key)
        return unknown_findings(assignment.kind, known.findings if known else (), why)

    def _take(self, assignment: CheckAssignment, findings: tuple[Finding, ...]) -> None:
        agency, kind = assignment.key
        known, now = self._latest.get(assignment.key), self._clock.now()
        self._latest[assignment.key] = CheckRun(findings=findings, at=now, check_scope=assignment.check_scope)
        # After a start most unknown findings wait for mail or the network: hundreds of useless log lines.
        if known is None and "/".join(assignment.key) in self._new:
            self._unknown[assignment.key] = {(f.aspect, f.subject) for f in findings if f.verdict is Verdict.UNKNOWN}
        for change in changes(known.findings if known else (), findings):
            if self._is_no_news(assignment, change):
                continue
            log.info(
                "check verdict changed",
                **_whose(assignment),
                aspect=change.finding.aspect,
                subject=change.finding.subject,
                verdict=change.finding.verdict,
                previous=change.before,
                detail=change.finding.detail,
            )
        self._metrics.checks_finished(agency, kind, findings, now)

    def _is_no_news(self, assignment: CheckAssignment, change: VerdictChange) -> bool:
        """Whether a finding is unknown at the first run, or passes after nothing else was known."""
        unknown, finding = self._unknown.get(assignment.key, set()), change.finding
        if (what := (finding.aspect, finding.subject)) not in unknown or finding.verdict is Verdict.UNKNOWN:
            return what in unknown
        unknown.remove(what)
        return finding.verdict is Verdict.PASS


def _whose(assignment: CheckAssignment) -> dict[str, str]:
    agency, kind = assignment.key
    return {"agency": agency, "kind": kind}
