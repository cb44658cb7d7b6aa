"""Reports of several sites with cut links, changed clocks and hub restarts: events follow the quorum of fresh sites."""

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
from tests.unit.alerts.people import SNAPSHOT, incident
from tests.unit.monitor.bridge.test_pipeline import Alerts, Clock
from tests.unit.monitor.evaluation.test_quorum import (
    BLIND,
    BOTH,
    RECEIVING,
    SENDING,
    SLOW,
    TWO,
    UNCLEAR,
    is_in_trouble,
    needed,
    observes,
    trouble_status,
    up_status,
)
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.service.test_sites import Rows
from tests.unit.monitor.world import MINUTE, SECOND, T0

OWN_SITE, JOHOR, KUCHING, LABUAN = "utama", "johor", "kuching", "labuan"
OTHERS = (JOHOR, KUCHING, LABUAN)
KEYS = ("JCM",)
STALE_AFTER = 30
STATUSES = [
    up_status(),
    up_status(9),
    trouble_status(BOTH),
    trouble_status(SENDING),
    trouble_status(RECEIVING),
    trouble_status(SLOW),
    UNCLEAR,
    BLIND,
    UNTROUBLED,
]


def is_up(status: SiteStatus) -> bool:
    return status.up_since is not None


@dataclass
class Site:
    """Statuses and heartbeats of a site on the way to the hub, in order, possibly repeated."""

    ahead: int = 0
    life: int = 0
    #: Heartbeats delivered per second; `None`: all; 0: the link is cut.
    pace: int | None = None
    says: dict[str, SiteStatus] = field(default_factory=dict)
    waiting: deque[tuple[str, SiteStatus] | tuple[int, SiteHeartbeat]] = field(default_factory=deque)
    #: Time at which the newest delivered heartbeat was written.
    newest_at: int = -1000
    #: Seconds by which the clock was set back since the hub last knew it. The hub sees that as lag.
    set_back: int = 0

    def say(self, key: str, status: SiteStatus) -> None:
        self.says[key] = status
        self.waiting.append((key, status))

    def beat(self, true_time: int) -> None:
        beat = SiteHeartbeat(
            at=T0 + (true_time + self.ahead) * SECOND, monotonic=true_time * SECOND, incarnation=f"{self.life}"
        )
        self.waiting.append((true_time, beat))

    def deliver(self, name: str, rows: Rows) -> None:
        beats = 0
        while self.waiting and (self.pace is None or beats < self.pace):
            what, of = self.waiting.popleft()
            if isinstance(of, SiteHeartbeat):
                beats, self.newest_at = beats + 1, cast(int, what)
                rows.beaten[name] = of
            else:
                rows.say(name, **{cast(str, what): of})


