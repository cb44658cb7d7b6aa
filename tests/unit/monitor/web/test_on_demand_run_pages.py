"""Runs on demand from the portal: permission, limits, progress, result and audit log."""

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
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal
from tests.unit.monitor.world import agency_routes, arrived, failed

SECOND = timedelta(seconds=1)
ROUTES = [each.name for each in agency_routes("JCM")]


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        yield opened


@pytest.fixture
async def officer(env: PortalEnv) -> httpx.AsyncClient:
    return await env.session_for("siti", "officer:JCM")


async def start_run(browser: httpx.AsyncClient, route: str = ROUTES[0], agency: str = "JCM") -> httpx.Response:
    return await browser.post(f"/agencies/{agency}/test", data={"route": route})


async def test_run_of_chosen_route_shows_progress_and_result(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    form = await officer.get("/agencies/jcm/test?lang=en")
    assert [each in form.text for each in ROUTES] == [True] * len(ROUTES)
    assert "counts as a regular run" in form.text
    begun = await start_run(officer)
    address = begun.headers["location"]
    assert (begun.status_code, address.rpartition("/")[0]) == (303, "/agencies/JCM/test")
    page = await officer.get(address)
    assert '<noscript><meta http-equiv="refresh" content="2;url=?polled"></noscript>' in page.text
    assert "Waiting: a regular run" in page.text

    (on_demand_run,) = env.runtime.runs
    on_demand_run.started_at, on_demand_run.recorder = T0, TraceRecorder()
    with on_demand_run.recorder.phase(Phase.CONNECT, Party.SENDER):
        pass
    with on_demand_run.recorder.phase(Phase.TLS, Party.SENDER):
        fragment = await officer.get(f"{address}/fragment")
        assert "Phase: TLS" in fragment.text
        assert (
            fragment.text.index('class="past"') < fragment.text.index('class="now"') < fragment.text.rindex('"ahead"')
        )
        assert "data-over" not in fragment.text
        assert "<html" not in fragment.text

    on_demand_run.result = failed(on_demand_run.route, T0, Outcome.REJECTED, Phase.SUBMIT)
    on_demand_run.ended_at = T0 + SECOND
    page = await officer.get(address)
    assert "refresh" not in page.text
    assert "script" not in page.text
    for expected_text in ("data-over", "rejected", "failed here", "What it means", "What to do", "Test again"):
        assert expected_text in page.text, expected_text
    malay = (await officer.get(f"{address}?lang=ms")).text
    advice = advise(on_demand_run.route, on_demand_run.result, Language.MALAY)
    for expected in (advice.what, advice.do, *advice.steps):
        assert str(escape(expected)) in malay, expected
    assert advise(on_demand_run.route, on_demand_run.result).what not in malay


async def test_run_delivered_shows_success_and_no_action(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    address = (await start_run(officer)).headers["location"]
    (on_demand_run,) = env.runtime.runs
    on_demand_run.result, on_demand_run.ended_at = arrived(on_demand_run.route, T0), T0
    page = (await officer.get(f"{address}?lang=ms")).text
    assert 'class="verdict well"' in page
    assert "Maksudnya" in page
    # In the page's language, with the number of successes that a new route needs.
    assert "berfungsi: mesej dihantar" in page
    assert "selepas 2 ujian berturut-turut berjaya" in page
    assert "diuji dengan sendirinya setiap 5 minit." in page
    assert '<a href="/agencies/JCM/test">Uji laluan lain</a>' in page
    assert "No action is needed" not in page
    env.runtime.healths[on_demand_run.route.name] = Health.UP
    green = (await officer.get(f"{address}?lang=ms")).text
    assert ("Laluan ini hijau (BAIK)." in green, "berturut-turut" in green) == (True, False)
    # The route is removed in between.
    env.runtime.removed_routes.add(on_demand_run.route.name)
    left = await officer.get(f"{address}?lang=ms")
    assert (left.status_code, "Laluan ini hijau" in left.text) == (200, False)


@pytest.mark.parametrize(
    ("has_room", "expected_text"), [(False, "Ujian ini terhenti"), (True, "mencapai had pembekal e-mel")]
)
async def test_run_not_sent_shows_reason(
    env: PortalEnv, officer: httpx.AsyncClient, expected_text: str, *, has_room: bool
) -> None:
    address = (await start_run(officer)).headers["location"]
    (on_demand_run,) = env.runtime.runs
    on_demand_run.ended_at, on_demand_run.next_send_at = T0, T0 + SECOND if has_room else None
    assert expected_text in (await officer.get(address)).text


async def test_run_one_at_a_time_per_agency_and_three_per_minute(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    both = await asyncio.gather(start_run(officer), start_run(officer, ROUTES[1]))
    assert sorted(each.status_code for each in both) == [303, 409]
    assert "sedang berjalan" in next(each for each in both if each.status_code == 409).text
    for _ in range(2):
        env.runtime.runs[-1].ended_at = T0
        assert (await start_run(officer)).status_code == 303
    env.runtime.runs[-1].ended_at = T0
    refused = await start_run(officer)
    assert (refused.status_code, "Terlalu banyak ujian" in refused.text) == (409, True)
    # Another agency is not limited.
    other = await env.session_for("ravi", "officer:MDC")
    assert (await start_run(other, agency_routes("MDC")[0].name, "MDC")).status_code == 303
    env.clock.move(61 * SECOND)
    assert (await start_run(officer)).status_code == 303


async def test_run_limit_clock_set_back_delays_nobody(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    for _ in range(3):
        await start_run(officer)
        env.runtime.runs[-1].ended_at = T0
    env.clock.move(-timedelta(hours=1))
    assert (await start_run(officer)).status_code == 303


async def test_run_limit_is_thirty_per_hour(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    for _ in range(30):
        assert (await start_run(officer)).status_code == 303
        env.runtime.runs[-1].ended_at = T0
        env.clock.move(30 * SECOND)
    assert (await start_run(officer)).status_code == 409


async def test_run_of_agency_in_other_process_is_refused_with_its_name(
    env: PortalEnv, officer: httpx.AsyncClient
) -> None:
    env.runtime.owners["JCM"] = "kedua"
    answer = await start_run(officer)
    assert answer.status_code == 404
    assert "kedua" in answer.text
    assert env.runtime.runs == []


async def test_run_is_audited_before_it_starts(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await start_run(officer)
    async with env.database.read() as connection:
        query = select(audit_log).where(audit_log.c.event == "route tested")
        (row,) = (await connection.execute(query)).all()
    assert row.actor == "Siti Contoh (siti)"
    assert row.detail == {"agency": "JCM", "route": ROUTES[0], "address": "127.0.0.1"}


async def test_run_of_other_agency_is_hidden(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    address = (await start_run(officer)).headers["location"]
    other = await env.session_for("ravi", "officer:MDC")
    assert (await other.get(address)).status_code == 403
    # It is not found under the user's own agency either.
    assert (await other.get(address.replace("JCM", "MDC"))).status_code == 404
    assert (await start_run(other, ROUTES[0], "MDC")).status_code == 404
    assert len(env.runtime.runs) == 1


async def test_run_is_kept_for_fifteen_minutes(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    address = (await start_run(officer)).headers["location"]
    assert address in (await officer.get("/agencies/JCM/test")).text
    env.clock.move(timedelta(minutes=16))
    assert (await officer.get(address)).status_code == 404
    # A run without an end does not block the next.
    assert (await start_run(officer)).status_code == 303


async def test_run_of_removed_route_is_refused(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    env.runtime.removed_routes.add(ROUTES[0])
    assert (await start_run(officer)).status_code == 404
    assert (await start_run(officer, ROUTES[1])).status_code == 303


async def test_run_cross_site_post_is_refused(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    officer.headers["Sec-Fetch-Site"] = "cross-site"
    assert (await start_run(officer)).status_code in {401, 403}
    assert env.runtime.runs == []


async def test_run_all_routes_once_per_minute(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    begun = await officer.post("/agencies/jcm/test-all")
    assert (begun.status_code, begun.headers["location"]) == (303, "/agencies/JCM/test")
    assert [each.route.name for each in env.runtime.runs] == ROUTES
    assert "requested at" in (await officer.get("/agencies/JCM/test?lang=en")).text
    again = await officer.post("/agencies/JCM/test-all")
    assert (again.status_code, "less than a minute ago" in again.text) == (409, True)
    # The form's address has no GET page in the other language.
    assert '<a href="/agencies/JCM/test?lang=ms"' in again.text
    opt_in = await officer.get("/agencies/jcm/test?route=JCM/x")
    assert '<a href="/agencies/JCM/test?route=JCM%2Fx&amp;lang=ms"' in opt_in.text
    assert len(env.runtime.runs) == len(ROUTES)
    async with env.database.read() as connection:
        query = select(audit_log).where(audit_log.c.event == "agency tested")
        (row,) = (await connection.execute(query)).all()
    assert row.actor == "Siti Contoh (siti)"
    assert row.detail == {"agency": "JCM", "sites": "", "address": "127.0.0.1"}


async def test_run_all_shows_request_state_of_each_site(env: PortalEnv, officer: httpx.AsyncClient) -> None:
    await officer.post("/agencies/JCM/test-all")
    call = env.probe_requester.latest("JCM")
    assert call is not None
    call.sites.update(zip(("a", "b", "c", "d"), ProbeRequestState, strict=True))
    page = (await officer.get("/agencies/JCM/test?lang=en")).text
    for expected_text in ("a: no response yet", "b: requested", "c: has an older version", "d: unreachable"):
        assert expected_text in page, expected_text
