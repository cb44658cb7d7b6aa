"""Portal pages, lists, metrics and security headers."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.decide.silence import Silence
from alerts.model.gateway import Content, PageContent, Script, SmsContent, VoiceContent
from monitor.config.files.problem import Problem, Severity
from monitor.model.window import WindowOccurrence
from monitor.web.portal import SECURITY_HEADERS, portal
from probes.model.check import Verdict
from tests.unit.alerts.people import FAX, SMS_RAVI, SMS_SITI, T0
from tests.unit.monitor.web.fake_service import Service, client, finding

HOSTS = ["localhost", "127.0.0.1", "[::1]"]
NUMBERS = [address.number for address in (SMS_SITI, SMS_RAVI, FAX)]


@pytest.mark.parametrize("what", ["self-health", "agencies", "self-checks", "incidents", "notifications"])
async def test_list_rows_match_schema(what: str) -> None:
    service = Service(own_findings={"certificate": [finding("mel.gov.my:993", Verdict.WARN)]})
    async with client(portal(service, HOSTS)) as web:
        rows = (await web.get(f"/api/v1/{what}")).json()
        schema = (await web.get("/openapi.json")).json()

    answer = schema["paths"][f"/api/v1/{what}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    view = schema["components"]["schemas"][answer["items"]["$ref"].rsplit("/", 1)[-1]]
    assert rows
    assert all(row.keys() == view["properties"].keys() for row in rows)


@pytest.mark.parametrize(
    "path", ["/", "/fragment", "/api/v1/agencies", "/api/v1/incidents", "/api/v1/notifications", "/openapi.json"]
)
async def test_responses_hold_no_telephone_number(path: str) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        answer = await web.get(path)

    assert answer.status_code == 200
    assert not any(number in answer.text or number.lstrip("+") in answer.text for number in NUMBERS)


async def test_page_title_names_site_if_several() -> None:
    titles = []
    for site in ("", "johor"):
        async with client(portal(Service(), HOSTS, site=site)) as web:
            for path in ("/", "/agencies/JCM", "/notifications/1"):
                text = (await web.get(path)).text
                titles += re.findall("<title>(.*)</title>", text) + re.findall('<h1><a href="/">(.*)</a></h1>', text)
    assert titles == [
        *("Pantau", "Pantau", "Pantau · JCM", "Pantau", "Pantau · Notis 1"),
        *("Pantau johor", "Pantau johor", "Pantau johor · JCM", "Pantau johor", "Pantau johor · Notis 1"),
    ]


@pytest.mark.parametrize(
    "path", ["/", "/fragment", "/api/v1/agencies", "/metrics", "/-/ready", "/static/status.css", "/nothing"]
)
async def test_responses_have_security_headers(path: str) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        answer = await web.get(path)

    kept = {"Cache-Control": "max-age=60"} if path.startswith("/static/") else {}
    wanted = {**SECURITY_HEADERS, **kept}
    assert {name: answer.headers.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("pantau.penyerang.example", 400),
        ("localhost.penyerang.example", 400),
        ("", 400),
        ("jahat@localhost", 400),
        ("::1", 400),
        ("www.localhost", 400),
    ],
)
async def test_host_unknown_is_refused(host: str, status: int) -> None:
    async with client(portal(Service(), HOSTS), host=host) as web:
        answer = await web.get("/api/v1/incidents")

    assert answer.status_code == status


async def test_ready_before_engine_runs_returns_reason() -> None:
    service = Service(not_ready="starting")
    async with client(portal(service, HOSTS)) as web:
        answer = await web.get("/-/ready")
        assert (answer.status_code, answer.json()["detail"]) == (503, "starting")
        assert (await web.get("/-/healthy")).status_code == 200
        service.not_ready = None
        assert (await web.get("/-/ready")).status_code == 200


async def test_metrics_are_prometheus_text() -> None:
    async with client(portal(Service(), HOSTS)) as web:
        answer = await web.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.text == "pantau_mail_up 1\npantau_mail_degraded 0\n"


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        # The Accept header of Prometheus 2.53 by default, and with version 3's order.
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", True),
        ("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5", False),
        ("text/html,*/*;q=0.8", False),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=satu", False),
    ],
)
async def test_metrics_openmetrics_is_negotiated(accept: str, *, is_open: bool) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        answer = await web.get("/metrics", headers={"accept": accept})

    kind = "application/openmetrics-text; version=1.0.0" if is_open else "text/plain; version=0.0.4"
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.text.endswith("# EOF\n") is is_open


@pytest.mark.parametrize(("severity", "status", "taken"), [(Severity.ERROR, 400, False), (Severity.WARNING, 200, True)])
async def test_reload_returns_problems(severity: Severity, status: int, *, taken: bool) -> None:
    problem = Problem(file="pantau.yaml", line=3, message="is no known key", severity=severity)
    service = Service(problems=[problem])
    async with client(portal(service, HOSTS)) as web:
        answer = await web.post("/-/reload")
        assert service.commands == [("reload", "portal")], "nobody signs in here"
        assert (await web.get("/-/reload")).status_code == 405

    assert answer.status_code == status
    assert answer.headers["content-type"] == ("application/json" if taken else "application/problem+json")
    assert {"taken": taken, "problems": [str(problem)]}.items() <= answer.json().items()


HOSTILE = '<script>alert("x")</script>&\'"><img src=x onerror=y>{{ 7 * 7 }}'


@pytest.mark.parametrize("path", ["/", "/fragment"])
async def test_page_escapes_names_and_server_texts(path: str) -> None:
    hostile = [finding(HOSTILE, Verdict.FAIL, HOSTILE, HOSTILE)]
    service = Service(name=HOSTILE, why=HOSTILE, findings={"domain": hostile}, own_findings={"mx": hostile})
    snapshot = replace(service.incident.policy, subject=HOSTILE)
    service.incident = replace(service.incident, policy=snapshot, acknowledged_by=HOSTILE)
    async with client(portal(service, HOSTS)) as web:
        page = (await web.get(path)).text

    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;") >= 10
    assert "{{ 7 * 7 }}" in page


async def test_status_page_shows_states_and_incident() -> None:
    async with client(portal(Service(), HOSTS)) as web:
        page = (await web.get("/")).text

    assert "Jabatan Contoh Malaysia" in page
    assert "GAGAL" in page
    assert "BELUM PASTI" in page
    assert "JCM-01" in page
    assert "Perlu tindakan" in page


@pytest.mark.parametrize(("language", "name"), [("ms", "NAMA"), ("en", "NAME")])
async def test_agency_page_open_incident_shows_commands(language: str, name: str) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        page = (await web.get(f"/agencies/JCM?lang={language}")).text

    shown_commands = re.findall(r"<code>(.*?)</code>", page)
    assert shown_commands[:2] == [f"pantau ack JCM-01 --by {name}", "pantau probe JCM --explain"]


def lines_of(page: str) -> list[str]:
    """Return the rows of the page's tables as text."""
    rows = re.findall(r"<tr.*?</tr>", page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]


