"""All routes of an agency at once: who runs them, how often, and what is said of each site."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from monitor.audit.lifecycle import Lifecycle
from monitor.service.portal.on_demand_runs import RETENTION, OnDemandRunRejectedError
from monitor.service.sites import probe_requests
from monitor.service.sites.probe_requests import ProbeRequester, ProbeRequestState
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.probe_calls import ProbeRequests
from monitor.store.sites.link import SiteConnection, SiteRefusedError
from monitor.store.sites.probe_calls import SiteOutdatedError
from tests.unit.monitor.trial import agency_routes
from tests.unit.monitor.web.bench import Bench
from tests.unit.monitor.web.signed import Clock
from tests.unit.probes.standin import until

HERE = PostgresServer(host="127.0.0.1", database="pantau", user="pantau", tls=False)
JCM = [each.name for each in agency_routes("JCM")]
MINUTE = timedelta(minutes=1)


class Wire:
    """Sites, each of which answers as it is told to."""

    def __init__(self, **answers: Exception | Event | None) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []
        self.members = [SiteConnection(site=site, server=HERE, hub="noc", store=HERE) for site in answers]

    def place(self, member: SiteConnection, agency: str) -> bool:
        self.asked.append((member.site, agency))
        answer = self.answers[member.site]
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            answer.wait(60)
        return True


class SourceLocation:
    """A store, its clock, and processes on it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()

    def process(self, bench: Bench, wire: Wire | None = None, *, looks: bool = True) -> ProbeRequester:
        lifecycle, wire = Lifecycle(SqlStore(self.database), self.clock, "pantau@ujian"), wire or Wire()
        calls = ProbeRequests(self.database)
        return ProbeRequester(
            calls,
            lifecycle,
            bench.runtime,
            self.clock,
            connections=wire.members,
            has_other_processes=looks,
            place=wire.place,
        )


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[SourceLocation]:
    async with Database.open(tmp_path) as database:
        yield SourceLocation(database)


@pytest.fixture
def hangs() -> Iterator[Event]:
    """Hold a site up, and let its thread go whatever becomes of the test, which would not end otherwise."""
    event = Event()
    yield event
    event.set()


def ran(bench: Bench) -> list[str]:
    return [each.route.name for each in bench.trials]


async def test_each_process_runs_what_it_owns_once_for_each_call(place: SourceLocation) -> None:
    owner, other = Bench(["JCM", "MDC"]), Bench(["JCM", "MDC"])
    other.elsewhere["JCM"] = "prob-1"
    at_owner, at_other = place.process(owner), place.process(other)
    await at_other.request("jcm", by="Siti Contoh")
    for each in (at_owner, at_other) * 2:
        await each.execute()
    assert (ran(owner), ran(other)) == (JCM, [])
    # Who owned it has died, and has run them, or has not.
    other.elsewhere.clear()
    await at_other.execute()
    assert ran(other) == JCM

    place.clock.move(MINUTE)
    await at_owner.request("JCM", by="Siti Contoh")
    await at_owner.execute()
    assert ran(owner) == JCM * 2


async def test_what_nobody_answered_within_a_minute_is_run_by_nobody(place: SourceLocation) -> None:
    bench = Bench(["JCM"])
    caller = place.process(bench)
    await caller.request("JCM", by="Siti Contoh")
    place.clock.move(MINUTE)
    await caller.execute()
    assert ran(bench) == []


async def test_it_is_said_of_each_site_whether_it_was_asked_and_nobody_waits_for_one_that_is_cut_off(
    place: SourceLocation, hangs: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three have to answer meanwhile, each by a thread.
    monkeypatch.setattr(probe_requests, "_ANSWER_TIMEOUT", 3)
    wire = Wire(johor=None, kuching=SiteRefusedError("no route"), labuan=SiteOutdatedError("older"), miri=hangs)
    caller = place.process(Bench(["JCM"]), wire)
    call = await caller.request("JCM", by="Siti Contoh")
    # On a busy machine it may be that no thread has answered yet.
    await until(lambda: [*call.sites.values()].count(ProbeRequestState.WAITS) == 1)
    assert call.sites == {
        "johor": ProbeRequestState.ASKED,
        "kuching": ProbeRequestState.UNREACHED,
        "labuan": ProbeRequestState.OLDER,
        "miri": ProbeRequestState.WAITS,
    }
    hangs.set()
    await asyncio.gather(*caller._tasks)
    assert call.sites["miri"] is ProbeRequestState.ASKED
    assert caller.latest("JCM") is call
    place.clock.move(RETENTION)
    assert caller.latest("JCM") is None


async def test_a_site_that_never_answers_is_not_asked_by_ever_more(
    place: SourceLocation, hangs: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_requests, "_ANSWER_TIMEOUT", 0.0)
    wire = Wire(johor=hangs)
    codes = ["JCM", "MDC", "KKC", "UCM", "PCM"]
    caller = place.process(Bench(codes), wire)
    said = [(await caller.request(code, by="Siti Contoh")).sites["johor"] for code in codes]
    assert said == [ProbeRequestState.WAITS] * 4 + [ProbeRequestState.UNREACHED]
    hangs.set()
    await asyncio.gather(*caller._tasks)
    assert len(wire.asked) == 4


async def test_sites_that_answer_have_answered_when_it_is_said_and_none_is_asked_again_within_the_minute(
    place: SourceLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_requests, "_ANSWER_TIMEOUT", 60.0)
    wire = Wire(johor=None)
    caller = place.process(Bench(["JCM"]), wire)
    assert (await caller.request("JCM", by="Siti Contoh")).sites == {"johor": ProbeRequestState.ASKED}
    with pytest.raises(OnDemandRunRejectedError, match="called_lately"):
        await caller.request("JCM", by="Ravi Contoh")
    assert wire.asked == [("johor", "JCM")]
