"""Drill page: drills of the agency's contacts, their limits and results."""

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
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

DRILLS = "/agencies/JCM/drills"


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        yield opened


@pytest.fixture
async def officer(env: PortalEnv) -> httpx.AsyncClient:
    officer = await env.session_for("siti", "officer:JCM")
    await officer.get(DRILLS, params={"lang": "en"})
    return officer


def visible_text(answer: httpx.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text)))


async def test_drill_of_own_contacts_records_user_and_shows_results(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    page = await officer.get(DRILLS)
    names = [each.name for each in env.drill_runner.people("JCM")]
    assert names
    assert f"All contacts of the agency ({len(names)})" in visible_text(page)
    assert "No drills." in visible_text(page)
    answer = await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
    assert (answer.status_code, answer.headers["location"]) == (303, DRILLS)
    page = await officer.get(DRILLS)
    assert "LATIH-01 is running, started by Siti Contoh (siti)." in visible_text(page)
    assert '<meta http-equiv="refresh"' in page.text
    again = await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
    assert (again.status_code, "A drill of this agency is running" in visible_text(again)) == (409, True)

    for _ in range(9):
        async with asyncio.TaskGroup() as calls:
            await env.drill_runner.run_once(calls)
        env.clock.move(timedelta(minutes=20))
    tried = (await env.drill_runner.of_agency("JCM"))[1]
    assert {each.agency for each in tried} == {"JCM"}
    assert all(each.state is not DrillState.CALLING for each in tried)
    colleague = await env.session_for("ali", "officer:JCM")
    page = await colleague.get(DRILLS, params={"lang": "en"})
    assert "is running" not in visible_text(page)
    assert {each.name for each in tried} == set(names)
    for name in names:
        assert re.search(
            rf"<td>{name}</td><td>accepted by the provider</td><td>SMS</td><td>24/11/2026 1\d:\d\d</td>", page.text
        )


async def test_drill_concurrent_starts_begin_one(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    pressed = [officer.post(DRILLS, data={"contact": "all", "sure": "1"}) for _ in range(5)]
    answers = await asyncio.gather(*pressed)
    assert sorted(each.status_code for each in answers) == [303, 409, 409, 409, 409]
    assert all("running" in visible_text(each) for each in answers if each.status_code == 409)
    assert len((await env.drill_runner.of_agency("JCM"))[0]) == 1


async def test_drills_are_limited_to_ten_per_day(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    for count in range(11):
        answer = await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
        assert answer.status_code == (303 if count < 10 else 409)
        for drill in (await env.drill_runner.of_agency("JCM"))[0]:
            await Drills(env.database).end(drill, env.clock.now())
    assert "Ten drills of this agency" in visible_text(answer)
    noc = await env.session_for("ravi", "noc")
    assert (await noc.post("/agencies/MDC/drills", data={"contact": "all", "sure": "1"})).status_code == 303
    env.clock.move(timedelta(days=1, minutes=1))
    again = await env.session_for("ali", "officer:JCM")
    assert (await again.post(DRILLS, data={"contact": "all", "sure": "1"})).status_code == 303


async def test_drills_are_limited_to_three_hundred_numbers_per_day(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
    async with asyncio.TaskGroup() as calls:
        await env.drill_runner.run_once(calls)
    (drill,), _ = await env.drill_runner.of_agency("JCM")
    async with env.database.write() as connection:
        one = dict((await connection.execute(select(drill_notification).limit(1))).one()._mapping)
        more = [one | {"id": 1000 + n, "key": f"{drill.id}/{n}", "reference": f"r{n}"} for n in range(300)]
        await connection.execute(insert(drill_notification), more)
    await Drills(env.database).end(drill, env.clock.now())
    answer = await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
    assert "Three hundred numbers of this agency" in visible_text(answer)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"contact": "all"}, "Confirm that their telephones will ring."),
        ({"contact": "tiada", "sure": "1"}, "The settings have no contact of this name"),
        ({"contact": "MDC/all", "sure": "1"}, "The settings have no contact of this name"),
        ({"sure": "1"}, "The settings have no contact of this name"),
    ],
)
async def test_drill_unconfirmed_unknown_or_foreign_contact_is_refused(
    env: PortalEnv, officer: httpx.AsyncClient, fields: dict[str, str], why: str
) -> None:
    answer = await officer.post(DRILLS, data=fields)
    assert (answer.status_code, why in visible_text(answer)) == (409, True)
    assert (await env.drill_runner.of_agency("JCM"))[0] == []


async def test_drill_monitor_only_is_refused(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    env.site.is_monitor_only = True
    answer = await officer.post(DRILLS, data={"contact": "all", "sure": "1"})
    assert (answer.status_code, "Nobody is notified now" in visible_text(answer)) == (409, True)


@pytest.mark.access
async def test_drill_of_other_agency_is_refused_and_hidden(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    theirs = "/agencies/MDC/drills"
    assert (await officer.post(theirs, data={"contact": "all", "sure": "1"})).status_code == 403
    noc = await env.session_for("ravi", "noc")
    assert (await noc.post(theirs, data={"contact": "all", "sure": "1"})).status_code == 303
    assert "LATIH" not in (await officer.get(DRILLS)).text
