"""The page of one incident: what it shows to whom, what its forms do, and that nothing is done twice."""

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
from tests.unit.monitor.web.signed import House, house
from tests.unit.monitor.web.source import LETTERS, Orders, Service, client

PAGE = "/incidents/JCM-01"
SITI = "Siti Contoh (siti)"


class Unsure(Service):
    """A service with a notice of which nobody knows what became of it."""

    token_state = NotificationState.UNKNOWN

    async def notices(self) -> list[NotificationView]:
        return [replace(each, state=self.token_state) for each in await super().notices()]

    async def notice(self, notification_id: int) -> NotificationDetail:
        [known] = await self.notices()
        return NotificationDetail(notification=known, incidents=["JCM-01"], attempts=())


def words_of(page: httpx.Response) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


def forms_of(page: httpx.Response) -> set[str]:
    return {each.removeprefix("/incidents/JCM-01/") for each in re.findall(r'action="([^"]+)"', page.text)} - {
        "/sign-out"
    }


async def officer_at(place: House, name: str = "siti", role: str = "duty:JCM") -> httpx.AsyncClient:
    return await place.admitted(name, role)


async def order(browser: httpx.AsyncClient, deed: str, **fields: str) -> tuple[httpx.Response, str]:
    """Send a form as a browser does; return the answer, and what the page says that it leads to."""
    answer = await browser.post(f"{PAGE}/{deed}", data=fields)
    assert answer.status_code == 303, answer.text
    return answer, words_of(await browser.get(answer.headers["location"]))


async def test_a_duty_officer_sees_what_it_is_who_was_told_and_what_was_done(tmp_path: Path) -> None:
    done = (
        HistoryEntry(at=T0, actor="Ravi Contoh", event="remark", text="pembekal dihubungi"),
        HistoryEntry(at=T0, actor="engine", event="incident opened", text=""),
    )
    service = Service()
    async with house(tmp_path, service, orders=Orders(service, entries=done)) as place:
        browser = await officer_at(place)
        malay, english = await browser.get(PAGE), await browser.get(f"{PAGE}?lang=en")
    said = words_of(malay)
    assert "Insiden JCM-01" in said
    assert "Jabatan Contoh Malaysia: tidak dapat dihantar dan diterima" in said
    assert "Sejak 24/11/2026 14:14" in said
    assert "Ravi Contoh Catatan: pembekal dihubungi" in said
    assert "Pantau Insiden dibuka" in said
    assert 'href="/notifications/1"' in malay.text
    assert "Ravi Contoh Remark: pembekal dihubungi" in words_of(english)
    assert "Since 24/11/2026 14:14" in words_of(english)
    assert forms_of(malay) == {"acknowledge", "notes", "escalate", "close", "false-alarm"}
    assert "<script" not in malay.text
    assert "script-src" not in malay.headers["content-security-policy"]


def witness(site: str, report: SiteReport | None, *details: str) -> SiteIncidentSummary:
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


async def test_what_each_site_says_and_saw_fail_is_on_the_page_and_what_it_writes_does_nothing_to_it(
    tmp_path: Path,
) -> None:
    wrong = SiteReport(site="noc", says=SiteVerdict.WRONG, type=IncidentType.SENDING, since=T0)
    says = [
        witness("noc", wrong),
        witness("johor", SiteReport(site="johor", says=SiteVerdict.STALE), "<script>alert(1)</script>"),
        witness("kuching", None),
    ]
    async with house(tmp_path, Service(testified=says)) as place:
        browser = await officer_at(place)
        malay, english = await browser.get(PAGE), await browser.get(f"{PAGE}?lang=en")
        asked = await browser.get("/api/v1/incidents/JCM-01/sites")
    said = words_of(english)
    assert "noc : cannot be sent, since 24/11 14:15 No probe failed there during this incident." in said
    assert "johor : no current report 24/11/2026 14:15 JCM/outbound/rujukan-a: " in said
    assert "550: asing: &lt;script&gt;" in said
    assert "Invalid results of this site: 1." in said
    assert "kuching No probe failed" in said
    assert "<script" not in malay.text
    assert "johor : tiada laporan baharu" in words_of(malay)
    assert [(each["site"], each["report"] and each["report"]["says"]) for each in asked.json()] == [
        ("noc", "wrong"),
        ("johor", "stale"),
        ("kuching", None),
    ]
    assert asked.json()[1]["last_failures"][0]["failure"]["code"] == 550