class ReporterMachine(RuleBasedStateMachine):
    """Hub that probes, with three other sites; two must agree."""

    QUORUM = TWO

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.true_time = 0
        self.sites = {name: Site() for name in OTHERS}
        self.here: dict[str, SiteStatus] = {}
        self.rows, self.clock, self.alerts = Rows(), Clock(), Alerts()
        self.metrics = Metrics(version="0", now=self.clock.now)
        #: Incidents that are open at the alerting side.
        self.open: dict[str, IncidentType] = {}
        self.counted = 0
        self.start_hub()

    def teardown(self) -> None:
        self.runner.close()

    def start_hub(self) -> None:
        self.reporter = IncidentReporter(
            policies=IncidentPolicies(agencies=dict.fromkeys(KEYS, SNAPSHOT), monitoring_fault=lambda _: SNAPSHOT),
            alerting=self.alerts,
            metrics=self.metrics,
            clock=self.clock,
            site=OWN_SITE,
            open_incidents=dict(self.open),
            quorum=self.QUORUM,
            # Flapping is tested separately, below.
            flapping=FlappingPolicy(threshold=1000),
        )
        self.hub = Hub(
            cast(SiteStatuses, self.rows),
            self.clock,
            site=OWN_SITE,
            sites=set(OTHERS),
            stale_after=timedelta(seconds=STALE_AFTER),
            quorum=self.QUORUM,
            reporter=lambda: self.reporter,
            metrics=self.metrics,
            publish_own=self.publish_own,
            monotonic=lambda: self.true_time * SECOND,
        )
        self.began = self.true_time

    async def publish_own(self) -> None:
        """Publish the hub's own status of each key; the default is "untroubled"."""
        for key in KEYS:
            self.reporter.record_status(OWN_SITE, key, self.here.setdefault(key, UNTROUBLED))

    def advance(self) -> None:
        self.true_time += 1
        self.clock.time += SECOND
        for name, site in self.sites.items():
            site.beat(self.true_time)
            site.deliver(name, self.rows)
        self.runner.run(self.hub.poll())
        self.runner.run(self.reporter.report())
        self.check()

    # -- what must hold each second --------------------------------------------------------------------------------

    @property
    def fresh(self) -> set[str]:
        return set(self.reporter._voting_sites or ())

    def fresh_statuses(self, key: str) -> list[SiteStatus]:
        """Return the statuses of the fresh sites that the hub has received."""
        levels = {OWN_SITE: self.here, **self.rows.said}
        return [levels[name][key] for name in sorted(self.fresh) if key in levels.get(name, {})]

    def silent(self, key: str) -> list[SiteStatus]:
        """Return the last statuses of the sites without a vote."""
        return [
            self.rows.said[name][key]
            for name in OTHERS
            if name not in self.fresh and key in self.rows.said.get(name, {})
        ]

    def check(self) -> None:
        for name in self.fresh - {OWN_SITE}:
            if self.rows.beaten[name].incarnation == f"{self.sites[name].life}":
                self.sites[name].set_back = 0
            age = self.true_time - self.sites[name].newest_at
            assert age <= STALE_AFTER, f"{name} has a vote with what was so {age} seconds ago"
        events, self.counted = self.alerts.events[self.counted :], len(self.alerts.events)
        for event in events:
            assert isinstance(event, Trigger | Resolve)
            if event.dedup_key not in KEYS:
                continue
            assert self.fresh, "no site is fresh, and an event is sent"
            if isinstance(event, Trigger):
                self.open[event.dedup_key] = event.type
                for way in TYPE_DIRECTIONS[event.type]:
                    assert self.has_quorum(event.dedup_key, way), f"{event.type}: too few fresh sites hold {way}"
            else:
                del self.open[event.dedup_key]
                assert self.is_proven(event.dedup_key)
        for key in KEYS:
            said = self.fresh_statuses(key)
            told = TYPE_DIRECTIONS.get(self.open[key], ()) if key in self.open else ()
            for way in (Direction.OUTBOUND, Direction.INBOUND):
                assert not self.has_quorum(key, way) or way in told, f"{key}: {way} is lost"
            is_over = said and all(is_up(each) for each in said) and self.is_proven(key)
            assert not is_over or key not in self.open, f"{key} is kept for ever"

    def has_quorum(self, key: str, way: Direction) -> bool:
        said = self.fresh_statuses(key)
        holders = sum(is_in_trouble(each, way) and observes(each, way) for each in said)
        return bool(said) and holders >= needed(said, self.QUORUM, way, self.silent(key))

    def is_proven(self, key: str) -> bool:
        said = self.fresh_statuses(key)
        seeing, proven = sum(map(observes, said)), sum(is_up(each) and observes(each) for each in said)
        return seeing - proven < needed(said, self.QUORUM, None, self.silent(key)) <= proven

    # -- what happens ----------------------------------------------------------------------------------------------

    @rule(site=st.sampled_from(OTHERS), key=st.sampled_from(KEYS), status=st.sampled_from(STATUSES))
    def say(self, site: str, key: str, status: SiteStatus) -> None:
        self.sites[site].say(key, status)

    @rule(site=st.sampled_from(OTHERS), key=st.sampled_from(KEYS))
    def repeat(self, site: str, key: str) -> None:
        if key in self.sites[site].says:
            self.sites[site].say(key, self.sites[site].says[key])

    @rule(key=st.sampled_from(KEYS), status=st.sampled_from(STATUSES))
    def set_own(self, key: str, status: SiteStatus) -> None:
        self.here[key] = status
        self.reporter.record_status(OWN_SITE, key, status)

    @rule(key=st.sampled_from(KEYS), status=st.sampled_from(STATUSES))
    def set_everywhere(self, key: str, status: SiteStatus) -> None:
        for site in self.sites.values():
            site.say(key, status)
        self.set_own(key, status)

    @rule(site=st.sampled_from(OTHERS), pace=st.sampled_from([0, 0, 3, None]))
    def set_pace(self, site: str, pace: int | None) -> None:
        self.sites[site].pace = pace

    @rule()
    def restore_links(self) -> None:
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
        for key, status in self.here.items():
            self.reporter.record_status(OWN_SITE, key, status)

    @rule(seconds=st.sampled_from([1, 1, 5, 40]))
    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.advance()

    @rule(
        status=st.sampled_from([up_status(), trouble_status(BOTH), trouble_status(SENDING)]), key=st.sampled_from(KEYS)
    )
    def connect_all(self, key: str, status: SiteStatus) -> None:
        """Check that a status on which all sites agree is reported soon, whatever happened before."""
        self.restore_links()
        self.set_everywhere(key, status)
        self.wait(STALE_AFTER + 20)
        unknown = {name for name, site in self.sites.items() if site.set_back < -STALE_AFTER}
        assert self.fresh | unknown == {OWN_SITE, *OTHERS}
        if status.trouble is None:
            assert key not in self.open
        else:
            assert set(TYPE_DIRECTIONS[self.open[key]]) >= set(TYPE_DIRECTIONS[status.trouble.type])


