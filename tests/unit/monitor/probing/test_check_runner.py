"""Checks on time, over and over, whatever becomes of one of them."""

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
from tests.unit.monitor.web.signed import Clock
from tests.unit.probes.standin import until

PASS, WARN, FAIL, UNKNOWN = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.UNKNOWN
#: No test waits for a check that is due in a century; an hour would come round while some test looks.
OFTEN, SELDOM = timedelta(milliseconds=20), timedelta(days=36_500)
CLOCK = SystemClock()

Look = Callable[[], Awaitable[Verdict]]
Logs = list[MutableMapping[str, Any]]


@pytest.fixture(autouse=True)
def logs() -> Iterator[Logs]:
    with capture_logs() as lines:
        yield lines


@dataclass
class House:
    """Where the checks look. What each finds is decided by the test."""

    looks: Mapping[str, Look]
    interval: timedelta = SELDOM
    within: timedelta = timedelta(seconds=20)
    runs: Counter[str] = field(default_factory=Counter)
    inside: int = 0
    most_inside: int = 0
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
            build=lambda check_scope, _: _House(self, f"{check_scope.agency}/{name}", self.looks[name]),
        )

    def verdict(self, agency: str, kind: str) -> Verdict | None:
        known = self.latest.get((agency, kind))
        return known.findings[0].verdict if known else None

    @asynccontextmanager
    async def watched(
        self, assigned: list[CheckAssignment], *, apart: timedelta = timedelta(0), second_look: timedelta = SELDOM
    ) -> AsyncIterator[CheckRunner]:
        inspector = CheckRunner(
            assigned,
            latest=self.latest,
            metrics=self.metrics,
            clock=CLOCK,
            start_spacing=apart,
            second_look=second_look,
        )
        running = asyncio.create_task(inspector.run())
        try:
            yield inspector
            assert not running.done(), "nothing that a check does ends the others"
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running


@dataclass
class _House:
    house: House
    name: str
    look: Look

    async def run(self) -> tuple[Finding, ...]:
        self.house.runs[self.name] += 1
        self.house.inside += 1
        self.house.most_inside = max(self.house.most_inside, self.house.inside)
        try:
            return (Finding(aspect="lock", subject="front", verdict=await self.look()),)
        finally:
            self.house.inside -= 1


@dataclass
class _Told:
    finding: Finding

    async def run(self) -> tuple[Finding, ...]:
        return (self.finding,)


async def fine() -> Verdict:
    return PASS


async def hang() -> Verdict:
    await asyncio.Event().wait()
    raise AssertionError


async def break_() -> Verdict:
    raise KeyError("a bug of ours")


async def time_out() -> Verdict:
    raise TimeoutError


async def test_all_is_looked_at_soon_after_the_start_and_again_when_it_is_due() -> None:
    house = House({"door": fine, "roof": fine}, interval=OFTEN)
    async with house.watched(house.assignments("JCM", "")) as inspector:
        await until(lambda: len(house.runs) == 4 and min(house.runs.values()) >= 3)

        assert set(inspector.latest("JCM")) == {"door", "roof"}
        assert inspector.latest("UCM") == {}

    scrape = Scrape(house.metrics)
    labels = {"agency": "JCM", "check": "roof", "aspect": "lock", "subject": "front"}
    assert scrape.value("check_state", **labels) == 0
    assert scrape.value("check_state", **{**labels, "agency": ""}) == 0


async def test_what_was_not_looked_at_yet_is_told_apart_from_what_passed() -> None:
    house = House({"door": fine, "roof": fine})
    async with house.watched(house.assignments("JCM"), apart=timedelta(hours=1)) as inspector:
        await until(lambda: house.verdict("JCM", "door") is PASS)

        assert inspector.latest("JCM")["roof"] is None


@pytest.mark.parametrize("bug", [break_, time_out])
async def test_a_check_that_breaks_is_logged_and_leaves_no_old_finding_standing(bug: Look, logs: Logs) -> None:
    good = True

    async def wavering() -> Verdict:
        return PASS if good else await bug()

    house = House({"door": wavering, "roof": fine}, interval=OFTEN)
    async with house.watched(house.assignments("JCM")):
        await until(lambda: house.verdict("JCM", "door") is PASS)
        good = False
        await until(lambda: house.verdict("JCM", "door") is UNKNOWN)
        seen = house.runs["JCM/roof"]
        await until(lambda: house.runs["JCM/roof"] > seen + 2)
        scrape = Scrape(house.metrics)
        good = True
        await until(lambda: house.verdict("JCM", "door") is PASS)

    assert scrape.value("check_state", agency="JCM", check="door", aspect="lock", subject="front") is None
    assert scrape.value("check_unknown_findings", agency="JCM", check="door") == 1
    assert [line["kind"] for line in logs if line["event"] == "check failed unexpectedly"][:1] == ["door"]


