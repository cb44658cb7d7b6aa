"""What a person lets nobody be told about."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.web.command.control import control, silence_commands
from tests.integration.alerts.station import Station
from tests.unit.alerts.people import MINUTE, T0, incident, trigger
from tests.unit.monitor.trial import REFUSED, World, agency_routes, controls
from tests.unit.monitor.web.source import Service as Web

HOUR = timedelta(hours=1)
ROUTES = [r.name for r in agency_routes("JCM")]


def silence(about: str, lasts: timedelta = HOUR) -> Silence:
    return Silence(id=1, target=about, starts_at=T0, ends_at=T0 + lasts, reason="kerja", by="Siti Contoh")


def in_trouble(*, one_route: bool) -> Callable[[str], Collection[str]]:
    world = World([*agency_routes("JCM"), *controls()])
    world.rounds(3)
    if one_route:
        world.routes[:] = [r for r in world.routes if r.name == ROUTES[0] or not r.agency]
    world.faults["JCM/utama"] = REFUSED
    evaluator = world.rounds(3).evaluator
    return lambda agency: evaluator.mail(agency).unhealthy_routes()


def test_an_agency_is_silent_by_its_code_until_the_last_silence_ends() -> None:
    over = route_silence_lookup(in_trouble(one_route=False))
    long = silence("JCM", 2 * HOUR)

    assert over(incident(), [silence("JCM"), long], T0) == long
    assert over(incident(), [silence("JKT")], T0) is None
    assert over(incident(), [long], T0 + 2 * HOUR) is None


def test_an_agency_is_silent_when_every_route_that_is_in_trouble_is() -> None:
    one = route_silence_lookup(in_trouble(one_route=True))
    all_of_them = route_silence_lookup(in_trouble(one_route=False))

    assert one(incident(), [silence(ROUTES[0])], T0) == silence(ROUTES[0])
    assert all_of_them(incident(), [silence(ROUTES[0])], T0) is None
    every = [silence(route, HOUR + n * MINUTE) for n, route in enumerate(ROUTES)]
    assert all_of_them(incident(), every, T0) == every[0], "the first that ends lets it speak"


def test_a_silence_of_a_route_says_nothing_of_what_is_our_own() -> None:
    ours = replace(incident(), dedup_key="ours/network", policy=replace(incident().policy, agency=""))

    assert route_silence_lookup(in_trouble(one_route=True))(ours, [silence(ROUTES[0])], T0) is None


# -- as it is ordered ------------------------------------------------------------------------------------------------


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Station]]:
    async with Database.open(tmp_path) as database:
        station = Station(database)
        silencer = Silencer(
            SqlStore(database), station.dispatcher, station.clock, lambda: dict.fromkeys(["JCM", *ROUTES], "JCM")
        )
        app = control(Web(), silence_commands(silencer))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://pantau") as client:
            yield client, station


ORDER = {"target": "JCM", "duration": "2h", "reason": "kerja rangkaian", "by": "Siti Contoh"}


async def test_a_silence_is_begun_listed_and_ended_and_the_journal_says_by_whom(
    office: tuple[httpx.AsyncClient, Station],
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


async def test_who_orders_the_same_twice_at_once_has_ordered_one_silence(
    office: tuple[httpx.AsyncClient, Station],
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
async def test_what_cannot_be_silent_is_refused_in_words(
    office: tuple[httpx.AsyncClient, Station], order: dict[str, str], says: str
) -> None:
    answer = await office[0].post("/silences", json=ORDER | order)

    assert answer.status_code == 409
    assert says in answer.json()["detail"]


async def test_a_silence_that_is_over_cannot_be_ended(office: tuple[httpx.AsyncClient, Station]) -> None:
    answer = await office[0].post("/silences/7/remove", json={"by": "Siti Contoh"})

    assert answer.status_code == 404
    assert "`pantau silence list`" in answer.json()["detail"]


SEEN = timedelta(minutes=10)


@pytest.mark.parametrize(
    ("opened_at", "measured", "is_unseen", "after", "silent"),
    [
        (T0, IncidentType.BOTH, True, MINUTE, True),
        # The probes have seen it, or it is too late to wait for them.
        (T0, IncidentType.BOTH, False, MINUTE, False),
        (T0, IncidentType.BOTH, True, SEEN, False),
        # By a person's word alone, of which no probe says anything.
        (T0, None, False, MINUTE, True),
        # It opened since: no copy speaks of it.
        (T0 + HOUR + MINUTE, IncidentType.BOTH, True, 2 * MINUTE, False),
        # A clock that was set back.
        (T0, IncidentType.BOTH, True, -MINUTE, False),
    ],
)
def test_first_verdict_muter_what_a_copy_has_open_is_silent_until_it_was_measured(
    *, opened_at: datetime, measured: IncidentType | None, is_unseen: bool, after: timedelta, silent: bool
) -> None:
    since = T0 + HOUR
    silence_lookup = restored_store_silence_lookup(active_silence, lambda: since, lambda _: is_unseen)
    found = silence_lookup(replace(incident(), opened_at=opened_at, detected=measured), (), since + after)
    assert (found is not None) is silent
    assert found is None or found.ends_at == since + RECHECK_DELAY
    assert SEEN == RECHECK_DELAY


def test_first_verdict_muter_without_a_copy_changes_nothing() -> None:
    silence_lookup = restored_store_silence_lookup(active_silence, lambda: None, lambda _: True)
    assert silence_lookup(incident(), (), T0) is None
    assert silence_lookup(incident(), [silence("JCM")], T0) == silence("JCM")