def test_joint_status_needs_several_voting_sites() -> None:
    clock = Clock()
    reporter = IncidentReporter(
        policies=IncidentPolicies(agencies={}, monitoring_fault=lambda _: SNAPSHOT),
        alerting=Alerts(),
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=OWN_SITE,
        open_incidents={},
        quorum=TWO,
    )

    def together() -> IncidentType | None:
        status = reporter.joint_status("JCM")
        return status.trouble.type if status and status.trouble else None

    reporter.record_status(OWN_SITE, "JCM", trouble_status(BOTH))
    assert reporter.joint_status("JCM") is None
    reporter.record_status(JOHOR, "JCM", up_status())
    assert (reporter.joint_status("JCM") is None, together()) == (False, None)
    reporter.record_status(KUCHING, "JCM", trouble_status(BOTH))
    assert together() == IncidentType.BOTH
    reporter.set_voting_sites({OWN_SITE, JOHOR})
    assert together() is None
    # A time without a zone: the row in the site's store was written by hand.
    local = datetime(2026, 11, 24, 14, 15)  # noqa: DTZ001
    reporter.record_status(JOHOR, "JCM", replace(trouble_status(BOTH), trouble=ActiveProblem(type=BOTH, since=local)))
    assert reporter.joint_status("JCM") is None


async def test_less_severe_type_must_last_while_observed() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = IncidentReporter(
        policies=IncidentPolicies(agencies={"JCM": SNAPSHOT}, monitoring_fault=lambda _: SNAPSHOT),
        alerting=alerts,
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=OWN_SITE,
        open_incidents={"JCM": BOTH},
    )

    async def stands(minutes: int, *fresh: str) -> list[str]:
        reporter.set_voting_sites({*fresh})
        await reporter.report()
        clock.time += minutes * MINUTE
        await reporter.report()
        return alerts.sent()

    reporter.record_status(OWN_SITE, "JCM", trouble_status(SENDING))
    assert await stands(9, OWN_SITE) == []
    assert await stands(9) == []
    assert await stands(9, OWN_SITE) == []
    assert await stands(1, OWN_SITE) == ["JCM: sending"]


def make_reporter(
    alerts: Alerts,
    clock: Clock,
    told: Mapping[str, IncidentType] | None = None,
    **more: Any,
) -> IncidentReporter:
    return IncidentReporter(
        policies=IncidentPolicies(agencies={"JCM": SNAPSHOT}, monitoring_fault=lambda _: SNAPSHOT),
        alerting=alerts,
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=OWN_SITE,
        open_incidents=told or {},
        **more,
    )


def test_joint_status_without_quorum_needs_one_site() -> None:
    reporter = make_reporter(Alerts(), Clock())
    for site, status in ((OWN_SITE, up_status()), (JOHOR, trouble_status(BOTH))):
        reporter.record_status(site, "JCM", status)
    together = reporter.joint_status("JCM")
    assert together is not None
    assert together.trouble is not None


