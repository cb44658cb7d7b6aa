"""What other sites say counts while it is fresh; a site that is not heard is told to the NOC, and decides nothing."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.site_runs import AT_ONCE, SiteRunWriter
from monitor.store.probing.statuses import Mark, SiteStatuses
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from monitor.views.site_report import SiteReport, SiteVerdict, format_report, parse_reports
from tests.hanging import HANGS
from tests.unit.alerts.people import BRIEF, MINUTE, trigger
from tests.unit.monitor.bridge.test_pipeline import Alerts, Clock
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.trial import SECOND, T0

WELL = SiteStatus(up_since=T0, directions={Direction.OUTBOUND: Health.UP, Direction.INBOUND: Health.UP})
DOWN = SiteStatus(
    trouble=ActiveProblem(type=IncidentType.BOTH, since=T0),
    directions={Direction.OUTBOUND: Health.DOWN, Direction.INBOUND: Health.DOWN},
)
TWO = Quorum(minimum=2)
BLIND = SiteStatus(trouble=ActiveProblem(type=IncidentType.MONITORING_FAULT, since=T0 + 40 * SECOND))


@dataclass
class Rows:
    """What has come from the sites, as the store has it."""

    said: dict[str, dict[str, SiteStatus]] = field(default_factory=dict)
    beaten: dict[str, SiteHeartbeat] = field(default_factory=dict)
    news: dict[str, dict[str, SiteStatus]] = field(default_factory=dict)
    is_away: bool = False
    is_broken: bool = False
    #: By which mark was asked what has changed; `None`: all was read.
    marks: list[Mark | None] = field(default_factory=list)

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

    async def changed(self, mark: Mark | None) -> tuple[Mapping[str, Mapping[str, SiteStatus]], Mark]:
        if self.is_broken:
            raise ValueError("year is out of range")
        self.marks.append(mark)
        news, self.news = self.news, {}
        return (self.said if mark is None else news), Mark(1)


class Nation:
    """A hub that probes, called utama, with two sites beside it."""

    def __init__(self, told: Mapping[str, IncidentType] | None = None, *, quorum: Quorum = TWO) -> None:
        self.clock, self.alerts, self.rows = Clock(), Alerts(), Rows()
        self.monotonic = timedelta(hours=5)
        #: Seconds by which a site's wall clock is ahead.
        self.ahead: dict[str, int] = {}
        self.metrics = Metrics(version="0", now=self.clock.now)
        self.reporter = IncidentReporter(
            policies=IncidentPolicies(
                agencies={"JCM": BRIEF, "JKT": BRIEF},
                monitoring_fault=lambda suspect: replace(BRIEF, subject=str(suspect)),
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
        #: Of what stands here, what is not said yet: it is found out as a run ends, or before others are heard.
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
            publish_own=self.speak,
            monotonic=lambda: self.monotonic,
        )

    async def speak(self) -> None:
        for key, level in self.here.items():
            self.reporter.record_status("utama", key, level)

    def say(self, site: str, **levels: SiteStatus) -> None:
        if site == "utama":
            for key, level in levels.items():
                self.reporter.record_status(site, key, level)
        else:
            self.rows.say(site, **levels)

    async def live(self, seconds: int, *silent: str, every: int = 1) -> list[str]:
        """Let so much time pass, with all sites that are not *silent* beating; return what was told."""
        before = len(self.alerts.heard)
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
                # As `run` does.
                if self.reporter._wake_event.is_set():
                    self.reporter._wake_event.clear()
                    await self.reporter.report()
        heard = self.alerts.heard[before:]
        return [
            f"{e.dedup_key}: {e.type if isinstance(e, Trigger) else 'over'}"
            for e in heard
            if isinstance(e, Trigger | Resolve)
        ]

    def shown(self, name: str, site: str) -> float | None:
        return Scrape(self.metrics).value(name, site=site)


async def running(*, quorum: Quorum = TWO, told: Mapping[str, IncidentType] | None = None) -> Nation:
    nation = Nation(told, quorum=quorum)
    for site in ("utama", "johor", "kuching"):
        nation.say(site, JCM=WELL, JKT=WELL)
    assert await nation.live(60) == []
    return nation


async def test_what_one_site_alone_says_is_told_to_nobody_and_what_two_say_is() -> None:
    nation = await running()
    nation.say("johor", JCM=DOWN)
    assert await nation.live(5) == []
    nation.say("kuching", JCM=DOWN)
    assert await nation.live(1) == ["JCM: both"]

    # One that is left is not enough to hold it: the others prove it well.
    nation.say("kuching", JCM=WELL)
    assert await nation.live(1) == ["JCM: over"]


@pytest.mark.parametrize("ahead", [180, -180])
async def test_what_a_site_says_whose_clock_is_wrong_is_told_with_the_right_times(ahead: int) -> None:
    def down(*troubled: str) -> SiteStatus:
        return replace(
            DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=began), failing_routes=frozenset(troubled)
        )

    nation = await running()
    nation.ahead["johor"] = ahead
    await nation.live(60)
    true = nation.clock.time
    began = true + ahead * SECOND
    nation.say("johor", JCM=down())
    await nation.live(1)
    nation.say("utama", JCM=replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=true - SECOND)))
    await nation.live(1)
    told = nation.alerts.heard[-1]
    assert isinstance(told, Trigger)
    # A look each second: what a beat says may be a second old.
    assert abs(told.began_at - true) <= 2 * SECOND

    # Its clock is set right, and it says again since when, by what it was.
    nation.ahead["johor"] = 0
    await nation.live(30)
    nation.say("johor", JCM=down("JCM/internal"))
    await nation.live(90)
    (site,) = [each for name, each in nation.reporter.site_statuses("JCM").items() if name == "johor"]
    assert site is not None
    assert site.trouble is not None
    assert abs(site.trouble.since - true) <= 2 * SECOND


def as_heard(offset: int | None, *, corrected_times: Mapping[datetime, datetime] | None = None) -> hub._Site:
    """Return a site whose clock is so many seconds behind; *corrected_times*: those of JCM that were put right before."""
    site = hub._Site(clock=SiteClock())
    site.clock.offset = None if offset is None else offset * SECOND
    site.corrected_times |= {} if corrected_times is None else {"JCM": corrected_times}
    return site


@pytest.mark.parametrize(
    ("offset", "at", "ours"),
    [
        # Nothing is known of its clock.
        (None, -600, -600),
        (None, 1, 0),
        # As far apart as clocks may be.
        (0, -600, -600),
        (5, -600, -600),
        (-5, -600, -600),
        (6, -600, -594),
        (-6, -600, -606),
        (180, -600, -420),
        (-180, -600, -780),
        # Nothing began in the future, nor has been well since then.
        (180, -60, 0),
        (0, 60, 0),
        (-180, 60, -120),
    ],
)
def test_by_our_clock_puts_each_moment_right_and_none_into_the_future(offset: int | None, at: int, ours: int) -> None:
    by_its_clock, right = T0 + at * SECOND, T0 + ours * SECOND
    trouble = ActiveProblem(type=IncidentType.BOTH, since=by_its_clock, latest=by_its_clock, flapping=True)
    down = replace(DOWN, trouble=trouble, failing_routes=frozenset({"JCM/internal"}))
    site = as_heard(offset)
    assert site.correct_clock("JCM", down, T0) == replace(down, trouble=replace(trouble, since=right, latest=right))
    without = replace(down, trouble=replace(trouble, latest=None))
    assert site.correct_clock("MDC", without, T0).trouble == replace(trouble, since=right, latest=None)
    well = replace(WELL, up_since=by_its_clock)
    assert site.correct_clock("UCM", well, T0) == replace(well, up_since=right)
    assert site.correct_clock("UCM", SiteStatus(), T0) == SiteStatus()


def test_by_our_clock_puts_a_moment_right_once_though_the_clock_is_set_meanwhile() -> None:
    began, fell = T0 - 600 * SECOND, T0 - 60 * SECOND
    down = replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=began, latest=fell))
    site = as_heard(180)
    first = site.correct_clock("JCM", down, T0)
    site.clock.offset = timedelta(0)
    assert site.correct_clock("JCM", down, T0 + MINUTE) == first
    # Another moment of it is by the clock as it is now, and what is over is not remembered.
    again = replace(down, trouble=ActiveProblem(type=IncidentType.BOTH, since=began, latest=T0))
    trouble = site.correct_clock("JCM", again, T0 + MINUTE).trouble
    assert trouble == replace(
        again.trouble or ActiveProblem(type=IncidentType.BOTH, since=T0), since=began + 180 * SECOND
    )
    site.correct_clock("JCM", WELL, T0 + MINUTE)
    assert site.correct_clock("JCM", down, T0 + MINUTE).trouble == down.trouble


def test_by_our_clock_remembers_nothing_while_the_clock_is_not_known() -> None:
    down = replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=T0 - 600 * SECOND))
    site = as_heard(None)
    site.correct_clock("JCM", down, T0)
    site.clock.offset = 180 * SECOND
    trouble = site.correct_clock("JCM", down, T0).trouble
    assert trouble is not None
    assert trouble.since == T0 - 420 * SECOND


def test_by_our_clock_keeps_apart_what_it_is_about() -> None:
    moment = T0 - 600 * SECOND
    down = replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=moment))
    site = as_heard(0, corrected_times={moment: T0 - 420 * SECOND})
    assert site.correct_clock("MDC", down, T0).trouble == down.trouble
    found = site.correct_clock("JCM", down, T0).trouble
    assert found is not None
    assert found.since == T0 - 420 * SECOND


async def test_what_sites_said_of_time_before_their_clocks_were_known_is_told_with_the_right_times() -> None:
    nation = Nation()
    nation.say("utama", JCM=WELL, JKT=WELL)
    began = nation.clock.time - 600 * SECOND
    for site, ahead in (("johor", 180), ("kuching", -180)):
        nation.ahead[site] = ahead
        trouble = ActiveProblem(type=IncidentType.BOTH, since=began + ahead * SECOND)
        nation.say(site, JCM=replace(DOWN, trouble=trouble))

    assert await nation.live(30) == ["JCM: both"], "it was said before the start, and not again"
    (told,) = (event for event in nation.alerts.heard if isinstance(event, Trigger))
    assert told.began_at == began


async def test_nothing_that_a_site_says_is_told_to_have_begun_in_the_future_though_its_clock_is_not_known() -> None:
    nation = Nation()
    nation.ahead["johor"] = nation.ahead["kuching"] = 180
    nation.say("utama", JCM=WELL)
    for site in ("johor", "kuching"):
        nation.say(
            site,
            JCM=replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=nation.clock.time + 180 * SECOND)),
        )
    assert await nation.live(60) == ["JCM: both"]
    (told,) = nation.alerts.heard
    assert isinstance(told, Trigger)
    assert told.began_at <= told.at


async def test_a_site_that_is_cut_off_has_no_vote_and_its_old_judgement_raises_nothing_when_it_is_back() -> None:
    nation = await running()
    assert await nation.live(31, "johor") == ["ours/site/johor: monitoring_fault"]
    assert nation.shown("site_fresh", "johor") == 0
    nation.say("kuching", JCM=DOWN)
    # Of the two that are left both must say so.
    assert await nation.live(5, "johor") == []

    # It was down at johor, too, meanwhile, and is not any more: in order, before the beat of now.
    nation.say("johor", JCM=DOWN)
    nation.say("johor", JCM=WELL)
    assert await nation.live(15) == ["ours/site/johor: over"]
    assert nation.shown("site_fresh", "johor") == 1


async def test_with_nothing_known_of_the_others_after_a_start_ours_alone_decides_nothing() -> None:
    nation = Nation()
    nation.say("utama", JCM=DOWN)
    nation.say("johor", JCM=WELL)
    nation.say("kuching", JCM=WELL)
    assert "JCM: both" not in await nation.live(60)


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(minutes=1)])
async def test_a_clock_that_is_set_after_a_start_makes_nothing_known_of_the_others(step: timedelta) -> None:
    nation = Nation()
    nation.say("utama", JCM=DOWN)
    nation.say("johor", JCM=WELL)
    nation.say("kuching", JCM=WELL)
    nation.clock.time += step
    assert await nation.live(60) == []


@pytest.mark.parametrize(("quorum", "told"), [(TWO, []), (Quorum(share=50), ["JCM: both"])])
async def test_hub_that_has_never_heard_another_site_decides_alone_only_where_its_word_is_enough(
    quorum: Quorum, told: list[str]
) -> None:
    nation = Nation(quorum=quorum)
    nation.say("utama", JCM=DOWN)
    assert "JCM: both" not in await nation.live(40, "johor", "kuching")
    found = await nation.live(10, "johor", "kuching")
    assert [each for each in found if "ours" not in each] == told
    assert {"ours/site/johor: monitoring_fault", "ours/site/kuching: monitoring_fault"} <= {*found}
    assert ("ours/quorum: monitoring_fault" in found) == (told == [])


@pytest.mark.blind
async def test_hub_whose_wires_are_all_cut_tells_and_ends_no_outage_alone_and_says_so() -> None:
    """Defect: A hub without links opens and ends outages alone.

    Pantau: Stale sites leave the quorum as it is, and the NOC is notified.
    """
    nation = await running()
    cut = ("johor", "kuching")
    # They were well when they were last heard; the hub's own way to the agency breaks with its wires.
    nation.say("utama", JCM=DOWN)
    found = await nation.live(60, *cut)
    assert found == [
        "ours/quorum: monitoring_fault",
        "ours/site/johor: monitoring_fault",
        "ours/site/kuching: monitoring_fault",
    ]
    assert nation.reporter.quorum_missing_since() == nation.clock.time - 29 * SECOND

    # One is heard again: two are enough, and both say so.
    nation.say("johor", JCM=DOWN)
    assert await nation.live(15, "kuching") == ["JCM: both", "ours/quorum: over", "ours/site/johor: over"]
    assert nation.reporter.quorum_missing_since() is None

    # It ends no more than it begins anything.
    await nation.live(31, *cut)
    nation.say("utama", JCM=WELL)
    assert await nation.live(60, *cut) == []
    nation.say("johor", JCM=WELL)
    assert "JCM: over" in await nation.live(15, "kuching")


@pytest.mark.blind
@pytest.mark.parametrize("set_back", [False, True])
async def test_outage_is_not_over_by_sites_that_were_well_all_along_when_those_that_saw_it_are_lost(
    set_back: bool,  # noqa: FBT001 - a case
) -> None:
    """Defect: An outage ends when the sites that saw it are lost.

    Pantau: The others end it when one has seen it fail and recover, or after ten minutes.
    """
    nation = await running(quorum=Quorum())
    began = nation.clock.time
    down = replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=began))
    nation.say("johor", JCM=down)
    assert await nation.live(1) == ["JCM: both"]
    # It is lost before the others have probed again. Whether mail works nobody knows.
    assert await nation.live(5 * 60, "johor") == ["ours/site/johor: monitoring_fault"]
    if set_back:
        nation.clock.time -= 5 * MINUTE
    else:
        # Who has seen it fail and work has proven it.
        nation.say("kuching", JCM=replace(WELL, up_since=began + MINUTE))
        assert await nation.live(1, "johor") == ["JCM: over"]
        assert [e.ended_at for e in nation.alerts.heard if isinstance(e, Resolve)] == [began + MINUTE]
        return
    # All that see it go on saying that it works, for longer than it takes to probe every route again.
    assert await nation.live(10 * 60 - 20, "johor", every=10) == []
    assert await nation.live(30, "johor") == ["JCM: over"]
    (ended_at,) = [e.ended_at for e in nation.alerts.heard if isinstance(e, Resolve)]
    assert ended_at is not None
    assert nation.clock.time - 30 * SECOND < ended_at <= nation.clock.time, "nobody has seen when it ended"


@pytest.mark.blind
async def test_outage_is_not_over_at_a_restart_of_the_hub_by_sites_that_were_well_all_along() -> None:
    """Defect: After a restart of the hub the start of an outage is forgotten.

    Pantau: It is read from the incident.
    """
    incident = open_incident(
        Trigger(dedup_key="JCM", at=T0 + MINUTE, type=IncidentType.BOTH, began_at=T0 + 30 * SECOND, policy=BRIEF),
        incident_id=1,
        number="JCM-01",
    )
    nation = Nation({"JCM": IncidentType.BOTH}, quorum=Quorum())
    nation.reporter.restore_outages(outages_of([incident]))
    nation.clock.time = T0 + 2 * MINUTE
    nation.say("johor", JCM=replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=T0 + 30 * SECOND)))
    for site in ("utama", "kuching"):
        nation.say(site, JCM=WELL)
    # Johor, which alone has seen it, is lost. Nine minutes after it was told, and ten.
    assert await nation.live(8 * 60, "johor") == ["ours/site/johor: monitoring_fault"]
    assert await nation.live(70, "johor") == ["JCM: over"]


async def test_agency_that_only_the_hub_probes_is_told_while_other_sites_are_not_heard() -> None:
    nation = Nation()
    nation.say("utama", JCM=WELL, JKT=WELL)
    for site in ("johor", "kuching"):
        nation.say(site, JCM=WELL)
    await nation.live(60)
    await nation.live(31, "johor", "kuching")
    nation.say("utama", JKT=DOWN)
    assert await nation.live(1, "johor", "kuching") == ["JKT: both"]


async def test_sites_that_share_an_uplink_have_one_vote() -> None:
    nation = await running(quorum=Quorum(minimum=2, uplinks={"johor": "tm", "kuching": "tm"}))
    nation.say("johor", JCM=DOWN)
    nation.say("kuching", JCM=DOWN)
    assert await nation.live(5) == []
    nation.say("utama", JCM=DOWN)
    assert await nation.live(1) == ["JCM: both"]
    # One of the two says that it works, and the other not yet.
    nation.say("utama", JCM=WELL)
    nation.say("kuching", JCM=WELL)
    assert await nation.live(5) == []
    nation.say("johor", JCM=WELL)
    assert await nation.live(1) == ["JCM: over"]


async def test_uplink_of_which_one_site_is_cut_off_keeps_its_vote() -> None:
    nation = await running(quorum=Quorum(minimum=3, uplinks={"johor": "tm", "kuching": "tm"}))
    assert await nation.live(31, "kuching") == ["ours/site/kuching: monitoring_fault"]
    for site in ("utama", "johor"):
        nation.say(site, JCM=DOWN)
    assert await nation.live(1, "kuching") == ["JCM: both"]


async def test_a_site_that_cannot_judge_is_told_to_the_noc_and_is_over_when_it_can() -> None:
    nation = await running()
    nation.say("johor", ours_network=BLIND, ours_credentials_JCM=BLIND)
    assert await nation.live(2) == ["ours/site/johor: monitoring_fault"]
    (event,) = nation.alerts.heard
    assert isinstance(event, Trigger)
    assert (event.began_at, event.policy.subject) == (T0 + 40 * SECOND, "site/johor")
    assert nation.reporter.faulty_sites() == {"johor": T0 + 40 * SECOND}
    nation.say("johor", ours_network=SiteStatus())
    assert await nation.live(1) == ["ours/site/johor: over"]
    assert nation.reporter.faulty_sites() == {}


async def test_what_fell_by_turns_before_a_start_or_in_another_process_is_not_believed_at_once() -> None:
    nation = Nation({"JCM": IncidentType.BOTH})
    nation.reporter.restore_falls({"JCM": [T0 - 3 * SECOND, T0 - 2 * SECOND, T0], "SPR": [T0]}, {"JCM"})
    for site in ("utama", "johor", "kuching"):
        nation.say(site, JCM=WELL)
    assert await nation.live(60) == [], "it has not been quiet for two hours"
    nation.reporter.set_flapping_policy(FlappingPolicy(window=50 * SECOND))
    nation.reporter.record_status("utama", "JCM", replace(WELL, up_since=T0 + SECOND))
    assert await nation.live(1) == ["JCM: over"]


def reference(at: str, standing: SiteStatus, nation: Nation) -> None:
    if at == "utama":
        nation.reporter.record_status(at, "ours/reference/rujukan-a", standing)
    else:
        nation.rows.say(at, **{"ours_reference_rujukan-a@satu": standing})


@pytest.mark.parametrize("order", [("johor", "utama", "kuching"), ("utama", "kuching", "johor")])
async def test_a_reference_that_is_dead_at_all_sites_is_told_once_whoever_sees_it_first_and_last(
    order: tuple[str, ...],
) -> None:
    nation = await running()
    told = list[str]()
    for standing in (BLIND, SiteStatus(up_since=T0)):
        for site in order:
            reference(site, standing, nation)
            told += await nation.live(300, every=10)
    assert told == ["ours/reference/rujukan-a: monitoring_fault", "ours/reference/rujukan-a: over"]


async def test_a_reference_that_is_dead_at_one_site_for_long_is_that_sites_trouble() -> None:
    nation = await running()
    reference("johor", BLIND, nation)
    assert await nation.live(600, every=10) == []
    assert await nation.live(10, every=10) == ["ours/site/johor: monitoring_fault"]
    # It dies here, too, and is ours; and then works here alone.
    reference("utama", BLIND, nation)
    assert await nation.live(2) == ["ours/reference/rujukan-a: monitoring_fault", "ours/site/johor: over"]
    reference("utama", SiteStatus(up_since=T0), nation)
    assert await nation.live(600, every=10) == ["ours/reference/rujukan-a: over"]
    assert await nation.live(10, every=10) == ["ours/site/johor: monitoring_fault"]


async def test_a_reference_that_another_process_of_the_hub_sees_dead_is_no_other_sites_trouble() -> None:
    nation = await running()
    reference("johor", BLIND, nation)
    nation.rows.say("utama", **{"ours_reference_rujukan-a@dua": BLIND})
    assert await nation.live(700, every=10) == []
    nation.rows.say("utama", **{"ours_reference_rujukan-a@dua": SiteStatus()})
    assert await nation.live(610, every=10) == ["ours/site/johor: monitoring_fault"]
    nation.rows.say("utama", **{"ours_reference_rujukan-a@dua": BLIND})
    assert await nation.live(2) == ["ours/site/johor: over"]
    # That process is gone, and was taken back.
    del nation.rows.said["utama"]["ours/reference/rujukan-a@dua"]
    assert await nation.live(670, every=10) == ["ours/site/johor: monitoring_fault"]


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1)])
async def test_how_long_a_reference_is_dead_at_one_site_alone_is_told_by_no_clock_that_is_set(
    step: timedelta,
) -> None:
    nation = await running()
    reference("johor", BLIND, nation)
    assert await nation.live(5) == []
    nation.clock.time += step
    assert await nation.live(590) == []
    assert await nation.live(10) == ["ours/site/johor: monitoring_fault"]


async def test_a_site_that_was_cut_off_and_has_a_dead_reference_is_not_well_again() -> None:
    nation = await running()
    reference("johor", BLIND, nation)
    assert await nation.live(31, "johor") == ["ours/site/johor: monitoring_fault"]
    assert await nation.live(60) == [], "it is heard, and cannot judge"
    reference("johor", SiteStatus(), nation)
    assert await nation.live(1) == ["ours/site/johor: over"]


async def test_each_process_of_a_site_speaks_of_its_own_network_and_one_that_works_hides_no_other() -> None:
    nation = await running()
    for process, standing in (("satu", BLIND), ("dua", SiteStatus())):
        nation.rows.say("johor", **{f"ours_network@{process}": standing})
        assert await nation.live(1) == (["ours/site/johor: monitoring_fault"] if process == "satu" else [])
    # It is gone for good, and others have taken back what it said.
    del nation.rows.said["johor"]["ours/network@satu"]
    assert await nation.live(61) == ["ours/site/johor: over"]


async def test_what_each_site_says_of_an_agency_can_be_asked_for_where_there_are_several() -> None:
    nation = await running()
    nation.say("johor", JCM=DOWN)
    await nation.live(31, "kuching")
    assert dict(nation.reporter.site_statuses("JCM")) == {"johor": DOWN, "kuching": None, "utama": WELL}
    # What one alone says is how it stands.
    for site in ("johor", "kuching"):
        nation.reporter.remove_status(site, "JCM")
    assert dict(nation.reporter.site_statuses("JCM")) == {}


async def test_each_process_of_the_hub_shows_what_all_sites_say_also_of_what_another_one_tells_of() -> None:
    nation = await running()
    nation.reporter.transfer_agencies({"JKT"})
    assert nation.reporter.site_statuses("JKT")["utama"] == WELL, "the other one has not spoken of it yet"
    nation.rows.say("utama", JKT=DOWN, JCM=DOWN)
    await nation.live(1)
    assert dict(nation.reporter.site_statuses("JKT")) == {"johor": WELL, "kuching": WELL, "utama": DOWN}
    assert nation.reporter.site_statuses("JCM")["utama"] == WELL, "of what it tells of itself it knows better"
    # It comes to this one, which has not spoken of it yet.
    nation.say("johor", JKT=DOWN)
    nation.reporter.add_agencies({"JKT"}, {})
    assert await nation.live(2) == []


async def test_a_fault_of_ours_names_the_site_that_is_meant_and_no_site_that_is_none() -> None:
    nation = await running()
    # A reference that is called as a site is stays another thing, and leaves without it.
    nation.metrics.register_references(["johor"])
    await nation.live(31, "johor")

    def shown(cause: str, name: str) -> float | None:
        return Scrape(nation.metrics).value("monitoring_fault", cause=cause, reference=name)

    nation.metrics.set_monitoring_faults({*nation.reporter.reported_faults(), ("site", "sabah")})
    nation.metrics.register_references([])
    assert [shown("site", "johor"), shown("site", "sabah"), shown("site", "")] == [1, None, 1]
    assert shown("reference", "johor") is None
    nation.metrics.set_monitoring_faults(())
    assert shown("site", "johor") == 0


async def test_that_a_site_was_not_heard_is_over_when_it_is_heard_after_a_start() -> None:
    nation = Nation({"ours/site/johor": IncidentType.MONITORING_FAULT})
    assert await nation.live(20) == ["ours/site/johor: over"]


async def test_that_sites_disagree_about_an_agency_is_shown_while_two_at_least_have_a_vote() -> None:
    nation = await running()

    def shown() -> list[float | None]:
        scrape = Scrape(nation.metrics)
        return [scrape.value("quorum_disagreement", agency=agency) for agency in ("JCM", "JKT")]

    assert shown() == [0, 0]
    nation.say("johor", JCM=DOWN)
    await nation.live(1)
    assert shown() == [1, 0]
    # What is old is no disagreement, and one that is left agrees with itself.
    await nation.live(31, "johor")
    assert shown() == [0, 0]
    await nation.live(31, "johor", "kuching")
    assert shown() == [None, None]
    assert [*Scrape(nation.metrics).labels("quorum_outage")] == [], "one alone tells nothing together with others"
    await nation.live(20)
    assert shown() == [1, 0]
    nation.reporter.remove_agencies({"JCM"})
    assert shown() == [None, 0]


async def test_an_outage_that_sites_have_told_together_is_shown_until_they_take_it_back() -> None:
    nation = await running()

    def shown() -> list[float | None]:
        scrape = Scrape(nation.metrics)
        return [scrape.value("quorum_outage", agency="JCM", direction=each) for each in ("inbound", "outbound")]

    assert shown() == [0, 0]
    nation.say("johor", JCM=DOWN)
    await nation.live(1)
    assert shown() == [0, 0]
    nation.say("kuching", JCM=DOWN)
    await nation.live(1)
    assert shown() == [1, 1]
    # Nobody is heard, and ours alone has seen nothing of it.
    nation.reporter.set_voting_sites(frozenset())
    await nation.reporter.report()
    assert shown() == [1, 1]
    await nation.live(1)
    nation.say("johor", JCM=WELL)
    nation.say("kuching", JCM=WELL)
    await nation.live(1)
    assert shown() == [0, 0]
    nation.reporter.remove_agencies({"JCM"})
    assert shown() == [None, None]


async def test_what_a_site_says_no_more_counts_no_more() -> None:
    nation = await running()
    nation.say("johor", JCM=DOWN)
    nation.say("kuching", JCM=DOWN)
    await nation.live(1)
    for site in ("johor", "kuching"):
        del nation.rows.said[site]["JCM"]
    # Ours is well, and alone.
    assert await nation.live(61) == ["JCM: over"]


async def test_a_site_that_speaks_of_ever_more_is_heard_of_what_is_watched_and_of_no_more_than_so_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "_MAX_SUBJECTS", 10)
    nation = await running()
    with capture_logs() as logged:
        for second in range(5):
            nation.say("johor", **{f"X{second}Y{number}": DOWN for number in range(8)})
            await nation.live(1)
        for site in ("johor", "kuching"):
            nation.say(site, JKT=DOWN)
        assert await nation.live(1) == ["JKT: both"]
    assert len(nation.hub._sites["johor"].statuses) <= 12
    assert len(nation.reporter._statuses) <= 15
    assert [line["site"] for line in logged if "too many objects" in line["event"]] == ["johor"]
    assert nation.hub._sites["kuching"].is_over_limit is False


async def test_all_that_sites_say_is_read_at_the_start_and_after_the_store_was_away_and_else_what_has_changed() -> None:
    nation = await running()
    await nation.live(120)
    assert nation.rows.marks == [None, *[Mark(1)] * 179], "also where it is looked what is said no more"

    nation.rows.is_away = True
    with pytest.raises(StoreUnavailable):
        await nation.live(1)
    nation.rows.is_away = False
    nation.rows.said["johor"]["JCM"] = nation.rows.said["kuching"]["JCM"] = DOWN

    assert await nation.live(1) == ["JCM: both"], (
        "it came back otherwise than it was, and not by what has changed since"
    )


async def test_a_store_that_is_away_is_said_to_whoever_repeats_and_nobody_loses_a_vote_by_a_short_one() -> None:
    nation = await running()
    nation.rows.is_away = True
    with pytest.raises(StoreUnavailable):
        await nation.live(1)
    nation.rows.is_away = False
    nation.say("johor", JCM=DOWN)
    nation.say("kuching", JCM=DOWN)
    assert await nation.live(1) == ["JCM: both"]


@dataclass
class Beats:
    """Notes beats."""

    heard: list[SiteHeartbeat] = field(default_factory=list)

    async def write_heartbeat(self, beaten: SiteHeartbeat) -> None:
        self.heard.append(beaten)


async def looked() -> None:
    """Find that nobody stood still."""


@dataclass
class Watches:
    """A wall clock and a steady one."""

    wall: datetime = T0
    monotonic: timedelta = timedelta(hours=1)

    def now(self) -> datetime:
        return self.wall


async def test_a_site_beats_with_both_its_clocks_and_another_life_begins_when_they_go_apart() -> None:
    beats, clocks = Beats(), Watches()
    beating = SiteHeartbeatWriter(
        cast(SiteStatuses, beats),
        clocks,
        has_unwritten=lambda: False,
        check_continuity=looked,
        monotonic=lambda: clocks.monotonic,
    )
    for wall, monotonic in ((1, 1), (1, 1), (181, 1), (1, 1)):
        clocks.wall += wall * SECOND
        clocks.monotonic += monotonic * SECOND
        await beating.write()

    lives = [each.incarnation for each in beats.heard]
    assert lives[0] == lives[1] != lives[2] == lives[3]
    assert (beats.heard[-1].at, beats.heard[-1].monotonic) == (clocks.wall, clocks.monotonic)


async def test_beating_after_it_could_not_write_for_long_begins_another_life() -> None:
    """Other processes of the site may still write what they judged meanwhile: a hub learns anew that nothing waits."""
    beats, clocks, away = Beats(), Watches(), [False]
    beating = SiteHeartbeatWriter(
        cast(SiteStatuses, beats),
        clocks,
        has_unwritten=lambda: away[0],
        check_continuity=looked,
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


async def test_beating_looks_whether_it_stood_still_before_it_beats() -> None:
    beats, clocks, order = Beats(), Watches(), list[int]()

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


async def test_of_several_processes_of_a_site_one_beats_and_another_when_it_is_its_turn() -> None:
    beats, clocks, turn = Beats(), Watches(), ["satu"]
    both = [
        SiteHeartbeatWriter(
            cast(SiteStatuses, beats),
            clocks,
            has_unwritten=lambda: False,
            check_continuity=looked,
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


async def test_a_site_does_not_beat_while_something_judged_is_not_written() -> None:
    beats, clocks, owes = Beats(), Watches(), [True]
    beating = SiteHeartbeatWriter(
        cast(SiteStatuses, beats),
        clocks,
        has_unwritten=lambda: owes[0],
        check_continuity=looked,
        monotonic=lambda: clocks.monotonic,
    )
    await beating.write()
    owes[0] = False
    await beating.write()
    assert len(beats.heard) == 1


#: Of a month before and after.
EACH_HOUR = tuple(T0.replace(minute=0) + timedelta(hours=hours) for hours in range(-31 * 24, 31 * 24))


@dataclass
class CodedNotification:
    """What a site has to tell, and in which parts it did."""

    is_joined: bool = True
    is_read: bool = True
    runs: int = 0
    #: Of which runs it was told, and of which hours.
    failed: list[tuple[int, int]] = field(default_factory=list)
    hours: list[datetime] = field(default_factory=list)
    begun: list[datetime] = field(default_factory=list)
    #: So many rows have the next parts of hours; all others none.
    rows: list[int] = field(default_factory=list)
    #: In which hours anything was counted.
    counted: Collection[datetime] = EACH_HOUR
    is_elsewhere: bool = False

    async def has_hub(self) -> bool:
        return self.is_joined

    async def is_heard(self) -> bool:
        return self.is_read

    async def newest(self) -> int:
        return self.runs

    async def before(self, since: datetime) -> int:
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


def telling(told: CodedNotification, clocks: Watches) -> SiteRunReporter:
    return SiteRunReporter(cast(SiteRunWriter, told), clocks, monotonic=lambda: clocks.monotonic, pause=timedelta(0))


async def later(it: SiteRunReporter, clocks: Watches, by: timedelta = 30 * SECOND) -> None:
    clocks.wall += by
    clocks.monotonic += by
    await it.publish()


async def test_a_site_that_nobody_hears_tells_of_no_run() -> None:
    told, clocks = CodedNotification(is_joined=False), Watches()
    it = telling(told, clocks)
    for _ in range(3):
        await later(it, clocks)
    assert (told.failed, told.hours, it.has_hub, it.is_read) == ([], [], False, False)
    told.is_joined = True
    await later(it, clocks)
    assert (it.has_hub, it.is_read) == (True, True)


async def test_a_site_that_has_just_joined_is_at_no_moment_one_that_its_hub_does_not_hear() -> None:
    seen: list[tuple[bool, bool]] = []

    class Asked(CodedNotification):
        async def is_heard(self) -> bool:
            seen.append((it.has_hub, it.is_read))
            return True

    it = telling(Asked(), Watches())
    await it.publish()
    assert seen == [(False, False)]
    assert (it.has_hub, it.is_read) == (True, True)


async def test_a_site_that_is_cut_off_knows_it_and_tells_on() -> None:
    told, clocks = CodedNotification(is_read=False), Watches()
    it = telling(told, clocks)
    for _ in range(3):
        await later(it, clocks)
    assert (it.has_hub, it.is_read) == (True, False)
    assert told.hours


async def test_a_site_begins_with_the_last_day_and_tells_then_of_what_may_have_come_since() -> None:
    told, clocks = CodedNotification(runs=12_000), Watches()
    it = telling(told, clocks)
    await it.publish()
    assert told.failed == [], "a run with a lower number may still be written"
    told.runs = 12_500
    await later(it, clocks)
    assert told.begun == [clocks.wall - timedelta(days=1)]
    assert told.failed == [(40, 5040), (5040, 10_040), (10_040, 12_500)], "part after part"
    told.failed.clear()
    for _ in range(6):
        await later(it, clocks, 5 * SECOND)
    assert set(told.failed) == {(12_000, 12_500)}, "until those that were there then have been written or never will be"
    told.runs = 12_600
    await later(it, clocks, 5 * SECOND)
    assert (told.failed[-1], len(told.begun)) == ((12_500, 12_600), 1)


async def test_hours_are_told_a_while_after_they_end_and_those_before_looked_at_again() -> None:
    told, clocks, hour = CodedNotification(), Watches(wall=T0.replace(minute=10)), timedelta(hours=1)
    it, ended = telling(told, clocks), T0.replace(minute=0)
    await it.publish()
    await later(it, clocks)
    assert (len(told.hours), told.hours[-1]) == (7 * 24 + 1, ended - 2 * hour)
    told.hours.clear()
    await later(it, clocks, 4 * 60 * SECOND)
    assert told.hours == []
    await later(it, clocks, 60 * SECOND)
    assert (len(told.hours), told.hours[-1]) == (27, ended - hour)


async def test_of_an_hour_in_which_nothing_was_counted_nothing_is_written() -> None:
    ended = T0.replace(minute=0)
    counted = [ended - timedelta(hours=hours) for hours in (24 * 9, 24 * 6, 50, 3, 0)]
    told, clocks = CodedNotification(counted=counted), Watches(wall=T0.replace(minute=10))
    it = telling(told, clocks)
    await it.publish()
    await later(it, clocks)
    assert told.hours == counted[1:4]
    told.hours.clear()
    await later(it, clocks, 5 * 60 * SECOND)
    assert told.hours == [counted[3]]


async def test_an_hour_with_more_rows_than_one_part_is_told_to_its_end() -> None:
    told, clocks = CodedNotification(rows=[AT_ONCE, AT_ONCE, 3]), Watches()
    it = telling(told, clocks)
    await it.publish()
    await later(it, clocks)
    assert told.hours[:4] == [*[told.hours[0]] * 3, told.hours[0] + timedelta(hours=1)]


async def test_a_clock_that_was_a_month_ahead_leaves_no_hour_untold() -> None:
    told, clocks = CodedNotification(), Watches()
    it = telling(told, clocks)
    await it.publish()
    clocks.wall += timedelta(days=30)
    await later(it, clocks)
    clocks.wall -= timedelta(days=30)
    told.hours.clear()
    await later(it, clocks)
    assert told.hours[-1] == T0.replace(minute=0) - timedelta(hours=2)


async def test_what_another_process_was_about_to_tell_is_looked_at_again() -> None:
    told, clocks = CodedNotification(runs=100, is_elsewhere=True), Watches()
    it = telling(told, clocks)
    await it.publish()
    for told.is_elsewhere in (True, False):
        await later(it, clocks)
    assert told.failed == [(40, 100)] * 2
    assert told.hours[0] == told.hours[1]
    await later(it, clocks)
    assert told.failed == [(40, 100)] * 2


async def test_what_sites_say_of_an_open_incident_is_written_down_once_and_again_when_it_is_otherwise(
    tmp_path: Path,
) -> None:
    async with Database.open(tmp_path) as database:
        store, clocks, written = SqlStore(database), Watches(), list[tuple[Mapping[str, str], int]]()
        says: dict[str, SiteStatus | None] = {"johor": WELL, "noc": DOWN}

        async def write(detail: Mapping[str, str], incident_id: int) -> None:
            written.append((detail, incident_id))

        async def look(by: timedelta) -> list[str]:
            clocks.wall += by
            await witness.record()
            found = [detail["sites"] for detail, _ in written]
            written.clear()
            return found

        witness = SiteStatusRecorder(
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

        # The journal is kept for ever.
        entries = 0
        for number in range(90):
            says["johor"] = DOWN if number % 2 else None
            entries += len(await look(MINUTE))
        assert entries <= 15, "of one that comes and goes all day it is written ever more seldom"
        says["johor"] = WELL
        assert [await look(MINUTE) for _ in range(64)].count(["johor: up"]) == 1


def test_of_what_sites_said_the_first_that_was_wrong_is_read_and_else_the_last() -> None:
    wrong = SiteReport(site="johor", says=SiteVerdict.WRONG, type=IncidentType.SENDING, since=T0)
    later = replace(wrong, type=IncidentType.BOTH)
    words = ["up", format_report(wrong), format_report(later), "stale"]
    entries = [
        f"kuching: {opinion}; johor: {word}" for opinion, word in zip(("up", "stale", "", "x y"), words, strict=True)
    ]
    assert parse_reports([*entries, "nothing at all"]) == {
        "johor": wrong,
        "kuching": SiteReport(site="kuching", says=SiteVerdict.STALE),
    }


async def test_a_site_that_left_and_joined_again_begins_anew() -> None:
    told, clocks = CodedNotification(), Watches()
    it = telling(told, clocks)
    await it.publish()
    await later(it, clocks)
    for told.is_joined in (False, True, True):
        await later(it, clocks)
    assert len(told.begun) == 2


async def test_what_other_sites_say_is_remembered_of_an_agency_that_another_process_has_meanwhile() -> None:
    nation = await running(quorum=Quorum())
    nation.reporter.transfer_agencies({"JCM"})
    nation.say("johor", JCM=DOWN)
    assert await nation.live(2) == []

    # It comes back, with its incident, which its heir has told of; here it is well.
    nation.reporter.add_agencies({"JCM"}, {"JCM": IncidentType.BOTH})
    nation.say("utama", JCM=WELL)
    assert await nation.live(5) == []
    nation.say("johor", JCM=WELL)
    assert await nation.live(1) == ["JCM: over"]


async def test_what_was_wrong_with_an_account_of_an_agency_that_comes_back_is_told_once_it_is_found_again() -> None:
    nation, account = await running(), "ours/credentials/JCM/utama"
    nation.reporter.record_status("utama", account, BLIND)
    assert await nation.live(1) == [f"{account}: monitoring_fault"]
    nation.reporter.transfer_agencies({"JCM"})
    nation.reporter.add_agencies({"JCM"}, {})
    # Whoever has a vote is another now, and all that is said is looked at.
    assert await nation.live(31, "johor") == ["ours/site/johor: monitoring_fault"]
    nation.reporter.record_status("utama", account, BLIND)
    assert await nation.live(1, "johor") == [f"{account}: monitoring_fault"]


async def test_what_a_site_says_that_makes_no_sense_keeps_nobody_else_from_being_told() -> None:
    nation = await running()
    senseless = replace(DOWN, trouble=ActiveProblem(type=IncidentType.BOTH, since=cast(datetime, None)))
    for site in ("johor", "kuching"):
        nation.say(site, JCM=senseless, JKT=DOWN)
    assert await nation.live(2) == ["JKT: both"]
    for site in ("johor", "kuching"):
        nation.say(site, JCM=DOWN)
    assert await nation.live(1) == ["JCM: both"]


async def test_what_could_not_be_told_of_an_agency_that_left_meanwhile_is_not_told_and_holds_up_nobody() -> None:
    nation = await running()
    nation.alerts.store_away = True
    nation.alerts.answers.clear()
    for site in ("johor", "kuching"):
        nation.say(site, JCM=DOWN)
    hearing = asyncio.create_task(nation.live(1))
    while not nation.alerts.asked:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    nation.reporter.remove_agencies({"JCM"})
    nation.reporter.set_policies(IncidentPolicies(agencies={"JKT": BRIEF}, monitoring_fault=lambda _: BRIEF))
    nation.alerts.answers.set()
    await hearing
    nation.alerts.store_away = False
    for site in ("johor", "kuching"):
        nation.say(site, JCM=DOWN, JKT=DOWN)
    await nation.live(1)
    assert await nation.reporter.report()
    assert nation.alerts.told() == ["JKT: both"]


async def test_until_ours_has_spoken_of_an_agency_others_decide_nothing() -> None:
    nation = Nation({"JKT": IncidentType.BOTH})
    for site in ("johor", "kuching"):
        nation.say(site, JCM=DOWN, JKT=WELL)
    assert await nation.live(30) == [], "our first run may be minutes away, and two of three are not all"
    nation.here = {"JCM": WELL, "JKT": WELL}
    assert await nation.live(1) == ["JCM: both", "JKT: over"]


async def test_ours_speaks_before_others_decide_though_no_run_has_ended() -> None:
    nation = Nation({"JCM": IncidentType.BOTH}, quorum=Quorum())
    nation.here = {"JCM": DOWN}
    for site in ("johor", "kuching"):
        nation.say(site, JCM=WELL)
    assert await nation.live(60) == []


async def test_what_cannot_be_read_leaves_no_vote_to_whoever_is_not_heard_any_more() -> None:
    nation = await running()
    nation.rows.is_broken = True
    for _ in range(31):
        with pytest.raises(ValueError, match="year"):
            await nation.live(1)
    known = ["ours/quorum", "ours/site/johor", "ours/site/kuching"]
    assert nation.alerts.told() == [f"{each}: monitoring_fault" for each in known]
    nation.rows.is_broken = False
    assert await nation.live(15) == [f"{each}: over" for each in known]


async def test_a_route_is_in_trouble_wherever_a_site_sees_it_that_has_a_vote() -> None:
    nation = await running()
    nation.say("johor", JCM=replace(DOWN, failing_routes=frozenset({"JCM/internal"})))
    nation.say("kuching", JCM=replace(DOWN, failing_routes=frozenset({"JCM/outbound/rujukan-a"})))
    await nation.live(1)
    assert nation.reporter.failing_routes("JCM") == {"JCM/internal", "JCM/outbound/rujukan-a"}
    await nation.live(31, "kuching")
    assert nation.reporter.failing_routes("JCM") == {"JCM/internal"}
    assert nation.reporter.failing_routes("JKT") == frozenset()


async def test_while_the_store_is_away_nobody_keeps_a_vote_from_before() -> None:
    nation = await running()
    nation.say("johor", JCM=DOWN)
    assert await nation.live(1) == []
    nation.rows.is_away = True
    with pytest.raises(StoreUnavailable):
        await nation.live(1)
    # Johor may have died since. Ours sees it fail, and the store is back before others are heard.
    nation.reporter.record_status("utama", "JCM", DOWN)
    before = len(nation.alerts.heard)
    await nation.reporter.report()
    assert nation.alerts.heard[before:] == []
    nation.rows.is_away = False
    assert await nation.live(1) == ["JCM: both"]


async def test_what_becomes_of_what_sites_say_is_shown_and_a_hub_whose_store_is_away_knows_nothing() -> None:
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
    wires = ReplicationMonitor(members, metrics, check_link=look)

    def shown(site: str) -> dict[str, float | None]:
        states = {
            each: Scrape(metrics).value("site_replication_state", site=site, state=each) for each in ReplicationState
        }
        return {state: value for state, value in states.items() if value != 0}

    await wires.check()
    assert (shown("johor"), shown("kuching")) == ({"works": 1}, {"slot_lost": 1})
    assert Scrape(metrics).value("site_replication_lag_bytes", site="johor") == 512
    assert Scrape(metrics).value("site_replication_errors_total", site="johor") == 0

    seen |= {"johor": replace(fine, errors=5)}
    await wires.check()
    assert shown("johor") == {"refused": 1}
    assert Scrape(metrics).value("site_replication_errors_total", site="johor") == 2

    seen |= {"johor": SiteRefusedError("the hub's store cannot be reached")}
    await wires.check()
    assert shown("johor") == dict.fromkeys(ReplicationState)


@pytest.mark.parametrize(("notifies", "warnings"), [(True, 2), (False, 0)])
async def test_another_hub_that_reads_a_site_is_logged_once_where_this_one_tells(notifies: bool, warnings: int) -> None:  # noqa: FBT001
    nowhere = PostgresServer(host="127.0.0.1", port=1, database="x", user="x", tls=True)
    alone = Replication(
        is_joined=True, is_enabled=True, is_reachable=True, is_retained=True, lag_bytes=0, errors=0, is_complete=True
    )
    beside = replace(alone, other_hubs=("pantau_noc",))
    # It leaves, and comes back.
    looks = iter([alone, beside, beside, alone, beside])
    members = [SiteConnection(site="johor", server=nowhere, hub="ibu", store=nowhere)]
    wires = ReplicationMonitor(
        members, Metrics(version="1", now=lambda: T0), notifies=notifies, check_link=lambda _: next(looks)
    )
    with capture_logs() as logs:
        for _ in range(5):
            await wires.check()
    assert [(each["site"], each["slots"]) for each in logs] == warnings * [("johor", ("pantau_noc",))]


async def test_a_hub_that_tells_of_so_many_that_it_takes_long_was_not_away(monkeypatch: pytest.MonkeyPatch) -> None:
    nation = await running()
    assert await nation.live(31, "kuching") == ["ours/site/kuching: monitoring_fault"]
    submit = nation.alerts.submit

    async def takes_long(event: Event) -> Incident | None:
        nation.monotonic += 20 * SECOND
        nation.clock.time += 20 * SECOND
        return await submit(event)

    monkeypatch.setattr(nation.alerts, "submit", takes_long)
    for agency in ("JCM", "JKT"):
        for site in ("utama", "johor"):
            nation.say(site, **{agency: DOWN})
        assert await nation.live(2, "kuching") == [f"{agency}: both"]


async def test_sites_that_do_not_answer_hold_up_nobody_else_who_needs_a_thread() -> None:
    nowhere, mended = PostgresServer(host="127.0.0.1", port=1, database="x", user="x", tls=True), threading.Event()

    def look(member: SiteConnection) -> Replication:
        mended.wait(60)
        raise SiteRefusedError(member.site)

    # More than asyncio has threads, on however many cores.
    members = [SiteConnection(site=f"s{number}", server=nowhere, hub="noc", store=nowhere) for number in range(40)]
    looking = asyncio.create_task(
        ReplicationMonitor(members, Metrics(version="1", now=lambda: T0), check_link=look).check()
    )
    try:
        async with asyncio.timeout(HANGS):
            # So that the looks have begun.
            await asyncio.sleep(0.05)
            assert await asyncio.to_thread(len, "a page")
    finally:
        mended.set()
        await looking


@pytest.mark.parametrize("away", [20, 300])
async def test_a_store_that_was_away_for_long_has_heard_nobody_yet_when_it_is_back(away: int) -> None:
    """What sites say comes to it by itself, some seconds later."""
    nation = await running()
    nation.say("utama", JCM=DOWN)
    assert await nation.live(5) == []
    nation.rows.is_away = True
    for _ in range(away):
        with pytest.raises(StoreUnavailable):
            await nation.live(1, "johor", "kuching")
    nation.rows.is_away = False
    assert await nation.live(14, "johor", "kuching") == []
    assert await nation.live(30) == []

    nation.say("johor", JCM=DOWN)
    assert await nation.live(1) == ["JCM: both"]


async def test_start_of_a_hub_ends_what_was_told_of_sites_that_are_none_of_its_own_any_more() -> None:
    told = ("ours/quorum", "ours/site/johor", "ours/site/sabah")
    nation = Nation(dict.fromkeys(told, IncidentType.MONITORING_FAULT))
    settings = cast(Settings, SimpleNamespace(site="utama", hub=SimpleNamespace(sites={"johor": None})))
    _resolve_removed_sites(nation.reporter, settings, nation.clock.time)
    await nation.reporter.report()
    assert nation.alerts.told() == ["ours/site/sabah: over"]
