"""Runner of checks: schedule, errors, timeouts and logs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from alerts.persistence.clock import SystemClock
from monitor.metrics import Metrics
from monitor.model.window import Hours, OneTimeWindow, WindowOccurrence
from monitor.planning.check_run import CheckAssignment, CheckRun
from monitor.probing.check_runner import CheckRunner, LatestRuns
from probes.model.check import CheckKind, CheckScope, Finding, Verdict
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.web.portal_env import Clock
from tests.unit.probes.standin import until

PASS, WARN, FAIL, UNKNOWN = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.UNKNOWN
#: No check is due again during a test; an interval of an hour could end while it runs.
OFTEN, SELDOM = timedelta(milliseconds=20), timedelta(days=36_500)
CLOCK = SystemClock()

CheckBody = Callable[[], Awaitable[Verdict]]
Logs = list[MutableMapping[str, Any]]


@pytest.fixture(autouse=True)
def logs() -> Iterator[Logs]:
    with capture_logs() as lines:
        yield lines


@dataclass
class CheckFixture:
    """Checks whose results the test decides."""

    looks: Mapping[str, CheckBody]
    interval: timedelta = SELDOM
    within: timedelta = timedelta(seconds=20)
    runs: Counter[str] = field(default_factory=Counter)
    running_count: int = 0
    max_running: int = 0
    latest: LatestRuns = field(default_factory=dict)
    metrics: Metrics = field(default_factory=lambda: Metrics(version="1", now=CLOCK.now))

    def assignments(self, *agencies: str) -> list[CheckAssignment]:
        for agency in agencies:
            self.metrics.register_agency(agency, routes=())
        return [
            CheckAssignment(
                kind=self._kind(name),
                check_scope=CheckScope(agency=agency, mailboxes=(), domains=()),
                interval=self.interval,
            )
            for name in self.looks
            for agency in agencies
        ]

    def _kind(self, name: str) -> CheckKind:
        return CheckKind(
            name=name,
            aspects=("lock",),
            interval=SELDOM,
            within=self.within,
            build=lambda check_scope, _: _FakeCheck(self, f"{check_scope.agency}/{name}", self.looks[name]),
        )

    def verdict(self, agency: str, kind: str) -> Verdict | None:
        known = self.latest.get((agency, kind))
        return known.findings[0].verdict if known else None

    @asynccontextmanager
    async def run_checks(
        self, assigned: list[CheckAssignment], *, apart: timedelta = timedelta(0), retry_after: timedelta = SELDOM
    ) -> AsyncIterator[CheckRunner]:
        runner = CheckRunner(
            assigned,
            latest=self.latest,
            metrics=self.metrics,
            clock=CLOCK,
            start_spacing=apart,
            retry_after=retry_after,
        )
        running = asyncio.create_task(runner.run())
        try:
            yield runner
            assert not running.done(), "no check ends the others"
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running


@dataclass
class _FakeCheck:
    fixture: CheckFixture
    name: str
    look: CheckBody

    async def run(self) -> tuple[Finding, ...]:
        self.fixture.runs[self.name] += 1
        self.fixture.running_count += 1
        self.fixture.max_running = max(self.fixture.max_running, self.fixture.running_count)
        try:
            return (Finding(aspect="lock", subject="front", verdict=await self.look()),)
        finally:
            self.fixture.running_count -= 1


@dataclass
class _FixedCheck:
    finding: Finding

    async def run(self) -> tuple[Finding, ...]:
        return (self.finding,)


async def fine() -> Verdict:
    return PASS


async def hang() -> Verdict:
    await asyncio.Event().wait()
    raise AssertionError


async def raise_error() -> Verdict:
    raise KeyError("a bug of ours")


async def time_out() -> Verdict:
    raise TimeoutError


async def test_checks_run_soon_after_start_and_when_due() -> None:
    fixture = CheckFixture({"door": fine, "roof": fine}, interval=OFTEN)
    async with fixture.run_checks(fixture.assignments("JCM", "")) as runner:
        await until(lambda: len(fixture.runs) == 4 and min(fixture.runs.values()) >= 3)

        assert set(runner.latest("JCM")) == {"door", "roof"}
        assert runner.latest("UCM") == {}

    scrape = Scrape(fixture.metrics)
    labels = {"agency": "JCM", "check": "roof", "aspect": "lock", "subject": "front"}
    assert scrape.value("check_state", **labels) == 0
    assert scrape.value("check_state", **{**labels, "agency": ""}) == 0


async def test_latest_check_not_run_yet_is_none() -> None:
    fixture = CheckFixture({"door": fine, "roof": fine})
    async with fixture.run_checks(fixture.assignments("JCM"), apart=timedelta(hours=1)) as runner:
        await until(lambda: fixture.verdict("JCM", "door") is PASS)

        assert runner.latest("JCM")["roof"] is None


@pytest.mark.parametrize("bug", [raise_error, time_out])
async def test_check_error_is_logged_and_findings_become_unknown(bug: CheckBody, logs: Logs) -> None:
    good = True

    async def wavering() -> Verdict:
        return PASS if good else await bug()

    fixture = CheckFixture({"door": wavering, "roof": fine}, interval=OFTEN)
    async with fixture.run_checks(fixture.assignments("JCM")):
        await until(lambda: fixture.verdict("JCM", "door") is PASS)
        good = False
        await until(lambda: fixture.verdict("JCM", "door") is UNKNOWN)
        seen = fixture.runs["JCM/roof"]
        await until(lambda: fixture.runs["JCM/roof"] > seen + 2)
        scrape = Scrape(fixture.metrics)
        good = True
        await until(lambda: fixture.verdict("JCM", "door") is PASS)

    assert scrape.value("check_state", agency="JCM", check="door", aspect="lock", subject="front") is None
    assert scrape.value("check_unknown_findings", agency="JCM", check="door") == 1
    assert [line["kind"] for line in logs if line["event"] == "check failed unexpectedly"][:1] == ["door"]


async def test_check_unknown_aspect_is_error(logs: Logs) -> None:
    fixture = CheckFixture({"door": fine})
    [assigned] = fixture.assignments("JCM")
    strange = replace(assigned, kind=replace(assigned.kind, aspects=("hinge",)))
    async with fixture.run_checks([strange]):
        await until(lambda: fixture.verdict("JCM", "door") is UNKNOWN)

    assert [finding.aspect for finding in fixture.latest["JCM", "door"].findings] == ["hinge"]
    assert any(line["event"] == "check failed unexpectedly" for line in logs)


async def test_check_findings_are_made_printable() -> None:
    fixture = CheckFixture({"door": fine})
    [assigned] = fixture.assignments("JCM")
    spoiling = Finding(aspect="lock", subject="mx\ud800", verdict=WARN, detail="\udcff")
    async with fixture.run_checks(
        [replace(assigned, kind=replace(assigned.kind, build=lambda *_: _FixedCheck(spoiling)))]
    ):
        await until(lambda: fixture.verdict("JCM", "door") is WARN)

    assert b"mx?" in fixture.metrics.render()
    assert fixture.latest["JCM", "door"].findings[0].detail == "?"


async def test_check_hanging_is_cancelled_at_deadline(logs: Logs) -> None:
    fixture = CheckFixture({"door": hang}, within=timedelta(milliseconds=30))
    async with fixture.run_checks(fixture.assignments("JCM")):
        await until(lambda: fixture.verdict("JCM", "door") is UNKNOWN)

    assert fixture.running_count == 0
    assert [line["event"] for line in logs][:1] == ["check timed out"]


async def test_checks_run_four_at_once_and_each_once() -> None:
    fixture = CheckFixture({"door": hang}, interval=OFTEN)
    agencies = [f"A{number}" for number in range(12)]
    async with fixture.run_checks(fixture.assignments(*agencies)):
        await until(lambda: fixture.running_count == 4)
        for _ in range(200):
            await asyncio.sleep(0)

        assert fixture.max_running == 4
        assert max(fixture.runs.values()) == 1


async def test_verdict_change_is_logged_once(logs: Logs) -> None:
    verdict = FAIL

    async def now() -> Verdict:
        return verdict

    fixture = CheckFixture({"door": now}, interval=OFTEN)
    async with fixture.run_checks(fixture.assignments("JCM")):
        await until(lambda: fixture.runs["JCM/door"] >= 4)
        verdict = PASS
        await until(lambda: fixture.verdict("JCM", "door") is PASS)
        seen = fixture.runs["JCM/door"]
        await until(lambda: fixture.runs["JCM/door"] >= seen + 3)

    told = [(line["previous"], line["verdict"]) for line in logs if line["event"] == "check verdict changed"]
    assert told == [(None, FAIL), (FAIL, PASS)]


async def test_first_unknown_verdicts_are_one_log_line_and_passing_later_is_none(
    logs: Logs,
) -> None:
    verdicts = {"A": UNKNOWN, "B": UNKNOWN, "C": UNKNOWN}
    places = iter("ABC")

    def look() -> CheckBody:
        place = next(places)

        async def now() -> Verdict:
            return verdicts[place]

        return now

    fixture = CheckFixture({"door": look(), "roof": look(), "wall": look()}, interval=OFTEN)

    def told() -> list[tuple[object, ...]]:
        words = ("event", "kind", "previous", "verdict", "checks", "unknown")
        lines = [line for line in logs if "verdict" in line["event"] or "first check runs" in line["event"]]
        return [tuple(line[word] for word in words[1:] if word in line) for line in lines]

    async with fixture.run_checks(fixture.assignments("JCM"), retry_after=timedelta(0)):
        await until(lambda: min(fixture.runs[f"JCM/{kind}"] for kind in fixture.looks) >= 3)
        assert told() == [(3, 3)]
        verdicts |= {"A": PASS, "B": FAIL}
        await until(lambda: fixture.verdict("JCM", "door") is PASS and fixture.verdict("JCM", "roof") is FAIL)
        assert told() == [(3, 3), ("roof", UNKNOWN, FAIL)]
        verdicts["A"] = UNKNOWN
        await until(lambda: fixture.verdict("JCM", "door") is UNKNOWN)
        verdicts["A"] = PASS
        await until(lambda: fixture.verdict("JCM", "door") is PASS)

    assert told()[2:] == [("door", PASS, UNKNOWN), ("door", UNKNOWN, PASS)], "a change once the verdict was known"


async def test_new_assignments_keep_known_runs_and_run_new_ones_soon() -> None:
    fixture = CheckFixture({"door": fine, "roof": fine})
    assigned = fixture.assignments("JCM", "MDC")
    async with fixture.run_checks(assigned):
        await until(lambda: len(fixture.latest) == 4)

    moved = [
        replace(each, check_scope=replace(each.check_scope, domains=("baharu.gov.my",)))
        if each.key == ("MDC", "roof")
        else each
        for each in assigned
        if each.key != ("MDC", "door")
    ]
    async with fixture.run_checks([*moved, *fixture.assignments("UCM")]) as runner:
        await until(lambda: fixture.runs["MDC/roof"] == 2 and fixture.runs["UCM/roof"] == 1)

        assert all(runner.latest("JCM").values()), "known without another run"
        assert set(runner.latest("MDC")) == {"roof"}
    assert fixture.runs == {"JCM/door": 1, "JCM/roof": 1, "MDC/door": 1, "MDC/roof": 2, "UCM/door": 1, "UCM/roof": 1}
    assert ("MDC", "door") not in fixture.latest


async def test_first_unknown_check_is_retried_once() -> None:
    async def shy() -> Verdict:
        return UNKNOWN

    fixture = CheckFixture({"door": shy, "roof": fine})
    [door, roof] = fixture.assignments("JCM")
    async with fixture.run_checks([door, replace(roof, interval=OFTEN)], retry_after=OFTEN):
        await until(lambda: fixture.runs["JCM/door"] == 2)
        seen = fixture.runs["JCM/roof"]
        await until(lambda: fixture.runs["JCM/roof"] >= seen + 4)

        assert fixture.runs["JCM/door"] == 2


async def test_opt_in_check_runs_at_its_interval_only() -> None:
    fixture = CheckFixture({"burglar": fine, "roof": fine})
    [burglar, roof] = fixture.assignments("JCM")
    burglar = replace(burglar, kind=replace(burglar.kind, opt_in=True))
    async with fixture.run_checks([burglar, replace(roof, interval=OFTEN)]):
        await until(lambda: fixture.runs["JCM/roof"] >= 4)
        assert fixture.runs["JCM/burglar"] == 0
    async with fixture.run_checks([replace(burglar, interval=OFTEN)]):
        await until(lambda: fixture.runs["JCM/burglar"] >= 2)


async def test_check_in_maintenance_does_not_run() -> None:
    fixture = CheckFixture({"door": fine, "roof": fine}, interval=OFTEN)
    [door, roof] = fixture.assignments("JCM")
    work = Hours(maintenance=(OneTimeWindow(WindowOccurrence(CLOCK.now(), CLOCK.now() + SELDOM)),))
    async with fixture.run_checks([replace(door, hours=work), roof]):
        await until(lambda: fixture.runs["JCM/roof"] >= 3)

    assert fixture.runs["JCM/door"] == 0


async def test_check_overdue_at_start_runs_soon() -> None:
    fixture = CheckFixture({"door": fine})
    [assigned] = fixture.assignments("JCM")
    long_ago: datetime = CLOCK.now() - 2 * SELDOM
    fixture.latest["JCM", "door"] = CheckRun(findings=(), at=long_ago, check_scope=assigned.check_scope)
    async with fixture.run_checks([assigned]):
        await until(lambda: fixture.latest["JCM", "door"].at > long_ago)


@pytest.mark.blind
def test_assign_after_clock_set_back_plans_new_agency_soon() -> None:
    """Defect: After a clock is set back, checks of new agencies are postponed.

    Pantau: Nothing is planned further ahead than allowed.
    """
    fixture, clock = CheckFixture({"door": fine, "roof": fine}), Clock()
    runner = CheckRunner(
        fixture.assignments("JCM"),
        latest=fixture.latest,
        metrics=fixture.metrics,
        clock=clock,
        start_spacing=timedelta(minutes=5),
    )
    runner.release(["JCM"])
    clock.move(-timedelta(hours=8))
    runner.assign(fixture.assignments("UCM"))
    assert runner._schedule.next_due() == clock.now()