async def test_less_severe_type_clock_set_back_waits_no_longer() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = make_reporter(alerts, clock, {"JCM": BOTH})
    reporter.record_status(OWN_SITE, "JCM", trouble_status(SENDING))
    await reporter.report()
    clock.time -= 300 * MINUTE
    await reporter.report()
    clock.time += 9 * MINUTE
    await reporter.report()
    assert alerts.sent() == []
    clock.time += MINUTE
    await reporter.report()
    assert alerts.sent() == ["JCM: sending"]


async def test_unconfirmed_recovery_clock_set_back_waits_no_longer() -> None:
    clock, alerts, policy = Clock(), Alerts(), FlappingPolicy()
    reporter = make_reporter(alerts, clock)
    for _ in range(policy.threshold):
        for status in (trouble_status(BOTH), up_status()):
            clock.time += MINUTE
            for site in (OWN_SITE, JOHOR):
                reporter.record_status(site, "JCM", status)
            await reporter.report()
    assert alerts.sent()[-1] == "JCM: both", "the last recovery is not confirmed"
    clock.time -= 300 * MINUTE
    await reporter.report()
    clock.time += policy.window
    await reporter.report()
    assert (alerts.sent()[-1], reporter._unconfirmed_recoveries) == ("JCM: over", {})


def test_remove_status_last_one_leaves_nothing() -> None:
    reporter = make_reporter(Alerts(), Clock())
    for number in range(3):
        reporter.record_status(JOHOR, f"X{number}", up_status())
        reporter.remove_status(JOHOR, f"X{number}")
    assert not reporter._statuses


async def test_remove_agencies_unconfirmed_recovery_leaves_nothing() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = make_reporter(alerts, clock)
    reporter.record_status(JOHOR, "JCM", up_status())
    for _ in range(FlappingPolicy().threshold):
        for status in (trouble_status(BOTH), up_status()):
            clock.time += MINUTE
            reporter.record_status(OWN_SITE, "JCM", status)
            await reporter.report()
    assert (
        [*reporter._unconfirmed_recoveries]
        == [*reporter._flapping]
        == [*reporter.reported_types]
        == [*reporter._disagreements]
        == ["JCM"]
    )
    assert [each.flapping for each in alerts.events if isinstance(each, Trigger)] == [False, False, True]
    reporter.remove_agencies({"JCM"})
    await reporter.report()
    assert [
        *reporter._unconfirmed_recoveries,
        *reporter._flapping,
        *reporter.reported_types,
        *reporter._disagreements,
    ] == []
    assert not reporter._pending_keys


async def test_take_over_open_incident_without_new_status_is_resolved() -> None:
    alerts = Alerts()
    reporter = make_reporter(alerts, Clock())
    for key in ("MDC", "ours/network"):
        reporter.record_status(OWN_SITE, key, up_status())
    await reporter.report()
    reporter.add_agencies({"MDC"}, {"MDC": BOTH})
    reporter.record_status(OWN_SITE, "MDC", up_status())
    reporter.take_over_faults({"ours/network": IncidentType.MONITORING_FAULT})
    await reporter.report()
    assert alerts.sent() == ["MDC: over", "ours/network: over"]


async def test_report_continuing_outage_is_sent_once() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = make_reporter(alerts, clock)
    for minute in range(30):
        reporter.record_status(
            OWN_SITE, "JCM", replace(trouble_status(SENDING), failing_routes=frozenset({f"{minute}"}))
        )
        await reporter.report()
        clock.time += MINUTE
    assert alerts.sent() == ["JCM: sending"]


@pytest.mark.parametrize("trouble", [{"failing_keys": {"JCM"}}, {"store_unavailable": True}])
async def test_report_failed_event_is_retried_without_new_status(trouble: dict[str, Any]) -> None:
    alerts = Alerts()
    reporter = make_reporter(alerts, Clock())
    for name, value in trouble.items():
        setattr(alerts, name, value)
    reporter.record_status(OWN_SITE, "JCM", trouble_status(BOTH))
    assert not await reporter.report()
    assert alerts.sent() == []
    alerts.failing_keys, alerts.store_unavailable = set(), False
    assert await reporter.report()
    assert alerts.sent() == ["JCM: both"]
    assert await reporter.report()
    assert alerts.attempts == 2