async def test_pages_show_check_results_and_times() -> None:
    good, weak = finding("a.gov.my", Verdict.PASS), finding("b.gov.my", Verdict.WARN, "ends with ~all, expected: -all")
    gone = finding("mel.gov.my:993", Verdict.FAIL, "expired 3 days ago", "certificate")
    found = {"certificate": [gone, good], "domain": [good, weak, weak], "roof": [good], "mx": None}
    async with client(portal(Service(findings=found, own_findings={"certificate": [gone]}), HOSTS)) as web:
        lines = lines_of((await web.get("/agencies/JCM")).text)[2:]
        card = (await web.get("/")).text
        [agency] = (await web.get("/api/v1/agencies")).json()
        [own] = (await web.get("/api/v1/self-checks")).json()

    when = "24/11 14:15"
    broken = "TIDAK LULUS certificate · mel.gov.my:993 · expired 3 days ago"
    weakness = "AWAS spf · b.gov.my · ends with ~all, expected: -all"
    assert lines[:7] == [
        f"Sijil certificate TIDAK LULUS {when}",
        broken,
        f"Domain domain AWAS {when}",
        weakness,
        weakness,
        f"roof LULUS {when}",
        "Pelayan MX mx BELUM DILIHAT",
    ]
    assert 'Sijil <b class="verdict-fail">TIDAK LULUS</b> Domain <b class="verdict-warn">AWAS</b></p>' in card
    assert lines_of(card)[-2:] == [f"Sijil certificate TIDAK LULUS {when}", broken], "at our own mailboxes"
    assert [(check["kind"], check["verdict"]) for check in agency["checks"]] == [
        ("certificate", "fail"),
        ("domain", "warn"),
        ("roof", "pass"),
        ("mx", None),
    ]
    assert own["findings"][0]["subject"] == "mel.gov.my:993"


