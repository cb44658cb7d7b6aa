"""Tasks page: own agencies only, and forms that check the permission for their agency."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from alerts.decide.silence import Silence
from alerts.model.event import Acknowledge
from alerts.model.incident import apply
from tests.unit.alerts.people import T0, incident
from tests.unit.monitor.web.duty.test_incident_page import SITI, visible_text
from tests.unit.monitor.web.fake_service import FakeWorklist, Service
from tests.unit.monitor.web.portal_env import open_portal

OUTAGE = {"agency": "jcm", "matter": "receiving", "since": "2026-11-24T13:40", "why": "mel web tidak dapat dibuka"}
SILENCE = {"about": "JCM", "lasts": "2h", "why": "kerja rangkaian"}


def silence(about: str, number: int = 1) -> Silence:
    return Silence(
        id=number, target=about, starts_at=T0, ends_at=T0 + timedelta(hours=2), reason="kerja", by="Ravi Contoh"
    )


async def test_tasks_page_lists_unacknowledged_releases_and_own(tmp_path: Path) -> None:
    service = Service()
    async with open_portal(tmp_path, service) as env:
        browser = await env.session_for("siti", "duty:JCM")
        page = await browser.get("/tasks")
        assert "Belum disahkan oleh sesiapa 1 JCM-01" in visible_text(page)
        assert "Notis luar menunggu kebenaran 1 JCM-01" in visible_text(page)
        assert page.text.count('href="/incidents/JCM-01"') == 2
        assert 'href="/incidents/JCM-01/release"' in page.text
        assert 'href="/tasks" aria-current="page">Tugas' in page.text
        english = await browser.get("/tasks?lang=en")
        assert "Not acknowledged 1 JCM-01" in visible_text(english)

        service.incident = apply(incident(), Acknowledge(incident_id=1, at=T0, by=SITI))
        taken = visible_text(await browser.get("/tasks"))
    assert "Every open incident is acknowledged." in taken
    assert "Assigned to you 1 JCM-01" in taken


async def test_tasks_page_truncated_lists_say_so(tmp_path: Path) -> None:
    service = Service()
    worklist = FakeWorklist(service, unknown_notifications=await service.latest_notifications(), has_more=True)
    async with open_portal(tmp_path, service, worklist=worklist) as env:
        browser = await env.session_for("siti", "duty:JCM")
        for lists in (("Notis luar menunggu kebenaran", "Notis yang tidak pasti"), ("Di bawah anda",)):
            page = visible_text(await browser.get("/tasks"))
            for each in lists:
                assert f"{each} 1+" in page
            assert "Ada lagi selepas yang ini." in page
            service.incident = apply(incident(), Acknowledge(incident_id=1, at=T0, by=SITI))


async def test_tasks_page_hides_other_agencies(tmp_path: Path) -> None:
    service = Service(codes=("JCM", "MDC"))
    worklist = FakeWorklist(service, silences=[silence("JCM"), silence("ours/network", 2)])
    async with open_portal(tmp_path, service, worklist=worklist) as env:
        other, centre = await env.session_for("mei", "duty:MDC"), await env.session_for("noc", "noc")
        assert "JCM" not in (await other.get("/tasks")).text
        assert "ours/network" not in (await other.get("/tasks")).text
        everything = (await centre.get("/tasks")).text
    assert "JCM-01" in everything
    assert "ours/network" in everything


async def test_tasks_page_declares_outage_of_own_agency_only(tmp_path: Path) -> None:
    service = Service(codes=("JCM", "MDC"))
    async with open_portal(tmp_path, service) as env:
        siti, mei = await env.session_for("siti", "duty:JCM"), await env.session_for("mei", "duty:MDC")
        refused = await mei.post("/tasks/declare", data=OUTAGE)
        assert refused.status_code == 403
        assert service.commands == []
        answer = await siti.post("/tasks/declare", data=OUTAGE)
        assert (answer.status_code, answer.headers["location"]) == (303, "/incidents/JCM-01")
        assert "pegawai sedang dimaklumkan" in visible_text(await siti.get("/incidents/JCM-01"))
    command = "declare JCM receiving 2026-11-24T13:40: mel web tidak dapat dibuka"
    assert service.commands == [(command, SITI)]


async def test_tasks_page_adds_and_ends_silence_of_own_agency_only(tmp_path: Path) -> None:
    service = Service(codes=("JCM", "MDC"))
    worklist = FakeWorklist(service)
    async with open_portal(tmp_path, service, worklist=worklist) as env:
        siti, mei = await env.session_for("siti", "duty:JCM"), await env.session_for("mei", "duty:MDC")
        assert (await mei.post("/tasks/silences", data=SILENCE)).status_code == 403
        answer = await siti.post("/tasks/silences", data=SILENCE)
        assert (answer.status_code, answer.headers["location"]) == (303, "/tasks")
        page = visible_text(await siti.get("/tasks"))
        assert "Disenyapkan. " in page
        assert f"JCM hingga 24/11/2026 16:15, oleh {SITI}: kerja rangkaian" in page

        assert (await mei.post("/tasks/silences/1/end")).status_code == 403
        assert [each.id for each in worklist.silences] == [1]
        for saying in ("Tidak lagi disenyapkan.", "Telah tamat lebih awal"):
            assert (await siti.post("/tasks/silences/1/end")).status_code == 303
            assert saying in visible_text(await siti.get("/tasks"))
    assert worklist.silences == []


async def test_tasks_page_refused_form_keeps_input(tmp_path: Path) -> None:
    service = Service()
    worklist = FakeWorklist(service)
    async with open_portal(tmp_path, service, worklist=worklist) as env:
        browser = await env.session_for("siti", "duty:JCM")
        for form, wrong, says in (
            ("declare", {"agency": ""}, "Tulis kod agensi."),
            ("declare", {"matter": "degraded"}, "Pilih satu jawapan."),
            ("declare", {"why": ""}, "Tulis satu baris"),
            ("silences", {"about": " "}, "Tulis kod agensi atau nama laluan."),
            ("silences", {"lasts": "2"}, "Pilih tempoh."),
        ):
            answer = await browser.post(f"/tasks/{form}", data={**(OUTAGE if form == "declare" else SILENCE), **wrong})
            assert answer.status_code == 422
            assert says in answer.text
            assert ('value="2026-11-24T13:40"' in answer.text) is (form == "declare")
        unknown = await browser.post("/tasks/silences", data={**SILENCE, "about": "ZZZ"})
        worklist.rejection = "JCM-01 (both) is already open"
        refused = await browser.post("/tasks/declare", data=OUTAGE)
    assert unknown.status_code == 409
    assert 'value="ZZZ"' in unknown.text
    assert refused.status_code == 409
    assert "JCM-01 (both) is already open" in refused.text
    assert 'value="mel web tidak dapat dibuka"' in refused.text
    assert 'value="receiving" required checked' in refused.text
    assert service.commands == []
