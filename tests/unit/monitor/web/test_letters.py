"""Letters page of the clerk: forms without scripts, PDF, docket and permission."""

from __future__ import annotations

import html
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from pypdf import PdfReader

from alerts.documents.render import letter
from alerts.model.gateway import PageContent, SmsContent
from monitor.web.command.control import control
from monitor.web.letters import letter_commands
from monitor.web.portal import portal
from tests.unit.alerts.documents.pages import FACTS, MINISTRY
from tests.unit.alerts.wording.situations import WORDING
from tests.unit.monitor.web.fake_service import LETTERS, Service, client
from tests.unit.monitor.web.portal_env import open_portal

HOSTS = ["localhost"]
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}


class Forms(HTMLParser):
    """Parser of the form actions and tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.actions: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.actions += [value or "" for name, value in attrs if name == "formaction"]


async def page_of(service: Service) -> httpx.Response:
    async with client(portal(service, HOSTS, service)) as web:
        return await web.get("/letters")


async def test_letters_page_shows_pending_overdue_and_withdrawn() -> None:
    answer = await page_of(Service(tray_letters=LETTERS))
    page = " ".join(answer.text.split())

    found = Forms(answer.text)
    assert found.actions == [
        *("/letters/10/posted-already", "/letters/11/posted-already"),
        *("/letters/waiting.pdf", "/letters/waiting.pdf", "/letters/printed", "/letters/posted"),
        *("/letters/7/printed", "/letters/7/posted-unprinted", "/letters/8/posted"),
        "/letters/9/not-posted",
    ]
    assert "script" not in found.tags
    assert page.count("LEWAT: sepatutnya dipos sebelum 25/11/2026 17:00") == 2
    assert "<p>dicetak oleh Kerani Contoh, 24/11/2026 14:15</p>" in page
    # The other was not printed.
    assert len(re.findall("ditarik balik 24/11", page)) == 2
    assert page.count("<strong>dicetak oleh Kerani Contoh</strong>, ditarik balik") == 1
    assert answer.headers["content-security-policy"].count("form-action 'self'") == 1
    assert "script-src" not in answer.headers["content-security-policy"]


async def test_letters_page_follows_language_switch() -> None:
    service = Service(tray_letters=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        malay = (await web.get("/letters")).text
        english = (await web.get("/letters?lang=en")).text
        remembered = (await web.get("/letters")).text
        refused = await web.post("/letters/7/posted", content="by=", headers=SAME_ORIGIN)
        notice = (await web.get("/notifications/1")).text
    assert '<html lang="ms">' in malay
    assert "Do not post" not in malay
    assert english == remembered
    assert '<html lang="en">' in english
    assert "Do not post" in english
    assert not re.search("Surat|surat|dipos|kerani", re.sub('lang="ms".*?</a>', "", english))
    assert "Enter your name first." in refused.text
    assert '<a href="/notifications/1?lang=ms" lang="ms" hreflang="ms">Bahasa Melayu</a>' in notice
    for page in (malay, english):
        assert '<a href="/letters?lang=en" lang="en" hreflang="en"' in page


async def test_letters_page_empty_tray_says_so() -> None:
    assert "Tiada surat yang menunggu." in (await page_of(Service())).text


@pytest.mark.parametrize("action", ["printed", "posted", "posted-already", "posted-unprinted", "not-posted"])
async def test_letters_button_records_person_and_redirects(action: str) -> None:
    service = Service(tray_letters=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post(f"/letters/7/{action}", content="by=Kerani+Contoh", headers=SAME_ORIGIN)

    assert (answer.status_code, answer.headers["location"]) == (303, "/letters")
    assert service.commands == [(f"{action.replace('-', ' ')} 7", "Kerani Contoh")]


async def test_letters_same_origin_header_is_sufficient() -> None:
    service = Service()
    async with client(portal(service, HOSTS, service)) as web:
        for origin, status in (("http://localhost", 303), ("http://localhost:9", 403), ("https://jahat.contoh", 403)):
            answer = await web.post("/letters/7/posted", content="by=Kerani", headers={"Origin": origin})
            assert answer.status_code == status, origin


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none"}],
    ids=str,
)
async def test_letters_cross_site_post_is_refused(headers: dict[str, str]) -> None:
    service = Service(tray_letters=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post("/letters/7/posted", content="by=Kerani", headers=headers)
    assert (answer.status_code, service.commands) == (403, [])


@pytest.mark.parametrize(
    "form", ["", "by=", "by=+++", "by=%00", "by=" + "x" * 101, "by=" + "x" * 9000, "by=%1b[2J", "&".join(["a=1"] * 20)]
)
async def test_letters_invalid_name_records_nothing(form: str) -> None:
    service = Service(tray_letters=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post("/letters/7/posted", content=form, headers=SAME_ORIGIN)
    assert (answer.status_code, service.commands) == (422, [])
    assert "Tulis nama tuan/puan dahulu." in answer.text


async def test_letters_rejected_step_shows_escaped_reason() -> None:
    service = Service(tray_letters=LETTERS, rejection="<script>alert(1)</script>")
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post("/letters/7/posted", content="by=Kerani", headers=SAME_ORIGIN)
    assert answer.status_code == 409
    assert "&lt;script&gt;" in answer.text
    assert "script" not in Forms(answer.text).tags


@pytest.mark.parametrize("path", ["/letters/0/posted", "/letters/x/posted", "/letters/7/withdrawn", "/letters/7/laid"])
async def test_letters_unknown_letter_or_step_is_refused(path: str) -> None:
    service = Service()
    async with client(portal(service, HOSTS, service)) as web:
        assert (await web.post(path, content="by=Kerani", headers=SAME_ORIGIN)).status_code in {404, 422}
    assert service.commands == []


async def test_letters_api_lists_and_control_socket_records_steps() -> None:
    service = Service(tray_letters=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        listed = (await web.get("/api/v1/letters")).json()
    assert [(each["id"], each["step"], each["overdue"]) for each in listed[:2]] == [
        (7, "queued", True),
        (8, "printed", True),
    ]
    async with client(control(service, letter_commands(service))) as web:
        assert (await web.get("/letters")).json() == listed
        first = (await web.post("/notifications/7/posted", json={"by": "Kerani Contoh"})).json()
        again = (await web.post("/notifications/7/posted", json={"by": "Devi Contoh"})).json()
    assert (first["anew"], again["anew"], again["by"]) == (True, False, "Kerani Contoh")


@pytest.mark.parametrize(("wrong", "status"), [(None, 200), ("notice 7 does not lie in a tray", 409)])
async def test_letters_control_posted_succeeds_or_returns_reason(wrong: str | None, status: int) -> None:
    service = Service(rejection=wrong)
    async with client(control(service, letter_commands(service))) as web:
        answer = await web.post("/notifications/7/posted", json={"by": "Kerani Contoh"})
    assert answer.status_code == status
    assert wrong is None or answer.json()["detail"] == wrong


FORM = "by=Kerani+Contoh&letter=7&letter=8"


async def test_letters_several_are_recorded_with_posting_day() -> None:
    service = Service(tray_letters=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        printed = await web.post("/letters/printed", content=FORM, headers=SAME_ORIGIN)
        posted = await web.post("/letters/posted", content=f"{FORM}&day=2026-11-24", headers=SAME_ORIGIN)
    for answer in (printed, posted):
        assert (answer.status_code, answer.headers["location"]) == (303, "/letters")
    assert service.commands == [
        *(("printed 7", "Kerani Contoh"), ("printed 8", "Kerani Contoh")),
        *(("posted 7 on 2026-11-24", "Kerani Contoh"), ("posted 8 on 2026-11-24", "Kerani Contoh")),
    ]


@pytest.mark.parametrize(
    ("form", "status", "why"),
    [
        ("by=Kerani&day=2026-11-24", 422, "Tandakan sekurang-kurangnya satu surat."),
        ("by=+&letter=7&day=2026-11-24", 422, "Tulis nama tuan/puan dahulu."),
        ("by=Kerani&letter=7", 422, "Tulis tarikh surat itu dipos."),
        ("by=Kerani&letter=7&day=2026-11-31", 422, "Tulis tarikh surat itu dipos."),
        ("by=Kerani&letter=7&letter=99&day=2026-11-24", 409, "Tiada surat itu dalam dulang tuan/puan:"),
        ("by=Kerani&letter=x%3Cb%3E&day=2026-11-24", 409, "x&lt;b&gt;"),
    ],
)
async def test_letters_several_invalid_form_records_nothing(form: str, status: int, why: str) -> None:
    service = Service(tray_letters=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post("/letters/posted", content=form, headers=SAME_ORIGIN)
    assert (answer.status_code, service.commands) == (status, [])
    assert why in answer.text
    # The selection is kept.
    assert ('value="7" form="together" checked' in answer.text) is ("letter=7" in form)


async def test_letters_several_rejected_are_listed_with_reason() -> None:
    service = Service(tray_letters=LETTERS, rejection="24/11/2026 has not come")
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post("/letters/posted", content=f"{FORM}&day=2026-11-24", headers=SAME_ORIGIN)
    assert answer.status_code == 409
    assert answer.text.count('<li lang="en">24/11/2026 has not come</li>') == 2


async def test_letters_thousand_can_be_selected() -> None:
    many = [replace(LETTERS[0], id=number) for number in range(1, 1001)]
    service = Service(tray_letters=many)
    form = "by=Kerani&day=2026-11-24&" + "&".join(f"letter={each.id}" for each in many)
    async with client(portal(service, HOSTS, service)) as web:
        assert (await web.post("/letters/posted", content=form, headers=SAME_ORIGIN)).status_code == 303
    assert len(service.commands) == 1000


#: Address of the PDF with all of `LETTERS` selected.
PDF = "/letters/waiting.pdf?" + "&".join(f"letter={each.id}" for each in LETTERS)


@pytest.mark.parametrize(("sides", "pages", "blank"), [("", 2, []), ("&sides=2", 3, [1])])
async def test_letters_selected_pending_are_one_pdf(sides: str, pages: int, blank: list[int]) -> None:
    service = Service(tray_letters=LETTERS, content=letter(FACTS, MINISTRY, WORDING))
    asked: list[int] = []

    async def content(notification_id: int) -> tuple[object, object]:
        asked.append(notification_id)
        return None, service.content

    service.composed_notification = content  # type: ignore[method-assign, assignment]
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.get(PDF + sides)
    assert answer.headers["content-type"] == "application/pdf"
    # The pending letters in their order, none withdrawn or posted.
    assert asked == [7, 8]
    read = PdfReader(io.BytesIO(answer.content))
    assert len(read.pages) == pages
    assert [number for number, page in enumerate(read.pages) if not page.extract_text().strip()] == blank
    assert isinstance(service.content, PageContent)
    assert [str(entry["/Title"]) for entry in read.outline if isinstance(entry, dict)] == [service.content.title] * 2


async def test_letters_pdf_puts_unprinted_first() -> None:
    queued, printed = LETTERS[:2]
    tray = [*(replace(printed, id=n) for n in range(100, 200)), *(replace(queued, id=n) for n in range(200, 250))]
    service = Service(tray_letters=tray)
    asked: list[int] = []

    async def content(notification_id: int) -> None:
        asked.append(notification_id)

    service.composed_notification = content  # type: ignore[method-assign]
    async with client(portal(service, HOSTS, service)) as web:
        page = (await web.get("/letters?lang=en")).text
        [all_that_wait, those_printed] = [html.unescape(each) for each in re.findall(r'"(/letters\?letter=.*?)"', page)]
        await web.get(all_that_wait.replace("?", "/waiting.pdf?"))
        ticked = checkboxes((await web.get(all_that_wait)).text)
        printed_already = checkboxes((await web.get(those_printed)).text)
    first = [*range(200, 250), *range(100, 150)]
    assert "the first 100</a>" in page
    assert asked == first
    # The selection has the same order.
    assert list(ticked) == [*range(200, 250), *range(100, 200)]
    assert [each for each in ticked if ticked[each]] == first
    assert [each for each in printed_already if printed_already[each]] == [*range(100, 200)]
    assert not any(checkboxes(page).values())


def checkboxes(page: str) -> dict[int, bool]:
    """Return the checkbox state of each letter."""
    found = re.findall(r'name="letter" value="(\d+)" form="together"( checked)?', page)
    return {int(number): bool(ticked) for number, ticked in found}


async def test_letters_added_after_page_are_neither_printed_nor_selected() -> None:
    service = Service(tray_letters=LETTERS[:1])
    asked: list[int] = []

    async def content(notification_id: int) -> None:
        asked.append(notification_id)

    service.composed_notification = content  # type: ignore[method-assign]
    async with client(portal(service, HOSTS, service)) as web:
        page = (await web.get("/letters?lang=en")).text
        [all_that_wait] = re.findall(r'"(/letters\?letter=.*?)">all waiting', page)
        service.tray_letters = LETTERS
        await web.get(all_that_wait.replace("?", "/waiting.pdf?"))
        assert checkboxes((await web.get(all_that_wait)).text) == {7: True, 8: False}
    assert asked == [7]


async def test_letters_pdf_reuses_tray_files_and_renders_others() -> None:
    in_tray, rendered = (letter(replace(FACTS, number=number), MINISTRY, WORDING) for number in ("JCM-07", "JCM-08"))
    service = Service(tray_letters=LETTERS, content=rendered, tray_pdfs={7: in_tray.pdf, 10: in_tray.pdf})
    asked: list[int] = []

    async def content(notification_id: int) -> tuple[object, object]:
        asked.append(notification_id)
        return None, service.content

    service.composed_notification = content  # type: ignore[method-assign, assignment]
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.get(PDF)
    assert asked == [8]
    read = PdfReader(io.BytesIO(answer.content))
    found = [re.findall(r"JCM-\d+", page.extract_text())[0] for page in read.pages]
    assert found == ["JCM-07", "JCM-08"]
    assert [str(entry["/Title"]) for entry in read.outline if isinstance(entry, dict)] == [in_tray.title] * 2


@pytest.mark.parametrize("service", [Service(), Service(tray_letters=LETTERS, content=SmsContent(text="x"))])
async def test_letters_pdf_without_pending_is_not_found(service: Service) -> None:
    async with client(portal(service, HOSTS, service)) as web:
        assert (await web.get(PDF)).status_code == 404
        assert (await web.get(f"{PDF}&sides=3")).status_code == 422


@pytest.mark.parametrize(
    ("ticked", "why"),
    [
        ("", "Tandakan sekurang-kurangnya satu surat"),
        ("?" + "&".join(f"letter={each}" for each in range(1, 102)), "Tandakan paling banyak 100 surat"),
        ("?letter=tujuh", "tidak dapat difahami"),
    ],
)
async def test_letters_pdf_of_none_or_too_many_is_refused(ticked: str, why: str) -> None:
    service = Service(tray_letters=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.get(f"/letters/waiting.pdf{ticked}", headers={"Accept": "text/html"})
    assert answer.status_code == 422
    assert why.lower() in answer.text.lower()


@pytest.mark.parametrize(("asked", "lines"), [("", 1), ("?day=2026-11-24", 1), ("?day=2026-11-23", 0)])
async def test_docket_lists_letters_posted_on_day(asked: str, lines: int) -> None:
    service = Service(tray_letters=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.get(f"/letters/docket{asked}")
        wrong = await web.get("/letters/docket?day=semalam")
    assert answer.headers["content-type"] == "application/pdf"
    assert wrong.status_code == 422
    docket_text = " ".join(PdfReader(io.BytesIO(answer.content)).pages[0].extract_text().split())
    assert docket_text.count("Ketua Setiausaha, Kementerian Contoh") == lines
    assert ("Tiada surat yang dicatatkan" in docket_text) is (lines == 0)


@pytest.mark.access
async def test_letters_of_other_agency_are_hidden_and_own_recorded_as_user(
    tmp_path: Path,
) -> None:
    service = Service(codes=("JCM", "MDC"), tray_letters=LETTERS, content=letter(FACTS, MINISTRY, WORDING))
    form = {"letter": ["7", "8"], "day": "2026-11-24", "by": "Orang Lain"}
    async with open_portal(tmp_path, service) as env:
        theirs, mine = await env.session_for("devi", "clerk:MDC"), await env.session_for("kerani", "clerk:JCM")
        assert (await theirs.post("/letters/posted", data=form)).status_code == 409
        assert (await theirs.get(PDF)).status_code == 404
        listed = PdfReader(io.BytesIO((await theirs.get("/letters/docket?day=2026-11-24")).content))
        assert "JCM" not in listed.pages[0].extract_text()
        assert service.commands == []

        assert (await mine.post("/letters/posted", data=form)).status_code == 303
        listed = PdfReader(io.BytesIO((await mine.get("/letters/docket?day=2026-11-24")).content))
        assert "oleh Kerani Contoh (kerani)" in " ".join(listed.pages[0].extract_text().split())
    assert service.commands == [
        ("posted 7 on 2026-11-24", "Kerani Contoh (kerani)"),
        ("posted 8 on 2026-11-24", "Kerani Contoh (kerani)"),
    ]