async def test_page_agency_in_maintenance_shows_end_and_reason() -> None:
    work = WindowOccurrence(T0 - timedelta(hours=1), T0 + timedelta(hours=2), "Naik taraf <pelayan>")
    async with client(portal(Service(maintenance=work), HOSTS)) as web:
        page = (await web.get("/")).text
        [agency] = (await web.get("/api/v1/agencies")).json()
    async with client(portal(Service(), HOSTS)) as web:
        usual = (await web.get("/")).text

    assert "Penyelenggaraan sehingga" in page
    assert ">24/11 16:15</time>" in page
    assert "Naik taraf &lt;pelayan&gt;" in page
    assert agency["maintenance"]["reason"] == "Naik taraf <pelayan>"
    assert "Penyelenggaraan" not in usual


async def test_page_silenced_agency_shows_end_reason_and_author() -> None:
    quiet = Silence(
        id=1,
        target="JCM/internal/jcm",
        starts_at=T0,
        ends_at=T0 + timedelta(hours=2),
        reason="<kerja>",
        by="Siti Contoh",
    )
    async with client(portal(Service(silence=quiet), HOSTS)) as web:
        page = (await web.get("/")).text
        [agency] = (await web.get("/api/v1/agencies")).json()
    async with client(portal(Service(), HOSTS)) as web:
        usual = (await web.get("/")).text

    assert "Notis disenyapkan sehingga" in page
    assert all(word in page for word in (">24/11 16:15</time>", "JCM/internal/jcm", "&lt;kerja&gt;", "Siti Contoh"))
    assert agency["silence"]["by"] == "Siti Contoh"
    assert "Senyap" not in usual


async def test_page_limits_check_findings() -> None:
    listed = [finding(f"list{n}.example", Verdict.FAIL) for n in range(20)]
    async with client(portal(Service(own_findings={"domain": listed}), HOSTS)) as web:
        page = (await web.get("/")).text

    assert page.count("list") < 20
    assert "dan 14 lagi" in page


@pytest.mark.parametrize("headers", [{"Origin": "https://jahat.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_reload_cross_site_is_refused(headers: dict[str, str]) -> None:
    async with client(portal(Service(), HOSTS)) as web:
        assert (await web.post("/-/reload", headers=headers)).status_code == 403


SCRIPT = Script(language="ms-MY", blocks=("Ini amaran.",), menu="Tekan satu.", thanks="", already="", goodbye="")


@pytest.mark.parametrize(
    ("says", "shown"),
    [
        (SmsContent(text=HOSTILE), "&lt;script&gt;"),
        (VoiceContent(scripts=(SCRIPT,)), "Tekan satu."),
        (PageContent(pdf=b"%PDF-1.7", title="Pemakluman gangguan", pages=1), "/notifications/1/page.pdf"),
    ],
)
async def test_notification_page_shows_content(says: Content, shown: str) -> None:
    async with client(portal(Service(content=says), HOSTS)) as web:
        page = await web.get("/notifications/1")

    assert page.status_code == 200
    assert shown in page.text
    assert "<script>alert" not in page.text


async def test_notification_pdf_is_served_unchanged_for_page_content_only() -> None:
    letter = PageContent(pdf=b"%PDF-1.7 surat", title="Surat", pages=1)
    async with client(portal(Service(content=letter), HOSTS)) as web:
        pdf = await web.get("/notifications/1/page.pdf")
        assert (await web.get("/notifications/2")).status_code == 404
    async with client(portal(Service(), HOSTS)) as web:
        assert (await web.get("/notifications/1/page.pdf")).status_code == 404

    assert pdf.content == b"%PDF-1.7 surat"
    assert pdf.headers["content-type"] == "application/pdf"
