"""Incident page: content by permission, its forms, and repeated requests."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from alerts.model.delivery import NotificationState
from alerts.model.event import Acknowledge, Release
from alerts.model.incident import IncidentState, Position, apply
from alerts.model.notification import IncidentType
from monitor.store.engine.listing import HistoryEntry
from monitor.views.overview import NotificationDetail, NotificationView
from monitor.views.site_report import SiteIncidentSummary, SiteReport, SiteRun, SiteVerdict
from monitor.web.portal import portal
from probes.model.result import Failure, Outcome, Party, Phase
from tests.unit.alerts.people import T0, incident
from tests.unit.monitor.web.fake_service import LETTERS, FakeWorklist, Service, client
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal

PAGE = "/incidents/JCM-01"
SITI = "Siti Contoh (siti)"


class UnknownStatusService(Service):
    """Fake service with a notification of unknown status."""

    notification_state = NotificationState.UNKNOWN

    async def latest_notifications(self) -> list[NotificationView]:
        return [replace(each, state=self.notification_state) for each in await super().latest_notifications()]

    async def notice(self, notification_id: int) -> NotificationDetail:
        [known] = await self.latest_notifications()
        return NotificationDetail(notification=known, incidents=["JCM-01"], attempts=())


def visible_text(page: httpx.Response) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


def forms_of(page: httpx.Response) -> set[str]:
    return {each.removeprefix("/incidents/JCM-01/") for each in re.findall(r'action="([^"]+)"', page.text)} - {
        "/sign-out"
    }


async def session_of(env: PortalEnv, name: str = "siti", role: str = "duty:JCM") -> httpx.AsyncClient:
    return await env.session_for(name, role)


async def order(browser: httpx.AsyncClient, action: str, **fields: str) -> tuple[httpx.Response, str]:
    """Send a form as a browser does; return the response, and the text of the next page."""
    answer = await browser.post(f"{PAGE}/{action}", data=fields)
    assert answer.status_code == 303, answer.text
    return answer, visible_text(await browser.get(answer.headers["location"]))


async def test_incident_page_shows_type_notifications_and_history(tmp_path: Path) -> None:
    done = (
        HistoryEntry(at=T0, actor="Ravi Contoh", event="remark", text="pembekal dihubungi"),
        HistoryEntry(at=T0, actor="engine", event="incident opened", text=""),
    )
    service = Service()
    async with open_portal(tmp_path, service, worklist=FakeWorklist(service, entries=done)) as env:
        browser = await session_of(env)
        malay, english = await browser.get(PAGE), await browser.get(f"{PAGE}?lang=en")
    page_text = visible_text(malay)
    assert "Insiden JCM-01" in page_text
    assert "Jabatan Contoh Malaysia: tidak dapat dihantar dan diterima" in page_text
    assert "Sejak 24/11/2026 14:14" in page_text
    assert "Ravi Contoh Catatan: pembekal dihubungi" in page_text
    assert "Pantau Insiden dibuka" in page_text
    assert 'href="/notifications/1"' in malay.text
    assert "Ravi Contoh Remark: pembekal dihubungi" in visible_text(english)
    assert "Since 24/11/2026 14:14" in visible_text(english)
    assert forms_of(malay) == {"acknowledge", "notes", "escalate", "close", "false-alarm"}
    assert "<script" not in malay.text
    assert "script-src" not in malay.headers["content-security-policy"]


def site_summary(site: str, report: SiteReport | None, *details: str) -> SiteIncidentSummary:
    runs = [
        SiteRun(
            route="JCM/outbound/rujukan-a",
            started_at=T0,
            outcome=Outcome.REJECTED,
            failure=Failure(phase=Phase.SUBMIT, party=Party.SENDER, reason="asing", detail=detail, code=550),
        )
        for detail in details
    ]
    return SiteIncidentSummary(site=site, report=report, last_failures=runs, unclear=len(details))


async def test_incident_page_shows_site_reports_escaped(
    tmp_path: Path,
) -> None:
    wrong = SiteReport(site="noc", says=SiteVerdict.WRONG, type=IncidentType.SENDING, since=T0)
    says = [
        site_summary("noc", wrong),
        site_summary("johor", SiteReport(site="johor", says=SiteVerdict.STALE), "<script>alert(1)</script>"),
        site_summary("kuching", None),
    ]
    async with open_portal(tmp_path, Service(site_summaries=says)) as env:
        browser = await session_of(env)
        malay, english = await browser.get(PAGE), await browser.get(f"{PAGE}?lang=en")
        asked = await browser.get("/api/v1/incidents/JCM-01/sites")
    page_text = visible_text(english)
    assert "noc : sending fails, since 24/11 14:15 No probe failed there during this incident." in page_text
    assert "johor : no current report 24/11/2026 14:15 JCM/outbound/rujukan-a: " in page_text
    assert "550: asing: &lt;script&gt;" in page_text
    assert "Invalid results of this site: 1." in page_text
    assert "kuching No probe failed" in page_text
    assert "<script" not in malay.text
    assert "johor : tiada laporan baharu" in visible_text(malay)
    assert [(each["site"], each["report"] and each["report"]["says"]) for each in asked.json()] == [
        ("noc", "wrong"),
        ("johor", "stale"),
        ("kuching", None),
    ]
    assert asked.json()[1]["last_failures"][0]["failure"]["code"] == 550


async def test_incident_page_single_site_shows_no_site_findings(tmp_path: Path) -> None:
    async with open_portal(tmp_path) as env:
        browser = await session_of(env)
        assert "Findings of the sites" not in (await browser.get(f"{PAGE}?lang=en")).text
        assert (await browser.get("/api/v1/incidents/JCM-01/sites")).json() == []


async def test_incident_page_viewer_has_no_forms(tmp_path: Path) -> None:
    service = UnknownStatusService()
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env, role="viewer:JCM")
        page = await browser.get(PAGE)
    assert page.status_code == 200
    assert forms_of(page) == set()
    assert "/release" not in page.text
    assert 'href="/tasks"' not in page.text


async def test_incident_page_about_pantau_requires_role_for_all_agencies(tmp_path: Path) -> None:
    ours = replace(incident(), policy=replace(incident().policy, agency=""))
    async with open_portal(tmp_path, Service(incident=ours, codes=("JCM", "MDC"))) as env:
        one, centre = await session_of(env), await session_of(env, "noc", "noc")
        assert (await one.get(PAGE)).status_code == 403
        assert (await one.post(f"{PAGE}/acknowledge")).status_code == 403
        assert (await centre.get(PAGE)).status_code == 200
        assert (await centre.post(f"{PAGE}/acknowledge")).status_code == 303


async def test_incident_page_acknowledges_as_user_and_confirms_once(tmp_path: Path) -> None:
    service = Service()
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        answer, page_text = await order(browser, "acknowledge")
        assert answer.headers["location"] == PAGE
        assert service.incident.acknowledged_by == SITI
        assert "Penerimaan disahkan. Insiden ini di bawah anda." in page_text
        again = visible_text(await browser.get(PAGE))
        assert "Penerimaan disahkan. Insiden ini di bawah anda." not in again
        assert f"disahkan oleh {SITI}, hingga" in again
        assert "Lanjutkan tempoh saya" in again


async def test_incident_page_acknowledged_by_other_is_not_changed(tmp_path: Path) -> None:
    service = Service(incident=apply(incident(), Acknowledge(incident_id=1, at=T0, by="Ravi Contoh")))
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        assert "acknowledge" not in forms_of(await browser.get(PAGE))
        # The page was loaded before the other person acknowledged.
        _, page_text = await order(browser, "acknowledge")
    assert "Pegawai lain telah mengesahkannya lebih awal" in page_text
    assert service.incident.acknowledged_by == "Ravi Contoh"


async def test_incident_page_acknowledged_by_telephone_is_extended_by_same_person(tmp_path: Path) -> None:
    taken = apply(incident(), Acknowledge(incident_id=1, at=T0 - timedelta(minutes=30), by="Siti Contoh"))
    service = Service(incident=taken)
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        page = await browser.get(PAGE)
        assert {"acknowledge"} == forms_of(page) & {"take-over", "acknowledge"}
        assert "Lanjutkan tempoh saya" in visible_text(page)
        _, page_text = await order(browser, "acknowledge")
        assert "Insiden ini di bawah anda." in page_text
        assert (service.incident.acknowledged_by, service.incident.last_response_at) == ("Siti Contoh", T0)
        # A colleague can only take it over.
        ravi = await session_of(env, "ravi")
        assert {"take-over"} == forms_of(await ravi.get(PAGE)) & {"take-over", "acknowledge"}


async def test_incident_page_take_over_requires_present_assignee(tmp_path: Path) -> None:
    service = Service(incident=apply(incident(), Acknowledge(incident_id=1, at=T0, by="Ravi Contoh")))
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        page = await browser.get(PAGE)
        assert {"take-over"} == forms_of(page) & {"take-over", "acknowledge"}
        assert '<input type="hidden" name="of" value="Ravi Contoh">' in page.text
        assert "termasuk Ravi Contoh, menerima SMS" in visible_text(page)
        # A third person took it over in between.
        _, page_text = await order(browser, "take-over", of="Ali Contoh")
        assert "Sementara itu pegawai lain telah mengambilnya" in page_text
        assert service.incident.acknowledged_by == "Ravi Contoh"
        _, page_text = await order(browser, "take-over", of="Ravi Contoh")
        assert "Insiden ini kini di bawah anda." in page_text
        assert service.incident.acknowledged_by == SITI
        assert "take-over" not in forms_of(await browser.get(PAGE))
        _, page_text = await order(browser, "take-over")
        assert "Insiden ini kini di bawah anda." in page_text


async def test_incident_page_unknown_cookie_message_is_not_shown(tmp_path: Path) -> None:
    async with open_portal(tmp_path) as env:
        browser = await session_of(env)
        browser.cookies.set("pantau_said", "no such thing", domain="localhost.local")
        page = await browser.get(PAGE)
    assert page.status_code == 200
    assert 'role="status"' not in page.text


async def test_incident_page_note_is_one_line_recorded_as_user(tmp_path: Path) -> None:
    service = Service()
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        _, page_text = await order(browser, "notes", text=" pembekal  dihubungi ")
        assert "Catatan disimpan." in page_text
        assert service.commands == [(SITI, "pembekal dihubungi")]
        # Empty, too long, and with a zero-width joiner.
        refused = [await browser.post(f"{PAGE}/notes", data={"text": each}) for each in (" ", "a" * 501, "a\u200db")]
    assert [each.status_code for each in refused] == [422] * 3
    assert all("Tulis satu baris, paling banyak 500 aksara" in each.text for each in refused)


async def test_incident_page_escalates(tmp_path: Path) -> None:
    service = Service()
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        _, page_text = await order(browser, "escalate")
    assert "Diserahkan. Pegawai seterusnya sedang dihubungi." in page_text
    assert (service.incident.previous_assignee, service.incident.escalated) == (SITI, True)


async def test_incident_page_escalate_at_last_step_says_so(tmp_path: Path) -> None:
    service = Service()
    service.incident = replace(service.incident, position=Position(round=9, step=0, since=service.now()))
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        _, page_text = await order(browser, "escalate")
    assert "Diserahkan, tetapi tiada pegawai lain dalam pelan. Pusat operasi dimaklumkan." in page_text


# -- release ---------------------------------------------------------------------------------------------------------


def preview_digest(page: httpx.Response) -> str:
    found = re.search(r'name="looked_at" value="(\w+)"', page.text)
    assert found
    return found[1]


async def test_incident_page_release_is_previewed_then_recorded_as_user(tmp_path: Path) -> None:
    service = Service()
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        assert f'href="{PAGE}/release"' in (await browser.get(PAGE)).text
        look = await browser.get(f"{PAGE}/release")
        assert "Ketua Setiausaha, Kementerian Contoh" in visible_text(look)
        assert f'href="{PAGE}/release/1/page.pdf"' in look.text
        assert (await browser.get(f"{PAGE}/release/1/page.pdf")).headers["content-type"] == "application/pdf"
        assert service.incident.released_at is None

        _, page_text = await order(browser, "release", looked_at=preview_digest(look))
        assert "Notis luar dikeluarkan." in page_text
        assert service.incident.released_by == SITI
        _, again = await order(browser, "release", looked_at=preview_digest(look))
        assert "Notis luar telah dikeluarkan lebih awal" in again
        gone = await browser.get(f"{PAGE}/release")
        assert f"dikeluarkan oleh {SITI}" in visible_text(gone)
        assert "<button>Keluarkan" not in gone.text


async def test_incident_page_release_not_previewed_is_refused(tmp_path: Path) -> None:
    service = Service()
    worklist = FakeWorklist(service)
    async with open_portal(tmp_path, service, worklist=worklist) as env:
        browser = await session_of(env)
        unseen = await browser.post(f"{PAGE}/release")
        look = await browser.get(f"{PAGE}/release")
        worklist.planned = (
            *worklist.planned,
            replace(worklist.planned[0], position=2, to="Pejabat Lain, Kementerian Contoh"),
        )
        more = await browser.post(f"{PAGE}/release", data={"looked_at": preview_digest(look)})
        look = await browser.get(f"{PAGE}/release")
        service.incident = replace(service.incident, type=IncidentType.SENDING, current_type=IncidentType.SENDING)
        other = await browser.post(f"{PAGE}/release", data={"looked_at": preview_digest(look)})
    for answer in (unseen, more, other):
        assert answer.status_code == 409
        assert "Semak sekali lagi" in answer.text
    assert service.incident.released_at is None


async def test_incident_page_release_monitor_only_is_refused_with_reason(tmp_path: Path) -> None:
    service = Service(monitor_only=True)
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        look = await browser.get(f"{PAGE}/release")
        answer = await browser.post(f"{PAGE}/release", data={"looked_at": preview_digest(look)})
    assert answer.status_code == 409
    assert "tiada sesiapa dimaklumkan (mode: monitor_only)" in answer.text


# -- rulings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "recovered"), [("yes", True), ("no", False)])
async def test_incident_page_closes_with_reason_and_recovery(tmp_path: Path, answer: str, *, recovered: bool) -> None:
    service = Service()
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        _, page_text = await order(browser, "close", why="pelayan dibaiki", recovered=answer)
        assert "Insiden ditutup." in page_text
        assert service.commands == [(f"close JCM-01 {recovered}: pelayan dibaiki", SITI)]
        _, again = await order(browser, "close", why="pelayan dibaiki", recovered=answer)
        assert "Insiden ini telah berakhir" in again
        assert len(service.commands) == 1


async def test_incident_page_incomplete_form_keeps_input(tmp_path: Path) -> None:
    service = Service()
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        no_choice = await browser.post(f"{PAGE}/close", data={"why": 'dibaiki "sendiri"'})
        no_reason = await browser.post(f"{PAGE}/close", data={"recovered": "no", "why": "  "})
        wrong = await browser.post(f"{PAGE}/false-alarm", data={"why": "x" * 501})
    for answer in (no_choice, no_reason, wrong):
        assert answer.status_code == 422
    assert 'value="dibaiki &#34;sendiri&#34;"' in no_choice.text
    assert "Pilih satu jawapan." in no_choice.text
    assert 'value="no" required checked' in no_reason.text
    assert service.incident.state is IncidentState.TRIGGERED
    assert service.commands == []


async def test_incident_page_rejected_operation_keeps_input(tmp_path: Path) -> None:
    service = Service()
    async with open_portal(tmp_path, service, worklist=FakeWorklist(service, rejection="it is measured")) as env:
        browser = await session_of(env)
        answer = await browser.post(f"{PAGE}/close", data={"why": "dibaiki", "recovered": "yes"})
    assert answer.status_code == 409
    assert '<span lang="en">it is measured</span>' in answer.text
    assert 'value="dibaiki"' in answer.text
    assert 'value="yes" required checked' in answer.text


async def test_incident_page_false_alarm_is_declared_once(tmp_path: Path) -> None:
    service = Service()
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        _, page_text = await order(browser, "false-alarm", why="akaun ujian rosak")
        assert "Diisytiharkan sebagai amaran palsu." in page_text
        assert (service.incident.false_alarm_by, service.incident.false_alarm_reason) == (SITI, "akaun ujian rosak")
        _, again = await order(browser, "false-alarm", why="akaun ujian rosak")
    assert "lebih awal; tiada apa-apa yang berubah" in again


async def test_incident_page_sets_notification_status(tmp_path: Path) -> None:
    service = UnknownStatusService()
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        assert "/notifications/1/set-status" in forms_of(await browser.get(PAGE))
        refused = await browser.post("/notifications/1/set-status", data={"why": "ditelefon"})
        assert refused.status_code == 422
        assert 'value="ditelefon"' in refused.text
        answer = await browser.post("/notifications/1/set-status", data={"ruling": "delivered", "why": "ditelefon"})
        assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
        assert service.commands == [("1", f"delivered by {SITI}: ditelefon")]

        service.notification_state = NotificationState.DELIVERED
        again = await browser.post("/notifications/1/set-status", data={"ruling": "lost", "why": "ditelefon"})
        assert again.status_code == 303
        assert "telah dinyatakan lebih awal" in visible_text(await browser.get(PAGE))
        assert len(service.commands) == 1

        service.notification_state, service.rejection = NotificationState.UNKNOWN, "nobody needs notice 1 any more"
        late = await browser.post("/notifications/1/set-status", data={"ruling": "resend", "why": "ditelefon"})
    assert late.status_code == 409
    assert "nobody needs notice 1 any more" in late.text


async def test_incident_page_cross_site_post_is_refused(tmp_path: Path) -> None:
    service = Service()
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        for action in ("acknowledge", "release", "false-alarm"):
            answer = await browser.post(f"{PAGE}/{action}", data={"why": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
            assert answer.status_code in {401, 403}
    assert service.incident == incident()


async def test_incident_page_escapes_user_text(tmp_path: Path) -> None:
    bad = "<img src=x onerror=alert(1)>"
    released = apply(incident(), Release(incident_id=1, at=T0, by=bad))
    service = Service(incident=released, name=bad)
    done = (HistoryEntry(at=T0, actor=bad, event=bad, text=bad),)
    async with open_portal(tmp_path, service, worklist=FakeWorklist(service, entries=done)) as env:
        page = await (await session_of(env)).get(PAGE)
    assert page.status_code == 200
    assert "<img" not in page.text


async def test_incident_number_links_to_page_only_with_sign_in(tmp_path: Path) -> None:
    service = Service(tray_letters=LETTERS)
    async with open_portal(tmp_path, service) as env:
        browser = await session_of(env)
        clerk = await session_of(env, "kerani", "clerk")
        for path in ("/", "/agencies/JCM", "/notifications/1"):
            assert f'<a href="{PAGE}">JCM-01</a>' in (await browser.get(path)).text, path
        assert f'<a href="{PAGE}">JCM-01</a>' in (await clerk.get("/letters")).text
    async with client(portal(service, ["localhost"], service)) as web:
        for path in ("/", "/agencies/JCM", "/notifications/1", "/letters"):
            assert f'href="{PAGE}"' not in (await web.get(path)).text, "there are no such pages"
