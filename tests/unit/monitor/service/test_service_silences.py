"""Silences of agencies and routes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from alerts.decide.silence import Silence, active_silence
from alerts.model.notification import IncidentType
from alerts.persistence.restoration import RECHECK_DELAY
from monitor.service.silences import Silencer, restored_store_silence_lookup, route_silence_lookup
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.web.command.control import control, silence_commands
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.unit.alerts.people import MINUTE, T0, incident, trigger
from tests.unit.monitor.web.fake_service import Service as Web
from tests.unit.monitor.world import REFUSED, World, agency_routes, controls

HOUR = timedelta(hours=1)
ROUTES = [r.name for r in agency_routes("JCM")]


def silence(about: str, lasts: timedelta = HOUR) -> Silence:
    return Silence(id=1, target=about, starts_at=T0, ends_at=T0 + lasts, reason="kerja", by="Siti Contoh")


def unhealthy_routes_of(*, one_route: bool) -> Callable[[str], Collection[str]]:
    world = World([*agency_routes("JCM"), *controls()])
    world.rounds(3)
    if one_route:
        world.routes[:] = [r for r in world.routes if r.name == ROUTES[0] or not r.agency]
    world.faults["JCM/utama"] = REFUSED
    evaluator = world.rounds(3).evaluator
    return lambda agency: evaluator.mail(agency).unhealthy_routes()


def test_silence_of_agency_code_lasts_until_last_one_ends() -> None:
    over = route_silence_lookup(unhealthy_routes_of(one_route=False))
    long = silence("JCM", 2 * HOUR)

    assert over(incident(), [silence("JCM"), long], T0) == long
    assert over(incident(), [silence("JKT")], T0) is None
    assert over(incident(), [long], T0 + 2 * HOUR) is None


def test_silence_of_routes_applies_when_all_unhealthy_routes_are_silenced() -> None:
    one = route_silence_lookup(unhealthy_routes_of(one_route=True))
    all_of_them = route_silence_lookup(unhealthy_routes_of(one_route=False))

    assert one(incident(), [silence(ROUTES[0])], T0) == silence(ROUTES[0])
    assert all_of_them(incident(), [silence(ROUTES[0])], T0) is None
    every = [silence(route, HOUR + n * MINUTE) for n, route in enumerate(ROUTES)]
    assert all_of_them(incident(), every, T0) == every[0], "the first that ends lets it speak"


def test_silence_of_route_does_not_apply_to_monitoring_fault() -> None:
    ours = replace(incident(), dedup_key="ours/network", policy=replace(incident().policy, agency=""))

    assert route_silence_lookup(unhealthy_routes_of(one_route=True))(ours, [silence(ROUTES[0])], T0) is None


# -- HTTP API --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, DispatcherEnv]]:
    async with Database.open(tmp_path) as database:
        station = DispatcherEnv(database)
        silencer = Silencer(
            SqlStore(database), station.dispatcher, station.clock, lambda: dict.fromkeys(["JCM", *ROUTES], "JCM")
        )
        app = control(Web(), silence_commands(silencer))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://pantau") as client:
            yield client, station


ORDER = {"target": "JCM", "duration": "2h", "reason": "kerja rangkaian", "by": "Siti Contoh"}


async def test_silence_is_created_listed_and_removed(
    office: tuple[httpx.AsyncClient, DispatcherEnv],
) -> None:
    client, station = office
    made = (await client.post("/silences", json=ORDER)).json()
    assert made["ends_at"].startswith("2026-11-24T08:15")
    assert [s["target"] for s in (await client.get("/silences")).json()] == ["JCM"]
    await station.submit(trigger())
    assert station.calls == []

    ended = await client.post(f"/silences/{made['id']}/remove", json={"by": "Ravi Contoh"})
    assert ended.status_code == 200
    await station.settle()
    assert len(station.sms.orders) == 1
    assert (await client.get("/silences")).json() == []


async def test_silence_same_request_at_once_creates_one_silence(
    office: tuple[httpx.AsyncClient, DispatcherEnv],
) -> None:
    client, station = office
    made = (await client.post("/silences", json=ORDER)).json()
    assert (await client.post("/silences", json=ORDER)).json() == made
    for other in ({"by": "Ravi Contoh"}, {"duration": "3h"}, {"reason": "kerja lain"}, {"target": ROUTES[0]}):
        assert (await client.post("/silences", json={**ORDER, **other})).json()["id"] != made["id"]
    station.clock.moment += MINUTE
    assert (await client.post("/silences", json=ORDER)).json()["id"] == made["id"] + 5, "and it lasts longer"
    ended = await client.post(f"/silences/{made['id'] + 5}/remove", json={"by": "Siti Contoh"})
    assert ended.status_code == 200
    assert (await client.post("/silences", json=ORDER)).json()["id"] == made["id"] + 6, "what was ended does not stand"


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({"target": "ZZZ"}, "there is no agency or route 'ZZZ'"),
        ({"duration": "2"}, "has no unit; write --for 2h"),
        ({"duration": "8d"}, "7 days at most"),
        ({"duration": "0s"}, "7 days at most"),
    ],
)
async def test_silence_invalid_request_is_refused(
    office: tuple[httpx.AsyncClient, DispatcherEnv], order: dict[str, str], says: str
) -> None:
    answer = await office[0].post("/silences", json=ORDER | order)

    assert answer.status_code == 409
    assert says in answer.json()["detail"]


async def test_silence_expired_cannot_be_removed(office: tuple[httpx.AsyncClient, DispatcherEnv]) -> None:
    answer = await office[0].post("/silences/7/remove", json={"by": "Siti Contoh"})

    assert answer.status_code == 404
    assert "`pantau silence list`" in answer.json()["detail"]


SEEN = timedelta(minutes=10)


@pytest.mark.parametrize(
    ("opened_at", "detected", "is_undetected", "after", "silent"),
    [
        (T0, IncidentType.BOTH, True, MINUTE, True),
        # The probes have detected it, or the delay is over.
        (T0, IncidentType.BOTH, False, MINUTE, False),
        (T0, IncidentType.BOTH, True, SEEN, False),
        # A declared incident is never detected by a probe.
        (T0, None, False, MINUTE, True),
        # It was opened after the restore.
        (T0 + HOUR + MINUTE, IncidentType.BOTH, True, 2 * MINUTE, False),
        # The clock was set back.
        (T0, IncidentType.BOTH, True, -MINUTE, False),
    ],
)
def test_restored_store_silence_applies_to_open_incident_until_detected(
    *, opened_at: datetime, detected: IncidentType | None, is_undetected: bool, after: timedelta, silent: bool
) -> None:
    since = T0 + HOUR
    silence_lookup = restored_store_silence_lookup(active_silence, lambda: since, lambda _: is_undetected)
    found = silence_lookup(replace(incident(), opened_at=opened_at, detected=detected), (), since + after)
    assert (found is not None) is silent
    assert found is None or found.ends_at == since + RECHECK_DELAY
    assert SEEN == RECHECK_DELAY


def test_restored_store_silence_without_restore_changes_nothing() -> None:
    silence_lookup = restored_store_silence_lookup(active_silence, lambda: None, lambda _: True)
    assert silence_lookup(incident(), (), T0) is None
    assert silence_lookup(incident(), [silence("JCM")], T0) == silence("JCM")
