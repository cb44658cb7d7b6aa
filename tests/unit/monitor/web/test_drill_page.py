"""Officers have their own people drilled from the portal, once at a time, and see what became of it."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import insert, select

from alerts.decide.drill import DrillState
from monitor.store.engine.drills import Drills
from monitor.store.schema.tables import drill_notification
from tests.unit.monitor.web.signed import House, house

DRILLS = "/agencies/JCM/drills"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


@pytest.fixture
async def officer(place: House) -> httpx.AsyncClient:
    officer = await place.admitted("siti", "officer:JCM")
    await officer.get(DRILLS, params={"lang": "en"})
    return officer


def shown(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text)))


async def test_a_drill_is_of_ones_own_people_is_in_ones_name_and_is_followed_to_its_end(
    place: House, officer: httpx.AsyncClient
) -> None:
    page = await officer.get(DRILLS)
    names = [each.name for each in place.driller.people("JCM")]
    assert names
    assert f"All contacts of the agency ({len(names)})" in shown(page)
    assert "No drills." in shown(page)
    answer = await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
    assert (answer.status_code, answer.headers["location"]) == (303, DRILLS)
    page = await officer.get(DRILLS)
    assert "LATIH-01 is running, started by Siti Contoh (siti)." in shown(page)
    assert '<meta http-equiv="refresh"' in page.text
    again = await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
    assert (again.status_code, "A drill of this agency is running" in shown(again)) == (409, True)

    for _ in range(9):
        async with asyncio.TaskGroup() as calls:
            await place.driller.run_once(calls)
        place.clock.move(timedelta(minutes=20))
    tried = (await place.driller.of_agency("JCM"))[1]
    assert {each.agency for each in tried} == {"JCM"}
    assert all(each.state is not DrillState.CALLING for each in tried)
    colleague = await place.admitted("ali", "officer:JCM")
    page = await colleague.get(DRILLS, params={"lang": "en"})
    assert "is running" not in shown(page)
    assert {each.name for each in tried} == set(names)
    for name in names:
        assert re.search(
            rf"<td>{name}</td><td>accepted by the provider</td><td>SMS</td><td>24/11/2026 1\d:\d\d</td>", page.text
        )


async def test_of_many_who_press_the_button_at_once_one_begins_a_drill(
    place: House, officer: httpx.AsyncClient
) -> None:
    pressed = [officer.post(DRILLS, data={"contact": "all", "sure": "1"}) for _ in range(5)]
    answers = await asyncio.gather(*pressed)
    assert sorted(each.status_code for each in answers) == [303, 409, 409, 409, 409]
    assert all("running" in shown(each) for each in answers if each.status_code == 409)
    assert len((await place.driller.of_agency("JCM"))[0]) == 1


async def test_ten_are_held_in_a_day_and_no_more(place: House, officer: httpx.AsyncClient) -> None:
    for count in range(11):
        answer = await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
        assert answer.status_code == (303 if count < 10 else 409)
        for drill in (await place.driller.of_agency("JCM"))[0]:
            await Drills(place.database).end(drill, place.clock.now())
    assert "Ten drills of this agency" in shown(answer)
    noc = await place.admitted("ravi", "noc")
    assert (await noc.post("/agencies/MDC/drills", data={"contact": "all", "sure": "1"})).status_code == 303
    place.clock.move(timedelta(days=1, minutes=1))
    again = await place.admitted("ali", "officer:JCM")
    assert (await again.post(DRILLS, data={"contact": "all", "sure": "1"})).status_code == 303


async def test_who_names_hundreds_of_people_tries_three_hundred_numbers_in_a_day(
    place: House, officer: httpx.AsyncClient
) -> None:
    await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
    async with asyncio.TaskGroup() as calls:
        await place.driller.run_once(calls)
    (drill,), _ = await place.driller.of_agency("JCM")
    async with place.database.write() as connection:
        one = dict((await connection.execute(select(drill_notification).limit(1))).one()._mapping)
        more = [one | {"id": 1000 + n, "key": f"{drill.id}/{n}", "reference": f"r{n}"} for n in range(300)]
        await connection.execute(insert(drill_notification), more)
    await Drills(place.database).end(drill, place.clock.now())
    answer = await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
    assert "Three hundred numbers of this agency" in shown(answer)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"contact": "all"}, "Confirm that their telephones will ring."),
        ({"contact": "tiada", "sure": "1"}, "The settings have no contact of this name"),
        ({"contact": "MDC/all", "sure": "1"}, "The settings have no contact of this name"),
        ({"sure": "1"}, "The settings have no contact of this name"),
    ],
)
async def test_none_is_begun_of_nobody_of_others_or_by_a_slip(
    place: House, officer: httpx.AsyncClient, fields: dict[str, str], why: str
) -> None:
    answer = await officer.post(DRILLS, data=fields)
    assert (answer.status_code, why in shown(answer)) == (409, True)
    assert (await place.driller.of_agency("JCM"))[0] == []


async def test_none_is_begun_while_nobody_is_told_of_anything(place: House, officer: httpx.AsyncClient) -> None:
    place.site.is_monitor_only = True
    answer = await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
    assert (answer.status_code, "Nobody is notified now" in shown(answer)) == (409, True)


@pytest.mark.access
async def test_a_drill_of_another_agency_is_neither_begun_nor_seen(place: House, officer: httpx.AsyncClient) -> None:
    theirs = "/agencies/MDC/drills"
    assert (await officer.post(theirs, data={"contact": "all", "sure": "1"})).status_code == 403
    noc = await place.admitted("ravi", "noc")
    assert (await noc.post(theirs, data={"contact": "all", "sure": "1"})).status_code == 303
    assert "LATIH" not in (await officer.get(DRILLS)).text