async def test_add_agencies_before_own_status_sends_nothing() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = make_reporter(alerts, clock)
    reporter.set_policies(
        IncidentPolicies(agencies=dict.fromkeys(("JCM", "JKT"), SNAPSHOT), monitoring_fault=lambda _: SNAPSHOT)
    )
    # Another process of this site owned the agency until now.
    for site, status in ((OWN_SITE, trouble_status(BOTH)), (JOHOR, trouble_status(BOTH)), (KUCHING, up_status())):
        reporter.record_status(site, "JKT", status)
    reporter.record_status(OWN_SITE, "JCM", trouble_status(BOTH))
    alerts.failing_keys = {"JCM"}
    await reporter.report()
    alerts.failing_keys = set()
    reporter.add_agencies({"JKT"}, {"MDC": BOTH, "ours/credentials/JKT/utama": IncidentType.MONITORING_FAULT})
    await reporter.report()
    assert alerts.sent() == ["JCM: both"], "the earlier event is sent"
    assert reporter._disagreements == {"JKT": True}
    assert {*reporter.reported_types} == {"JCM", "ours/credentials/JKT/utama"}
    assert reporter.site_statuses("JKT") == {JOHOR: trouble_status(BOTH), KUCHING: up_status()}


async def test_report_monitoring_fault_without_vote_is_sent() -> None:
    alerts = Alerts()
    reporter = make_reporter(alerts, Clock())
    reporter.set_policies(
        IncidentPolicies(agencies={}, monitoring_fault=lambda suspect: replace(SNAPSHOT, agency=f"{suspect}"))
    )
    reporter.set_voting_sites({JOHOR})
    for key in ("JCM", "ours/reference/a"):
        reporter.record_status(OWN_SITE, key, trouble_status(IncidentType.MONITORING_FAULT))
    await reporter.report()
    assert alerts.sent() == ["ours/reference/a: monitoring_fault"]
    assert [each.policy.agency for each in alerts.events if isinstance(each, Trigger)] == ["reference/a"]
    reporter.record_status(OWN_SITE, "ours/reference/b", up_status())
    assert [reporter.has_fault(f"ours/{each}") for each in ("reference/a", "reference/b", "network")] == [
        True,
        False,
        False,
    ]


class ManuallyClosedAlerts(Alerts):
    """Alerting side that answers with a manually closed incident, unless `is_open`."""

    is_open = False

    async def submit(self, event: Event) -> Incident | None:
        await super().submit(event)
        return incident() if self.is_open else apply(incident(), Resolve(dedup_key="JCM", at=T0, ended_at=T0))


async def test_manually_closed_is_known_while_detected_and_owned() -> None:
    clock, alerts = Clock(), ManuallyClosedAlerts()
    reporter = make_reporter(alerts, clock)

    async def stands(status: SiteStatus) -> list[str]:
        clock.time += MINUTE
        reporter.record_status(OWN_SITE, "JCM", status)
        await reporter.report()
        return [*reporter.manually_closed]

    assert [await stands(each) for each in (trouble_status(SENDING), up_status(), trouble_status(SENDING))] == [
        ["JCM"],
        [],
        ["JCM"],
    ]
    alerts.is_open = True
    assert await stands(trouble_status(BOTH)) == []
    alerts.is_open = False
    assert [await stands(each) for each in (up_status(), trouble_status(BOTH))] == [[], ["JCM"]]
    reporter.remove_agencies({"JCM"})
    assert not reporter.manually_closed


@pytest.mark.parametrize(
    ("leave", "key"),
    [("remove_agencies", "JCM"), ("transfer_agencies", "JCM"), ("transfer_agencies", "ours/credentials/JCM/utama")],
)
async def test_agency_removed_during_report_is_not_resolved_by_this_process(leave: str, key: str) -> None:
    alerts = ManuallyClosedAlerts()
    reporter = make_reporter(alerts, Clock())
    reporter.record_status(OWN_SITE, key, trouble_status(BOTH))
    alerts.answering.clear()
    telling = asyncio.create_task(reporter.report())
    while not alerts.attempts:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    getattr(reporter, leave)({"JCM"})
    alerts.answering.set()
    assert await telling
    assert (alerts.sent(), {*reporter.reported_types}, reporter.manually_closed) == ([f"{key}: both"], set(), {})