async def test_a_check_that_finds_what_it_does_not_know_of_is_broken(logs: Logs) -> None:
    house = House({"door": fine})
    [assigned] = house.assignments("JCM")
    strange = replace(assigned, kind=replace(assigned.kind, aspects=("hinge",)))
    async with house.watched([strange]):
        await until(lambda: house.verdict("JCM", "door") is UNKNOWN)

    assert [finding.aspect for finding in house.latest["JCM", "door"].findings] == ["hinge"]
    assert any(line["event"] == "check failed unexpectedly" for line in logs)


async def test_no_words_of_a_server_can_spoil_the_page_or_the_metrics() -> None:
    house = House({"door": fine})
    [assigned] = house.assignments("JCM")
    spoiling = Finding(aspect="lock", subject="mx\ud800", verdict=WARN, detail="\udcff")
    async with house.watched([replace(assigned, kind=replace(assigned.kind, build=lambda *_: _Told(spoiling)))]):
        await until(lambda: house.verdict("JCM", "door") is WARN)

    assert b"mx?" in house.metrics.render()
    assert house.latest["JCM", "door"].findings[0].detail == "?"


async def test_a_check_that_hangs_is_given_up_at_its_deadline(logs: Logs) -> None:
    house = House({"door": hang}, within=timedelta(milliseconds=30))
    async with house.watched(house.assignments("JCM")):
        await until(lambda: house.verdict("JCM", "door") is UNKNOWN)

    assert house.inside == 0
    assert [line["event"] for line in logs][:1] == ["check timed out"]


async def test_a_few_are_looked_at_at_once_and_each_only_once_at_a_time() -> None:
    house = House({"door": hang}, interval=OFTEN)
    agencies = [f"A{number}" for number in range(12)]
    async with house.watched(house.assignments(*agencies)):
        await until(lambda: house.inside == 4)
        for _ in range(200):
            await asyncio.sleep(0)

        assert house.most_inside == 4
        assert max(house.runs.values()) == 1


async def test_a_line_is_logged_when_a_verdict_changes_and_not_at_each_run(logs: Logs) -> None:
    verdict = FAIL

    async def now() -> Verdict:
        return verdict

    house = House({"door": now}, interval=OFTEN)
    async with house.watched(house.assignments("JCM")):
        await until(lambda: house.runs["JCM/door"] >= 4)
        verdict = PASS
        await until(lambda: house.verdict("JCM", "door") is PASS)
        seen = house.runs["JCM/door"]
        await until(lambda: house.runs["JCM/door"] >= seen + 3)

    told = [(line["previous"], line["verdict"]) for line in logs if line["event"] == "check verdict changed"]
    assert told == [(None, FAIL), (FAIL, PASS)]


async def test_what_is_unknown_at_the_first_look_is_one_line_and_what_becomes_of_it_another_unless_it_passes(
    logs: Logs,
) -> None:
    verdicts = {"A": UNKNOWN, "B": UNKNOWN, "C": UNKNOWN}
    places = iter("ABC")

    def look() -> Look:
        place = next(places)

        async def now() -> Verdict:
            return verdicts[place]

        return now

    house = House({"door": look(), "roof": look(), "wall": look()}, interval=OFTEN)

    def told() -> list[tuple[object, ...]]:
        words = ("event", "kind", "previous", "verdict", "checks", "unknown")
        lines = [line for line in logs if "verdict" in line["event"] or "first check runs" in line["event"]]
        return [tuple(line[word] for word in words[1:] if word in line) for line in lines]

    async with house.watched(house.assignments("JCM"), second_look=timedelta(0)):
        await until(lambda: min(house.runs[f"JCM/{kind}"] for kind in house.looks) >= 3)
        assert told() == [(3, 3)]
        verdicts |= {"A": PASS, "B": FAIL}
        await until(lambda: house.verdict("JCM", "door") is PASS and house.verdict("JCM", "roof") is FAIL)
        assert told() == [(3, 3), ("roof", UNKNOWN, FAIL)]
        verdicts["A"] = UNKNOWN
        await until(lambda: house.verdict("JCM", "door") is UNKNOWN)
        verdicts["A"] = PASS
        await until(lambda: house.verdict("JCM", "door") is PASS)

    assert told()[2:] == [("door", PASS, UNKNOWN), ("door", UNKNOWN, PASS)], "news, once it was known"


