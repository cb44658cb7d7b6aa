"""A duty officer at the portal: incidents notified by SMS, handled in the browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, cast
from zoneinfo import ZoneInfo

import httpx
import pytest

from alerts.decide.silence import active_silence
from alerts.engine.composer import WordingComposer
from alerts.model.channel import Channel
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import EscalationPolicy, PolicySnapshot, Step
from alerts.persistence.store import AuditEntry
from monitor.service.access.administration import Administration
from monitor.service.access.authenticator import MAX_SESSION_TIME, Authenticator
from monitor.service.access.secret import SessionKey
from monitor.service.access.secret_store import SecretStore
from monitor.service.declarations import DeclarationService
from monitor.service.portal.worklist import Worklist
from monitor.service.silences import Silencer
from monitor.service.status_reader import StatusReader
from monitor.store.admin.secrets import Secrets
from monitor.store.admin.users import SecondFactors, Users, WebSession
from monitor.web.access.access_control import AccessControl
from monitor.web.duty.incident import incident_pages
from monitor.web.duty.tasks import task_pages
from monitor.web.portal import portal
from pantau_lab.provider_fault import SubmissionFault
from tests.integration.alerts.simulated_env import WORDING, SimulatedEnv
from tests.unit.alerts.people import FAX, LONG, MINUTE, RAVI, SECOND, SITI, SNAPSHOT, trigger

pytestmark = pytest.mark.story

HOUR = 60 * MINUTE
PAGE = "/incidents/JCM-01"
BY = "Siti Contoh (siti)"
TOLD_BY_SMS = replace(
    SNAPSHOT,
    announcement=replace(SNAPSHOT.announcement, release_offered_after=10 * MINUTE),
    escalation=EscalationPolicy(
        steps=(
            Step(after=0 * SECOND, contacts=(SITI,), channels=(Channel.SMS,)),
            Step(after=5 * MINUTE, contacts=(RAVI,), channels=(Channel.SMS,)),
        ),
        rounds=1,
        acknowledgement_timeout=LONG,
    ),
)


@asynccontextmanager
async def browser_of(
    env: SimulatedEnv,
    *roles: str,
    name: str = "siti",
    full_name: str = "",
    called: Collection[str] = (),
    snapshot: PolicySnapshot = TOLD_BY_SMS,
) -> AsyncIterator[Any]:
    """Open a browser that is signed in to the portal; *called*: the contacts that name this user."""
    store, clock = env.real_store, env.clock
    env.facade.status_reader = cast(Any, StatusReader)(
        store=store, history=None, days=None, gateway_pool=env.pool, clock=clock, runtime=None, self_health_inputs=None
    )
    codes = ["JCM", "MDC"]
    users = Users(env.database)
    factors, safe = SecondFactors(env.database), SecretStore(Secrets(env.database), clock, None)
    authenticator = Authenticator(users, clock, agencies=lambda: codes, factors=factors, secret_store=safe)
    administration = Administration(
        users, clock, agencies=lambda: codes, factors=factors, on_change=authenticator.clear_cache
    )
    declarer = DeclarationService(
        store=store,
        dispatcher=env.dispatcher,
        clock=clock,
        agencies=lambda: codes,
        policy=lambda _: snapshot,
        zone=lambda: ZoneInfo("Asia/Kuala_Lumpur"),
        silence_lookup=active_silence,
        operation_check=env.check,
    )
    worklist = Worklist(
        store=store,
        composer=WordingComposer(WORDING),
        clock=clock,
        silence_lookup=active_silence,
        begin_measurement=env.measured.begin,
        contact_names=lambda user: frozenset(called if user == name else ()),
    )
    silencer = Silencer(store, env.dispatcher, clock, lambda: {code: code for code in codes})
    pages = [
        partial(task_pages, worklist, declarer, silencer),
        partial(incident_pages, env.facade, worklist, declarer),
    ]
    app = portal(env.facade, ["localhost"], access_control=AccessControl(authenticator), pages=pages)
    user = await administration.add(name, full_name or f"{name.capitalize()} Contoh", roles, by="Ujian")
    key, now = SessionKey.new(), clock.now()
    session = WebSession(
        digest=key.digest, user=user, started_at=now, seen_at=now, ends_at=now + MAX_SESSION_TIME, address="127.0.0.1"
    )
    await users.start_session(session, AuditEntry(at=now, actor=user.by, event="signed in"))
    transport = httpx.ASGITransport(app=app)
    ours = {"Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=ours) as browser:
        browser.cookies.set("pantau", key.text, domain="localhost.local")
        yield browser


def words_of(page: httpx.Response) -> str:
    assert page.status_code == 200, page.text
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


async def press(env: SimulatedEnv, browser: httpx.AsyncClient, path: str, **fields: str) -> str:
    """Send a form; return the text of the page that it leads to, after everything due is processed."""
    answer = await browser.post(path, data=fields)
    assert answer.status_code == 303, answer.text
    await env.settle()
    return words_of(await browser.get(answer.headers["location"]))


async def test_outage_is_acknowledged_released_and_closed_in_browser(either_env: SimulatedEnv) -> None:
    """An outage is acknowledged, reviewed, released and closed in the browser."""
    env = either_env
    async with browser_of(env, "duty:JCM") as browser:
        await env.submit(trigger(snapshot=TOLD_BY_SMS))
        await env.siti.gets("Balas 1A", "JCM-01")
        assert "Belum disahkan oleh sesiapa 1 JCM-01" in words_of(await browser.get("/tasks"))

        assert f"disahkan oleh {BY}" in await press(env, browser, f"{PAGE}/acknowledge")
        assert "Di bawah anda 1 JCM-01" in words_of(await browser.get("/tasks"))
        # No other staff is notified. The assignee is called about the release, though acknowledged in a browser.
        env.siti.presses("1")
        await env.advance(11 * MINUTE)
        await env.siti.is_called("menunggu kebenaran tuan atau puan", keys="1")
        assert "Notis luar menunggu kebenaran 1 JCM-01" in words_of(await browser.get("/tasks"))
        look = await browser.get(f"{PAGE}/release")
        assert words_of(look).count("Ketua Setiausaha, Kementerian Contoh") == 2
        for place in (1, 2):
            page = await browser.get(f"{PAGE}/release/{place}/page.pdf")
            assert page.content.startswith(b"%PDF")
        assert (await browser.get(f"{PAGE}/release/3/page.pdf")).status_code == 404
        mark = re.search(r'name="looked_at" value="(\w+)"', look.text)
        assert mark
        assert f"dikeluarkan oleh {BY}" in await press(env, browser, f"{PAGE}/release", looked_at=mark[1])
        env.gets_fax("JCM-01")
        env.gets_letter("JCM-01")
        again = await press(env, browser, f"{PAGE}/release", looked_at=mark[1])
        assert "telah dikeluarkan lebih awal" in again
        assert "announcement released" in await env.journal()
        assert (await env.journal()).count("announcement released") == 1

        said = await press(env, browser, f"{PAGE}/notes", text="pembekal menggantikan cakera")
        assert f"{BY} Catatan: pembekal menggantikan cakera" in said
        assert "Pantau Insiden dibuka" in said

        env.set_delivered(IncidentType.SENDING, IncidentType.RECEIVING)
        said = await press(env, browser, f"{PAGE}/close", why="diuji dari luar", recovered="yes")
        assert f"ditutup oleh {BY}" in said
        await env.siti.gets("PULIH", "JCM-01")
        env.gets_fax("JCM-01")
        # The unposted letter is withdrawn.
        assert "Insiden ini telah berakhir" in await press(
            env, browser, f"{PAGE}/close", why="diuji dari luar", recovered="yes"
        )


async def test_duty_page_lists_incident_acknowledged_under_other_spelling(env: SimulatedEnv) -> None:
    """The duty page lists an incident acknowledged by telephone under another spelling of the name."""
    policy = TOLD_BY_SMS.escalation
    steps = (replace(policy.steps[0], contacts=(replace(SITI, user="siti"),)), *policy.steps[1:])
    snapshot = replace(TOLD_BY_SMS, escalation=replace(policy, steps=steps))
    async with (
        browser_of(
            env, "duty:JCM", full_name="Siti binti Contoh", called=["Siti Contoh"], snapshot=snapshot
        ) as browser,
        browser_of(env, "duty:JCM", name="siti2", full_name="Siti binti Contoh", called=["Siti Contoh"]) as stranger,
    ):
        await env.submit(trigger(snapshot=snapshot))
        await env.siti.gets("Balas 1A", "JCM-01")
        await env.siti.replies("1A")
        assert "Di bawah anda 1 JCM-01" in words_of(await browser.get("/tasks"))
        assert "Ambil alih" not in words_of(await browser.get(PAGE))
        # A contact of the same name with another user is another person.
        assert "Di bawah anda 1" not in words_of(await stranger.get("/tasks"))
        assert "Ambil alih" in words_of(await stranger.get(PAGE))


async def test_acknowledge_all_covers_exactly_listed_incidents(env: SimulatedEnv) -> None:
    """Acknowledging all takes exactly the incidents that the page listed."""
    async with browser_of(env, "noc", name="noc") as browser:
        for code in ("JCM", "MDC"):
            await env.submit(trigger(snapshot=replace(TOLD_BY_SMS, agency=code)))
        await env.siti.gets("Balas 1A", "JCM-01")
        page = await browser.get("/tasks")
        listed = re.findall(r'name="incident" value="([^"]+)"', page.text)
        assert listed == ["JCM-01", "MDC-01"]
        async with browser_of(env, "duty:JCM") as officer:
            assert (await officer.post("/tasks/acknowledge", data={"incident": listed})).status_code == 403
            assert 'action="/tasks/acknowledge"' not in (await officer.get("/tasks")).text, "there is one alone"
        await env.submit(trigger(snapshot=replace(TOLD_BY_SMS, agency="UCM")))
        for _ in range(2):
            answer = await browser.post("/tasks/acknowledge", data={"incident": listed})
            assert answer.status_code == 303
        said = words_of(await browser.get(answer.headers["location"]))
    await env.settle()
    await env.siti.gets("telah disahkan oleh Noc Contoh", "JCM-01")
    assert "Belum disahkan oleh sesiapa 1 UCM-01" in said
    assert "Di bawah anda 2 JCM-01" in said
    assert (await env.journal()).count("incident acknowledged") == 2


async def test_outage_is_declared_escalated_and_marked_false_alarm_in_browser(env: SimulatedEnv) -> None:
    """An outage is declared, escalated and marked a false alarm on the page; a double click acts once."""
    async with browser_of(env, "duty:JCM") as browser:
        declared = {"agency": "jcm", "matter": "receiving", "since": "2026-11-24T13:40", "why": "mel web rosak"}
        said = await press(env, browser, "/tasks/declare", **declared)
        assert "Gangguan diisytiharkan; pegawai sedang dimaklumkan." in said
        assert f"Sejak 24/11/2026 13:40, diisytiharkan oleh {BY}" in said
        await env.siti.gets("E-mel masuk gagal sejak 24/11, 1.40 ptg", "JCM-01")
        await env.advance(SECOND)
        again = await browser.post("/tasks/declare", data=declared)
        assert again.status_code == 409
        assert f"JCM-01 sudah terbuka: {BY} mengisytiharkannya" in again.text.replace("&#39;", "'")

        assert "Diserahkan." in await press(env, browser, f"{PAGE}/escalate")
        await env.ravi.gets("JCM-01")
        said = await press(env, browser, f"{PAGE}/false-alarm", why="mel web tidak rosak")
        assert f"diisytiharkan amaran palsu oleh {BY}" in said
        await env.siti.gets("JCM-01")
        await env.ravi.gets("JCM-01")


async def test_silence_requested_twice_is_one_until_ended(env: SimulatedEnv) -> None:
    """A silence ordered twice at once is one, and ends by the page."""
    async with browser_of(env, "duty:JCM") as browser:
        order = {"about": "jcm", "lasts": "2h", "why": "kerja rangkaian"}
        for _ in range(2):
            assert "Disenyapkan." in await press(env, browser, "/tasks/silences", **order)
        assert (await env.journal()).count("silence begun") == 1
        await env.submit(trigger(snapshot=TOLD_BY_SMS))
        await env.advance(2 * MINUTE)
        assert f"Disenyapkan hingga 24/11/2026 16:15, oleh {BY}: kerja rangkaian" in words_of(await browser.get(PAGE))
        assert "Tidak lagi disenyapkan." in await press(env, browser, "/tasks/silences/1/end")
        await env.siti.gets("JCM-01")
        assert "Telah tamat lebih awal" in await press(env, browser, "/tasks/silences/1/end")


async def test_duty_officer_of_another_agency_neither_sees_nor_acts(env: SimulatedEnv) -> None:
    """A duty officer of another agency neither sees nor changes the incident."""
    async with browser_of(env, "duty:MDC", name="mei") as browser:
        await env.submit(trigger(snapshot=TOLD_BY_SMS))
        await env.siti.gets("JCM-01")
        assert "JCM" not in words_of(await browser.get("/tasks"))
        for path in (f"{PAGE}/acknowledge", f"{PAGE}/release", f"{PAGE}/close"):
            assert (await browser.post(path)).status_code == 403
        outage = {"agency": "JCM", "matter": "both", "why": "?"}
        assert (await browser.post("/tasks/declare", data=outage)).status_code == 403
        quiet = {"about": "JCM", "lasts": "2h", "why": "?"}
        assert (await browser.post("/tasks/silences", data=quiet)).status_code == 403
    assert "silence begun" not in await env.journal()


async def test_fax_status_is_set_once_in_browser(env: SimulatedEnv) -> None:
    """The page records the status of a fax once, by an officer of its agency."""
    env.fax_service.faults.append(SubmissionFault.DROP_BEFORE)
    await env.submit(trigger(snapshot=TOLD_BY_SMS))
    await env.siti.gets("JCM-01")
    await env.acknowledge()
    await env.release()
    env.gets_letter("JCM-01")
    await env.advance(HOUR)
    fax = next(each for each in await env.notifications() if each.addresses == (FAX,))
    async with browser_of(env, "duty:MDC", name="mei") as browser:
        assert "JCM" not in words_of(await browser.get("/tasks"))
        assert (
            await browser.post(f"/notifications/{fax.id}/set-status", data={"ruling": "lost", "why": "?"})
        ).status_code == 403
    async with browser_of(env, "duty:JCM") as browser:
        waits = await browser.get("/tasks")
        assert "Notis yang tidak pasti 1 JCM-01" in words_of(waits)
        assert f'href="{PAGE}#notice-{fax.id}"' in waits.text
        word = {"ruling": "delivered", "why": "setiausahanya telah menerima faks itu"}
        said = await press(env, browser, f"/notifications/{fax.id}/set-status", **word)
        assert f"{BY} Notis disahkan telah sampai: setiausahanya telah menerima faks itu" in said
        assert "telah dinyatakan lebih awal" in await press(env, browser, f"/notifications/{fax.id}/set-status", **word)
        assert "Notis yang tidak pasti" not in words_of(await browser.get("/tasks"))
    assert (await env.journal()).count("notice settled by hand: arrived") == 1