async def test_open_keys_are_read_each_minute_and_after_clock_set_back() -> None:
    clock, alerts, asked = Clock(), Alerts(), list[datetime]()

    async def open_keys() -> set[str]:
        asked.append(clock.time)
        if len(asked) == 1:
            raise RuntimeError("a bug")
        return set()

    reporter = make_reporter(alerts, clock, open_keys=open_keys)
    reporter.record_status(OWN_SITE, "JCM", trouble_status(BOTH))
    for seconds in (0, 59, 1, 59, 1, 30, -3600):
        clock.time += seconds * SECOND
        await reporter.report()
    first = T0 + MINUTE
    assert asked == [first, first + MINUTE, first + MINUTE + 30 * SECOND - 60 * MINUTE]
    assert alerts.sent() == ["JCM: both"] * 3, "a person closed it each time"


async def test_transfer_agencies_forgets_all_but_statuses() -> None:
    alerts, mailbox = Alerts(), "ours/credentials/JCM/utama"
    reporter = make_reporter(
        alerts, Clock(), dict.fromkeys(("ours/network", f"{mailbox}-2"), IncidentType.MONITORING_FAULT)
    )
    for key, status in (("JCM", trouble_status(BOTH)), (mailbox, trouble_status(IncidentType.MONITORING_FAULT))):
        reporter.record_status(OWN_SITE, key, status)
    await reporter.report()
    reporter.record_status(OWN_SITE, "JCM", trouble_status(RECEIVING))
    reporter.transfer_agencies({"JCM"})
    await reporter.report()
    assert alerts.sent() == ["JCM: both", f"{mailbox}: monitoring_fault"], "the other process resolves it"
    assert ({*reporter.reported_types}, reporter.agencies) == ({"ours/network"}, set())
    assert (reporter.has_fault(mailbox), reporter._statuses["JCM"]) == (False, {OWN_SITE: trouble_status(RECEIVING)})
    assert (
        reporter.take_over_faults(
            {mailbox: IncidentType.MONITORING_FAULT, "ours/network": IncidentType.MONITORING_FAULT}
        )
        == set()
    )


async def test_remove_agencies_keeps_statuses_of_other_sites() -> None:
    reporter = make_reporter(Alerts(), Clock(), {"JCM": BOTH})
    for site, status in ((OWN_SITE, trouble_status(SENDING)), (JOHOR, trouble_status(SENDING)), (KUCHING, UNCLEAR)):
        reporter.record_status(site, "JCM", status)
    await reporter.report()
    assert [*reporter._lesser_types] == ["JCM"]
    reporter.remove_agencies({"JCM"})
    assert not reporter._lesser_types
    reporter.set_voting_sites({OWN_SITE, KUCHING})
    assert reporter.site_statuses("JCM") == {JOHOR: None, KUCHING: UNCLEAR}


async def test_less_severe_type_changed_must_last_anew() -> None:
    clock, alerts = Clock(), Alerts()
    reporter = make_reporter(alerts, clock, {"JCM": BOTH})
    for status, minutes in (
        (trouble_status(SENDING), 9),
        (trouble_status(RECEIVING), 9),
        (trouble_status(BOTH), 9),
        (trouble_status(RECEIVING), 9),
    ):
        reporter.record_status(OWN_SITE, "JCM", status)
        await reporter.report()
        clock.time += minutes * MINUTE
        await reporter.report()
    assert (alerts.sent(), reporter._failed_keys) == ([], set())
    clock.time += MINUTE
    await reporter.report()
    assert alerts.sent() == ["JCM: receiving"]


async def test_remove_status_of_dissenting_site_sends_event() -> None:
    alerts = Alerts()
    reporter = make_reporter(alerts, Clock(), quorum=TWO)
    for site, status in ((OWN_SITE, trouble_status(BOTH)), (JOHOR, up_status())):
        reporter.record_status(site, "JCM", status)
    await reporter.report()
    assert (alerts.sent(), reporter._disagreements) == ([], {"JCM": True})
    reporter.remove_status(JOHOR, "JCM")
    await reporter.report()
    assert (alerts.sent(), reporter._disagreements) == (["JCM: both"], {})


