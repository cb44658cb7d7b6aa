"""'Test now': who may, how often, what is seen meanwhile and afterwards, and what the journal says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from markupsafe import escape
from sqlalchemy import select

from alerts.model.notification import Language
from monitor.advice import advise
from monitor.model.health import Health
from monitor.service.sites.probe_requests import ProbeRequestState
from monitor.store.schema.tables import audit_log
from probes.model.result import Outcome, Party, Phase
from probes.run.trace import TraceRecorder
from tests.unit.alerts.people import T0
from tests.unit.monitor.trial import agency_routes, arrived, failed
from tests.unit.monitor.web.signed import House, house

SECOND = timedelta(seconds=1)
ROUTES = [each.name for each in agency_routes("JCM")]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


@pytest.fixture
async def officer(place: House) -> httpx.AsyncClient:
    return await place.admitted("siti", "officer:JCM")


async def press(browser: httpx.AsyncClient, route: str = ROUTES[0], agency: str = "JCM") -> httpx.Response:
    return await browser.post(f"/agencies/{agency}/test", data={"route": route})


async def test_an_officer_chooses_a_route_and_sees_what_comes_of_it(place: House, officer: httpx.AsyncClient) -> None:
    form = await officer.get("/agencies/jcm/test?lang=en")
    assert [each in form.text for each in ROUTES] == [True] * len(ROUTES)
    assert "counts as a regular run" in form.text
    begun = await press(officer)
    address = begun.headers["location"]
    assert (begun.status_code, address.rpartition("/")[0]) == (303, "/agencies/JCM/test")
    page = await officer.get(address)
    assert '<noscript><meta http-equiv="refresh" content="2;url=?polled"></noscript>' in page.text
    assert "Waiting: a regular run" in page.text

    (trial,) = place.bench.trials
    trial.started_at, trial.recorder = T0, TraceRecorder()
    with trial.recorder.phase(Phase.CONNECT, Party.SENDER):
        pass
    with trial.recorder.phase(Phase.TLS, Party.SENDER):
        fragment = await officer.get(f"{address}/fragment")
        assert "Phase: TLS" in fragment.text
        assert (
            fragment.text.index('class="past"') < fragment.text.index('class="now"') < fragment.text.rindex('"ahead"')
        )
        assert "data-over" not in fragment.text
        assert "<html" not in fragment.text

    trial.result = failed(trial.route, T0, Outcome.REJECTED, Phase.SUBMIT)
    trial.ended_at = T0 + SECOND
    page = await officer.get(address)
    assert "refresh" not in page.text
    assert "script" not in page.text
    for said in ("data-over", "rejected", "failed here", "What it means", "What to do", "Test again"):
        assert said in page.text, said
    malay = (await officer.get(f"{address}?lang=ms")).text
    advice = advise(trial.route, trial.result, Language.MALAY)
    for told in (advice.what, advice.do, *advice.steps):
        assert str(escape(told)) in malay, told
    assert advise(trial.route, trial.result).what not in malay


async def test_a_message_that_arrives_is_well_and_needs_no_doing(place: House, officer: httpx.AsyncClient) -> None:
    address = (await press(officer)).headers["location"]
    (trial,) = place.bench.trials
    trial.result, trial.ended_at = arrived(trial.route, T0), T0
    page = (await officer.get(f"{address}?lang=ms")).text
    assert 'class="verdict well"' in page
    assert "Maksudnya" in page
    # In the language of the page, with why a new route is not green yet.
    assert "berfungsi: mesej dihantar" in page
    assert "selepas 2 ujian berturut-turut berjaya" in page
    assert "diuji dengan sendirinya setiap 5 minit." in page
    assert '<a href="/agencies/JCM/test">Uji laluan lain</a>' in page
    assert "Nothing is to be done" not in page
    place.bench.healths[trial.route.name] = Health.UP
    green = (await officer.get(f"{address}?lang=ms")).text
    assert ("Laluan ini hijau (BAIK)." in green, "berturut-turut" in green) == (True, False)
    # Somebody takes the route out meanwhile.
    place.bench.released.add(trial.route.name)
    left = await officer.get(f"{address}?lang=ms")
    assert (left.status_code, "Laluan ini hijau" in left.text) == (200, False)


@pytest.mark.parametrize(("has_room", "said"), [(False, "Ujian ini terhenti"), (True, "mencapai had pembekal e-mel")])
async def test_it_is_said_why_nothing_was_sent(
    place: House, officer: httpx.AsyncClient, said: str, *, has_room: bool
) -> None:
    address = (await press(officer)).headers["location"]
    (trial,) = place.bench.trials
    trial.ended_at, trial.next_send_at = T0, T0 + SECOND if has_room else None
    assert said in (await officer.get(address)).text


async def test_one_at_a_time_of_an_agency_and_three_in_a_minute(place: House, officer: httpx.AsyncClient) -> None:
    both = await asyncio.gather(press(officer), press(officer, ROUTES[1]))
    assert sorted(each.status_code for each in both) == [303, 409]
    assert "sedang berjalan" in next(each for each in both if each.status_code == 409).text
    for _ in range(2):
        place.bench.trials[-1].ended_at = T0
        assert (await press(officer)).status_code == 303
    place.bench.trials[-1].ended_at = T0
    refused = await press(officer)
    assert (refused.status_code, "Terlalu banyak ujian" in refused.text) == (409, True)
    # Another agency is none the worse.
    other = await place.admitted("ravi", "officer:MDC")
    assert (await press(other, agency_routes("MDC")[0].name, "MDC")).status_code == 303
    place.clock.move(61 * SECOND)
    assert (await press(officer)).status_code == 303


async def test_nobody_waits_for_a_clock_that_was_set_back_to_catch_up(place: House, officer: httpx.AsyncClient) -> None:
    for _ in range(3):
        await press(officer)
        place.bench.trials[-1].ended_at = T0
    place.clock.move(-timedelta(hours=1))
    assert (await press(officer)).status_code == 303


async def test_thirty_in_an_hour(place: House, officer: httpx.AsyncClient) -> None:
    for _ in range(30):
        assert (await press(officer)).status_code == 303
        place.bench.trials[-1].ended_at = T0
        place.clock.move(30 * SECOND)
    assert (await press(officer)).status_code == 409


async def test_an_agency_that_another_process_watches_is_tested_there(place: House, officer: httpx.AsyncClient) -> None:
    place.bench.elsewhere["JCM"] = "kedua"
    answer = await press(officer)
    assert answer.status_code == 404
    assert "kedua" in answer.text
    assert place.bench.trials == []


async def test_the_journal_says_who_tested_what_before_it_is_run(place: House, officer: httpx.AsyncClient) -> None:
    await press(officer)
    async with place.database.read() as connection:
        query = select(audit_log).where(audit_log.c.event == "route tested")
        (row,) = (await connection.execute(query)).all()
    assert row.actor == "Siti Contoh (siti)"
    assert row.detail == {"agency": "JCM", "route": ROUTES[0], "address": "127.0.0.1"}


async def test_another_agencys_routes_and_tests_are_nobodys_business(place: House, officer: httpx.AsyncClient) -> None:
    address = (await press(officer)).headers["location"]
    other = await place.admitted("ravi", "officer:MDC")
    assert (await other.get(address)).status_code == 403
    # Under the address of one's own agency it is not there, either.
    assert (await other.get(address.replace("JCM", "MDC"))).status_code == 404
    assert (await press(other, ROUTES[0], "MDC")).status_code == 404
    assert len(place.bench.trials) == 1


async def test_what_was_seen_is_kept_for_a_quarter_of_an_hour(place: House, officer: httpx.AsyncClient) -> None:
    address = (await press(officer)).headers["location"]
    assert address in (await officer.get("/agencies/JCM/test")).text
    place.clock.move(timedelta(minutes=16))
    assert (await officer.get(address)).status_code == 404
    # One that never ended keeps nobody from the next.
    assert (await press(officer)).status_code == 303


async def test_a_route_that_has_just_left_is_not_tested(place: House, officer: httpx.AsyncClient) -> None:
    place.bench.released.add(ROUTES[0])
    assert (await press(officer)).status_code == 404
    assert (await press(officer, ROUTES[1])).status_code == 303


async def test_a_strangers_page_cannot_press_the_button(place: House, officer: httpx.AsyncClient) -> None:
    officer.headers["Sec-Fetch-Site"] = "cross-site"
    assert (await press(officer)).status_code in {401, 403}
    assert place.bench.trials == []


async def test_all_routes_of_the_agency_are_run_at_once_and_once_a_minute(
    place: House, officer: httpx.AsyncClient
) -> None:
    begun = await officer.post("/agencies/jcm/test-all")
    assert (begun.status_code, begun.headers["location"]) == (303, "/agencies/JCM/test")
    assert [each.route.name for each in place.bench.trials] == ROUTES
    assert "requested at" in (await officer.get("/agencies/JCM/test?lang=en")).text
    again = await officer.post("/agencies/JCM/test-all")
    assert (again.status_code, "less than a minute ago" in again.text) == (409, True)
    # Of the form there is no page in the other language.
    assert '<a href="/agencies/JCM/test?lang=ms"' in again.text
    opt_in = await officer.get("/agencies/jcm/test?route=JCM/x")
    assert '<a href="/agencies/JCM/test?route=JCM%2Fx&amp;lang=ms"' in opt_in.text
    assert len(place.bench.trials) == len(ROUTES)
    async with place.database.read() as connection:
        query = select(audit_log).where(audit_log.c.event == "agency tested")
        (row,) = (await connection.execute(query)).all()
    assert row.actor == "Siti Contoh (siti)"
    assert row.detail == {"agency": "JCM", "sites": "", "address": "127.0.0.1"}


async def test_the_page_says_of_each_site_whether_it_was_asked(place: House, officer: httpx.AsyncClient) -> None:
    await officer.post("/agencies/JCM/test-all")
    call = place.caller.latest("JCM")
    assert call is not None
    call.sites.update(zip(("a", "b", "c", "d"), ProbeRequestState, strict=True))
    page = (await officer.get("/agencies/JCM/test?lang=en")).text
    for said in ("a: no response yet", "b: requested", "c: has an older version", "d: unreachable"):
        assert said in page, said
