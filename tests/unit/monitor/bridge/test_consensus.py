"""Several sites, wires that are cut, clocks that are set, a hub that starts again: what is told is what enough fresh sites say."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from alerts.model.event import Resolve, Trigger
from alerts.model.notice import Matter
from monitor.bridge.consensus import Briefs, Consensus
from monitor.judging.flapping import FlappingPolicy
from monitor.judging.joint.freshness import SiteBeat
from monitor.judging.joint.standing import UNTROUBLED, SiteStanding
from monitor.judging.matter import WAYS
from monitor.judging.suspect import Trouble
from monitor.metrics import Metrics
from monitor.model.route import Direction
from monitor.service.sites.hub import Hub
from monitor.store.probing.standings import SiteStandings
from tests.unit.alerts.people import BRIEF
from tests.unit.monitor.bridge.test_pipeline import Alerts, Clock
from tests.unit.monitor.judging.test_quorum import (
    BLIND,
    BOTH,
    RECEIVING,
    SENDING,
    SLOW,
    UNCLEAR,
    is_wrong,
    needed,
    sees,
    well,
    wrong,
)
from tests.unit.monitor.service.test_sites import Rows
from tests.unit.monitor.trial import MINUTE, SECOND, T0

HERE, JOHOR, KUCHING, LABUAN = "utama", "johor", "kuching", "labuan"
OTHERS = (JOHOR, KUCHING, LABUAN)
KEYS = ("JCM",)
FRESH_FOR = 30
SAYS = [well(), well(9), wrong(BOTH), wrong(SENDING), wrong(RECEIVING), wrong(SLOW), UNCLEAR, BLIND, UNTROUBLED]


def is_well(standing: SiteStanding) -> bool:
    return standing.well_since is not None


@dataclass
class Site:
    """What it says, and what is on the way to the hub: in order, the same perhaps again."""

    ahead: int = 0
    life: int = 0
    #: So many beats pass in a second; `None`: all; 0: the wire is cut.
    pace: int | None = None
    says: dict[str, SiteStanding] = field(default_factory=dict)
    waiting: deque[tuple[str, SiteStanding] | tuple[int, SiteBeat]] = field(default_factory=deque)
    #: When the newest beat was written that has come.
    heard: int = -1000
    #: How far its clock was set back since the hub last knew it: one that is behind looks like that.
    set_back: int = 0

    def say(self, key: str, standing: SiteStanding) -> None:
        self.says[key] = standing
        self.waiting.append((key, standing))

    def beat(self, true: int) -> None:
        beat = SiteBeat(at=T0 + (true + self.ahead) * SECOND, steady=true * SECOND, life=f"{self.life}")
        self.waiting.append((true, beat))

    def deliver(self, name: str, rows: Rows) -> None:
        beats = 0
        while self.waiting and (self.pace is None or beats < self.pace):
            what, of = self.waiting.popleft()
            if isinstance(of, SiteBeat):
                beats, self.heard = beats + 1, cast(int, what)
                rows.beaten[name] = of
            else:
                rows.say(name, **{cast(str, what): of})


class Nation(RuleBasedStateMachine):
    """A hub that probes, with three sites beside it; two must say so."""

    QUORUM = 2

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.true = 0
        self.sites = {name: Site() for name in OTHERS}
        self.here: dict[str, SiteStanding] = {}
        self.rows, self.clock, self.alerts = Rows(), Clock(), Alerts()
        self.metrics = Metrics(version="0", now=self.clock.now)
        #: What is open at the alerting side.
        self.open: dict[str, Matter] = {}
        self.counted = 0
        self.start_hub()

    def teardown(self) -> None:
        self.runner.close()

    def start_hub(self) -> None:
        self.consensus = Consensus(
            briefs=Briefs(agencies=dict.fromkeys(KEYS, BRIEF), ours=lambda _: BRIEF),
            alerting=self.alerts,
            metrics=self.metrics,
            clock=self.clock,
            site=HERE,
            open_incidents=dict(self.open),
            quorum=self.QUORUM,
            # What goes down and up is looked at by itself, below.
            flapping=FlappingPolicy(falls=1000),
        )
        self.hub = Hub(
            cast(SiteStandings, self.rows),
            self.clock,
            site=HERE,
            sites=set(OTHERS),
            fresh_for=timedelta(seconds=FRESH_FOR),
            consensus=lambda: self.consensus,
            metrics=self.metrics,
            speak=self.speak,
            steady=lambda: self.true * SECOND,
        )
        self.began = self.true

    async def speak(self) -> None:
        """Ours says what it knows of each, or nothing is told: that nothing is wrong, until `say_here`."""
        for key in KEYS:
            self.consensus.hear(HERE, key, self.here.setdefault(key, UNTROUBLED))

    def second(self) -> None:
        self.true += 1
        self.clock.time += SECOND
        for name, site in self.sites.items():
            site.beat(self.true)
            site.deliver(name, self.rows)
        self.runner.run(self.hub.listen())
        self.look()

    # -- what must hold each second --------------------------------------------------------------------------------

    @property
    def fresh(self) -> set[str]:
        return set(self.consensus._fresh or ())

    def said(self, key: str) -> list[SiteStanding]:
        """Return what the fresh sites say, as far as the hub has heard it."""
        levels = {HERE: self.here, **self.rows.said}
        return [levels[name][key] for name in sorted(self.fresh) if key in levels.get(name, {})]

    def look(self) -> None:
        for name in self.fresh - {HERE}:
            if self.rows.beaten[name].life == f"{self.sites[name].life}":
                self.sites[name].set_back = 0
            age = self.true - self.sites[name].heard
            assert age <= FRESH_FOR, f"{name} has a vote with what was so {age} seconds ago"
        heard, self.counted = self.alerts.heard[self.counted :], len(self.alerts.heard)
        for event in heard:
            assert isinstance(event, Trigger | Resolve)
            if event.dedup_key not in KEYS:
                continue
            assert self.fresh, "nobody is fresh, and something is told"
            said = self.said(event.dedup_key)
            if isinstance(event, Trigger):
                self.open[event.dedup_key] = event.matter
                for way in WAYS[event.matter]:
                    assert self.is_held(said, way), f"{event.matter}: too few fresh sites hold {way}"
            else:
                del self.open[event.dedup_key]
                assert self.is_proven(said)
        for key in KEYS:
            said = self.said(key)
            told = WAYS.get(self.open[key], ()) if key in self.open else ()
            for way in (Direction.OUTBOUND, Direction.INBOUND):
                assert not self.is_held(said, way) or way in told, f"{key}: {way} is lost"
            assert not (said and all(is_well(each) for each in said)) or key not in self.open, f"{key} is kept for ever"

    def is_held(self, said: list[SiteStanding], way: Direction) -> bool:
        holders = sum(is_wrong(each, way) and sees(each, way) for each in said)
        return holders >= needed(said, self.QUORUM, way) > 0

    def is_proven(self, said: list[SiteStanding]) -> bool:
        seeing, proven = sum(map(sees, said)), sum(is_well(each) and sees(each) for each in said)
        return seeing - proven < needed(said, self.QUORUM) <= proven

    # -- what happens ----------------------------------------------------------------------------------------------

    @rule(site=st.sampled_from(OTHERS), key=st.sampled_from(KEYS), standing=st.sampled_from(SAYS))
    def say(self, site: str, key: str, standing: SiteStanding) -> None:
        self.sites[site].say(key, standing)

    @rule(site=st.sampled_from(OTHERS), key=st.sampled_from(KEYS))
    def say_again(self, site: str, key: str) -> None:
        if key in self.sites[site].says:
            self.sites[site].say(key, self.sites[site].says[key])

    @rule(key=st.sampled_from(KEYS), standing=st.sampled_from(SAYS))
    def say_here(self, key: str, standing: SiteStanding) -> None:
        self.here[key] = standing
        self.consensus.hear(HERE, key, standing)

    @rule(key=st.sampled_from(KEYS), standing=st.sampled_from(SAYS))
    def agree(self, key: str, standing: SiteStanding) -> None:
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
            self.consensus.hear(HERE, key, standing)

    @rule(seconds=st.sampled_from([1, 1, 5, 40]))
    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.second()

    @rule(standing=st.sampled_from([well(), wrong(BOTH), wrong(SENDING)]), key=st.sampled_from(KEYS))
    def all_is_connected(self, key: str, standing: SiteStanding) -> None:
        """Whatever was before: what all say is what is told, and soon."""
        self.mend()
        self.agree(key, standing)
        self.wait(FRESH_FOR + 20)
        unknown = {name for name, site in self.sites.items() if site.set_back < -FRESH_FOR}
        assert self.fresh | unknown == {HERE, *OTHERS}
        if standing.trouble is None:
            assert key not in self.open
        else:
            assert set(WAYS[self.open[key]]) >= set(WAYS[standing.trouble.matter])


def test_how_an_agency_stands_by_all_sites_is_said_by_those_that_have_a_vote_where_they_are_several() -> None:
    clock = Clock()
    consensus = Consensus(
        briefs=Briefs(agencies={}, ours=lambda _: BRIEF),
        alerting=Alerts(),
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=HERE,
        open_incidents={},
        quorum=2,
    )

    def together() -> Matter | None:
        standing = consensus.together("JCM")
        return standing.trouble.matter if standing and standing.trouble else None

    consensus.hear(HERE, "JCM", wrong(BOTH))
    assert consensus.together("JCM") is None
    consensus.hear(JOHOR, "JCM", well())
    assert (consensus.together("JCM") is None, together()) == (False, None)
    consensus.hear(KUCHING, "JCM", wrong(BOTH))
    assert together() == Matter.BOTH
    consensus.fresh({HERE, JOHOR})
    assert together() is None
    # A time that says not where it is: somebody has written into the site's store.
    local = datetime(2026, 11, 24, 14, 15)  # noqa: DTZ001
    consensus.hear(JOHOR, "JCM", replace(wrong(BOTH), trouble=Trouble(matter=BOTH, since=local)))
    assert consensus.together("JCM") is None


async def test_what_is_less_by_now_must_last_while_somebody_sees_it() -> None:
    clock, alerts = Clock(), Alerts()
    consensus = Consensus(
        briefs=Briefs(agencies={"JCM": BRIEF}, ours=lambda _: BRIEF),
        alerting=alerts,
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=HERE,
        open_incidents={"JCM": BOTH},
    )

    async def stands(minutes: int, *fresh: str) -> list[str]:
        consensus.fresh({*fresh})
        await consensus.tell()
        clock.time += minutes * MINUTE
        await consensus.tell()
        return alerts.told()

    consensus.hear(HERE, "JCM", wrong(SENDING))
    assert await stands(9, HERE) == []
    assert await stands(9) == []
    assert await stands(9, HERE) == []
    assert await stands(1, HERE) == ["JCM: sending"]


def alone(alerts: Alerts, clock: Clock, told: Mapping[str, Matter] | None = None) -> Consensus:
    return Consensus(
        briefs=Briefs(agencies={"JCM": BRIEF}, ours=lambda _: BRIEF),
        alerting=alerts,
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=HERE,
        open_incidents=told or {},
    )


def test_where_no_number_of_sites_is_asked_for_one_is_enough() -> None:
    consensus = alone(Alerts(), Clock())
    for site, standing in ((HERE, well()), (JOHOR, wrong(BOTH))):
        consensus.hear(site, "JCM", standing)
    together = consensus.together("JCM")
    assert together is not None
    assert together.trouble is not None


async def test_after_a_clock_was_set_back_what_is_less_has_to_last_no_longer() -> None:
    clock, alerts = Clock(), Alerts()
    consensus = alone(alerts, clock, {"JCM": BOTH})
    consensus.hear(HERE, "JCM", wrong(SENDING))
    await consensus.tell()
    clock.time -= 300 * MINUTE
    await consensus.tell()
    clock.time += 9 * MINUTE
    await consensus.tell()
    assert alerts.told() == []
    clock.time += MINUTE
    await consensus.tell()
    assert alerts.told() == ["JCM: sending"]


async def test_after_a_clock_was_set_back_what_came_and_went_is_to_be_quiet_no_longer() -> None:
    clock, alerts, policy = Clock(), Alerts(), FlappingPolicy()
    consensus = alone(alerts, clock)
    for _ in range(policy.falls):
        for standing in (wrong(BOTH), well()):
            clock.time += MINUTE
            for site in (HERE, JOHOR):
                consensus.hear(site, "JCM", standing)
            await consensus.tell()
    assert alerts.told()[-1] == "JCM: both", "the last is not believed to be over"
    clock.time -= 300 * MINUTE
    await consensus.tell()
    clock.time += policy.within
    await consensus.tell()
    assert alerts.told()[-1] == "JCM: over"


def test_of_what_nobody_speaks_of_any_more_nothing_is_kept() -> None:
    consensus = alone(Alerts(), Clock())
    for number in range(3):
        consensus.hear(JOHOR, f"X{number}", well())
        consensus.forget(JOHOR, f"X{number}")
    assert not consensus._said


async def test_of_an_agency_that_leaves_while_its_end_is_not_believed_nothing_is_kept() -> None:
    clock, alerts = Clock(), Alerts()
    consensus = alone(alerts, clock)
    consensus.hear(JOHOR, "JCM", well())
    for _ in range(FlappingPolicy().falls):
        for standing in (wrong(BOTH), well()):
            clock.time += MINUTE
            consensus.hear(HERE, "JCM", standing)
            await consensus.tell()
    assert [*consensus._unbelieved] == [*consensus._flapping] == [*consensus.told] == [*consensus._disputed] == ["JCM"]
    assert [each.unsteady for each in alerts.heard if isinstance(each, Trigger)] == [False, False, True]
    consensus.release({"JCM"})
    await consensus.tell()
    assert [*consensus._unbelieved, *consensus._flapping, *consensus.told, *consensus._disputed] == []
    assert not consensus._unsettled


async def test_whoever_takes_over_an_open_incident_ends_it_though_nothing_new_is_said_of_it() -> None:
    alerts = Alerts()
    consensus = alone(alerts, Clock())
    for key in ("MDC", "ours/network"):
        consensus.hear(HERE, key, well())
    await consensus.tell()
    consensus.gain({"MDC"}, {"MDC": BOTH})
    consensus.hear(HERE, "MDC", well())
    consensus.inherit({"ours/network": Matter.OWN_FAULT})
    await consensus.tell()
    assert alerts.told() == ["MDC: over", "ours/network: over"]


async def test_an_outage_that_goes_on_is_told_once_however_long_it_lasts() -> None:
    clock, alerts = Clock(), Alerts()
    consensus = alone(alerts, clock)
    for minute in range(30):
        consensus.hear(HERE, "JCM", replace(wrong(SENDING), troubled=frozenset({f"{minute}"})))
        await consensus.tell()
        clock.time += MINUTE
    assert alerts.told() == ["JCM: sending"]


async def test_what_could_not_be_told_wakes_who_tells_it_again() -> None:
    alerts = Alerts()
    consensus = alone(alerts, Clock())
    alerts.away = {"JCM"}
    consensus.hear(HERE, "JCM", wrong(BOTH))
    await consensus.tell()
    assert (consensus._owes.is_set(), alerts.told()) == (True, [])


async def test_what_was_being_told_when_the_run_that_found_it_was_cancelled_is_told_with_the_next() -> None:
    alerts = Alerts()
    consensus = alone(alerts, Clock())
    consensus.hear(HERE, "JCM", wrong(BOTH))
    telling = asyncio.create_task(consensus.tell())
    await asyncio.sleep(0)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    assert (alerts.asked, alerts.told()) == (0, [])
    await consensus.tell()
    assert alerts.told() == ["JCM: both"]


@given(steps=st.lists(st.sets(st.sampled_from([HERE, *OTHERS])), max_size=60))
def test_what_sites_see_fall_by_turns_opens_no_more_incidents_than_one_site_would_and_ends_when_it_is_quiet(
    steps: list[set[str]],
) -> None:
    """Every five minutes other sites see it down: none of them sees it fall too often by itself."""
    clock, alerts, policy, opened = Clock(), Alerts(), FlappingPolicy(), list[datetime]()
    consensus = Consensus(
        briefs=Briefs(agencies={"JCM": BRIEF}, ours=lambda _: BRIEF),
        alerting=alerts,
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=HERE,
        open_incidents={},
        quorum=2,
        flapping=policy,
    )

    async def live() -> None:
        for down in steps:
            for site in (HERE, *OTHERS):
                consensus.hear(site, "JCM", wrong(BOTH) if site in down else well())
            before = alerts.told()
            await consensus.tell()
            if alerts.told()[len(before) :] == ["JCM: both"] and (not before or before[-1] == "JCM: over"):
                opened.append(clock.time)
            clock.time += 5 * MINUTE
        for site in (HERE, *OTHERS):
            consensus.hear(site, "JCM", well())
        await consensus.tell()
        clock.time += policy.within
        await consensus.tell()

    asyncio.run(live())
    for at in opened:
        assert sum(at <= other < at + policy.within for other in opened) <= policy.falls
    assert alerts.told()[-1:] in ([], ["JCM: over"])


TestNation = Nation.TestCase
TestNation.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