def test_site_statuses_and_failing_routes_count_voting_sites() -> None:
    reporter = make_reporter(Alerts(), Clock())
    for site, route in ((OWN_SITE, "JCM/1"), (JOHOR, "JCM/2")):
        assert reporter.site_statuses("JCM") == {}, "no site, or only one"
        reporter.record_status(site, "JCM", replace(trouble_status(BOTH), failing_routes=frozenset({route})))
    assert reporter.failing_routes("JCM") == {"JCM/1", "JCM/2"}
    reporter.set_voting_sites({JOHOR})
    assert reporter.failing_routes("JCM") == {"JCM/2"}
    assert [site for site, said in reporter.site_statuses("JCM").items() if said is not None] == [JOHOR]
    assert reporter.failing_routes("MDC") == set()


async def test_report_thousands_of_statuses_yields() -> None:
    reporter = make_reporter(Alerts(), Clock())
    for number in range(3 * ATTRIBUTIONS_PER_STEP):
        reporter.record_status(OWN_SITE, f"ours/reference/{number}", up_status())
    telling, turns = asyncio.create_task(reporter.report()), 0
    while not telling.done():
        await asyncio.sleep(0)
        turns += 1
    assert 4 <= turns <= 6


async def test_report_unchanged_statuses_are_not_compared() -> None:
    reporter = make_reporter(Alerts(), Clock())
    for _ in range(2):
        reporter.record_status(OWN_SITE, "JCM", up_status())
        reporter.record_status(OWN_SITE, "JKT", up_status())
        reporter.set_voting_sites({OWN_SITE})
        for key in ("JCM", "MDC"):
            reporter.remove_status(JOHOR, key)
        assert reporter._pending_keys <= {"JCM"}
        await reporter.report()
        assert not reporter._pending_keys
    reporter.record_status(OWN_SITE, "JCM", up_status())
    reporter.set_voting_sites({OWN_SITE})
    assert not reporter._pending_keys


async def test_restore_falls_and_flapping_policy_are_applied() -> None:
    clock, alerts, policy = Clock(), Alerts(), FlappingPolicy(threshold=FlappingPolicy().threshold - 1)
    reporter = make_reporter(alerts, clock, flapping=policy)
    reporter.set_policies(
        IncidentPolicies(agencies=dict.fromkeys(("JCM", "MDC"), SNAPSHOT), monitoring_fault=lambda _: SNAPSHOT)
    )
    reporter.restore_falls({"JCM": [T0 - MINUTE] * (policy.threshold - 1), "MDC": [T0]}, {"MDC"})
    assert [(key, each.is_down, each.is_flapping) for key, each in reporter._flapping.items()] == [
        ("JCM", False, False)
    ]

    async def flaps(agency: str) -> bool:
        for status in (trouble_status(BOTH), up_status()):
            clock.time += MINUTE
            for site in (OWN_SITE, JOHOR):
                reporter.record_status(site, agency, status)
            await reporter.report()
        return [each.flapping for each in alerts.events if isinstance(each, Trigger)][-1]

    for _ in range(2):
        assert await flaps("JCM")
        assert [*reporter._unconfirmed_recoveries] == ["JCM"]
        reporter.record_status(OWN_SITE, "JCM", trouble_status(BOTH))
        await reporter.report()
        assert not reporter._unconfirmed_recoveries, "it has failed again"
    reporter.record_status(OWN_SITE, "JCM", up_status())
    await reporter.report()
    reporter.restore_falls({"JCM": []}, set())
    assert reporter._flapping["JCM"].is_flapping, "the newer state is kept"
    assert alerts.sent() == ["JCM: both"]
    # With one site alone it is for that one to say what it believes.
    reporter.remove_status(JOHOR, "JCM")
    await reporter.report()
    assert alerts.sent() == ["JCM: both", "JCM: over"]
    clock.time += policy.window
    assert not await flaps("JCM")
    reporter.set_flapping_policy(FlappingPolicy(threshold=1))
    reporter.add_agencies({"MDC"}, {})
    assert [await flaps(agency) for agency in ("JCM", "MDC")] == [True, True]


