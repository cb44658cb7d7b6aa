"""Check on time: the loop that joins the schedule, the checks, and those who are told what they found.

A check never moves an agency's mail health and opens no incident. What it finds is told to Prometheus, whose alert
rules tell the NOC, and shown on the status page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import structlog

from alerts.clock import Clock
from monitor.config.duration import format_duration
from monitor.metrics import Metrics
from monitor.probing.inspection import Assignment, Inspection, changes, holds, legible, unlooked
from monitor.probing.schedule import Schedule
from monitor.probing.ticker import Ticker
from probes.check import Finding, Verdict

log = structlog.get_logger()

#: Some checks read in threads, and other work needs those too.
_AT_ONCE = 4
#: Nothing found is kept over a restart. All is looked at soon after the start instead, one thing after the other, ...
_APART = timedelta(seconds=2)
#: ... and in a large service closer together, so that the last of them is not blank for longer than this.
_ALL_WITHIN = timedelta(minutes=5)
#: A first look that left something unknown is repeated once after this: no mail had come yet, or our network had not.
_SECOND_LOOK = timedelta(minutes=10)

#: The latest inspections, by agency and kind. Outlives the inspector: a reload makes a new one.
Inspections = dict[tuple[str, str], Inspection]


class Inspector:
    """Runs checks until cancelled: each on its own schedule, a few at a time, each at most once at a time."""

    def __init__(
        self,
        assignments: Sequence[Assignment],
        *,
        latest: Inspections,
        metrics: Metrics,
        clock: Clock,
        apart: timedelta = _APART,
        second_look: timedelta = _SECOND_LOOK,
    ) -> None:
        """*latest*: what the last inspector found, for this one to go on with. *apart*: between first looks."""
        self._assignments = {"/".join(each.key): each for each in assignments}
        self._latest = latest
        self._kinds: dict[str, list[str]] = {}
        for agency, kind in (each.key for each in assignments):
            self._kinds.setdefault(agency, []).append(kind)
        self._metrics = metrics
        self._clock = clock
        self._apart = min(apart, _ALL_WITHIN / max(1, len(assignments)))
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._second_look = second_look
        #: What is to be looked at for the first time.
        self._new: set[str] = set()
        self._schedule = Schedule()
        self._ticker = Ticker(self._schedule, clock)
        for gone in latest.keys() - {each.key for each in assignments}:
            del latest[gone]

    def latest(self, agency: str) -> dict[str, Inspection | None]:
        """Return the latest inspection of each kind that is run for an agency; `None`: not looked at yet."""
        return {kind: self._latest.get((agency, kind)) for kind in self._kinds.get(agency, ())}

    async def run(self) -> None:
        """Check until cancelled. Checks are tasks of this one's group."""
        self._plan()
        async with asyncio.TaskGroup() as tasks:
            while True:
                for name in await self._ticker.due():
                    tasks.create_task(self._inspect(name, self._assignments[name]))

    def _plan(self) -> None:
        now = first = self._clock.now()
        for name, assignment in self._assignments.items():
            self._schedule.add(name, assignment.interval, now, assignment.hours)
            if assignment.kind.asked_for:
                # At its own times only: a service that is restarted over and over must not lock an account.
                continue
            known = self._latest.get(assignment.key)
            if known is None or not holds(known, assignment) or now - known.at > assignment.interval:
                self._new.add(name)
                self._schedule.look_again(name, first)
                first += self._apart

    async def _inspect(self, name: str, assignment: Assignment) -> None:
        try:
            async with self._room:
                findings = await self._look(assignment)
        # A check that breaks is a bug of ours: it must not end the others, or leave an old finding standing.
        except Exception:
            log.exception("a check broke", **_whose(assignment))
            findings = self._nothing(assignment, "we could not look, by a fault of ours")
        self._take(assignment, findings)
        now = self._clock.now()
        self._schedule.finished(name, now)
        if name in self._new and any(finding.verdict is Verdict.UNKNOWN for finding in findings):
            self._schedule.look_again(name, now + self._second_look)
        self._new.discard(name)
        self._ticker.poke()

    async def _look(self, assignment: Assignment) -> tuple[Finding, ...]:
        kind = assignment.kind
        try:
            async with asyncio.timeout(kind.within.total_seconds()) as deadline:
                findings = await kind.build(assignment.premises, self._clock.now).run()
        except TimeoutError:
            if not deadline.expired():
                raise
            log.warning("a check did not end in time", **_whose(assignment))
            return self._nothing(assignment, f"could not be looked at within {format_duration(kind.within)}")
        if strange := {finding.aspect for finding in findings} - set(kind.aspects):
            raise ValueError(f"{kind.name} has no aspect {', '.join(sorted(strange))}")
        return legible(findings)

    def _nothing(self, assignment: Assignment, why: str) -> tuple[Finding, ...]:
        known = self._latest.get(assignment.key)
        return unlooked(assignment.kind, known.findings if known else (), why)

    def _take(self, assignment: Assignment, findings: tuple[Finding, ...]) -> None:
        agency, kind = assignment.key
        known, now = self._latest.get(assignment.key), self._clock.now()
        self._latest[assignment.key] = Inspection(findings=findings, at=now, premises=assignment.premises)
        for change in changes(known.findings if known else (), findings):
            log.info(
                "a check's verdict changed",
                **_whose(assignment),
                aspect=change.finding.aspect,
                subject=change.finding.subject,
                verdict=change.finding.verdict,
                before=change.before,
                detail=change.finding.detail,
            )
        self._metrics.checks_finished(agency, kind, findings, now)


def _whose(assignment: Assignment) -> dict[str, str]:
    agency, kind = assignment.key
    return {"agency": agency, "kind": kind}
