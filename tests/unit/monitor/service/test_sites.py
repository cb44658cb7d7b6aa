"""Statuses of other sites: a fresh one counts; a stale site is reported to the NOC and has no vote."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from alerts.model.event import Event, Resolve, Trigger
from alerts.model.incident import Incident, open_incident
from alerts.model.notification import IncidentType
from alerts.persistence.store import StoreUnavailable
from monitor.bridge.incident_reporter import IncidentPolicies, IncidentReporter, outages_of
from monitor.config.model.settings import Settings
from monitor.evaluation.flapping import FlappingPolicy
from monitor.evaluation.joint.freshness import SiteClock, SiteHeartbeat
from monitor.evaluation.joint.quorum import Quorum
from monitor.evaluation.joint.replication import Replication, ReplicationState
from monitor.evaluation.joint.site_status import SiteStatus
from monitor.evaluation.monitoring_faults import ActiveProblem
from monitor.metrics import Metrics
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.service.probing_runtime import _resolve_removed_sites
from monitor.service.sites import hub
from monitor.service.sites.heartbeat import SiteHeartbeatWriter
from monitor.service.sites.hub import Hub
from monitor.service.sites.replication_monitor import ReplicationMonitor
from monitor.service.sites.site_runs import SiteRunReporter
from monitor.service.sites.status_recorder import SiteStatusRecorder
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.site_runs import MAX_BATCH_ROWS, SiteRunWriter
from monitor.store.probing.statuses import ChangeCursor, SiteStatuses
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from monitor.views.site_report import SiteReport, SiteVerdict, format_report, parse_reports
from tests.timeouts import HANG_TIMEOUT
from tests.unit.alerts.people import MINUTE, SNAPSHOT, trigger
from tests.unit.monitor.bridge.test_pipeline import Alerts, Clock
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.world import SECOND, T0

WELL = SiteStatus(up_since=T0, directions={Direction.OUTBOUND: Health.UP, Direction.INBOUND: Health.UP})
DOWN = SiteStatus(
    trouble=ActiveProblem(type=IncidentType.BOTH, since=T0),
    directions={Direction.OUTBOUND: Health.DOWN, Direction.INBOUND: Health.DOWN},
)
TWO = Quorum(minimum=2)
BLIND = SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=T0 + 40 * SECOND))


@dataclass
class Rows:
    """The rows of the sites in the database."""

    said: dict[str, dict[str, SiteStatus]] = field(default_factory=dict)
    beaten: dict[str, SiteHeartbeat] = field(default_factory=dict)
    news: dict[str, dict[str, SiteStatus]] = field(default_factory=dict)
    is_away: bool = False
    is_broken: bool = False
    #: The cursors of `changed`; `None` reads everything.
    marks: list[ChangeCursor | None] = field(default_factory=list)

    def say(self, site: str, **levels: SiteStatus) -> None:
        named = {key.replace("_", "/"): level for key, level in levels.items()}
        self.said.setdefault(site, {}).update(named)
        self.news.setdefault(site, {}).update(named)

    async def heartbeats(self) -> Mapping[str, SiteHeartbeat]:
        if self.is_away:
            raise StoreUnavailable("it does not answer in time")
        return dict(self.beaten)

    async def subjects_by_site(self) -> Mapping[str, set[str]]:
        return {site: {*levels} for site, levels in self.said.items()}

    async def changed(self, mark: ChangeCursor | None) -> tuple[Mapping[str, Mapping[str, SiteStatus]], ChangeCursor]:
        if self.is_broken:
            raise ValueError("year is out of range")
        self.marks.append(mark)
        news, self.news = self.news, {}
        return (self.said if mark is None else news), ChangeCursor(1)


class HubFixture:
    """A hub "utama" that probes, with two other sites."""

    def __init__(self, told: Mapping[str, IncidentType] | None = None, *, quorum: Quorum = TWO) -> None:
        self.clock, self.alerts, self.rows = Clock(), Alerts(), Rows()
        self.monotonic = timedelta(hours=5)
        #: Seconds by which the wall clock of a site is ahead.
        self.ahead: dict[str, int] = {}
        self.metrics = Metrics(version="0", now=self.clock.now)
        self.reporter = IncidentReporter(
            policies=IncidentPolicies(
                agencies={"JCM": SNAPSHOT, "JKT": SNAPSHOT},
                monitoring_fault=lambda suspect: replace(SNAPSHOT, subject=str(suspect)),
            ),
            alerting=self.alerts,
            metrics=self.metrics,
            clock=self.clock,
            open_incidents=told or {},
            quorum=quorum,
            other_sites={"johor", "kuching"},
            site="utama",
        )
        for agency in ("JCM", "JKT"):
            self.metrics.register_agency(agency, routes=())
        #: Own statuses that are not published yet.
        self.here: dict[str, SiteStatus] = {}
        self.hub = Hub(
            cast(SiteStatuses, self.rows),
            self.clock,
            site="utama",
            sites={"johor", "kuching"},
            stale_after=30 * SECOND,
            quorum=quorum,
            reporter=lambda: self.reporter,
            metrics=self.metrics,
            publish_own=self.publish_own,
            monotonic=lambda: self.monotonic,
        )

    async def publish_own(self) -> None:
        for key, level in self.here.items():
            self.reporter.record_status("utama", key, level)

    def say(self, site: str, **levels: SiteStatus) -> None:
        if site == "utama":
            for key, level in levels.items():
                self.reporter.record_status(site, key, level)
        else:
            self.rows.say(site, **levels)

    async def advance(self, seconds: int, *silent: str, every: int = 1) -> list[str]:
        """Advance the clocks, with heartbeats of all sites but the *silent* ones; return the reported events."""
        before = len(self.alerts.events)
        for _ in range(0, seconds, every):
            self.clock.time += every * SECOND
            self.monotonic += every * SECOND
            for site in {"johor", "kuching"} - {*silent}:
                self.rows.beaten[site] = SiteHeartbeat(
                    at=self.clock.time + self.ahead.get(site, 0) * SECOND, monotonic=self.monotonic, incarnation=site
                )
            try:
                await self.hub.poll()
            finally:
                # `run` does the same.
                if self.reporter._wake_event.is_set():
                    self.reporter._wake_event.clear()
                    await self.reporter.report()
        heard = self.alerts.events[before:]
        return [
            f"{e.dedup_key}: {e.type if isinstance(e, Trigger) else 'over'}"
            for e in heard
            if isinstance(e, Trigger | Resolve)
        ]

    def shown(self, name: str, site: str) -> float | None:
        return Scrape(self.metrics).value(name, site=site)


async def running_hub(*, quorum: Quorum = TWO, told: Mapping[str, IncidentType] | None = None) -> HubFixture:
    fixture = HubFixture(told, quorum=quorum)
    for site in ("utama", "johor", "kuching"):
        fixture.say(site, JCM=WELL, JKT=WELL)
    assert await fixture.advance(60) == []
    return fixture


async def test_hub_one_site_opens_no_incident_and_two_do() -> None:
    fixture = await running_hub()
    fixture.say("johor", JCM=DOWN)
    assert await fixture.advance(5) == []
    fixture.say("kuching", JCM=DOWN)
    assert await fixture.advance(1) == ["JCM: both"]

    # One remaining site is not enough: the others prove that mail is up.
    fixture.say("kuching", JCM=WELL)
    assert await fixture.advance(1) == ["JCM: over"]


@pytest.mark.parametrize("ahead", [180, -180])
async def test_hub_site_with_wrong_clock_opens_incident_with_correct_times(ahead: int) -> None:
    def down(*troubled: str) -> SiteStatus:
        return replace(
            DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=began), failing_routes=frozenset(troubled)
        )

    fixture = await running_hub()
    fixture.ahead["johor"] = ahead
    await fixture.advance(60)
    true = fixture.clock.time
    began = true + ahead * SECOND
    fixture.say("johor", JCM=down())
    await fixture.advance(1)
    fixture.say("utama", JCM=replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=true - SECOND)))
    await fixture.advance(1)
    told = fixture.alerts.events[-1]
    assert isinstance(told, Trigger)
    # The hub polls each second, so a heartbeat may be one second old.
    assert abs(told.began_at - true) <= 2 * SECOND

    # The clock is set, and the site repeats the old start time.
    fixture.ahead["johor"] = 0
    await fixture.advance(30)
    fixture.say("johor", JCM=down("JCM/internal"))
    await fixture.advance(90)
    (site,) = [each for name, each in fixture.reporter.site_statuses("JCM").items() if name == "johor"]
    assert site is not None
    assert site.trouble is not None
    assert abs(site.trouble.since - true) <= 2 * SECOND


def site_with_offset(offset: int | None, *, corrected_times: Mapping[datetime, datetime] | None = None) -> hub._Site:
    """Return a site whose clock is *offset* seconds behind; *corrected_times*: earlier corrections of JCM."""
    site = hub._Site(clock=SiteClock())
    site.clock.offset = None if offset is None else offset * SECOND
    site.corrected_times |= {} if corrected_times is None else {"JCM": corrected_times}
    return site


@pytest.mark.parametrize(
    ("offset", "at", "ours"),
    [
        # The clock is unknown.
        (None, -600, -600),
        (None, 1, 0),
        # The tolerated difference.
        (0, -600, -600),
        (5, -600, -600),
        (-5, -600, -600),
        (6, -600, -594),
        (-6, -600, -606),
        (180, -600, -420),
        (-180, -600, -780),
        # No start time is in the future.
        (180, -60, 0),
        (0, 60, 0),
        (-180, 60, -120),
    ],
)
def test_correct_clock_shifts_each_time_and_none_into_future(offset: int | None, at: int, ours: int) -> None:
    by_its_clock, right = T0 + at * SECOND, T0 + ours * SECOND
    trouble = ActiveProblem(type=IncidentType.BOTH, since=by_its_clock, latest=by_its_clock, flapping=True)
    down = replace(DOWN, trouble=trouble, failing_routes=frozenset({"JCM/internal"}))
    site = site_with_offset(offset)
    assert site.correct_clock("JCM", down, T0) == replace(down, trouble=replace(trouble, since=right, latest=right))
    without = replace(down, trouble=replace(trouble, latest=None))
    assert site.correct_clock("MDC", without, T0).trouble == replace(trouble, since=right, latest=None)
    well = replace(WELL, up_since=by_its_clock)
    assert site.correct_clock("UCM", well, T0) == replace(well, up_since=right)
    assert site.correct_clock("UCM", SiteStatus(), T0) == SiteStatus()


def test_correct_clock_keeps_corrected_time_when_clock_is_set() -> None:
    began, fell = T0 - 600 * SECOND, T0 - 60 * SECOND
    down = replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=began, latest=fell))
    site = site_with_offset(180)
    first = site.correct_clock("JCM", down, T0)
    site.clock.offset = timedelta(0)
    assert site.correct_clock("JCM", down, T0 + MINUTE) == first
    # Another time is corrected by the current offset, and corrections of a resolved problem are deleted.
    again = replace(down, trouble=ActiveProblem(type=IncidentType.BOTH, since=began, latest=T0))
    trouble = site.correct_clock("JCM", again, T0 + MINUTE).trouble
    assert trouble == replace(
        again.trouble or ActiveProblem(type=IncidentType.BOTH, since=T0), since=began + 180 * SECOND
    )
    site.correct_clock("JCM", WELL, T0 + MINUTE)
    assert site.correct_clock("JCM", down, T0 + MINUTE).trouble == down.trouble


def test_correct_clock_with_unknown_offset_keeps_nothing() -> None:
    down = replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=T0 - 600 * SECOND))
    site = site_with_offset(None)
    site.correct_clock("JCM", down, T0)
    site.clock.offset = 180 * SECOND
    trouble = site.correct_clock("JCM", down, T0).trouble
    assert trouble is not None
    assert trouble.since == T0 - 420 * SECOND


def test_correct_clock_separates_subjects() -> None:
    moment = T0 - 600 * SECOND
    down = replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=moment))
    site = site_with_offset(0, corrected_times={moment: T0 - 420 * SECOND})
    assert site.correct_clock("MDC", down, T0).trouble == down.trouble
    found = site.correct_clock("JCM", down, T0).trouble
    assert found is not None
    assert found.since == T0 - 420 * SECOND


async def test_hub_status_received_before_clock_offset_known_has_correct_times() -> None:
    fixture = HubFixture()
    fixture.say("utama", JCM=WELL, JKT=WELL)
    began = fixture.clock.time - 600 * SECOND
    for site, ahead in (("johor", 180), ("kuching", -180)):
        fixture.ahead[site] = ahead
        trouble = ActiveProblem(type=IncidentType.BOTH, since=began + ahead * SECOND)
        fixture.say(site, JCM=replace(DOWN, trouble=trouble))

    assert await fixture.advance(30) == ["JCM: both"], "it was said before the start, and not again"
    (told,) = (event for event in fixture.alerts.events if isinstance(event, Trigger))
    assert told.began_at == began


async def test_hub_unknown_clock_offset_opens_no_incident_in_future() -> None:
    fixture = HubFixture()
    fixture.ahead["johor"] = fixture.ahead["kuching"] = 180
    fixture.say("utama", JCM=WELL)
    for site in ("johor", "kuching"):
        fixture.say(
            site,
            JCM=replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=fixture.clock.time + 180 * SECOND)),
        )
    assert await fixture.advance(60) == ["JCM: both"]
    (told,) = fixture.alerts.events
    assert isinstance(told, Trigger)
    assert told.began_at <= told.at


async def test_hub_stale_site_has_no_vote_and_old_status_opens_nothing() -> None:
    fixture = await running_hub()
    assert await fixture.advance(31, "johor") == ["ours/site/johor: monitoring_fault"]
    assert fixture.shown("site_fresh", "johor") == 0
    fixture.say("kuching", JCM=DOWN)
    # Both remaining sites must report it.
    assert await fixture.advance(5, "johor") == []

    # Johor also saw the outage and its end, in this order, before its heartbeat.
    fixture.say("johor", JCM=DOWN)
    fixture.say("johor", JCM=WELL)
    assert await fixture.advance(15) == ["ours/site/johor: over"]
    assert fixture.shown("site_fresh", "johor") == 1


async def test_hub_after_start_opens_nothing_before_other_sites_report() -> None:
    fixture = HubFixture()
    fixture.say("utama", JCM=DOWN)
    fixture.say("johor", JCM=WELL)
    fixture.say("kuching", JCM=WELL)
    assert "JCM: both" not in await fixture.advance(60)


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(minutes=1)])
async def test_hub_clock_set_after_start_opens_nothing_before_other_sites_report(step: timedelta) -> None:
    fixture = HubFixture()
    fixture.say("utama", JCM=DOWN)
    fixture.say("johor", JCM=WELL)
    fixture.say("kuching", JCM=WELL)
    fixture.clock.time += step
    assert await fixture.advance(60) == []


@pytest.mark.parametrize(("quorum", "told"), [(TWO, []), (Quorum(share=50), ["JCM: both"])])
async def test_hub_without_any_site_heard_decides_only_if_quorum_allows(quorum: Quorum, told: list[str]) -> None:
    fixture = HubFixture(quorum=quorum)
    fixture.say("utama", JCM=DOWN)
    assert "JCM: both" not in await fixture.advance(40, "johor", "kuching")
    found = await fixture.advance(10, "johor", "kuching")
    assert [each for each in found if "ours" not in each] == told
    assert {"ours/site/johor: monitoring_fault", "ours/site/kuching: monitoring_fault"} <= {*found}
    assert ("ours/quorum: monitoring_fault" in found) == (told == [])


@pytest.mark.blind
async def test_hub_without_links_neither_opens_nor_ends_outage_and_notifies_noc() -> None:
    """Defect: A hub without links opens and ends outages alone.

    Pantau: Stale sites leave the quorum as it is, and the NOC is notified.
    """
    fixture = await running_hub()
    cut = ("johor", "kuching")
    # The other sites were up when they were last heard; the hub loses the agency together with its links.
    fixture.say("utama", JCM=DOWN)
    found = await fixture.advance(60, *cut)
    assert found == [
        "ours/quorum: monitoring_fault",
        "ours/site/johor: monitoring_fault",
        "ours/site/kuching: monitoring_fault",
    ]
    assert fixture.reporter.quorum_missing_since() == fixture.clock.time - 29 * SECOND

    # One site is fresh again: two are enough, and both report the outage.
    fixture.say("johor", JCM=DOWN)
    assert await fixture.advance(15, "kuching") == ["JCM: both", "ours/quorum: over", "ours/site/johor: over"]
    assert fixture.reporter.quorum_missing_since() is None

    # The hub alone does not end an outage either.
    await fixture.advance(31, *cut)
    fixture.say("utama", JCM=WELL)
    assert await fixture.advance(60, *cut) == []
    fixture.say("johor", JCM=WELL)
    assert "JCM: over" in await fixture.advance(15, "kuching")


@pytest.mark.blind
@pytest.mark.parametrize("set_back", [False, True])
async def test_hub_outage_seen_by_lost_sites_is_not_ended_by_sites_always_up(
    set_back: bool,  # noqa: FBT001 - a case
) -> None:
    """Defect: An outage ends when the sites that saw it are lost.

    Pantau: The others end it when one has seen it fail and recover, or after ten minutes.
    """
    fixture = await running_hub(quorum=Quorum())
    began = fixture.clock.time
    down = replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=began))
    fixture.say("johor", JCM=down)
    assert await fixture.advance(1) == ["JCM: both"]
    # The site is lost before the others have probed again. The state of mail is unknown.
    assert await fixture.advance(5 * 60, "johor") == ["ours/site/johor: monitoring_fault"]
    if set_back:
        fixture.clock.time -= 5 * MINUTE
    else:
        # A site that saw the failure and the recovery proves the recovery.
        fixture.say("kuching", JCM=replace(WELL, up_since=began + MINUTE))
        assert await fixture.advance(1, "johor") == ["JCM: over"]
        assert [e.ended_at for e in fixture.alerts.events if isinstance(e, Resolve)] == [began + MINUTE]
        return
    # The other sites report that mail is up for longer than they need to probe every route again.
    assert await fixture.advance(10 * 60 - 20, "johor", every=10) == []
    assert await fixture.advance(30, "johor") == ["JCM: over"]
    (ended_at,) = [e.ended_at for e in fixture.alerts.events if isinstance(e, Resolve)]
    assert ended_at is not None
    assert fixture.clock.time - 30 * SECOND < ended_at <= fixture.clock.time, "nobody has seen when it ended"


@pytest.mark.blind
async def test_hub_outage_after_restart_is_not_ended_by_sites_always_up() -> None:
    """Defect: After a restart of the hub the start of an outage is forgotten.

    Pantau: It is read from the incident.
    """
    incident = open_incident(
        Trigger(dedup_key="JCM", at=T0 + MINUTE, type=IncidentType.BOTH, began_at=T0 + 30 * SECOND, policy=SNAPSHOT),
        incident_id=1,
        number="JCM-01",
    )
    fixture = HubFixture({"JCM": IncidentType.BOTH}, quorum=Quorum())
    fixture.reporter.restore_outages(outages_of([incident]))
    fixture.clock.time = T0 + 2 * MINUTE
    fixture.say("johor", JCM=replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=T0 + 30 * SECOND)))
    for site in ("utama", "kuching"):
        fixture.say(site, JCM=WELL)
    # Johor alone saw the outage, and is lost. Nine minutes after the report, and ten.
    assert await fixture.advance(8 * 60, "johor") == ["ours/site/johor: monitoring_fault"]
    assert await fixture.advance(70, "johor") == ["JCM: over"]


async def test_hub_agency_probed_by_hub_only_opens_incident_while_sites_are_stale() -> None:
    fixture = HubFixture()
    fixture.say("utama", JCM=WELL, JKT=WELL)
    for site in ("johor", "kuching"):
        fixture.say(site, JCM=WELL)
    await fixture.advance(60)
    await fixture.advance(31, "johor", "kuching")
    fixture.say("utama", JKT=DOWN)
    assert await fixture.advance(1, "johor", "kuching") == ["JKT: both"]


async def test_hub_sites_with_same_uplink_have_one_vote() -> None:
    fixture = await running_hub(quorum=Quorum(minimum=2, uplinks={"johor": "tm", "kuching": "tm"}))
    fixture.say("johor", JCM=DOWN)
    fixture.say("kuching", JCM=DOWN)
    assert await fixture.advance(5) == []
    fixture.say("utama", JCM=DOWN)
    assert await fixture.advance(1) == ["JCM: both"]
    # One of the two sites reports the recovery, the other does not yet.
    fixture.say("utama", JCM=WELL)
    fixture.say("kuching", JCM=WELL)
    assert await fixture.advance(5) == []
    fixture.say("johor", JCM=WELL)
    assert await fixture.advance(1) == ["JCM: over"]


async def test_hub_uplink_with_one_stale_site_keeps_its_vote() -> None:
    fixture = await running_hub(quorum=Quorum(minimum=3, uplinks={"johor": "tm", "kuching": "tm"}))
    assert await fixture.advance(31, "kuching") == ["ours/site/kuching: monitoring_fault"]
    for site in ("utama", "johor"):
        fixture.say(site, JCM=DOWN)
    assert await fixture.advance(1, "kuching") == ["JCM: both"]


async def test_hub_site_with_network_fault_notifies_noc_until_it_ends() -> None:
    fixture = await running_hub()
    fixture.say("johor", ours_network=BLIND, ours_credentials_JCM=BLIND)
    assert await fixture.advance(2) == ["ours/site/johor: monitoring_fault"]
    (event,) = fixture.alerts.events
    assert isinstance(event, Trigger)
    assert (event.began_at, event.policy.subject) == (T0 + 40 * SECOND, "site/johor")
    assert fixture.reporter.faulty_sites() == {"johor": T0 + 40 * SECOND}
    fixture.say("johor", ours_network=SiteStatus())
    assert await fixture.advance(1) == ["ours/site/johor: over"]
    assert fixture.reporter.faulty_sites() == {}


async def test_hub_flapping_before_start_delays_end_of_incident() -> None:
    fixture = HubFixture({"JCM": IncidentType.BOTH})
    fixture.reporter.restore_falls({"JCM": [T0 - 3 * SECOND, T0 - 2 * SECOND, T0], "SPR": [T0]}, {"JCM"})
    for site in ("utama", "johor", "kuching"):
        fixture.say(site, JCM=WELL)
    assert await fixture.advance(60) == [], "it has not been quiet for two hours"
    fixture.reporter.set_flapping_policy(FlappingPolicy(window=50 * SECOND))
    fixture.reporter.record_status("utama", "JCM", replace(WELL, up_since=T0 + SECOND))
    assert await fixture.advance(1) == ["JCM: over"]


def set_reference(at: str, status: SiteStatus, fixture: HubFixture) -> None:
    if at == "utama":
        fixture.reporter.record_status(at, "ours/reference/rujukan-a", status)
    else:
        fixture.rows.say(at, **{"ours_reference_rujukan-a@satu": status})


@pytest.mark.parametrize("order", [("johor", "utama", "kuching"), ("utama", "kuching", "johor")])
async def test_hub_reference_down_at_all_sites_is_one_monitoring_fault(
    order: tuple[str, ...],
) -> None:
    fixture = await running_hub()
    told = list[str]()
    for status in (BLIND, SiteStatus(up_since=T0)):
        for site in order:
            set_reference(site, status, fixture)
            told += await fixture.advance(300, every=10)
    assert told == ["ours/reference/rujukan-a: monitoring_fault", "ours/reference/rujukan-a: over"]


async def test_hub_reference_down_at_one_site_for_long_is_fault_of_that_site() -> None:
    fixture = await running_hub()
    set_reference("johor", BLIND, fixture)
    assert await fixture.advance(600, every=10) == []
    assert await fixture.advance(10, every=10) == ["ours/site/johor: monitoring_fault"]
    # The reference fails here, too: a fault of the service. Then it works here only.
    set_reference("utama", BLIND, fixture)
    assert await fixture.advance(2) == ["ours/reference/rujukan-a: monitoring_fault", "ours/site/johor: over"]
    set_reference("utama", SiteStatus(up_since=T0), fixture)
    assert await fixture.advance(600, every=10) == ["ours/reference/rujukan-a: over"]
    assert await fixture.advance(10, every=10) == ["ours/site/johor: monitoring_fault"]


async def test_hub_reference_down_in_other_process_of_hub_is_no_fault_of_site() -> None:
    fixture = await running_hub()
    set_reference("johor", BLIND, fixture)
    fixture.rows.say("utama", **{"ours_reference_rujukan-a@dua": BLIND})
    assert await fixture.advance(700, every=10) == []
    fixture.rows.say("utama", **{"ours_reference_rujukan-a@dua": SiteStatus()})
    assert await fixture.advance(610, every=10) == ["ours/site/johor: monitoring_fault"]
    fixture.rows.say("utama", **{"ours_reference_rujukan-a@dua": BLIND})
    assert await fixture.advance(2) == ["ours/site/johor: over"]
    # The process has stopped, and its status was deleted.
    del fixture.rows.said["utama"]["ours/reference/rujukan-a@dua"]
    assert await fixture.advance(670, every=10) == ["ours/site/johor: monitoring_fault"]


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1)])
async def test_hub_reference_down_at_one_site_is_timed_by_monotonic_clock(
    step: timedelta,
) -> None:
    fixture = await running_hub()
    set_reference("johor", BLIND, fixture)
    assert await fixture.advance(5) == []
    fixture.clock.time += step
    assert await fixture.advance(590) == []
    assert await fixture.advance(10) == ["ours/site/johor: monitoring_fault"]


async def test_hub_stale_site_with_reference_down_stays_faulty_when_fresh() -> None:
    fixture = await running_hub()
    set_reference("johor", BLIND, fixture)
    assert await fixture.advance(31, "johor") == ["ours/site/johor: monitoring_fault"]
    assert await fixture.advance(60) == [], "it is heard, and cannot judge"
    set_reference("johor", SiteStatus(), fixture)
    assert await fixture.advance(1) == ["ours/site/johor: over"]


async def test_hub_network_fault_of_one_process_of_site_is_not_hidden_by_other() -> None:
    fixture = await running_hub()
    for process, status in (("satu", BLIND), ("dua", SiteStatus())):
        fixture.rows.say("johor", **{f"ours_network@{process}": status})
        assert await fixture.advance(1) == (["ours/site/johor: monitoring_fault"] if process == "satu" else [])
    # The process has stopped for good, and others have deleted its status.
    del fixture.rows.said["johor"]["ours/network@satu"]
    assert await fixture.advance(61) == ["ours/site/johor: over"]


async def test_hub_site_statuses_of_agency_are_listed_if_several() -> None:
    fixture = await running_hub()
    fixture.say("johor", JCM=DOWN)
    await fixture.advance(31, "kuching")
    assert dict(fixture.reporter.site_statuses("JCM")) == {"johor": DOWN, "kuching": None, "utama": WELL}
    # The status of a single site is the status of the agency.
    for site in ("johor", "kuching"):
        fixture.reporter.remove_status(site, "JCM")
    assert dict(fixture.reporter.site_statuses("JCM")) == {}


async def test_hub_process_shows_site_statuses_of_agencies_of_other_process() -> None:
    fixture = await running_hub()
    fixture.reporter.transfer_agencies({"JKT"})
    assert fixture.reporter.site_statuses("JKT")["utama"] == WELL, "the other one has not spoken of it yet"
    fixture.rows.say("utama", JKT=DOWN, JCM=DOWN)
    await fixture.advance(1)
    assert dict(fixture.reporter.site_statuses("JKT")) == {"johor": WELL, "kuching": WELL, "utama": DOWN}
    assert fixture.reporter.site_statuses("JCM")["utama"] == WELL, "of what it tells of itself it knows better"
    # This process gets the agency, and has no own status yet.
    fixture.say("johor", JKT=DOWN)
    fixture.reporter.add_agencies({"JKT"}, {})
    assert await fixture.advance(2) == []


async def test_hub_monitoring_fault_metric_names_known_sites_only() -> None:
    fixture = await running_hub()
    # A reference with the name of a site stays a separate time series, and is removed alone.
    fixture.metrics.register_references(["johor"])
    await fixture.advance(31, "johor")

    def shown(cause: str, name: str) -> float | None:
        return Scrape(fixture.metrics).value("monitoring_fault", cause=cause, reference=name)

    fixture.metrics.set_monitoring_faults({*fixture.reporter.reported_faults(), ("site", "sabah")})
    fixture.metrics.register_references([])
    assert [shown("site", "johor"), shown("site", "sabah"), shown("site", "")] == [1, None, 1]
    assert shown("reference", "johor") is None
    fixture.metrics.set_monitoring_faults(())
    assert shown("site", "johor") == 0


async def test_hub_open_site_fault_ends_when_site_is_heard_after_start() -> None:
    fixture = HubFixture({"ours/site/johor": IncidentType.MONITORING_FAULT})
    assert await fixture.advance(20) == ["ours/site/johor: over"]


async def test_quorum_disagreement_is_exported_while_two_sites_have_a_vote() -> None:
    fixture = await running_hub()

    def shown() -> list[float | None]:
        scrape = Scrape(fixture.metrics)
        return [scrape.value("quorum_disagreement", agency=agency) for agency in ("JCM", "JKT")]

    assert shown() == [0, 0]
    fixture.say("johor", JCM=DOWN)
    await fixture.advance(1)
    assert shown() == [1, 0]
    # A stale status is no disagreement, and a single site cannot disagree.
    await fixture.advance(31, "johor")
    assert shown() == [0, 0]
    await fixture.advance(31, "johor", "kuching")
    assert shown() == [None, None]
    assert [*Scrape(fixture.metrics).labels("quorum_outage")] == [], "one alone tells nothing together with others"
    await fixture.advance(20)
    assert shown() == [1, 0]
    fixture.reporter.remove_agencies({"JCM"})
    assert shown() == [None, 0]


async def test_quorum_outage_is_exported_until_resolved() -> None:
    fixture = await running_hub()

    def shown() -> list[float | None]:
        scrape = Scrape(fixture.metrics)
        return [scrape.value("quorum_outage", agency="JCM", direction=each) for each in ("inbound", "outbound")]

    assert shown() == [0, 0]
    fixture.say("johor", JCM=DOWN)
    await fixture.advance(1)
    assert shown() == [0, 0]
    fixture.say("kuching", JCM=DOWN)
    await fixture.advance(1)
    assert shown() == [1, 1]
    # No other site has a vote, and the hub has not seen the outage.
    fixture.reporter.set_voting_sites(frozenset())
    await fixture.reporter.report()
    assert shown() == [1, 1]
    await fixture.advance(1)
    fixture.say("johor", JCM=WELL)
    fixture.say("kuching", JCM=WELL)
    await fixture.advance(1)
    assert shown() == [0, 0]
    fixture.reporter.remove_agencies({"JCM"})
    assert shown() == [None, None]


async def test_hub_status_deleted_by_site_no_longer_counts() -> None:
    fixture = await running_hub()
    fixture.say("johor", JCM=DOWN)
    fixture.say("kuching", JCM=DOWN)
    await fixture.advance(1)
    for site in ("johor", "kuching"):
        del fixture.rows.said[site]["JCM"]
    # Only the hub has a status, which is up.
    assert await fixture.advance(61) == ["JCM: over"]


async def test_hub_limits_subjects_of_site_and_ignores_unknown_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "_MAX_SUBJECTS", 10)
    fixture = await running_hub()
    with capture_logs() as logged:
        for second in range(5):
            fixture.say("johor", **{f"X{second}Y{number}": DOWN for number in range(8)})
            await fixture.advance(1)
        for site in ("johor", "kuching"):
            fixture.say(site, JKT=DOWN)
        assert await fixture.advance(1) == ["JKT: both"]
    assert len(fixture.hub._sites["johor"].statuses) <= 12
    assert len(fixture.reporter._statuses) <= 15
    assert [line["site"] for line in logged if "too many subjects" in line["event"]] == ["johor"]
    assert fixture.hub._sites["kuching"].is_over_limit is False


async def test_hub_reads_all_statuses_at_start_and_after_database_outage_else_changes() -> None:
    fixture = await running_hub()
    await fixture.advance(120)
    assert fixture.rows.marks == [None, *[ChangeCursor(1)] * 179], "also where it is looked what is said no more"

    fixture.rows.is_away = True
    with pytest.raises(StoreUnavailable):
        await fixture.advance(1)
    fixture.rows.is_away = False
    fixture.rows.said["johor"]["JCM"] = fixture.rows.said["kuching"]["JCM"] = DOWN

    assert await fixture.advance(1) == ["JCM: both"], (
        "it came back otherwise than it was, and not by what has changed since"
    )


async def test_hub_short_database_outage_is_raised_and_keeps_votes() -> None:
    fixture = await running_hub()
    fixture.rows.is_away = True
    with pytest.raises(StoreUnavailable):
        await fixture.advance(1)
    fixture.rows.is_away = False
    fixture.say("johor", JCM=DOWN)
    fixture.say("kuching", JCM=DOWN)
    assert await fixture.advance(1) == ["JCM: both"]


@dataclass
class HeartbeatRecorder:
    """A recorder of heartbeats."""

    heard: list[SiteHeartbeat] = field(default_factory=list)

    async def write_heartbeat(self, beaten: SiteHeartbeat) -> None:
        self.heard.append(beaten)


async def no_interruption() -> None:
    """Report no interruption."""


@dataclass
class TwoClocks:
    """A wall clock and a monotonic clock."""

    wall: datetime = T0
    monotonic: timedelta = timedelta(hours=1)

    def now(self) -> datetime:
        return self.wall


async def test_site_heartbeat_has_both_clocks_and_new_incarnation_when_they_diverge() -> None:
    beats, clocks = HeartbeatRecorder(), TwoClocks()
    beating = SiteHeartbeatWriter(
        cast(SiteStatuses, beats),
        clocks,
        has_unwritten=lambda: False,
        check_continuity=no_interruption,
        monotonic=lambda: clocks.monotonic,
    )
    for wall, monotonic in ((1, 1), (1, 1), (181, 1), (1, 1)):
        clocks.wall += wall * SECOND
        clocks.monotonic += monotonic * SECOND
        await beating.write()

    lives = [each.incarnation for each in beats.heard]
    assert lives[0] == lives[1] != lives[2] == lives[3]
    assert (beats.heard[-1].at, beats.heard[-1].monotonic) == (clocks.wall, clocks.monotonic)


async def test_site_heartbeat_after_long_write_gap_has_new_incarnation() -> None:
    """Other processes of the site may still write older statuses, so the hub must wait until all are written."""
    beats, clocks, away = HeartbeatRecorder(), TwoClocks(), [False]
    beating = SiteHeartbeatWriter(
        cast(SiteStatuses, beats),
        clocks,
        has_unwritten=lambda: away[0],
        check_continuity=no_interruption,
        stale_after=30 * SECOND,
        monotonic=lambda: clocks.monotonic,
    )
    for second in range(1, 64):
        clocks.wall += SECOND
        clocks.monotonic += SECOND
        away[0] = second not in (1, 31, 62, 63)
        await beating.write()
    lives = [each.incarnation for each in beats.heard]
    assert lives == [lives[0], lives[0], lives[2], lives[2]]
    assert lives[0] != lives[2]


async def test_site_heartbeat_checks_continuity_first() -> None:
    beats, clocks, order = HeartbeatRecorder(), TwoClocks(), list[int]()

    async def look() -> None:
        order.append(len(beats.heard))

    beating = SiteHeartbeatWriter(
        cast(SiteStatuses, beats),
        clocks,
        has_unwritten=lambda: False,
        check_continuity=look,
        monotonic=lambda: clocks.monotonic,
    )
    await beating.write()
    assert (order, len(beats.heard)) == ([0], 1)


async def test_site_heartbeat_is_written_by_leader_process_only() -> None:
    beats, clocks, turn = HeartbeatRecorder(), TwoClocks(), ["satu"]
    both = [
        SiteHeartbeatWriter(
            cast(SiteStatuses, beats),
            clocks,
            has_unwritten=lambda: False,
            check_continuity=no_interruption,
            is_leader=lambda name=name: turn == [name],  # type: ignore[misc]
            monotonic=lambda: clocks.monotonic,
        )
        for name in ("satu", "dua")
    ]
    for name in ("satu", "satu", "dua"):
        turn[0] = name
        clocks.wall += SECOND
        clocks.monotonic += SECOND
        for each in both:
            await each.write()

    lives = [each.incarnation for each in beats.heard]
    assert lives == [lives[0], lives[0], lives[2]]
    assert lives[0] != lives[2]


async def test_site_heartbeat_is_withheld_while_status_is_unwritten() -> None:
    beats, clocks, owes = HeartbeatRecorder(), TwoClocks(), [True]
    beating = SiteHeartbeatWriter(
        cast(SiteStatuses, beats),
        clocks,
        has_unwritten=lambda: owes[0],
        check_continuity=no_interruption,
        monotonic=lambda: clocks.monotonic,
    )
    await beating.write()
    owes[0] = False
    await beating.write()
    assert len(beats.heard) == 1


#: A month before and after.
EACH_HOUR = tuple(T0.replace(minute=0) + timedelta(hours=hours) for hours in range(-31 * 24, 31 * 24))


@dataclass
class RunWriterStub:
    """A store of runs to publish, which records the published parts."""

    is_joined: bool = True
    is_read: bool = True
    runs: int = 0
    #: The published ranges of runs, and the published hours.
    failed: list[tuple[int, int]] = field(default_factory=list)
    hours: list[datetime] = field(default_factory=list)
    begun: list[datetime] = field(default_factory=list)
    #: Row counts of the next hours; all others have none.
    rows: list[int] = field(default_factory=list)
    #: Hours with any runs.
    counted: Collection[datetime] = EACH_HOUR
    is_elsewhere: bool = False

    async def has_hub(self) -> bool:
        return self.is_joined

    async def is_read_by_hub(self) -> bool:
        return self.is_read

    async def latest_run_id(self) -> int:
        return self.runs

    async def run_id_before(self, since: datetime) -> int:
        self.begun.append(since)
        return 40

    async def publish_failed(self, beyond: int, upto: int, _: datetime) -> int | None:
        self.failed.append((beyond, upto))
        return None if self.is_elsewhere else upto - beyond

    async def first_hour(self, begins: datetime, upto: datetime) -> datetime | None:
        return next((each for each in sorted(self.counted) if begins <= each <= upto), None)

    async def publish_hour(self, begins: datetime, _: datetime) -> int | None:
        self.hours.append(begins)
        if self.is_elsewhere:
            return None
        return self.rows.pop(0) if self.rows else 0


def run_reporter(told: RunWriterStub, clocks: TwoClocks) -> SiteRunReporter:
    return SiteRunReporter(cast(SiteRunWriter, told), clocks, monotonic=lambda: clocks.monotonic, pause=timedelta(0))


async def publish_later(it: SiteRunReporter, clocks: TwoClocks, by: timedelta = 30 * SECOND) -> None:
    clocks.wall += by
    clocks.monotonic += by
    await it.publish()


async def test_site_run_reporter_without_hub_publishes_nothing() -> None:
    told, clocks = RunWriterStub(is_joined=False), TwoClocks()
    it = run_reporter(told, clocks)
    for _ in range(3):
        await publish_later(it, clocks)
    assert (told.failed, told.hours, it.has_hub, it.is_read) == ([], [], False, False)
    told.is_joined = True
    await publish_later(it, clocks)
    assert (it.has_hub, it.is_read) == (True, True)


async def test_site_run_reporter_after_joining_is_never_joined_but_unread() -> None:
    seen: list[tuple[bool, bool]] = []

    class Asked(RunWriterStub):
        async def is_read_by_hub(self) -> bool:
            seen.append((it.has_hub, it.is_read))
            return True

    it = run_reporter(Asked(), TwoClocks())
    await it.publish()
    assert seen == [(False, False)]
    assert (it.has_hub, it.is_read) == (True, True)


async def test_site_run_reporter_disconnected_site_is_unread_and_still_publishes() -> None:
    told, clocks = RunWriterStub(is_read=False), TwoClocks()
    it = run_reporter(told, clocks)
    for _ in range(3):
        await publish_later(it, clocks)
    assert (it.has_hub, it.is_read) == (True, False)
    assert told.hours


async def test_site_run_reporter_starts_with_last_day_and_rereads_recent_runs() -> None:
    told, clocks = RunWriterStub(runs=12_000), TwoClocks()
    it = run_reporter(told, clocks)
    await it.publish()
    assert told.failed == [], "a run with a lower number may still be written"
    told.runs = 12_500
    await publish_later(it, clocks)
    assert told.begun == [clocks.wall - timedelta(days=1)]
    assert told.failed == [(40, 5040), (5040, 10_040), (10_040, 12_500)], "part after part"
    told.failed.clear()
    for _ in range(6):
        await publish_later(it, clocks, 5 * SECOND)
    assert set(told.failed) == {(12_000, 12_500)}, "until those that were there then have been written or never will be"
    told.runs = 12_600
    await publish_later(it, clocks, 5 * SECOND)
    assert (told.failed[-1], len(told.begun)) == ((12_500, 12_600), 1)


async def test_site_run_reporter_publishes_hours_after_they_end_and_rechecks_earlier() -> None:
    told, clocks, hour = RunWriterStub(), TwoClocks(wall=T0.replace(minute=10)), timedelta(hours=1)
    it, ended = run_reporter(told, clocks), T0.replace(minute=0)
    await it.publish()
    await publish_later(it, clocks)
    assert (len(told.hours), told.hours[-1]) == (7 * 24 + 1, ended - 2 * hour)
    told.hours.clear()
    await publish_later(it, clocks, 4 * 60 * SECOND)
    assert told.hours == []
    await publish_later(it, clocks, 60 * SECOND)
    assert (len(told.hours), told.hours[-1]) == (27, ended - hour)


async def test_site_run_reporter_skips_empty_hours() -> None:
    ended = T0.replace(minute=0)
    counted = [ended - timedelta(hours=hours) for hours in (24 * 9, 24 * 6, 50, 3, 0)]
    told, clocks = RunWriterStub(counted=counted), TwoClocks(wall=T0.replace(minute=10))
    it = run_reporter(told, clocks)
    await it.publish()
    await publish_later(it, clocks)
    assert told.hours == counted[1:4]
    told.hours.clear()
    await publish_later(it, clocks, 5 * 60 * SECOND)
    assert told.hours == [counted[3]]


async def test_site_run_reporter_publishes_large_hour_in_batches() -> None:
    told, clocks = RunWriterStub(rows=[MAX_BATCH_ROWS, MAX_BATCH_ROWS, 3]), TwoClocks()
    it = run_reporter(told, clocks)
    await it.publish()
    await publish_later(it, clocks)
    assert told.hours[:4] == [*[told.hours[0]] * 3, told.hours[0] + timedelta(hours=1)]


async def test_site_run_reporter_clock_month_ahead_skips_no_hour() -> None:
    told, clocks = RunWriterStub(), TwoClocks()
    it = run_reporter(told, clocks)
    await it.publish()
    clocks.wall += timedelta(days=30)
    await publish_later(it, clocks)
    clocks.wall -= timedelta(days=30)
    told.hours.clear()
    await publish_later(it, clocks)
    assert told.hours[-1] == T0.replace(minute=0) - timedelta(hours=2)


async def test_site_run_reporter_repeats_what_other_process_held() -> None:
    told, clocks = RunWriterStub(runs=100, is_elsewhere=True), TwoClocks()
    it = run_reporter(told, clocks)
    await it.publish()
    for told.is_elsewhere in (True, False):
        await publish_later(it, clocks)
    assert told.failed == [(40, 100)] * 2
    assert told.hours[0] == told.hours[1]
    await publish_later(it, clocks)
    assert told.failed == [(40, 100)] * 2


async def test_site_status_recorder_writes_changes_of_open_incident_at_limited_rate(
    tmp_path: Path,
) -> None:
    async with Database.open(tmp_path) as database:
        store, clocks, written = SqlStore(database), TwoClocks(), list[tuple[Mapping[str, str], int]]()
        says: dict[str, SiteStatus | None] = {"johor": WELL, "noc": DOWN}

        async def write(detail: Mapping[str, str], incident_id: int) -> None:
            written.append((detail, incident_id))

        async def look(by: timedelta) -> list[str]:
            clocks.wall += by
            await recorder.record()
            found = [detail["sites"] for detail, _ in written]
            written.clear()
            return found

        recorder = SiteStatusRecorder(
            store, clocks, site_statuses=lambda agency: says if agency == "JCM" else {}, write_entry=write
        )
        assert await look(SECOND) == []
        async with store.transaction() as uow:
            await uow.add_incidents([trigger(at=T0)])
            await uow.add_incidents([replace(trigger(at=T0), dedup_key="MDC")])
        both = f"both {T0.isoformat()}"
        assert await look(SECOND) == [f"johor: up; noc: {both}"]
        assert await look(MINUTE) == []
        says["johor"] = None
        assert await look(SECOND) == ["johor: stale"]
        says["johor"] = DOWN
        assert await look(30 * SECOND) == [], "not so soon again"
        assert await look(30 * SECOND) == [f"johor: {both}"]

        # The audit log is kept for ever.
        entries = 0
        for number in range(90):
            says["johor"] = DOWN if number % 2 else None
            entries += len(await look(MINUTE))
        assert entries <= 15, "of one that comes and goes all day it is written ever more seldom"
        says["johor"] = WELL
        assert [await look(MINUTE) for _ in range(64)].count(["johor: up"]) == 1


def test_parse_reports_returns_first_wrong_report_else_last() -> None:
    wrong = SiteReport(site="johor", says=SiteVerdict.WRONG, type=IncidentType.SENDING, since=T0)
    worse = replace(wrong, type=IncidentType.BOTH)
    words = ["up", format_report(wrong), format_report(worse), "stale"]
    entries = [
        f"kuching: {opinion}; johor: {word}" for opinion, word in zip(("up", "stale", "", "x y"), words, strict=True)
    ]
    assert parse_reports([*entries, "nothing at all"]) == {
        "johor": wrong,
        "kuching": SiteReport(site="kuching", says=SiteVerdict.STALE),
    }


async def test_site_run_reporter_after_rejoining_starts_again() -> None:
    told, clocks = RunWriterStub(), TwoClocks()
    it = run_reporter(told, clocks)
    await it.publish()
    await publish_later(it, clocks)
    for told.is_joined in (False, True, True):
        await publish_later(it, clocks)
    assert len(told.begun) == 2


async def test_hub_statuses_of_transferred_agency_are_kept() -> None:
    fixture = await running_hub(quorum=Quorum())
    fixture.reporter.transfer_agencies({"JCM"})
    fixture.say("johor", JCM=DOWN)
    assert await fixture.advance(2) == []

    # The agency returns with the incident that the other process opened; here mail is up.
    fixture.reporter.add_agencies({"JCM"}, {"JCM": IncidentType.BOTH})
    fixture.say("utama", JCM=WELL)
    assert await fixture.advance(5) == []
    fixture.say("johor", JCM=WELL)
    assert await fixture.advance(1) == ["JCM: over"]


async def test_hub_account_fault_of_returned_agency_is_reported_when_found_again() -> None:
    fixture, account = await running_hub(), "ours/credentials/JCM/utama"
    fixture.reporter.record_status("utama", account, BLIND)
    assert await fixture.advance(1) == [f"{account}: monitoring_fault"]
    fixture.reporter.transfer_agencies({"JCM"})
    fixture.reporter.add_agencies({"JCM"}, {})
    # The voters have changed, so all statuses are evaluated.
    assert await fixture.advance(31, "johor") == ["ours/site/johor: monitoring_fault"]
    fixture.reporter.record_status("utama", account, BLIND)
    assert await fixture.advance(1, "johor") == [f"{account}: monitoring_fault"]


async def test_hub_invalid_status_does_not_block_other_agencies() -> None:
    fixture = await running_hub()
    senseless = replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=cast(datetime, None)))
    for site in ("johor", "kuching"):
        fixture.say(site, JCM=senseless, JKT=DOWN)
    assert await fixture.advance(2) == ["JKT: both"]
    for site in ("johor", "kuching"):
        fixture.say(site, JCM=DOWN)
    assert await fixture.advance(1) == ["JCM: both"]


async def test_hub_unsent_event_of_removed_agency_is_dropped_and_blocks_nothing() -> None:
    fixture = await running_hub()
    fixture.alerts.store_unavailable = True
    fixture.alerts.answering.clear()
    for site in ("johor", "kuching"):
        fixture.say(site, JCM=DOWN)
    hearing = asyncio.create_task(fixture.advance(1))
    while not fixture.alerts.attempts:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    fixture.reporter.remove_agencies({"JCM"})
    fixture.reporter.set_policies(IncidentPolicies(agencies={"JKT": SNAPSHOT}, monitoring_fault=lambda _: SNAPSHOT))
    fixture.alerts.answering.set()
    await hearing
    fixture.alerts.store_unavailable = False
    for site in ("johor", "kuching"):
        fixture.say(site, JCM=DOWN, JKT=DOWN)
    await fixture.advance(1)
    assert await fixture.reporter.report()
    assert fixture.alerts.sent() == ["JKT: both"]


async def test_hub_other_sites_decide_nothing_before_own_status() -> None:
    fixture = HubFixture({"JKT": IncidentType.BOTH})
    for site in ("johor", "kuching"):
        fixture.say(site, JCM=DOWN, JKT=WELL)
    assert await fixture.advance(30) == [], "our first run may be minutes away, and two of three are not all"
    fixture.here = {"JCM": WELL, "JKT": WELL}
    assert await fixture.advance(1) == ["JCM: both", "JKT: over"]


async def test_hub_own_status_is_published_before_other_sites_decide() -> None:
    fixture = HubFixture({"JCM": IncidentType.BOTH}, quorum=Quorum())
    fixture.here = {"JCM": DOWN}
    for site in ("johor", "kuching"):
        fixture.say(site, JCM=WELL)
    assert await fixture.advance(60) == []


async def test_hub_unreadable_statuses_leave_no_vote_to_stale_sites() -> None:
    fixture = await running_hub()
    fixture.rows.is_broken = True
    for _ in range(31):
        with pytest.raises(ValueError, match="year"):
            await fixture.advance(1)
    known = ["ours/quorum", "ours/site/johor", "ours/site/kuching"]
    assert fixture.alerts.sent() == [f"{each}: monitoring_fault" for each in known]
    fixture.rows.is_broken = False
    assert await fixture.advance(15) == [f"{each}: over" for each in known]


async def test_hub_failing_routes_include_those_of_each_voting_site() -> None:
    fixture = await running_hub()
    fixture.say("johor", JCM=replace(DOWN, failing_routes=frozenset({"JCM/internal"})))
    fixture.say("kuching", JCM=replace(DOWN, failing_routes=frozenset({"JCM/outbound/rujukan-a"})))
    await fixture.advance(1)
    assert fixture.reporter.failing_routes("JCM") == {"JCM/internal", "JCM/outbound/rujukan-a"}
    await fixture.advance(31, "kuching")
    assert fixture.reporter.failing_routes("JCM") == {"JCM/internal"}
    assert fixture.reporter.failing_routes("JKT") == frozenset()


async def test_hub_while_database_unavailable_previous_votes_do_not_count() -> None:
    fixture = await running_hub()
    fixture.say("johor", JCM=DOWN)
    assert await fixture.advance(1) == []
    fixture.rows.is_away = True
    with pytest.raises(StoreUnavailable):
        await fixture.advance(1)
    # Johor may be stale by now. The hub sees the failure, and the database returns before the sites are polled.
    fixture.reporter.record_status("utama", "JCM", DOWN)
    before = len(fixture.alerts.events)
    await fixture.reporter.report()
    assert fixture.alerts.events[before:] == []
    fixture.rows.is_away = False
    assert await fixture.advance(1) == ["JCM: both"]


async def test_replication_state_is_exported_and_unknown_while_hub_database_unavailable() -> None:
    fine = Replication(
        is_joined=True, is_enabled=True, is_reachable=True, is_retained=True, lag_bytes=512, errors=3, is_complete=True
    )
    lost = replace(fine, is_retained=False, lag_bytes=None, is_complete=None)
    seen: dict[str, Replication | SiteRefusedError] = {"johor": fine, "kuching": lost}

    def look(member: SiteConnection) -> Replication:
        found = seen[member.site]
        if isinstance(found, SiteRefusedError):
            raise found
        return found

    nowhere = PostgresServer(host="127.0.0.1", port=1, database="x", user="x", tls=True)
    metrics = Metrics(version="1", now=lambda: T0)
    members = [SiteConnection(site=each, server=nowhere, hub="noc", store=nowhere) for each in seen]
    replication = ReplicationMonitor(members, metrics, check_link=look)

    def shown(site: str) -> dict[str, float | None]:
        states = {
            each: Scrape(metrics).value("site_replication_state", site=site, state=each) for each in ReplicationState
        }
        return {state: value for state, value in states.items() if value != 0}

    await replication.check()
    assert (shown("johor"), shown("kuching")) == ({"works": 1}, {"slot_lost": 1})
    assert Scrape(metrics).value("site_replication_lag_bytes", site="johor") == 512
    assert Scrape(metrics).value("site_replication_errors_total", site="johor") == 0

    seen |= {"johor": replace(fine, errors=5)}
    await replication.check()
    assert shown("johor") == {"refused": 1}
    assert Scrape(metrics).value("site_replication_errors_total", site="johor") == 2

    seen |= {"johor": SiteRefusedError("the hub's store cannot be reached")}
    await replication.check()
    assert shown("johor") == dict.fromkeys(ReplicationState)


@pytest.mark.parametrize(("notifies", "warnings"), [(True, 2), (False, 0)])
async def test_replication_monitor_logs_other_hub_once_if_hub_notifies(notifies: bool, warnings: int) -> None:  # noqa: FBT001
    nowhere = PostgresServer(host="127.0.0.1", port=1, database="x", user="x", tls=True)
    alone = Replication(
        is_joined=True, is_enabled=True, is_reachable=True, is_retained=True, lag_bytes=0, errors=0, is_complete=True
    )
    beside = replace(alone, other_hubs=("pantau_noc",))
    # The other hub leaves and returns.
    looks = iter([alone, beside, beside, alone, beside])
    members = [SiteConnection(site="johor", server=nowhere, hub="ibu", store=nowhere)]
    replication = ReplicationMonitor(
        members, Metrics(version="1", now=lambda: T0), notifies=notifies, check_link=lambda _: next(looks)
    )
    with capture_logs() as logs:
        for _ in range(5):
            await replication.check()
    assert [(each["site"], each["slots"]) for each in logs] == warnings * [("johor", ("pantau_noc",))]


async def test_hub_long_report_is_not_taken_for_own_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = await running_hub()
    assert await fixture.advance(31, "kuching") == ["ours/site/kuching: monitoring_fault"]
    submit = fixture.alerts.submit

    async def takes_long(event: Event) -> Incident | None:
        fixture.monotonic += 20 * SECOND
        fixture.clock.time += 20 * SECOND
        return await submit(event)

    monkeypatch.setattr(fixture.alerts, "submit", takes_long)
    for agency in ("JCM", "JKT"):
        for site in ("utama", "johor"):
            fixture.say(site, **{agency: DOWN})
        assert await fixture.advance(2, "kuching") == [f"{agency}: both"]


async def test_replication_monitor_unresponsive_sites_do_not_block_thread_pool() -> None:
    nowhere, mended = PostgresServer(host="127.0.0.1", port=1, database="x", user="x", tls=True), threading.Event()

    def look(member: SiteConnection) -> Replication:
        mended.wait(60)
        raise SiteRefusedError(member.site)

    # More than the threads of asyncio on any machine.
    members = [SiteConnection(site=f"s{number}", server=nowhere, hub="noc", store=nowhere) for number in range(40)]
    looking = asyncio.create_task(
        ReplicationMonitor(members, Metrics(version="1", now=lambda: T0), check_link=look).check()
    )
    try:
        async with asyncio.timeout(HANG_TIMEOUT):
            # Let the checks start.
            await asyncio.sleep(0.05)
            assert await asyncio.to_thread(len, "a page")
    finally:
        mended.set()
        await looking


@pytest.mark.parametrize("away", [20, 300])
async def test_hub_after_long_database_outage_waits_for_sites(away: int) -> None:
    """The statuses of sites arrive some seconds after the database is back."""
    fixture = await running_hub()
    fixture.say("utama", JCM=DOWN)
    assert await fixture.advance(5) == []
    fixture.rows.is_away = True
    for _ in range(away):
        with pytest.raises(StoreUnavailable):
            await fixture.advance(1, "johor", "kuching")
    fixture.rows.is_away = False
    assert await fixture.advance(14, "johor", "kuching") == []
    assert await fixture.advance(30) == []

    fixture.say("johor", JCM=DOWN)
    assert await fixture.advance(1) == ["JCM: both"]


async def test_hub_start_resolves_faults_of_removed_sites() -> None:
    told = ("ours/quorum", "ours/site/johor", "ours/site/sabah")
    fixture = HubFixture(dict.fromkeys(told, IncidentType.MONITORING_FAULT))
    settings = cast(Settings, SimpleNamespace(site="utama", hub=SimpleNamespace(sites={"johor": None})))
    _resolve_removed_sites(fixture.reporter, settings, fixture.clock.time)
    await fixture.reporter.report()
    assert fixture.alerts.sent() == ["ours/site/sabah: over"]