async def test_flapping_seen_by_one_site_is_not_counted_by_reporter() -> None:
    clock, alerts, falls = Clock(), Alerts(), FlappingPolicy().threshold + 1
    reporter = make_reporter(alerts, clock)
    for _ in range(falls):
        for status in (trouble_status(BOTH), up_status()):
            clock.time += MINUTE
            reporter.record_status(OWN_SITE, "JCM", status)
            await reporter.report()
    assert alerts.sent() == ["JCM: both", "JCM: over"] * falls
    assert not any(each.flapping for each in alerts.events if isinstance(each, Trigger))
    assert not reporter._flapping, "With one site alone that site decides whether a recovery is confirmed."


def test_restore_falls_flapping_incident_stays_flapping() -> None:
    reporter = make_reporter(Alerts(), Clock(), {"JCM": BOTH})
    reporter.restore_falls({"JCM": [T0]}, {"JCM"})
    flapping = reporter._flapping["JCM"]
    assert (flapping.is_down, flapping.is_flapping) == (True, True)


async def test_quorum_metrics_are_shown_while_agency_is_owned() -> None:
    reporter = make_reporter(Alerts(), Clock(), other_sites={*OTHERS})
    reporter._metrics.register_agency("JCM", routes=["JCM/1"])

    async def shown(johor: SiteStatus, here: SiteStatus) -> list[float | None]:
        reporter.record_status(JOHOR, "JCM", johor)
        reporter.record_status(OWN_SITE, "JCM", here)
        await reporter.report()
        return values()

    def values() -> list[float | None]:
        scrape = Scrape(reporter._metrics)
        ways = [scrape.value("quorum_outage", agency="JCM", direction=way) for way in ("outbound", "inbound")]
        return [scrape.value("quorum_disagreement", agency="JCM"), *ways]

    assert values() == [None] * 3
    assert await shown(up_status(), UNCLEAR) == [0, 0, 0]
    assert await shown(up_status(), trouble_status(SLOW)) == [1, None, None], (
        "nothing is counted twice when another site observes it"
    )
    assert await shown(up_status(), trouble_status(SENDING)) == [1, 1, 0]
    reporter.remove_agencies({"JCM"})
    assert values() == [None] * 3


async def test_report_flapping_at_any_site_is_sent_as_flapping() -> None:
    alerts = Alerts()
    reporter = make_reporter(alerts, Clock())
    for site in (OWN_SITE, JOHOR):
        reporter.record_status(site, "JCM", trouble_status(BOTH, flapping=True, latest=T0 + SECOND))
    await reporter.report()
    (told,) = (each for each in alerts.events if isinstance(each, Trigger))
    assert (told.flapping, told.began_at, told.latest_part_began_at) == (True, T0, T0 + SECOND)


@given(steps=st.lists(st.sets(st.sampled_from([OWN_SITE, *OTHERS])), max_size=60))
def test_flapping_seen_by_changing_sites_opens_no_more_than_threshold(
    steps: list[set[str]],
) -> None:
    """Every five minutes other sites report an outage; no single site sees flapping."""
    clock, alerts, policy, opened = Clock(), Alerts(), FlappingPolicy(), list[datetime]()
    reporter = IncidentReporter(
        policies=IncidentPolicies(agencies={"JCM": SNAPSHOT}, monitoring_fault=lambda _: SNAPSHOT),
        alerting=alerts,
        metrics=Metrics(version="0", now=clock.now),
        clock=clock,
        site=OWN_SITE,
        open_incidents={},
        quorum=TWO,
        flapping=policy,
    )

    async def live() -> None:
        for down in steps:
            for site in (OWN_SITE, *OTHERS):
                reporter.record_status(site, "JCM", trouble_status(BOTH) if site in down else up_status())
            before = alerts.sent()
            await reporter.report()
            if alerts.sent()[len(before) :] == ["JCM: both"] and (not before or before[-1] == "JCM: over"):
                opened.append(clock.time)
            clock.time += 5 * MINUTE
        for site in (OWN_SITE, *OTHERS):
            reporter.record_status(site, "JCM", up_status())
        await reporter.report()
        clock.time += policy.window
        await reporter.report()

    asyncio.run(live())
    for at in opened:
        assert sum(at <= other < at + policy.window for other in opened) <= policy.threshold
    assert alerts.sent()[-1:] in ([], ["JCM: over"])


TestReporterMachine = ReporterMachine.TestCase
TestReporterMachine.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
