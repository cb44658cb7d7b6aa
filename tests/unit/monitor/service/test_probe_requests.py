"""Requests to run all routes of an agency: the executing process, the rate limit, and the state of each site."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from monitor.audit.lifecycle import LifecycleRecorder
from monitor.service.portal.on_demand_runs import RETENTION, OnDemandRunRejectedError
from monitor.service.sites import probe_requests
from monitor.service.sites.probe_requests import ProbeRequester, ProbeRequestState
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.probe_requests import ProbeRequests
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from monitor.store.sites.probe_requests import SiteOutdatedError
from tests.unit.monitor.web.fake_runtime import FakeRuntime
from tests.unit.monitor.web.portal_env import Clock
from tests.unit.monitor.world import agency_routes
from tests.unit.probes.standin import until

HERE = PostgresServer(host="127.0.0.1", database="pantau", user="pantau", tls=False)
JCM = [each.name for each in agency_routes("JCM")]
MINUTE = timedelta(minutes=1)


class SiteStub:
    """Sites with preset answers."""

    def __init__(self, **answers: Exception | Event | None) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []
        self.members = [SiteConnection(site=site, server=HERE, hub="noc", store=HERE) for site in answers]

    def store_request(self, member: SiteConnection, agency: str) -> bool:
        self.asked.append((member.site, agency))
        answer = self.answers[member.site]
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            answer.wait(60)
        return True


class ClusterFixture:
    """A database, its clock, and processes."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()

    def process(self, bench: FakeRuntime, sites: SiteStub | None = None, *, looks: bool = True) -> ProbeRequester:
        lifecycle, sites = LifecycleRecorder(SqlStore(self.database), self.clock, "pantau@ujian"), sites or SiteStub()
        calls = ProbeRequests(self.database)
        return ProbeRequester(
            calls,
            lifecycle,
            bench.runtime,
            self.clock,
            connections=sites.members,
            has_other_processes=looks,
            write_to_site=sites.store_request,
        )


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ClusterFixture]:
    async with Database.open(tmp_path) as database:
        yield ClusterFixture(database)


@pytest.fixture
def unresponsive() -> Iterator[Event]:
    """Block a site; release its thread at the end of the test, which otherwise would not end."""
    event = Event()
    yield event
    event.set()


def ran(bench: FakeRuntime) -> list[str]:
    return [each.route.name for each in bench.runs]


async def test_probe_request_is_executed_once_by_owner_of_agency(cluster: ClusterFixture) -> None:
    owner, other = FakeRuntime(["JCM", "MDC"]), FakeRuntime(["JCM", "MDC"])
    other.owners["JCM"] = "prob-1"
    at_owner, at_other = cluster.process(owner), cluster.process(other)
    await at_other.request("jcm", by="Siti Contoh")
    for each in (at_owner, at_other) * 2:
        await each.execute()
    assert (ran(owner), ran(other)) == (JCM, [])
    # The owner has died; whether it ran them is unknown.
    other.owners.clear()
    await at_other.execute()
    assert ran(other) == JCM

    cluster.clock.move(MINUTE)
    await at_owner.request("JCM", by="Siti Contoh")
    await at_owner.execute()
    assert ran(owner) == JCM * 2


async def test_probe_request_older_than_a_minute_is_not_executed(cluster: ClusterFixture) -> None:
    bench = FakeRuntime(["JCM"])
    caller = cluster.process(bench)
    await caller.request("JCM", by="Siti Contoh")
    cluster.clock.move(MINUTE)
    await caller.execute()
    assert ran(bench) == []


async def test_probe_request_returns_state_of_each_site_without_waiting_for_slow_one(
    cluster: ClusterFixture, unresponsive: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three sites answer in time, each in a thread.
    monkeypatch.setattr(probe_requests, "_ANSWER_TIMEOUT", 3)
    sites = SiteStub(
        johor=None, kuching=SiteRefusedError("no route"), labuan=SiteOutdatedError("older"), miri=unresponsive
    )
    caller = cluster.process(FakeRuntime(["JCM"]), sites)
    call = await caller.request("JCM", by="Siti Contoh")
    # On a busy machine no thread may have answered yet.
    await until(lambda: [*call.sites.values()].count(ProbeRequestState.PENDING) == 1)
    assert call.sites == {
        "johor": ProbeRequestState.STORED,
        "kuching": ProbeRequestState.UNREACHABLE,
        "labuan": ProbeRequestState.OUTDATED,
        "miri": ProbeRequestState.PENDING,
    }
    unresponsive.set()
    await asyncio.gather(*caller._tasks)
    assert call.sites["miri"] is ProbeRequestState.STORED
    assert caller.latest("JCM") is call
    cluster.clock.move(RETENTION)
    assert caller.latest("JCM") is None


async def test_probe_request_limits_pending_threads_of_unresponsive_site(
    cluster: ClusterFixture, unresponsive: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_requests, "_ANSWER_TIMEOUT", 0.0)
    sites = SiteStub(johor=unresponsive)
    codes = ["JCM", "MDC", "KKC", "UCM", "PCM"]
    caller = cluster.process(FakeRuntime(codes), sites)
    said = [(await caller.request(code, by="Siti Contoh")).sites["johor"] for code in codes]
    assert said == [ProbeRequestState.PENDING] * 4 + [ProbeRequestState.UNREACHABLE]
    unresponsive.set()
    await asyncio.gather(*caller._tasks)
    assert len(sites.asked) == 4


async def test_probe_request_waits_for_answers_and_is_refused_within_a_minute(
    cluster: ClusterFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_requests, "_ANSWER_TIMEOUT", 60.0)
    sites = SiteStub(johor=None)
    caller = cluster.process(FakeRuntime(["JCM"]), sites)
    assert (await caller.request("JCM", by="Siti Contoh")).sites == {"johor": ProbeRequestState.STORED}
    with pytest.raises(OnDemandRunRejectedError, match="called_lately"):
        await caller.request("JCM", by="Ravi Contoh")
    assert sites.asked == [("johor", "JCM")]
