"""Several sites, wires that are cut, clocks that are set, a hub that starts again: what is told is what enough fresh sites say."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from alerts.model.event import Event, Resolve, Trigger
from alerts.model.incident import Incident, apply
from alerts.model.notification import IncidentType
from monitor.bridge.incident_reporter import IncidentPolicies, IncidentReporter
from monitor.evaluation.evaluator import ATTRIBUTIONS_PER_STEP
from monitor.evaluation.flapping import FlappingPolicy
from monitor.evaluation.incident_type import TYPE_DIRECTIONS
from monitor.evaluation.joint.freshness import SiteHeartbeat
from monitor.evaluation.joint.site_status import UNTROUBLED, SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.metrics import Metrics
from monitor.model.route import Direction
from monitor.service.sites.hub import Hub
from monitor.store.probing.statuses import SiteStatuses
from tests.unit.alerts.people import BRIEF, incident
from tests.unit.monitor.bridge.test_pipeline import Alerts, Clock
from tests.unit.monitor.evaluation.test_quorum import (
    BLIND,
    BOTH,
    RECEIVING,
    SENDING,
    SLOW,
    TWO,
    UNCLEAR,
    is_wrong,
    needed,
    sees,
    well,
    wrong,
)
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.service.test_sites import Rows
from tests.unit.monitor.trial import MINUTE, SECOND, T0

HERE, JOHOR, KUCHING, LABUAN = "utama", "johor", "kuching", "labuan"
OTHERS = (JOHOR, KUCHING, LABUAN)
KEYS = ("JCM",)
STALE_AFTER = 30
SAYS = [well(), well(9), wrong(BOTH), wrong(SENDING), wrong(RECEIVING), wrong(SLOW), UNCLEAR, BLIND, UNTROUBLED]


def is_well(standing: SiteStatus) -> bool:
    return standing.up_since is not None


@dataclass
class Site:
    """What it says, and what is on the way to the hub: in order, the same perhaps again."""

    ahead: int = 0
    life: int = 0
    #: So many beats pass in a second; `None`: all; 0: the wire is cut.
    pace: int | None = None
    says: dict[str, SiteStatus] = field(default_factory=dict)
    waiting: deque[tuple[str, SiteStatus] | tuple[int, SiteHeartbeat]] = field(default_factory=deque)
    #: When the newest beat was written that has come.
    heard: int = -1000
    #: How far its clock was set back since the hub last knew it: one that is behind looks like that.
    set_back: int = 0

    def say(self, key: str, standing: SiteStatus) -> None:
        self.says[key] = standing
        self.waiting.append((key, standing))

    def beat(self, true: int) -> None:
        beat = SiteHeartbeat(at=T0 + (true + self.ahead) * SECOND, monotonic=true * SECOND, incarnation=f"{self.life}")
        self.waiting.append((true, beat))

    def deliver(self, name: str, rows: Rows) -> None:
        beats = 0
        while self.waiting and (self.pace is None or beats < self.pace):
            what, of = self.waiting.popleft()
            if isinstance(of, SiteHeartbeat):
                beats, self.heard = beats + 1, cast(int, what)
                rows.beaten[name] = of
            else:
                rows.say(name, **{cast(str, what): of})


class Nation(RuleBasedStateMachine):
    """A hub that probes, with three sites beside it; two must say so."""

    QUORUM = TWO

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.true = 0
        self.sites = {name: Site() for name in OTHERS}
        self.here: dict[str, SiteStatus] = {}
        self.rows, self.clock, self.alerts = Rows(), Clock(), Alerts()
        self.metrics = Metrics(version="0", now=self.clock.now)
        #: What is open at the alerting side.
        self.open: dict[str, IncidentType] = {}
        self.counted = 0
        self.start_hub()

    def teardown(self) -> None:
        self.runner.close()

    def start_hub(self) -> None:
        self.reporter = IncidentReporter(
            policies=IncidentPolicies(agencies=dict.fromkeys(KEYS, BRIEF), monitoring_fault=lambda _: BRIEF),
            alerting=self.alerts,
            metrics=self.metrics,
            clock=self.clock,
            site=HERE,
            open_incidents=dict(self.open),
            quorum=self.QUORUM,
            # What goes down and up is looked at by itself, below.
            flapping=FlappingPolicy(threshold=1000),
        )
        self.hub = Hub(
            cast(SiteStatuses, self.rows),
            self.clock,
            site=HERE,
            sites=set(OTHERS),
            stale_after=timedelta(seconds=STALE_AFTER),
            quorum=self.QUORUM,
            reporter=lambda: self.reporter,
            metrics=self.metrics,
            publish_own=self.speak,
            monotonic=lambda: self.true * SECOND,
        )
        self.began = self.true

    async def speak(self) -> None:
        """Ours says what it knows of each, or nothing is told: that nothing is wrong, until `say_here`."""
        for key in KEYS:
            self.reporter.record_status(HERE, key, self.here.setdefault(key, UNTROUBLED))

    def second(self) -> None:
        self.true += 1
        self.clock.time += SECOND
        for name, site in self.sites.items():
            site.beat(self.true)
            site.deliver(name, self.rows)
        self.runner.run(self.hub.poll())
        self.runner.run(self.reporter.report())
        self.look()

    # -- what must hold each second --------------------------------------------------------------------------------

    @property
    def fresh(self) -> set[str]:
        return set(self.reporter._voting_sites or ())

    def said(self, key: str) -> list[SiteStatus]:
        """Return what the fresh sites say, as far as the hub has heard it."""
        levels = {HERE: self.here, **self.rows.said}
        return [levels[name][key] for name in sorted(self.fresh) if key in levels.get(name, {})]

    def silent(self, key: str) -> list[SiteStatus]:
        """Return what those last said that have no vote."""
        return [
            self.rows.said[name][key]
            for name in OTHERS
            if name not in self.fresh and key in self.rows.said.get(name, {})
        ]

    def look(self) -> None:
        for name in self.fresh - {HERE}:
            if self.rows.beaten[name].incarnation == f"{self.sites[name].life}":
                self.sites[name].set_back = 0
            age = self.true - self.sites[name].heard
            assert age <= STALE_AFTER, f"{name} has a vote with what was so {age} seconds ago"
        heard, self.counted = self.alerts.heard[self.counted :], len(self.alerts.heard)
        for event in heard:
            assert isinstance(event, Trigger | Resolve)
            if event.dedup_key not in KEYS:
                continue
            assert self.fresh, "nobody is fresh, and something is told"
            if isinstance(event, Trigger):
                self.open[event.dedup_key] = event.type
                for way in TYPE_DIRECTIONS[event.type]:
                    assert self.is_held(event.dedup_key, way), f"{event.type}: too few fresh sites hold {way}"
            else:
                del self.open[event.dedup_key]
                assert self.is_proven(event.dedup_key)
        for key in KEYS:
            said = self.said(key)
            told = TYPE_DIRECTIONS.get(self.open[key], ()) if key in self.open else ()
            for way in (Direction.OUTBOUND, Direction.INBOUND):
                assert not self.is_held(key, way) or way in told, f"{key}: {way} is lost"
            is_over = said and all(is_well(each) for each in said) and self.is_proven(key)
            assert not is_over or key not in self.open, f"{key} is kept for ever"

    def is_held(self, key: str, way: Direction) -> bool:
        said = self.said(key)
        holders = sum(is_wrong(each, way) and sees(each, way) for each in said)
        return bool(said) and holders >= needed(said, self.QUORUM, way, self.silent(key))

    def is_proven(self, key: str) -> bool:
        said = self.said(key)
        seeing, proven = sum(map(sees, said)), sum(is_well(each) and sees(each) for each in said)
        return seeing - proven < needed(said, self.QUORUM, None, self.silent(key)) <= proven

    # -- what happens ----------------------------------------------------------------------------------------------

    @rule(site=st.sampled_from(OTHERS), key=st.sampled_from(KEYS), standing=st.sampled_from(SAYS))
    def say(self, site: str, key: str, standing: SiteStatus) -> None:
        self.sites[site].say(key, standing)

    @rule(site=st.sampled_from(OTHERS), key=st.sampled_from(KEYS))
    def say_again(self, site: str, key: str) -> None:
        if key in self.sites[site].says:
            self.sites[site].say(key, self.sites[site].says[key])

    @rule(key=st.sampled_from(KEYS), standing=st.sampled_from(SAYS))
    def say_here(self, key: str, standing: SiteStatus) -> None:
        self.here[key] = standing
        self.reporter.record_status(HERE, key, standing)

    @rule(key=st.sampled_from(KEYS), standing=st.sampled_from(SAYS))
    def agree(self, key: str, standing: SiteStatus) -> None:
        for site in self.sites.values():
            site.say(key, standing)
        self.say_here(key, standing)

    @rule(site=st.sampled_from(OTHERS), pace=st.sampled_from([0, 0, 3, None]))
    def wire(self, site: str, pace: int | None) -> None:
        self.sites[site].pace = pace

    @rule()
    def mend(self) -> None:
        for site in self.sites.values():
            site.pace = None

    @rule(site=st.sampled_from(OTHERS), jump=st.sampled_from([-600, -20, 20, 600]))
    def set_clock(self, site: str, jump: int) -> None:
        self.sites[site].ahead += jump
        self.sites[site].set_back = min(self.sites[site].set_back + jump, 0)
        self.sites[site].life += 1

    @rule()
    def start_again(self) -> None:
        self.start_hub()
        for site in self.sites.values():
            site.set_back = 0
        for key, standing in self.here.items():
            self.reporter.record_status(HERE, key, standing)

    @rule(seconds=st.sampled_from([1, 1, 5, 40]))
    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.second()

    @rule(standing=st.sampled_from([well(), wrong(BOTH), wrong(SENDING)]), key=st.sampled_from(KEYS))
    def all_is_connected(self, key: str, standing: SiteStatus) -> None:
        """Whatever was before: what all say is what is told, and soon."""
        self.mend()
        self.agree(key, standing)
        self.wait(STALE_AFTER + 20)
        unknown = {name for name, site in self.sites.items() if site.set_back < -STALE_AFTER}
        assert self.fresh | unknown == {HERE, *OTHERS}
        if standing.trouble is None:
            assert key not in self.open
        else:
            assert set(TYPE_DIRECTIONS[self.open[key]]) >= set(TYPE_DIRECTIONS[standing.trouble.type])


def test_how_an_agency_stands_by_all_sites_is_said_by_those_that_have_a_vote_where_they_are_several() -> None:
    clock = Clock()
    reporter = IncidentReporter(
        policies=IncidentPolicies(agencies={}, monitoring_fault=lambda _: BRIEF),
        alerting=Alerts(),
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=HERE,
        open_incidents={},
        quorum=TWO,
    )

    def together() -> IncidentType | None:
        standing = reporter.joint_status("JCM")
        return standing.trouble.type if standing and standing.trouble else None

    reporter.record_status(HERE, "JCM", wrong(BOTH))
    assert reporter.joint_status("JCM") is None
    reporter.record_status(JOHOR, "JCM", well())
    assert (reporter.joint_status("JCM") is None, together()) == (False, None)
    reporter.record_status(KUCHING, "JCM", wrong(BOTH))
    assert together() == IncidentType.BOTH
    reporter.set_voting_sites({HERE, JOHOR})
    assert together() is None
    # A time that says not where it is: somebody has written into the site's store.
    local = datetime(2026, 11, 24, 14, 15)  # noqa: DTZ001
    reporter.record_status(JOHOR, "JCM", replace(wrong(BOTH), trouble=ActiveProblem(type=BOTH, since=local)))
    assert reporter.joint_status("JCM") is None


async def test_what_is_less_by_now_must_last_while_somebody_sees_it() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = IncidentReporter(
        policies=IncidentPolicies(agencies={"JCM": BRIEF}, monitoring_fault=lambda _: BRIEF),
        alerting=alerts,
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=HERE,
        open_incidents={"JCM": BOTH},
    )

    async def stands(minutes: int, *fresh: str) -> list[str]:
        reporter.set_voting_sites({*fresh})
        await reporter.report()
        clock.time += minutes * MINUTE
        await reporter.report()
        return alerts.told()

    reporter.record_status(HERE, "JCM", wrong(SENDING))
    assert await stands(9, HERE) == []
    assert await stands(9) == []
    assert await stands(9, HERE) == []
    assert await stands(1, HERE) == ["JCM: sending"]


def alone(
    alerts: Alerts,
    clock: Clock,
    told: Mapping[str, IncidentType] | None = None,
    **more: Any,
) -> IncidentReporter:
    return IncidentReporter(
        policies=IncidentPolicies(agencies={"JCM": BRIEF}, monitoring_fault=lambda _: BRIEF),
        alerting=alerts,
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=HERE,
        open_incidents=told or {},
        **more,
    )


def test_where_no_number_of_sites_is_asked_for_one_is_enough() -> None:
    reporter = alone(Alerts(), Clock())
    for site, standing in ((HERE, well()), (JOHOR, wrong(BOTH))):
        reporter.record_status(site, "JCM", standing)
    together = reporter.joint_status("JCM")
    assert together is not None
    assert together.trouble is not None


async def test_after_a_clock_was_set_back_what_is_less_has_to_last_no_longer() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = alone(alerts, clock, {"JCM": BOTH})
    reporter.record_status(HERE, "JCM", wrong(SENDING))
    await reporter.report()
    clock.time -= 300 * MINUTE
    await reporter.report()
    clock.time += 9 * MINUTE
    await reporter.report()
    assert alerts.told() == []
    clock.time += MINUTE
    await reporter.report()
    assert alerts.told() == ["JCM: sending"]


async def test_after_a_clock_was_set_back_what_came_and_went_is_to_be_quiet_no_longer() -> None:
    clock, alerts, policy = Clock(), Alerts(), FlappingPolicy()
    reporter = alone(alerts, clock)
    for _ in range(policy.threshold):
        for standing in (wrong(BOTH), well()):
            clock.time += MINUTE
            for site in (HERE, JOHOR):
                reporter.record_status(site, "JCM", standing)
            await reporter.report()
    assert alerts.told()[-1] == "JCM: both", "the last is not believed to be over"
    clock.time -= 300 * MINUTE
    await reporter.report()
    clock.time += policy.window
    await reporter.report()
    assert (alerts.told()[-1], reporter._unconfirmed_recoveries) == ("JCM: over", {})


def test_of_what_nobody_speaks_of_any_more_nothing_is_kept() -> None:
    reporter = alone(Alerts(), Clock())
    for number in range(3):
        reporter.record_status(JOHOR, f"X{number}", well())
        reporter.remove_status(JOHOR, f"X{number}")
    assert not reporter._statuses


async def test_of_an_agency_that_leaves_while_its_end_is_not_believed_nothing_is_kept() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = alone(alerts, clock)
    reporter.record_status(JOHOR, "JCM", well())
    for _ in range(FlappingPolicy().threshold):
        for standing in (wrong(BOTH), well()):
            clock.time += MINUTE
            reporter.record_status(HERE, "JCM", standing)
            await reporter.report()
    assert (
        [*reporter._unconfirmed_recoveries]
        == [*reporter._flapping]
        == [*reporter.reported_types]
        == [*reporter._disagreements]
        == ["JCM"]
    )
    assert [each.flapping for each in alerts.heard if isinstance(each, Trigger)] == [False, False, True]
    reporter.remove_agencies({"JCM"})
    await reporter.report()
    assert [
        *reporter._unconfirmed_recoveries,
        *reporter._flapping,
        *reporter.reported_types,
        *reporter._disagreements,
    ] == []
    assert not reporter._pending_keys


async def test_whoever_takes_over_an_open_incident_ends_it_though_nothing_new_is_said_of_it() -> None:
    alerts = Alerts()
    reporter = alone(alerts, Clock())
    for key in ("MDC", "ours/network"):
        reporter.record_status(HERE, key, well())
    await reporter.report()
    reporter.add_agencies({"MDC"}, {"MDC": BOTH})
    reporter.record_status(HERE, "MDC", well())
    reporter.take_over_faults({"ours/network": IncidentType.MONITORING_FAULT})
    await reporter.report()
    assert alerts.told() == ["MDC: over", "ours/network: over"]


async def test_an_outage_that_goes_on_is_told_once_however_long_it_lasts() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = alone(alerts, clock)
    for minute in range(30):
        reporter.record_status(HERE, "JCM", replace(wrong(SENDING), failing_routes=frozenset({f"{minute}"})))
        await reporter.report()
        clock.time += MINUTE
    assert alerts.told() == ["JCM: sending"]


@pytest.mark.parametrize("trouble", [{"away": {"JCM"}}, {"store_away": True}])
async def test_what_could_not_be_told_is_told_again_though_nobody_says_anything_else(trouble: dict[str, Any]) -> None:
    alerts = Alerts()
    reporter = alone(alerts, Clock())
    for name, value in trouble.items():
        setattr(alerts, name, value)
    reporter.record_status(HERE, "JCM", wrong(BOTH))
    assert not await reporter.report()
    assert alerts.told() == []
    alerts.away, alerts.store_away = set(), False
    assert await reporter.report()
    assert alerts.told() == ["JCM: both"]
    assert await reporter.report()
    assert alerts.asked == 2


async def test_until_this_site_has_said_how_an_agency_stands_that_it_gained_nothing_is_told_of_it() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = alone(alerts, clock)
    reporter.set_policies(
        IncidentPolicies(agencies=dict.fromkeys(("JCM", "JKT"), BRIEF), monitoring_fault=lambda _: BRIEF)
    )
    # Another process of ours had it until now.
    for site, standing in ((HERE, wrong(BOTH)), (JOHOR, wrong(BOTH)), (KUCHING, well())):
        reporter.record_status(site, "JKT", standing)
    reporter.record_status(HERE, "JCM", wrong(BOTH))
    alerts.away = {"JCM"}
    await reporter.report()
    alerts.away = set()
    reporter.add_agencies({"JKT"}, {"MDC": BOTH, "ours/credentials/JKT/utama": IncidentType.MONITORING_FAULT})
    await reporter.report()
    assert alerts.told() == ["JCM: both"], "what was owed before is told"
    assert reporter._disagreements == {"JKT": True}
    assert {*reporter.reported_types} == {"JCM", "ours/credentials/JKT/utama"}
    assert reporter.site_statuses("JKT") == {JOHOR: wrong(BOTH), KUCHING: well()}


async def test_what_is_our_own_is_told_though_this_site_has_no_vote_on_agencies() -> None:
    alerts = Alerts()
    reporter = alone(alerts, Clock())
    reporter.set_policies(
        IncidentPolicies(agencies={}, monitoring_fault=lambda suspect: replace(BRIEF, agency=f"{suspect}"))
    )
    reporter.set_voting_sites({JOHOR})
    for key in ("JCM", "ours/reference/a"):
        reporter.record_status(HERE, key, wrong(IncidentType.MONITORING_FAULT))
    await reporter.report()
    assert alerts.told() == ["ours/reference/a: monitoring_fault"]
    assert [each.policy.agency for each in alerts.heard if isinstance(each, Trigger)] == ["reference/a"]
    reporter.record_status(HERE, "ours/reference/b", well())
    assert [reporter.has_fault(f"ours/{each}") for each in ("reference/a", "reference/b", "network")] == [
        True,
        False,
        False,
    ]


class HeldBack(Alerts):
    """Answers with the incident that a person has ended by hand, while one is."""

    is_open = False

    async def submit(self, event: Event) -> Incident | None:
        await super().submit(event)
        return incident() if self.is_open else apply(incident(), Resolve(dedup_key="JCM", at=T0, ended_at=T0))


async def test_that_a_person_has_ended_it_by_hand_is_known_while_it_is_measured_and_this_process_has_it() -> None:
    clock, alerts = Clock(), HeldBack()
    reporter = alone(alerts, clock)

    async def stands(standing: SiteStatus) -> list[str]:
        clock.time += MINUTE
        reporter.record_status(HERE, "JCM", standing)
        await reporter.report()
        return [*reporter.closed_by_hand]

    assert [await stands(each) for each in (wrong(SENDING), well(), wrong(SENDING))] == [["JCM"], [], ["JCM"]]
    alerts.is_open = True
    assert await stands(wrong(BOTH)) == []
    alerts.is_open = False
    assert [await stands(each) for each in (well(), wrong(BOTH))] == [[], ["JCM"]]
    reporter.remove_agencies({"JCM"})
    assert not reporter.closed_by_hand


@pytest.mark.parametrize(
    ("leave", "key"),
    [("remove_agencies", "JCM"), ("transfer_agencies", "JCM"), ("transfer_agencies", "ours/credentials/JCM/utama")],
)
async def test_what_was_being_told_when_its_agency_left_is_not_for_this_process_to_end(leave: str, key: str) -> None:
    alerts = HeldBack()
    reporter = alone(alerts, Clock())
    reporter.record_status(HERE, key, wrong(BOTH))
    alerts.answers.clear()
    telling = asyncio.create_task(reporter.report())
    while not alerts.asked:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    getattr(reporter, leave)({"JCM"})
    alerts.answers.set()
    assert await telling
    assert (alerts.told(), {*reporter.reported_types}, reporter.closed_by_hand) == ([f"{key}: both"], set(), {})


async def test_what_is_open_is_looked_up_each_minute_and_at_once_after_a_clock_was_set_back() -> None:
    clock, alerts, asked = Clock(), Alerts(), list[datetime]()

    async def open_keys() -> set[str]:
        asked.append(clock.time)
        if len(asked) == 1:
            raise RuntimeError("a bug")
        return set()

    reporter = alone(alerts, clock, open_keys=open_keys)
    reporter.record_status(HERE, "JCM", wrong(BOTH))
    for seconds in (0, 59, 1, 59, 1, 30, -3600):
        clock.time += seconds * SECOND
        await reporter.report()
    first = T0 + MINUTE
    assert asked == [first, first + MINUTE, first + MINUTE + 30 * SECOND - 60 * MINUTE]
    assert alerts.told() == ["JCM: both"] * 3, "it was ended by a person each time"


async def test_of_an_agency_that_another_process_has_now_all_is_forgotten_but_what_was_said_of_it() -> None:
    alerts, mailbox = Alerts(), "ours/credentials/JCM/utama"
    reporter = alone(alerts, Clock(), dict.fromkeys(("ours/network", f"{mailbox}-2"), IncidentType.MONITORING_FAULT))
    for key, standing in (("JCM", wrong(BOTH)), (mailbox, wrong(IncidentType.MONITORING_FAULT))):
        reporter.record_status(HERE, key, standing)
    await reporter.report()
    reporter.record_status(HERE, "JCM", wrong(RECEIVING))
    reporter.transfer_agencies({"JCM"})
    await reporter.report()
    assert alerts.told() == ["JCM: both", f"{mailbox}: monitoring_fault"], "the other ends it"
    assert ({*reporter.reported_types}, reporter.agencies) == ({"ours/network"}, set())
    assert (reporter.has_fault(mailbox), reporter._statuses["JCM"]) == (False, {HERE: wrong(RECEIVING)})
    assert (
        reporter.take_over_faults(
            {mailbox: IncidentType.MONITORING_FAULT, "ours/network": IncidentType.MONITORING_FAULT}
        )
        == set()
    )


async def test_of_an_agency_that_has_left_what_other_sites_say_is_kept() -> None:
    reporter = alone(Alerts(), Clock(), {"JCM": BOTH})
    for site, standing in ((HERE, wrong(SENDING)), (JOHOR, wrong(SENDING)), (KUCHING, UNCLEAR)):
        reporter.record_status(site, "JCM", standing)
    await reporter.report()
    assert [*reporter._lesser_types] == ["JCM"]
    reporter.remove_agencies({"JCM"})
    assert not reporter._lesser_types
    reporter.set_voting_sites({HERE, KUCHING})
    assert reporter.site_statuses("JCM") == {JOHOR: None, KUCHING: UNCLEAR}


async def test_what_is_less_in_another_way_by_now_must_last_anew() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = alone(alerts, clock, {"JCM": BOTH})
    for standing, minutes in ((wrong(SENDING), 9), (wrong(RECEIVING), 9), (wrong(BOTH), 9), (wrong(RECEIVING), 9)):
        reporter.record_status(HERE, "JCM", standing)
        await reporter.report()
        clock.time += minutes * MINUTE
        await reporter.report()
    assert (alerts.told(), reporter._failed_keys) == ([], set())
    clock.time += MINUTE
    await reporter.report()
    assert alerts.told() == ["JCM: receiving"]


async def test_a_site_that_says_nothing_any_more_keeps_nobody_from_being_told() -> None:
    alerts = Alerts()
    reporter = alone(alerts, Clock(), quorum=TWO)
    for site, standing in ((HERE, wrong(BOTH)), (JOHOR, well())):
        reporter.record_status(site, "JCM", standing)
    await reporter.report()
    assert (alerts.told(), reporter._disagreements) == ([], {"JCM": True})
    reporter.remove_status(JOHOR, "JCM")
    await reporter.report()
    assert (alerts.told(), reporter._disagreements) == (["JCM: both"], {})


def test_what_sites_say_and_where_they_see_trouble_is_known_of_those_that_have_a_vote() -> None:
    reporter = alone(Alerts(), Clock())
    for site, route in ((HERE, "JCM/1"), (JOHOR, "JCM/2")):
        assert reporter.site_statuses("JCM") == {}, "nobody, or one alone"
        reporter.record_status(site, "JCM", replace(wrong(BOTH), failing_routes=frozenset({route})))
    assert reporter.failing_routes("JCM") == {"JCM/1", "JCM/2"}
    reporter.set_voting_sites({JOHOR})
    assert reporter.failing_routes("JCM") == {"JCM/2"}
    assert [site for site, said in reporter.site_statuses("JCM").items() if said is not None] == [JOHOR]
    assert reporter.failing_routes("MDC") == set()


async def test_while_thousands_are_compared_others_have_their_turn_now_and_then() -> None:
    reporter = alone(Alerts(), Clock())
    for number in range(3 * ATTRIBUTIONS_PER_STEP):
        reporter.record_status(HERE, f"ours/reference/{number}", well())
    telling, turns = asyncio.create_task(reporter.report()), 0
    while not telling.done():
        await asyncio.sleep(0)
        turns += 1
    assert 4 <= turns <= 6


async def test_nothing_is_compared_anew_while_nobody_says_anything_else() -> None:
    reporter = alone(Alerts(), Clock())
    for _ in range(2):
        reporter.record_status(HERE, "JCM", well())
        reporter.record_status(HERE, "JKT", well())
        reporter.set_voting_sites({HERE})
        for key in ("JCM", "MDC"):
            reporter.remove_status(JOHOR, key)
        assert reporter._pending_keys <= {"JCM"}
        await reporter.report()
        assert not reporter._pending_keys
    reporter.record_status(HERE, "JCM", well())
    reporter.set_voting_sites({HERE})
    assert not reporter._pending_keys


async def test_how_often_it_fell_is_taken_up_and_what_is_believed_follows_the_configuration() -> None:
    clock, alerts, policy = Clock(), Alerts(), FlappingPolicy(threshold=FlappingPolicy().threshold - 1)
    reporter = alone(alerts, clock, flapping=policy)
    reporter.set_policies(
        IncidentPolicies(agencies=dict.fromkeys(("JCM", "MDC"), BRIEF), monitoring_fault=lambda _: BRIEF)
    )
    reporter.restore_falls({"JCM": [T0 - MINUTE] * (policy.threshold - 1), "MDC": [T0]}, {"MDC"})
    assert [(key, each.is_down, each.is_flapping) for key, each in reporter._flapping.items()] == [
        ("JCM", False, False)
    ]

    async def unsteady(agency: str) -> bool:
        for standing in (wrong(BOTH), well()):
            clock.time += MINUTE
            for site in (HERE, JOHOR):
                reporter.record_status(site, agency, standing)
            await reporter.report()
        return [each.flapping for each in alerts.heard if isinstance(each, Trigger)][-1]

    for _ in range(2):
        assert await unsteady("JCM")
        assert [*reporter._unconfirmed_recoveries] == ["JCM"]
        reporter.record_status(HERE, "JCM", wrong(BOTH))
        await reporter.report()
        assert not reporter._unconfirmed_recoveries, "it has fallen again"
    reporter.record_status(HERE, "JCM", well())
    await reporter.report()
    reporter.restore_falls({"JCM": []}, set())
    assert reporter._flapping["JCM"].is_flapping, "what is known better stays so"
    assert alerts.told() == ["JCM: both"]
    # With one site alone it is for that one to say what it believes.
    reporter.remove_status(JOHOR, "JCM")
    await reporter.report()
    assert alerts.told() == ["JCM: both", "JCM: over"]
    clock.time += policy.window
    assert not await unsteady("JCM")
    reporter.set_flapping_policy(FlappingPolicy(threshold=1))
    reporter.add_agencies({"MDC"}, {})
    assert [await unsteady(agency) for agency in ("JCM", "MDC")] == [True, True]


async def test_how_often_something_falls_that_one_site_alone_sees_is_for_that_one_to_judge() -> None:
    clock, alerts, falls = Clock(), Alerts(), FlappingPolicy().threshold + 1
    reporter = alone(alerts, clock)
    for _ in range(falls):
        for standing in (wrong(BOTH), well()):
            clock.time += MINUTE
            reporter.record_status(HERE, "JCM", standing)
            await reporter.report()
    assert alerts.told() == ["JCM: both", "JCM: over"] * falls
    assert not any(each.flapping for each in alerts.heard if isinstance(each, Trigger))
    assert not reporter._flapping, "nothing is counted twice when another comes to see it"


def test_an_incident_that_was_held_open_is_held_open_after_a_restart() -> None:
    reporter = alone(Alerts(), Clock(), {"JCM": BOTH})
    reporter.restore_falls({"JCM": [T0]}, {"JCM"})
    flapping = reporter._flapping["JCM"]
    assert (flapping.is_down, flapping.is_flapping) == (True, True)


async def test_what_sites_have_told_together_is_shown_while_they_say_it_and_this_process_tells_of_it() -> None:
    reporter = alone(Alerts(), Clock(), other_sites={*OTHERS})
    reporter._metrics.register_agency("JCM", routes=["JCM/1"])

    async def shown(johor: SiteStatus, here: SiteStatus) -> list[float | None]:
        reporter.record_status(JOHOR, "JCM", johor)
        reporter.record_status(HERE, "JCM", here)
        await reporter.report()
        return values()

    def values() -> list[float | None]:
        scrape = Scrape(reporter._metrics)
        ways = [scrape.value("quorum_outage", agency="JCM", direction=way) for way in ("outbound", "inbound")]
        return [scrape.value("quorum_disagreement", agency="JCM"), *ways]

    assert values() == [None] * 3
    assert await shown(well(), UNCLEAR) == [0, 0, 0]
    assert await shown(well(), wrong(SLOW)) == [1, None, None], "of slowness it is not known"
    assert await shown(well(), wrong(SENDING)) == [1, 1, 0]
    reporter.remove_agencies({"JCM"})
    assert values() == [None] * 3


async def test_what_one_of_several_sites_does_not_believe_is_told_so() -> None:
    alerts = Alerts()
    reporter = alone(alerts, Clock())
    for site in (HERE, JOHOR):
        reporter.record_status(site, "JCM", wrong(BOTH, flapping=True, latest=T0 + SECOND))
    await reporter.report()
    (told,) = (each for each in alerts.heard if isinstance(each, Trigger))
    assert (told.flapping, told.began_at, told.latest_at) == (True, T0, T0 + SECOND)


@given(steps=st.lists(st.sets(st.sampled_from([HERE, *OTHERS])), max_size=60))
def test_what_sites_see_fall_by_turns_opens_no_more_incidents_than_one_site_would_and_ends_when_it_is_quiet(
    steps: list[set[str]],
) -> None:
    """Every five minutes other sites see it down: none of them sees it fall too often by itself."""
    clock, alerts, policy, opened = Clock(), Alerts(), FlappingPolicy(), list[datetime]()
    reporter = IncidentReporter(
        policies=IncidentPolicies(agencies={"JCM": BRIEF}, monitoring_fault=lambda _: BRIEF),
        alerting=alerts,
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=HERE,
        open_incidents={},
        quorum=TWO,
        flapping=policy,
    )

    async def live() -> None:
        for down in steps:
            for site in (HERE, *OTHERS):
                reporter.record_status(site, "JCM", wrong(BOTH) if site in down else well())
            before = alerts.told()
            await reporter.report()
            if alerts.told()[len(before) :] == ["JCM: both"] and (not before or before[-1] == "JCM: over"):
                opened.append(clock.time)
            clock.time += 5 * MINUTE
        for site in (HERE, *OTHERS):
            reporter.record_status(site, "JCM", well())
        await reporter.report()
        clock.time += policy.window
        await reporter.report()

    asyncio.run(live())
    for at in opened:
        assert sum(at <= other < at + policy.window for other in opened) <= policy.threshold
    assert alerts.told()[-1:] in ([], ["JCM: over"])


TestNation = Nation.TestCase
TestNation.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
