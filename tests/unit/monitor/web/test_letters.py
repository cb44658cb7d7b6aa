"""The clerk's page: letters with buttons that need no script, and nothing that a stranger's page can press."""

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
from tests.unit.monitor.web.signed import house
from tests.unit.monitor.web.source import LETTERS, Service, client

HOSTS = ["localhost"]
OURS = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}


class Forms(HTMLParser):
    """Finds where the buttons lead, and whether there is a script."""

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


async def test_the_page_shows_what_waits_what_is_late_and_what_is_not_to_be_posted() -> None:
    answer = await page_of(Service(in_the_tray=LETTERS))
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
    # Of the other nobody has a print.
    assert len(re.findall("ditarik balik 24/11", page)) == 2
    assert page.count("<strong>dicetak oleh Kerani Contoh</strong>, ditarik balik") == 1
    assert answer.headers["content-security-policy"].count("form-action 'self'") == 1
    assert "script-src" not in answer.headers["content-security-policy"]


async def test_the_page_has_one_language_by_the_switch_that_all_pages_have() -> None:
    service = Service(in_the_tray=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        malay = (await web.get("/letters")).text
        english = (await web.get("/letters?lang=en")).text
        remembered = (await web.get("/letters")).text
        refused = await web.post("/letters/7/posted", content="by=", headers=OURS)
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


async def test_an_empty_tray_says_so() -> None:
    assert "Tiada surat yang menunggu." in (await page_of(Service())).text


@pytest.mark.parametrize("deed", ["printed", "posted", "posted-already", "posted-unprinted", "not-posted"])
async def test_a_button_writes_down_who_has_done_it_and_leads_back_to_the_page(deed: str) -> None:
    service = Service(in_the_tray=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post(f"/letters/7/{deed}", content="by=Kerani+Contoh", headers=OURS)

    assert (answer.status_code, answer.headers["location"]) == (303, "/letters")
    assert service.orders == [(f"{deed.replace('-', ' ')} 7", "Kerani Contoh")]


async def test_a_browser_that_names_the_page_it_comes_from_is_enough() -> None:
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
async def test_a_strangers_page_presses_no_button(headers: dict[str, str]) -> None:
    service = Service(in_the_tray=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post("/letters/7/posted", content="by=Kerani", headers=headers)
    assert (answer.status_code, service.orders) == (403, [])


@pytest.mark.parametrize(
    "form", ["", "by=", "by=+++", "by=%00", "by=" + "x" * 101, "by=" + "x" * 9000, "by=%1b[2J", "&".join(["a=1"] * 20)]
)
async def test_without_a_name_that_can_be_kept_nothing_is_written_down(form: str) -> None:
    service = Service(in_the_tray=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post("/letters/7/posted", content=form, headers=OURS)
    assert (answer.status_code, service.orders) == (422, [])
    assert "Tulis nama tuan/puan dahulu." in answer.text


async def test_why_a_letter_cannot_be_posted_is_said_on_the_page_and_is_no_markup() -> None:
    service = Service(in_the_tray=LETTERS, wrong="<script>alert(1)</script>")
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post("/letters/7/posted", content="by=Kerani", headers=OURS)
    assert answer.status_code == 409
    assert "&lt;script&gt;" in answer.text
    assert "script" not in Forms(answer.text).tags


@pytest.mark.parametrize("path", ["/letters/0/posted", "/letters/x/posted", "/letters/7/withdrawn", "/letters/7/laid"])
async def test_what_is_no_letter_or_no_step_of_a_clerk_is_refused(path: str) -> None:
    service = Service()
    async with client(portal(service, HOSTS, service)) as web:
        assert (await web.post(path, content="by=Kerani", headers=OURS)).status_code in {404, 422}
    assert service.orders == []


async def test_a_program_reads_the_letters_and_the_control_socket_takes_orders() -> None:
    service = Service(in_the_tray=LETTERS)
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
async def test_a_letter_is_posted_or_it_is_said_why_not(wrong: str | None, status: int) -> None:
    service = Service(wrong=wrong)
    async with client(control(service, letter_commands(service))) as web:
        answer = await web.post("/notifications/7/posted", json={"by": "Kerani Contoh"})
    assert answer.status_code == status
    assert wrong is None or answer.json()["detail"] == wrong


TOGETHER = "by=Kerani+Contoh&letter=7&letter=8"


async def test_several_letters_are_recorded_at_once_with_the_day_on_which_they_were_posted() -> None:
    service = Service(in_the_tray=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        printed = await web.post("/letters/printed", content=TOGETHER, headers=OURS)
        posted = await web.post("/letters/posted", content=f"{TOGETHER}&day=2026-11-24", headers=OURS)
    for answer in (printed, posted):
        assert (answer.status_code, answer.headers["location"]) == (303, "/letters")
    assert service.orders == [
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
async def test_what_is_wrong_with_a_form_of_several_letters_is_said_and_nothing_is_recorded(
    form: str, status: int, why: str
) -> None:
    service = Service(in_the_tray=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post("/letters/posted", content=form, headers=OURS)
    assert (answer.status_code, service.orders) == (status, [])
    assert why in answer.text
    # What was ticked is ticked still.
    assert ('value="7" form="together" checked' in answer.text) is ("letter=7" in form)


async def test_which_of_several_letters_could_not_be_recorded_is_said_with_the_reason() -> None:
    service = Service(in_the_tray=LETTERS, wrong="24/11/2026 has not come")
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.post("/letters/posted", content=f"{TOGETHER}&day=2026-11-24", headers=OURS)
    assert answer.status_code == 409
    assert answer.text.count('<li lang="en">24/11/2026 has not come</li>') == 2


async def test_a_tray_of_a_thousand_letters_can_be_ticked() -> None:
    many = [replace(LETTERS[0], id=number) for number in range(1, 1001)]
    service = Service(in_the_tray=many)
    form = "by=Kerani&day=2026-11-24&" + "&".join(f"letter={each.id}" for each in many)
    async with client(portal(service, HOSTS, service)) as web:
        assert (await web.post("/letters/posted", content=form, headers=OURS)).status_code == 303
    assert len(service.orders) == 1000


#: As a browser asks for the file when all of `LETTERS` are ticked.
STACK = "/letters/waiting.pdf?" + "&".join(f"letter={each.id}" for each in LETTERS)


@pytest.mark.parametrize(("sides", "pages", "blank"), [("", 2, []), ("&sides=2", 3, [1])])
async def test_the_ticked_letters_that_wait_are_one_file_to_print(sides: str, pages: int, blank: list[int]) -> None:
    service = Service(in_the_tray=LETTERS, says=letter(FACTS, MINISTRY, WORDING))
    asked: list[int] = []

    async def content(notification_id: int) -> tuple[object, object]:
        asked.append(notification_id)
        return None, service.says

    service.composed_notification = content  # type: ignore[method-assign, assignment]
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.get(STACK + sides)
    assert answer.headers["content-type"] == "application/pdf"
    # Those that wait, in their order, and none that was taken back or is posted.
    assert asked == [7, 8]
    read = PdfReader(io.BytesIO(answer.content))
    assert len(read.pages) == pages
    assert [number for number, page in enumerate(read.pages) if not page.extract_text().strip()] == blank
    assert isinstance(service.says, PageContent)
    assert [str(entry["/Title"]) for entry in read.outline if isinstance(entry, dict)] == [service.says.title] * 2


async def test_of_many_letters_those_come_first_that_are_not_printed_yet() -> None:
    laid, printed = LETTERS[:2]
    tray = [*(replace(printed, id=n) for n in range(100, 200)), *(replace(laid, id=n) for n in range(200, 250))]
    service = Service(in_the_tray=tray)
    asked: list[int] = []

    async def content(notification_id: int) -> None:
        asked.append(notification_id)

    service.composed_notification = content  # type: ignore[method-assign]
    async with client(portal(service, HOSTS, service)) as web:
        page = (await web.get("/letters?lang=en")).text
        [all_that_wait, those_printed] = [html.unescape(each) for each in re.findall(r'"(/letters\?letter=.*?)"', page)]
        await web.get(all_that_wait.replace("?", "/waiting.pdf?"))
        ticked = boxes((await web.get(all_that_wait)).text)
        printed_already = boxes((await web.get(those_printed)).text)
    first = [*range(200, 250), *range(100, 150)]
    assert "the first 100</a>" in page
    assert asked == first
    # In the same order as they are ticked, and no other is.
    assert list(ticked) == [*range(200, 250), *range(100, 200)]
    assert [each for each in ticked if ticked[each]] == first
    assert [each for each in printed_already if printed_already[each]] == [*range(100, 200)]
    assert not any(boxes(page).values())


def boxes(page: str) -> dict[int, bool]:
    """Return whether the box of each letter is ticked."""
    found = re.findall(r'name="letter" value="(\d+)" form="together"( checked)?', page)
    return {int(number): bool(ticked) for number, ticked in found}


async def test_what_came_since_the_page_was_shown_is_neither_printed_nor_ticked_with_the_others() -> None:
    service = Service(in_the_tray=LETTERS[:1])
    asked: list[int] = []

    async def content(notification_id: int) -> None:
        asked.append(notification_id)

    service.composed_notification = content  # type: ignore[method-assign]
    async with client(portal(service, HOSTS, service)) as web:
        page = (await web.get("/letters?lang=en")).text
        [all_that_wait] = re.findall(r'"(/letters\?letter=.*?)">all waiting', page)
        service.in_the_tray = LETTERS
        await web.get(all_that_wait.replace("?", "/waiting.pdf?"))
        assert boxes((await web.get(all_that_wait)).text) == {7: True, 8: False}
    assert asked == [7]


async def test_what_lies_in_the_tray_is_printed_and_only_the_rest_is_set_again() -> None:
    lying, set_again = (letter(replace(FACTS, number=number), MINISTRY, WORDING) for number in ("JCM-07", "JCM-08"))
    service = Service(in_the_tray=LETTERS, says=set_again, lies={7: lying.pdf, 10: lying.pdf})
    asked: list[int] = []

    async def content(notification_id: int) -> tuple[object, object]:
        asked.append(notification_id)
        return None, service.says

    service.composed_notification = content  # type: ignore[method-assign, assignment]
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.get(STACK)
    assert asked == [8]
    read = PdfReader(io.BytesIO(answer.content))
    found = [re.findall(r"JCM-\d+", page.extract_text())[0] for page in read.pages]
    assert found == ["JCM-07", "JCM-08"]
    assert [str(entry["/Title"]) for entry in read.outline if isinstance(entry, dict)] == [lying.title] * 2


@pytest.mark.parametrize("service", [Service(), Service(in_the_tray=LETTERS, says=SmsContent(text="x"))])
async def test_where_no_letter_waits_there_is_no_file_to_print(service: Service) -> None:
    async with client(portal(service, HOSTS, service)) as web:
        assert (await web.get(STACK)).status_code == 404
        assert (await web.get(f"{STACK}&sides=3")).status_code == 422


@pytest.mark.parametrize(
    ("ticked", "why"),
    [
        ("", "Tandakan sekurang-kurangnya satu surat"),
        ("?" + "&".join(f"letter={each}" for each in range(1, 102)), "Tandakan paling banyak 100 surat"),
        ("?letter=tujuh", "tidak dapat difahami"),
    ],
)
async def test_a_file_of_no_letter_or_of_too_many_is_refused_in_words(ticked: str, why: str) -> None:
    service = Service(in_the_tray=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.get(f"/letters/waiting.pdf{ticked}", headers={"Accept": "text/html"})
    assert answer.status_code == 422
    assert why.lower() in answer.text.lower()


@pytest.mark.parametrize(("asked", "lines"), [("", 1), ("?day=2026-11-24", 1), ("?day=2026-11-23", 0)])
async def test_the_docket_lists_what_was_posted_on_a_day(asked: str, lines: int) -> None:
    service = Service(in_the_tray=LETTERS)
    async with client(portal(service, HOSTS, service)) as web:
        answer = await web.get(f"/letters/docket{asked}")
        wrong = await web.get("/letters/docket?day=semalam")
    assert answer.headers["content-type"] == "application/pdf"
    assert wrong.status_code == 422
    said = " ".join(PdfReader(io.BytesIO(answer.content)).pages[0].extract_text().split())
    assert said.count("Ketua Setiausaha, Kementerian Contoh") == lines
    assert ("Tiada surat yang dicatatkan" in said) is (lines == 0)


@pytest.mark.access
async def test_another_agencys_letters_are_not_ticked_printed_or_listed_and_ones_own_are_in_ones_own_name(
    tmp_path: Path,
) -> None:
    service = Service(codes=("JCM", "MDC"), in_the_tray=LETTERS, says=letter(FACTS, MINISTRY, WORDING))
    form = {"letter": ["7", "8"], "day": "2026-11-24", "by": "Orang Lain"}
    async with house(tmp_path, service) as place:
        theirs, mine = await place.admitted("devi", "clerk:MDC"), await place.admitted("kerani", "clerk:JCM")
        assert (await theirs.post("/letters/posted", data=form)).status_code == 409
        assert (await theirs.get(STACK)).status_code == 404
        listed = PdfReader(io.BytesIO((await theirs.get("/letters/docket?day=2026-11-24")).content))
        assert "JCM" not in listed.pages[0].extract_text()
        assert service.orders == []

        assert (await mine.post("/letters/posted", data=form)).status_code == 303
        listed = PdfReader(io.BytesIO((await mine.get("/letters/docket?day=2026-11-24")).content))
        assert "oleh Kerani Contoh (kerani)" in " ".join(listed.pages[0].extract_text().split())
    assert service.orders == [
        ("posted 7 on 2026-11-24", "Kerani Contoh (kerani)"),
        ("posted 8 on 2026-11-24", "Kerani Contoh (kerani)"),
    ]