async def test_a_new_configuration_goes_on_with_what_is_known_and_looks_soon_at_what_is_new() -> None:
    house = House({"door": fine, "roof": fine})
    assigned = house.assignments("JCM", "MDC")
    async with house.watched(assigned):
        await until(lambda: len(house.latest) == 4)

    moved = [
        replace(each, check_scope=replace(each.check_scope, domains=("baharu.gov.my",)))
        if each.key == ("MDC", "roof")
        else each
        for each in assigned
        if each.key != ("MDC", "door")
    ]
    async with house.watched([*moved, *house.assignments("UCM")]) as inspector:
        await until(lambda: house.runs["MDC/roof"] == 2 and house.runs["UCM/roof"] == 1)

        assert all(inspector.latest("JCM").values()), "known without another look"
        assert set(inspector.latest("MDC")) == {"roof"}
    assert house.runs == {"JCM/door": 1, "JCM/roof": 1, "MDC/door": 1, "MDC/roof": 2, "UCM/door": 1, "UCM/roof": 1}
    assert ("MDC", "door") not in house.latest


async def test_what_was_unknown_at_the_first_look_is_looked_at_once_more() -> None:
    async def shy() -> Verdict:
        return UNKNOWN

    house = House({"door": shy, "roof": fine})
    [door, roof] = house.assignments("JCM")
    async with house.watched([door, replace(roof, interval=OFTEN)], second_look=OFTEN):
        await until(lambda: house.runs["JCM/door"] == 2)
        seen = house.runs["JCM/roof"]
        await until(lambda: house.runs["JCM/roof"] >= seen + 4)

        assert house.runs["JCM/door"] == 2


async def test_what_has_to_be_asked_for_keeps_to_its_own_times() -> None:
    house = House({"burglar": fine, "roof": fine})
    [burglar, roof] = house.assignments("JCM")
    burglar = replace(burglar, kind=replace(burglar.kind, opt_in=True))
    async with house.watched([burglar, replace(roof, interval=OFTEN)]):
        await until(lambda: house.runs["JCM/roof"] >= 4)
        assert house.runs["JCM/burglar"] == 0
    async with house.watched([replace(burglar, interval=OFTEN)]):
        await until(lambda: house.runs["JCM/burglar"] >= 2)


async def test_nobody_looks_while_somebody_works_on_it() -> None:
    house = House({"door": fine, "roof": fine}, interval=OFTEN)
    [door, roof] = house.assignments("JCM")
    work = Hours(maintenance=(OneTimeWindow(WindowOccurrence(CLOCK.now(), CLOCK.now() + SELDOM)),))
    async with house.watched([replace(door, hours=work), roof]):
        await until(lambda: house.runs["JCM/roof"] >= 3)

    assert house.runs["JCM/door"] == 0


async def test_what_was_looked_at_too_long_ago_is_looked_at_soon() -> None:
    house = House({"door": fine})
    [assigned] = house.assignments("JCM")
    long_ago: datetime = CLOCK.now() - 2 * SELDOM
    house.latest["JCM", "door"] = CheckRun(findings=(), at=long_ago, check_scope=assigned.check_scope)
    async with house.watched([assigned]):
        await until(lambda: house.latest["JCM", "door"].at > long_ago)


@pytest.mark.blind
def test_inspector_clock_set_back_looks_at_new_agencies_soon() -> None:
    """Defect: After a clock is set back, checks of new agencies are postponed.

    Pantau: Nothing is planned further ahead than allowed.
    """
    house, clock = House({"door": fine, "roof": fine}), Clock()
    inspector = CheckRunner(
        house.assignments("JCM"),
        latest=house.latest,
        metrics=house.metrics,
        clock=clock,
        start_spacing=timedelta(minutes=5),
    )
    inspector.release(["JCM"])
    clock.move(-timedelta(hours=8))
    inspector.assign(house.assignments("UCM"))
    assert inspector._schedule.next_due() == clock.now()