async def test_where_there_is_one_site_alone_nothing_is_said_of_sites(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        browser = await officer_at(place)
        assert "Findings of the sites" not in (await browser.get(f"{PAGE}?lang=en")).text
        assert (await browser.get("/api/v1/incidents/JCM-01/sites")).json() == []


async def test_whoever_may_only_look_is_shown_no_form(tmp_path: Path) -> None:
    service = Unsure()
    async with house(tmp_path, service) as place:
        browser = await officer_at(place, role="viewer:JCM")
        page = await browser.get(PAGE)
    assert page.status_code == 200
    assert forms_of(page) == set()
    assert "/release" not in page.text
    assert 'href="/tasks"' not in page.text


async def test_an_incident_about_pantau_itself_is_for_those_who_are_there_for_all_agencies(tmp_path: Path) -> None:
    ours = replace(incident(), policy=replace(incident().policy, agency=""))
    async with house(tmp_path, Service(incident=ours, codes=("JCM", "MDC"))) as place:
        one, centre = await officer_at(place), await officer_at(place, "noc", "noc")
        assert (await one.get(PAGE)).status_code == 403
        assert (await one.post(f"{PAGE}/acknowledge")).status_code == 403
        assert (await centre.get(PAGE)).status_code == 200
        assert (await centre.post(f"{PAGE}/acknowledge")).status_code == 303


async def test_it_is_acknowledged_in_the_visitors_name_and_that_is_said_once(tmp_path: Path) -> None:
    service = Service()
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        answer, said = await order(browser, "acknowledge")
        assert answer.headers["location"] == PAGE
        assert service.incident.acknowledged_by == SITI
        assert "Penerimaan disahkan. Insiden ini di bawah anda." in said
        again = words_of(await browser.get(PAGE))
        assert "Penerimaan disahkan. Insiden ini di bawah anda." not in again
        assert f"disahkan oleh {SITI}, hingga" in again
        assert "Lanjutkan tempoh saya" in again


async def test_what_another_has_taken_on_stays_theirs_and_the_page_says_so(tmp_path: Path) -> None:
    service = Service(incident=apply(incident(), Acknowledge(incident_id=1, at=T0, by="Ravi Contoh")))
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        assert "acknowledge" not in forms_of(await browser.get(PAGE))
        # A page that was loaded before the other was quicker.
        _, said = await order(browser, "acknowledge")
    assert "Pegawai lain telah mengesahkannya lebih awal" in said
    assert service.incident.acknowledged_by == "Ravi Contoh"


async def test_what_somebody_has_by_telephone_is_theirs_on_the_page_and_kept_by_the_same_name(tmp_path: Path) -> None:
    taken = apply(incident(), Acknowledge(incident_id=1, at=T0 - timedelta(minutes=30), by="Siti Contoh"))
    service = Service(incident=taken)
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        page = await browser.get(PAGE)
        assert {"acknowledge"} == forms_of(page) & {"take-over", "acknowledge"}
        assert "Lanjutkan tempoh saya" in words_of(page)
        _, said = await order(browser, "acknowledge")
        assert "Insiden ini di bawah anda." in said
        assert (service.incident.acknowledged_by, service.incident.last_response_at) == ("Siti Contoh", T0)
        # To a colleague it is another's.
        ravi = await officer_at(place, "ravi")
        assert {"take-over"} == forms_of(await ravi.get(PAGE)) & {"take-over", "acknowledge"}


async def test_what_another_has_is_taken_over_by_who_says_from_whom(tmp_path: Path) -> None:
    service = Service(incident=apply(incident(), Acknowledge(incident_id=1, at=T0, by="Ravi Contoh")))
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        page = await browser.get(PAGE)
        assert {"take-over"} == forms_of(page) & {"take-over", "acknowledge"}
        assert '<input type="hidden" name="of" value="Ravi Contoh">' in page.text
        assert "termasuk Ravi Contoh, menerima SMS" in words_of(page)
        # A third was quicker.
        _, said = await order(browser, "take-over", of="Ali Contoh")
        assert "Sementara itu pegawai lain telah mengambilnya" in said
        assert service.incident.acknowledged_by == "Ravi Contoh"
        _, said = await order(browser, "take-over", of="Ravi Contoh")
        assert "Insiden ini kini di bawah anda." in said
        assert service.incident.acknowledged_by == SITI
        assert "take-over" not in forms_of(await browser.get(PAGE))
        _, said = await order(browser, "take-over")
        assert "Insiden ini kini di bawah anda." in said


async def test_a_saying_that_somebody_else_has_put_into_the_cookie_is_not_said(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        browser = await officer_at(place)
        browser.cookies.set("pantau_said", "no such thing", domain="localhost.local")
        page = await browser.get(PAGE)
    assert page.status_code == 200
    assert 'role="status"' not in page.text


async def test_a_remark_is_one_line_and_is_written_down_in_the_visitors_name(tmp_path: Path) -> None:
    service = Service()
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        _, said = await order(browser, "notes", text=" pembekal  dihubungi ")
        assert "Catatan disimpan." in said
        assert service.orders == [(SITI, "pembekal dihubungi")]
        # Nothing, too much, and a sign that a telephone joins pictures by.
        refused = [await browser.post(f"{PAGE}/notes", data={"text": each}) for each in (" ", "a" * 501, "a\u200db")]
    assert [each.status_code for each in refused] == [422] * 3
    assert all("Tulis satu baris, paling banyak 500 aksara" in each.text for each in refused)


async def test_it_is_handed_on(tmp_path: Path) -> None:
    service = Service()
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        _, said = await order(browser, "escalate")
    assert "Diserahkan. Pegawai seterusnya sedang dihubungi." in said
    assert (service.incident.previous_assignee, service.incident.escalated) == (SITI, True)


async def test_incident_page_handed_on_by_the_last_of_the_plan_says_so(tmp_path: Path) -> None:
    service = Service()
    service.incident = replace(service.incident, position=Position(round=9, step=0, since=service.now()))
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        _, said = await order(browser, "escalate")
    assert "Diserahkan, tetapi tiada pegawai lain dalam pelan. Pusat operasi dimaklumkan." in said


# -- release ---------------------------------------------------------------------------------------------------------


def mark_of(page: httpx.Response) -> str:
    found = re.search(r'name="looked_at" value="(\w+)"', page.text)
    assert found
    return found[1]


async def test_a_release_is_looked_at_first_and_then_goes_in_the_visitors_name(tmp_path: Path) -> None:
    service = Service()
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        assert f'href="{PAGE}/release"' in (await browser.get(PAGE)).text
        look = await browser.get(f"{PAGE}/release")
        assert "Ketua Setiausaha, Kementerian Contoh" in words_of(look)
        assert f'href="{PAGE}/release/1/page.pdf"' in look.text
        assert (await browser.get(f"{PAGE}/release/1/page.pdf")).headers["content-type"] == "application/pdf"
        assert service.incident.released_at is None

        _, said = await order(browser, "release", looked_at=mark_of(look))
        assert "Notis luar dikeluarkan." in said
        assert service.incident.released_by == SITI
        _, again = await order(browser, "release", looked_at=mark_of(look))
        assert "Notis luar telah dikeluarkan lebih awal" in again
        gone = await browser.get(f"{PAGE}/release")
        assert f"dikeluarkan oleh {SITI}" in words_of(gone)
        assert "<button>Keluarkan" not in gone.text


async def test_what_was_not_looked_at_is_not_released(tmp_path: Path) -> None:
    service = Service()
    orders = Orders(service)
    async with house(tmp_path, service, orders=orders) as place:
        browser = await officer_at(place)
        unseen = await browser.post(f"{PAGE}/release")
        look = await browser.get(f"{PAGE}/release")
        orders.goes = (*orders.goes, replace(orders.goes[0], place=2, to="Pejabat Lain, Kementerian Contoh"))
        more = await browser.post(f"{PAGE}/release", data={"looked_at": mark_of(look)})
        look = await browser.get(f"{PAGE}/release")
        service.incident = replace(service.incident, type=IncidentType.SENDING, current_type=IncidentType.SENDING)
        other = await browser.post(f"{PAGE}/release", data={"looked_at": mark_of(look)})
    for answer in (unseen, more, other):
        assert answer.status_code == 409
        assert "Semak sekali lagi" in answer.text
    assert service.incident.released_at is None


async def test_while_mail_is_only_watched_nothing_is_released_and_the_page_says_why(tmp_path: Path) -> None:
    service = Service(monitor_only=True)
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        look = await browser.get(f"{PAGE}/release")
        answer = await browser.post(f"{PAGE}/release", data={"looked_at": mark_of(look)})
    assert answer.status_code == 409
    assert "tiada sesiapa dimaklumkan (mode: monitor_only)" in answer.text


# -- rulings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "recovered"), [("yes", True), ("no", False)])
async def test_it_is_closed_with_a_reason_and_whether_mail_works_again(
    tmp_path: Path, answer: str, *, recovered: bool
) -> None:
    service = Service()
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        _, said = await order(browser, "close", why="pelayan dibaiki", recovered=answer)
        assert "Insiden ditutup." in said
        assert service.orders == [(f"close JCM-01 {recovered}: pelayan dibaiki", SITI)]
        _, again = await order(browser, "close", why="pelayan dibaiki", recovered=answer)
        assert "Insiden ini telah berakhir" in again
        assert len(service.orders) == 1


async def test_a_form_that_lacks_something_comes_again_with_what_was_typed(tmp_path: Path) -> None:
    service = Service()
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        no_choice = await browser.post(f"{PAGE}/close", data={"why": 'dibaiki "sendiri"'})
        no_reason = await browser.post(f"{PAGE}/close", data={"recovered": "no", "why": "  "})
        wrong = await browser.post(f"{PAGE}/false-alarm", data={"why": "x" * 501})
    for answer in (no_choice, no_reason, wrong):
        assert answer.status_code == 422
    assert 'value="dibaiki &#34;sendiri&#34;"' in no_choice.text
    assert "Pilih satu jawapan." in no_choice.text
    assert 'value="no" required checked' in no_reason.text
    assert service.incident.state is IncidentState.TRIGGERED
    assert service.orders == []


async def test_what_the_service_refuses_is_said_with_what_was_typed(tmp_path: Path) -> None:
    service = Service()
    async with house(tmp_path, service, orders=Orders(service, wrong="it is measured")) as place:
        browser = await officer_at(place)
        answer = await browser.post(f"{PAGE}/close", data={"why": "dibaiki", "recovered": "yes"})
    assert answer.status_code == 409
    assert '<span lang="en">it is measured</span>' in answer.text
    assert 'value="dibaiki"' in answer.text
    assert 'value="yes" required checked' in answer.text


async def test_it_is_declared_a_false_alarm_once(tmp_path: Path) -> None:
    service = Service()
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        _, said = await order(browser, "false-alarm", why="akaun ujian rosak")
        assert "Diisytiharkan sebagai amaran palsu." in said
        assert (service.incident.false_alarm_by, service.incident.false_alarm_reason) == (SITI, "akaun ujian rosak")
        _, again = await order(browser, "false-alarm", why="akaun ujian rosak")
    assert "lebih awal; tiada apa-apa yang berubah" in again


async def test_what_became_of_a_notice_is_said_on_its_incidents_page(tmp_path: Path) -> None:
    service = Unsure()
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        assert "/notifications/1/set-status" in forms_of(await browser.get(PAGE))
        refused = await browser.post("/notifications/1/set-status", data={"why": "ditelefon"})
        assert refused.status_code == 422
        assert 'value="ditelefon"' in refused.text
        answer = await browser.post("/notifications/1/set-status", data={"ruling": "delivered", "why": "ditelefon"})
        assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
        assert service.orders == [("1", f"delivered by {SITI}: ditelefon")]

        service.token_state = NotificationState.DELIVERED
        again = await browser.post("/notifications/1/set-status", data={"ruling": "lost", "why": "ditelefon"})
        assert again.status_code == 303
        assert "telah dinyatakan lebih awal" in words_of(await browser.get(PAGE))
        assert len(service.orders) == 1

        service.token_state, service.wrong = NotificationState.UNKNOWN, "nobody needs notice 1 any more"
        late = await browser.post("/notifications/1/set-status", data={"ruling": "resend", "why": "ditelefon"})
    assert late.status_code == 409
    assert "nobody needs notice 1 any more" in late.text


async def test_a_strangers_page_presses_nothing(tmp_path: Path) -> None:
    service = Service()
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        for deed in ("acknowledge", "release", "false-alarm"):
            answer = await browser.post(f"{PAGE}/{deed}", data={"why": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
            assert answer.status_code in {401, 403}
    assert service.incident == incident()


async def test_what_people_wrote_is_text_and_no_markup(tmp_path: Path) -> None:
    bad = "<img src=x onerror=alert(1)>"
    released = apply(incident(), Release(incident_id=1, at=T0, by=bad))
    service = Service(incident=released, name=bad)
    done = (HistoryEntry(at=T0, actor=bad, event=bad, text=bad),)
    async with house(tmp_path, service, orders=Orders(service, entries=done)) as place:
        page = await (await officer_at(place)).get(PAGE)
    assert page.status_code == 200
    assert "<img" not in page.text


async def test_the_number_of_an_incident_leads_to_its_page_wherever_people_sign_in(tmp_path: Path) -> None:
    service = Service(in_the_tray=LETTERS)
    async with house(tmp_path, service) as place:
        browser = await officer_at(place)
        clerk = await officer_at(place, "kerani", "clerk")
        for path in ("/", "/agencies/JCM", "/notifications/1"):
            assert f'<a href="{PAGE}">JCM-01</a>' in (await browser.get(path)).text, path
        assert f'<a href="{PAGE}">JCM-01</a>' in (await clerk.get("/letters")).text
    async with client(portal(service, ["localhost"], service)) as web:
        for path in ("/", "/agencies/JCM", "/notifications/1", "/letters"):
            assert f'href="{PAGE}"' not in (await web.get(path)).text, "there are no such pages"
