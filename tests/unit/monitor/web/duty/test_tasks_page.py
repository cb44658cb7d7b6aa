"""The page of what waits for somebody: of their agencies alone, with forms whose agency is looked at, too."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from alerts.decide.silence import Silence
from alerts.model.event import Acknowledge
from alerts.model.incident import apply
from tests.unit.alerts.people import T0, incident
from tests.unit.monitor.web.duty.test_incident_page import SITI, words_of
from tests.unit.monitor.web.signed import house
from tests.unit.monitor.web.source import Orders, Service

OUTAGE = {"agency": "jcm", "matter": "receiving", "since": "2026-11-24T13:40", "why": "mel web tidak dapat dibuka"}
QUIET = {"about": "JCM", "lasts": "2h", "why": "kerja rangkaian"}


def silence(about: str, number: int = 1) -> Silence:
    return Silence(
        id=number, target=about, starts_at=T0, ends_at=T0 + timedelta(hours=2), reason="kerja", by="Ravi Contoh"
    )


async def test_it_shows_what_nobody_has_what_waits_for_release_and_what_is_theirs(tmp_path: Path) -> None:
    service = Service()
    async with house(tmp_path, service) as place:
        browser = await place.admitted("siti", "duty:JCM")
        page = await browser.get("/tasks")
        assert "Belum disahkan oleh sesiapa 1 JCM-01" in words_of(page)
        assert "Notis luar menunggu kebenaran 1 JCM-01" in words_of(page)
        assert page.text.count('href="/incidents/JCM-01"') == 2
        assert 'href="/incidents/JCM-01/release"' in page.text
        assert 'href="/tasks" aria-current="page">Tugas' in page.text
        english = await browser.get("/tasks?lang=en")
        assert "Not acknowledged 1 JCM-01" in words_of(english)

        service.incident = apply(incident(), Acknowledge(incident_id=1, at=T0, by=SITI))
        taken = words_of(await browser.get("/tasks"))
    assert "Every open incident is acknowledged." in taken
    assert "Assigned to you 1 JCM-01" in taken


async def test_no_list_that_goes_on_passes_for_all_there_is(tmp_path: Path) -> None:
    service = Service()
    orders = Orders(service, unsettled=await service.notices(), has_more=True)
    async with house(tmp_path, service, orders=orders) as place:
        browser = await place.admitted("siti", "duty:JCM")
        for lists in (("Notis luar menunggu kebenaran", "Notis yang tidak pasti"), ("Di bawah anda",)):
            page = words_of(await browser.get("/tasks"))
            for each in lists:
                assert f"{each} 1+" in page
            assert "Ada lagi selepas yang ini." in page
            service.incident = apply(incident(), Acknowledge(incident_id=1, at=T0, by=SITI))


async def test_of_another_agency_nothing_is_shown(tmp_path: Path) -> None:
    service = Service(codes=("JCM", "MDC"))
    orders = Orders(service, silent=[silence("JCM"), silence("ours/network", 2)])
    async with house(tmp_path, service, orders=orders) as place:
        other, centre = await place.admitted("mei", "duty:MDC"), await place.admitted("noc", "noc")
        assert "JCM" not in (await other.get("/tasks")).text
        assert "ours/network" not in (await other.get("/tasks")).text
        everything = (await centre.get("/tasks")).text
    assert "JCM-01" in everything
    assert "ours/network" in everything


async def test_an_outage_is_declared_for_ones_own_agency_only(tmp_path: Path) -> None:
    service = Service(codes=("JCM", "MDC"))
    async with house(tmp_path, service) as place:
        siti, mei = await place.admitted("siti", "duty:JCM"), await place.admitted("mei", "duty:MDC")
        refused = await mei.post("/tasks/declare", data=OUTAGE)
        assert refused.status_code == 403
        assert service.orders == []
        answer = await siti.post("/tasks/declare", data=OUTAGE)
        assert (answer.status_code, answer.headers["location"]) == (303, "/incidents/JCM-01")
        assert "pegawai sedang dimaklumkan" in words_of(await siti.get("/incidents/JCM-01"))
    told = "declare JCM receiving 2026-11-24T13:40: mel web tidak dapat dibuka"
    assert service.orders == [(told, SITI)]


async def test_something_is_silenced_for_ones_own_agency_only_and_the_silence_ended(tmp_path: Path) -> None:
    service = Service(codes=("JCM", "MDC"))
    orders = Orders(service)
    async with house(tmp_path, service, orders=orders) as place:
        siti, mei = await place.admitted("siti", "duty:JCM"), await place.admitted("mei", "duty:MDC")
        assert (await mei.post("/tasks/silences", data=QUIET)).status_code == 403
        answer = await siti.post("/tasks/silences", data=QUIET)
        assert (answer.status_code, answer.headers["location"]) == (303, "/tasks")
        page = words_of(await siti.get("/tasks"))
        assert "Disenyapkan. " in page
        assert f"JCM hingga 24/11/2026 16:15, oleh {SITI}: kerja rangkaian" in page

        assert (await mei.post("/tasks/silences/1/end")).status_code == 403
        assert [each.id for each in orders.silent] == [1]
        for saying in ("Tidak lagi disenyapkan.", "Telah tamat lebih awal"):
            assert (await siti.post("/tasks/silences/1/end")).status_code == 303
            assert saying in words_of(await siti.get("/tasks"))
    assert orders.silent == []


async def test_a_form_that_is_refused_comes_again_with_what_was_typed(tmp_path: Path) -> None:
    service = Service()
    orders = Orders(service)
    async with house(tmp_path, service, orders=orders) as place:
        browser = await place.admitted("siti", "duty:JCM")
        for form, wrong, says in (
            ("declare", {"agency": ""}, "Tulis kod agensi."),
            ("declare", {"matter": "degraded"}, "Pilih satu jawapan."),
            ("declare", {"why": ""}, "Tulis satu baris"),
            ("silences", {"about": " "}, "Tulis kod agensi atau nama laluan."),
            ("silences", {"lasts": "2"}, "Pilih tempoh."),
        ):
            answer = await browser.post(f"/tasks/{form}", data={**(OUTAGE if form == "declare" else QUIET), **wrong})
            assert answer.status_code == 422
            assert says in answer.text
            assert ('value="2026-11-24T13:40"' in answer.text) is (form == "declare")
        unknown = await browser.post("/tasks/silences", data={**QUIET, "about": "ZZZ"})
        orders.wrong = "JCM-01 (both) is already open"
        refused = await browser.post("/tasks/declare", data=OUTAGE)
    assert unknown.status_code == 409
    assert 'value="ZZZ"' in unknown.text
    assert refused.status_code == 409
    assert "JCM-01 (both) is already open" in refused.text
    assert 'value="mel web tidak dapat dibuka"' in refused.text
    assert 'value="receiving" required checked' in refused.text
    assert service.orders == []
