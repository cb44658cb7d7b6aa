"""The portal of the running service for an officer, an auditor and a wallboard."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from monitor.cli.service import request
from monitor.runtime.control_socket import CONTROL_SOCKET
from pantau_lab.carrier.phone import PATIENCE
from pantau_lab.mail import Fault
from tests.stories.running_service import FAST_TIMING, JCM, RunningService, running_service

PASSWORD = "kerusi rotan di beranda hujan"
#: Only requested runs, without time limits that matter.
NO_SCHEDULED_RUNS = replace(
    FAST_TIMING,
    interval="1h",
    deferral_timeout="2h",
    session_timeout="30s",
    arrival_timeout="60s",
    slow_threshold="60s",
)


def with_portal(settings: Path) -> None:
    settings.write_text(settings.read_text() + "portal: {}\n")


async def order(env: RunningService, path: str, **word: Any) -> dict[str, Any]:
    socket = env.world.settings.parent / "state" / CONTROL_SOCKET
    answer = await asyncio.to_thread(request, socket, "POST", path, {**word, "by": "Ujian"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def signed_in(env: RunningService, name: str, role: str) -> httpx.AsyncClient:
    """Create a user by the command line, and sign in."""
    await order(env, "/users", name=name, full_name=f"{name.title()} Contoh", roles=[role])
    code = (await order(env, f"/users/{name}/invite", kind="letter"))["code"]
    browser = env.web()
    browser.headers["Sec-Fetch-Site"] = "same-origin"
    chosen = await browser.post("/welcome", data={"name": name, "code": code, "password": PASSWORD})
    assert chosen.status_code == 303, chosen.text
    return browser


async def outcome_of(browser: httpx.AsyncClient, route: str) -> str:
    begun = await browser.post(f"/agencies/{JCM.code}/test", data={"route": route})
    assert begun.status_code == 303, begun.text
    async with asyncio.timeout(PATIENCE):
        shown = ""
        while "data-over" not in shown:
            await asyncio.sleep(0.1)
            shown = (await browser.get(f"{begun.headers['location']}/fragment?lang=en")).text
    return shown


async def test_officer_runs_test_auditor_reads_log_and_wallboard_opens(tmp_path: Path) -> None:
    async with running_service(tmp_path, timing=NO_SCHEDULED_RUNS, prepare=with_portal) as env:
        officer = await signed_in(env, "siti", f"officer:{JCM.code}")
        page = (await officer.get(f"/agencies/{JCM.code}/test")).text
        route = re.findall(r'value="([^"]*internal[^"]*)"', page)[0]
        assert 'data-news="delivered"' in await outcome_of(officer, route)
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        assert "What to do" in await outcome_of(officer, route)

        auditor = await signed_in(env, "ravi", "admin")
        journal = (await auditor.get("/audit?by=siti&event=route+tested")).text
        assert journal.count(f"route: {route}") == 2

        made = await auditor.post("/wallboards", data={"name": "Dinding Contoh", "agencies": JCM.code, "days": "30"})
        link = re.search(r'class="secret">[^<]*(/wallboard\?key=[^<]*)<', made.text)
        assert link
        screen = env.web()
        assert (await screen.get(link[1])).headers["location"] == "/?wallboard=1"
        assert JCM.code in (await screen.get("/?wallboard=1")).text
        assert (await screen.get("/audit")).status_code == 401
        for each in (officer, auditor, screen):
            await each.aclose()
