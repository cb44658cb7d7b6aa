"""Largest and oddest input for every form and API body: none blocks the event loop, fails, or gets an endless response.

Forms are read from the pages, bodies from the schema of the API. `MORE_FORMS` has the forms that no page here shows: a
test checks every route of the access table that takes a body.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from monitor.config.files.document import MAX_OCTETS
from monitor.config.files.problem import MAX_LISTED
from monitor.model.document import digest_of
from monitor.service.portal.agency_editor import MAX_DRAFT_OCTETS
from monitor.web.agency.calendar_file import MAX_CALENDAR
from monitor.web.api.route.command import MAX_COMMAND_SIZE
from monitor.web.form import MAX_FORM_SIZE, MAX_TEXT_FORM_SIZE, read_form
from monitor.web.portal import portal
from tests.integration.monitor_only import agency
from tests.unit.alerts.inbound.test_alertmanager import ALERT, octets
from tests.unit.monitor.web.api.test_alertmanager import ReceiverEnv
from tests.unit.monitor.web.event_loop import Answer, ask, measure, without_collector
from tests.unit.monitor.web.fake_service import LETTERS, TOKEN, Service
from tests.unit.monitor.web.portal_env import SAME_ORIGIN, PortalEnv, open_portal
from tests.unit.monitor.web.test_access_control import PATH_VALUES, TABLE

pytestmark = pytest.mark.blind

#: In seconds. Probes and the engine use the same loop.
LONGEST_STEP: Final = 0.05
#: In octets, of a response. A page of forms has about 30 KiB, beside the text that was sent.
LARGEST_ANSWER: Final = 128 * 1024

#: An agency with an entry in each form of its settings.
FULL: Final = (
    agency("JCM")
    + """\
letterhead:
  address: [Aras 1, Blok Contoh, 62000 PUTRAJAYA]
  telephone: 03-0000 0100
  hours: 8.00 pagi - 5.00 petang, Isnin - Jumaat
  signatory: {name: SITI BINTI CONTOH, post: Ketua Unit}
contacts:
  siti: {name: Siti, sms: 010-000 0101}
  ali: {name: Ali, addresses: [{mobile: 010-000 0102}, {landline: 03-0000 0102}]}
rotas:
  bertugas: {layers: [{every: weekly, from: 2026-11-02, people: [siti, ali]}]}
escalation:
  steps:
    - {rotas: [bertugas], channels: [sms, voice]}
announcement:
  recipients:
    ksu: {title: Ketua Setiausaha, organisation: Kementerian Contoh, fax: 03-0000 0103, channels: [fax]}
maintenance:
  - {from: 2026-12-01 22:00, until: 2026-12-02 04:00, reason: Naik taraf}
probing:
  active_hours:
    - {cron: "0 7 * * mon-fri", for: 12h}
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form as a browser sends it, and the names of the text fields."""

    action: str
    fields: Mapping[str, str] = field(default_factory=dict)
    typed: Sequence[str] = ()
    is_file: bool = False
    largest: int = MAX_FORM_SIZE


#: Forms on no page of the agency above.
MORE_FORMS: Final = (
    *(Form(action=f"/letters/{deed}", typed=("by", "day", "letter")) for deed in ("printed", "posted")),
    Form(action="/letters/7/printed", typed=("by",)),
    Form(action="/letters/7/not-posted", typed=("by",)),
    Form(action="/tasks/acknowledge", typed=("incident",)),
    Form(action="/tasks/silences/1/end"),
    Form(action="/incidents/JCM-01/take-over", typed=("of",)),
    Form(action="/incidents/JCM-01/release", typed=("looked_at",)),
    Form(action="/notifications/1/set-status", fields={"ruling": "delivered"}, typed=("ruling", "why")),
    Form(action="/rotas/JCM/bertugas/overrides/1/remove"),
    Form(action="/rotas/JCM/bertugas/feeds/1/revoke"),
    *(Form(action=f"/users/somebody/{deed}") for deed in ("disable", "unlink", "enable", "reset-second-factor")),
    Form(action="/users/somebody/roles", typed=("kept", "role", "agency")),
    Form(action="/tokens/1/revoke"),
    Form(action="/wallboards/1/revoke"),
    Form(action="/sign-in/code", typed=("code", "next")),
    Form(action="/account/second-factor/codes", typed=("code",)),
    Form(action="/account/second-factor/off", typed=("code",)),
    Form(action="/agencies/JCM/maintenance-notices", typed=("begins", "before", "shown")),
    Form(action="/agencies/JCM/mailboxes/new/0123456789abcdef", typed=("way", "smtp.host", "imap.port", "password")),
    Form(action="/agencies/JCM/mailboxes/new/0123456789abcdef/save", typed=("key",)),
    Form(action="/-/reload"),
    Form(action="/sign-out"),
)


class _Forms(HTMLParser):
    """The forms of a page that are posted."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._path = path
        self._fields: dict[str, str] = {}
        self._typed: list[str] = []
        self._form: Mapping[str, str | None] | None = None
        self._filling = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        name = has.get("name") or ""
        if tag == "form":
            self._form, self._fields, self._typed = has, {}, []
        elif tag in {"input", "textarea", "select", "button"} and name and self._form is not None:
            self._fields.setdefault(name, has.get("value") or "")
            if has.get("type") not in {"hidden", "file"}:
                self._typed.append(name)
            self._filling = name if tag in {"textarea", "select"} else ""
        elif tag == "option" and self._filling and not self._fields[self._filling]:
            self._fields[self._filling] = has.get("value") or ""

    def handle_data(self, data: str) -> None:
        if self._filling and not self._fields[self._filling]:
            self._fields[self._filling] = data.strip("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"select", "textarea"}:
            self._filling = ""
        if tag != "form" or self._form is None:
            return
        form, self._form = self._form, None
        if (form.get("method") or "").lower() == "post":
            has_text = "text" in self._typed and self._fields.get("form") == "text"
            self.found.append(
                Form(
                    action=form.get("action") or self._path,
                    fields=self._fields,
                    typed=self._typed,
                    is_file=form.get("enctype") == "multipart/form-data",
                    largest=MAX_TEXT_FORM_SIZE if has_text else MAX_FORM_SIZE,
                )
            )


#: Odd values. Each is repeated, or cut, to the size of the form.
ODD_VALUES: Final[Mapping[str, str]] = {
    "digits": "9" * MAX_FORM_SIZE,
    "words": "ayat " * MAX_FORM_SIZE,
    "control characters": "\x00\x1b[2J\u202e\r\n\t" * 200,
    "last moment": "9999-12-31T23:59",
    "first moment": "0001-01-01T00:00",
    "digit that is none": "\u00b2",
    "nesting": "[" * 5000,
    "separators": "{0.__class__}{{7*7}}%s&<script>'\".:@/,;&=%()" * 200,
}


def odd_forms(form: Form) -> Iterator[tuple[str, bytes]]:
    """Yield a form with all fields odd, in each way; and with each field alone, large."""
    kinds = list(ODD_VALUES)
    for kind, odd in ODD_VALUES.items() if form.typed else ():
        yield kind, _sent({**form.fields, **{name: _cut(odd, _SHORT) for name in form.typed}})
    for index, name in enumerate(form.typed):
        # The other fields are valid, so that not only the first check runs.
        kind = kinds[index % len(kinds)]
        rest = len(_sent({**form.fields, name: ""}))
        room = form.largest - rest if index == 0 else _LONG
        yield f"{name}: {kind}", _sent({**form.fields, name: _cut(ODD_VALUES[kind], room)})


#: In octets: short enough that no field is refused for its length.
_SHORT: Final = 100
#: In octets: long enough to show quadratic time.
_LONG: Final = 4096


def _cut(odd: str, room: int) -> str:
    """Return a prefix of *odd* that takes *room* octets in a form."""
    while len(urlencode({"": odd})) > max(room, 0):
        odd = odd[: len(odd) * room // len(urlencode({"": odd}))] if room > 0 else ""
    return odd


def _sent(fields: Mapping[str, str]) -> bytes:
    return urlencode(fields).encode()


#: More fields than a form has, and one field repeated.
ODD_FORMS: Final[Mapping[str, bytes]] = {
    "names": "&".join(f"n{number}=1" for number in range(100)).encode(),
    "many names": b"a=&" * (MAX_FORM_SIZE // 3),
    "one name": "&".join(["kept=viewer"] * 100).encode(),
    "escapes": b"%00" * (MAX_FORM_SIZE // 3),
    "no octets of a text": b"\xff\xfe=\x80&" * 90,
}


def form_bodies(form: Form) -> Iterator[tuple[str, bytes]]:
    """Yield all inputs of a form, each with its name."""
    if form.is_file:
        yield from odd_files()
        return
    yield from odd_forms(form)


def odd_files() -> Iterator[tuple[str, bytes]]:
    """Yield invalid or large calendar files."""
    odd = {
        "semicolons": b"BEGIN:VCALENDAR\r\n" + b";" * MAX_CALENDAR,
        "folded": b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:" + b"x\r\n " * (MAX_CALENDAR // 4),
        "events": b"BEGIN:VCALENDAR\r\n" + b"BEGIN:VEVENT\r\nEND:VEVENT\r\n" * (MAX_CALENDAR // 26),
        "zeros": bytes(MAX_CALENDAR),
    }
    for name, content in odd.items():
        head = b'--batas\r\nContent-Disposition: form-data; name="file"; filename="a.ics"\r\n\r\n'
        yield name, head + content[:MAX_CALENDAR] + b"\r\n--batas--\r\n"


#: Beginnings of invalid documents, and the line that is repeated.
ODD_LINES: Final[Mapping[str, tuple[str, str]]] = {
    "unknown keys": (FULL, "k{n}: y\n"),
    "the same key": (FULL, "zz: y\n"),
    "wrong items": (f"{FULL}routes:\n", "  - {{a: b}}\n"),
    "wrong contacts": (agency("JCM") + "contacts:\n", "  k{n}: {{sms: 1, sos: 2}}\n"),
    "good contacts": (agency("JCM") + "contacts:\n", "  k{n}: {{name: K, sms: 010-000 0101}}\n"),
    "wrong mailboxes": (agency("JCM"), "  m{n}: {{}}\n"),
    "domains": (agency("JCM").replace("domains: [", "domains: [a.gov.my,\n"), "  d{n}.gov.my,\n"),
    "steps": (agency("JCM") + "escalation:\n  steps:\n", "  - {{contacts: [x], channels: [sms]}}\n"),
    "tags": (f"{FULL}x:\n", "  - !a b\n"),
    "aliases": (f"{FULL}x: &a [1]\ny:\n", "  - *a\n"),
    "characters that cannot be seen": (f"{FULL}x:\n", "  - \u200b\n"),
    "empty lines": (FULL, "\n"),
}
#: The same for one very long line.
ODD_LINE: Final[Mapping[str, tuple[str, str]]] = {
    "nested lists": (f"{FULL}x: ", "["),
    "nested keys": (f"{FULL}x: ", "{a: "),
    "a nested block": (f"{FULL}x:\n", "- "),
    "one line": (FULL.replace("name: Jabatan JCM\n", "") + "name: ", "x"),
    "one line of wrong keys": (f"{FULL}x: {{", "a: 1, "),
    "one word": ("", "x"),
    "an open quote": (f'{FULL}x: "', "\\n"),
}


def odd_document(name: str, size: int) -> str:
    """Return a document of so many octets."""
    if name in ODD_LINE:
        begin, again = ODD_LINE[name]
        return begin + again * ((size - len(begin.encode())) // len(again.encode()))
    text = "".join(_lines(*ODD_LINES[name], size))
    return text.rpartition(",\n")[0] + "]\n" if name == "domains" else text


def _lines(begin: str, line: str, size: int) -> Iterator[str]:
    yield begin
    size -= len(begin.encode())
    for number in range(size):
        text = line.format(n=number)
        if (size := size - len(text.encode())) < 0:
            return
        yield text


#: Valid values for the API.
USUAL: Final[Mapping[str, object]] = {
    "target": "JCM",
    "agency": "JCM",
    "starts_at": "2026-12-01T10:00:00+08:00",
    "before": "",
    "by": "Siti",
    "ends_at": "2026-12-02T10:00:00+08:00",
    "duration": "2h",
    "from_user": "Siti",
    "password": "kerusi rotan",
    "person": "siti",
    "platform": "google",
    "rota": "JCM/bertugas",
    "text": "Sedang diperiksa",
    "type": "sending",
    "reason": "Ujian",
}
#: Odd JSON for one member.
ODD_MEMBERS: Final[Mapping[str, str]] = {
    **{kind: json.dumps(odd[: MAX_COMMAND_SIZE // 8]) for kind, odd in ODD_VALUES.items()},
    "half a character": '"\\ud800"',
    "a long number": "9" * 5000,
    "no number": "1e999",
    "an object": json.dumps({"a": {"b": ["c"] * 100}}),
    "a list": "[" * 4000 + "]" * 4000,
    "nothing": "null",
    "a flag": "true",
}
#: Odd JSON for the whole body.
ODD_BODIES: Final[Mapping[str, bytes]] = {
    "many members": json.dumps({f"k{number}": 1 for number in range(1000)}).encode(),
    "one member again and again": b"{" + b'"by":"Siti",' * 1000 + b'"by":"Siti"}',
    "nested lists": b"[" * MAX_COMMAND_SIZE,
    "nested objects": b'{"a":' * (MAX_COMMAND_SIZE // 5),
    "blanks": b" " * MAX_COMMAND_SIZE,
    "a long text": b'"' + b"x" * (MAX_COMMAND_SIZE - 2) + b'"',
    "half of one": b'{"by": "Si',
    "no text": b'{"by": "\xff\xfe"}',
    "too much": b" " * (MAX_COMMAND_SIZE + 1),
    "nothing": b"",
}


def odd_bodies(members: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield bodies with one odd member, and odd bodies."""
    usual = {name: json.dumps(USUAL.get(name, "")) for name in members}
    for name in members:
        for kind, odd in ODD_MEMBERS.items():
            whole = ", ".join(f"{json.dumps(key)}: {value}" for key, value in {**usual, name: odd}.items())
            yield f"{name}: {kind}", f"{{{whole}}}".encode()
    yield from ODD_BODIES.items()


@dataclass(slots=True)
class MeasuredPortal:
    """A portal whose event loop is measured."""

    env: PortalEnv
    cookie: str
    found: list[str] = field(default_factory=list)

    async def send(self, what: str, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Send odd input, and record what is wrong with the response."""
        cookie = self.cookie
        answer = await measure(self.env.app, method, path, body, longest=LONGEST_STEP, cookie=cookie, **headers)
        if answer.step > LONGEST_STEP:
            self.found.append(f"{method} {path}, {what}: a step of {answer.step * 1000:.0f} ms")
        # A saved document is shown with a form for each entry, so its page has no limit.
        if answer.status >= 400 and len(answer.body) > LARGEST_ANSWER + len(body):
            self.found.append(f"{method} {path}, {what}: an answer of {len(answer.body)} octets")
        if answer.status >= 500:
            self.found.append(f"{method} {path}, {what}: {answer.status}")
        return answer

    async def post(self, what: str, form: Form, body: bytes) -> Answer:
        """Send a form."""
        kind = "multipart/form-data; boundary=batas" if form.is_file else "application/x-www-form-urlencoded"
        site = SAME_ORIGIN["Sec-Fetch-Site"]
        answer = await self.send(what, "POST", form.action, body, content_type=kind, sec_fetch_site=site)
        if form.action.startswith("/agencies/JCM") and answer.status in {200, 303}:
            # Restore the document for the next form.
            await self.env.site.write(JCM=FULL)
        return answer

    async def forms(self) -> Sequence[Form]:
        """Return the forms of all pages, each once."""
        found: dict[tuple[str, str], Form] = {}
        for route in TABLE:
            method, _, path = route.partition(" ")
            if method == "GET" and not path.startswith("/api/"):
                path = re.sub(r"\{(\w+)\}", lambda name: PATH_VALUES[name[1]], path)
                page = await ask(self.env.app, "GET", path, cookie=self.cookie)
                forms = _Forms(path)
                if page.headers.get("content-type", "").startswith("text/html"):
                    forms.feed(page.body.decode())
                found |= {(each.action, each.fields.get("form", "")): each for each in forms.found}
        return [*(each for each in found.values() if each.action != "/sign-out"), *MORE_FORMS]


@asynccontextmanager
async def measured_portal(directory: Path, *roles: str) -> AsyncIterator[MeasuredPortal]:
    async with open_portal(directory, Service(codes=("JCM", "MDC"), tray_letters=LETTERS)) as env:
        await env.administration.add("somebody", "Seorang Contoh", (), by="Ujian")
        await env.site.write(JCM=FULL)
        browser = await env.session_for("semua", *(roles or ("admin", "noc", "duty", "clerk", "officer:JCM")))
        yield MeasuredPortal(env, "; ".join(f"{each.name}={each.value}" for each in browser.cookies.jar))


async def test_every_form_odd_input_never_blocks_event_loop(tmp_path: Path) -> None:
    """Defect: 16 KiB in a field for a mail address blocks all threads for 4 s.

    Pantau: A longer text than any address is not searched; every form gets its largest and oddest input.
    """
    async with measured_portal(tmp_path) as measured:
        forms = await measured.forms()
        with without_collector():
            for form in forms:
                for name, body in form_bodies(form):
                    await measured.post(name, form, body)
            # The same function reads all forms.
            for form in [form for form in forms if not form.is_file][::10]:
                for name, body in ODD_FORMS.items():
                    await measured.post(name, form, body)
    assert not measured.found
    patterns = [route.removeprefix("POST ") for route in TABLE if route.startswith("POST ") and "/api/" not in route]
    unsent = [
        each
        for each in patterns
        if not any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", each), form.action) for form in forms)
    ]
    assert not unsent, "no page here shows these forms: add them to MORE_FORMS"


async def test_every_api_body_odd_input_never_blocks_event_loop(tmp_path: Path) -> None:
    """Defect: A large body of an API order blocks all threads.

    Pantau: Every body gets its largest and oddest input.
    """
    async with measured_portal(tmp_path) as measured:
        made = await measured.env.tokens.create("konsol", ("noc", "officer:JCM"), timedelta(days=90), by="Ujian")
        shown = {"authorization": f"Bearer {made.secret.text}", "accept": "application/json"}
        schema = measured.env.app.openapi()
        asked = []
        with without_collector():
            for pattern, methods in schema["paths"].items():
                path = re.sub(r"\{(\w+)\}", lambda name: {**PATH_VALUES, "key": "utama"}[name[1]], pattern)
                for method, operation in methods.items():
                    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
                    if content is None:
                        continue
                    asked.append(path)
                    for name, body in odd_bodies(_members(content["schema"], schema["components"]["schemas"])):
                        seen = {"if_match": f'"{digest_of(await measured.env.site.text())}"'}
                        answer = await measured.send(
                            name, method.upper(), path, body, content_type="application/json", **shown, **seen
                        )
                        if answer.status == 422:
                            assert len(json.loads(answer.body).get("errors", ())) <= MAX_LISTED, (path, name)
    assert not measured.found
    assert len(asked) >= 13


async def test_webhook_odd_input_never_blocks_event_loop() -> None:
    """Defect: A webhook of 8 MiB of empty alerts takes more than 2 GiB.

    Pantau: It is read up to the first invalid alert.
    """
    app = portal(Service(), ["localhost"], alert_receiver=ReceiverEnv().receiver())
    size = 1024 * 1024
    none = octets(alerts=[])
    # The first response of a process imports modules.
    sent = [("first", none)]
    sent += [
        ("alerts", octets(alerts=[{**ALERT, "fingerprint": f"{number:016x}"} for number in range(2000)])),
        ("labels", octets(alerts=[{**ALERT, "labels": {f"k{number}": "v" for number in range(size // 16)}}])),
        ("wrong labels", octets(alerts=[{**ALERT, "labels": {f"k{number}": 1 for number in range(size // 14)}}])),
        # pydantic would collect six errors for each: 8 MiB took more than 2 GiB and ended the process.
        ("empty alerts", none.replace(b'"alerts": []', b'"alerts": [' + b"{}," * (size // 3) + b"{}]")),
        ("numbers", none.replace(b'"alerts": []', b'"alerts": [' + b"1," * (size // 2) + b"1]")),
        ("nested lists", b"[" * size),
        ("one text", b'"' + b"x" * size + b'"'),
    ]
    steps = {}
    with without_collector():
        for name, body in sent:
            bearer = f"Bearer {TOKEN}"
            path = "/api/v1/alertmanager"
            answer = await measure(app, "POST", path, body, longest=LONGEST_STEP, authorization=bearer)
            steps[name] = answer.status, answer.step
    del steps["first"]
    assert {status for status, _ in steps.values()} == {200, 400}
    assert max(step for _, step in steps.values()) < LONGEST_STEP, steps


def _members(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the members of a body."""
    named = schema.get("$ref") or schema["anyOf"][0]["$ref"]
    return list(schemas[named.rpartition("/")[2]]["properties"])


#: Size of each document; quadratic time shows at this size.
SMALL: Final = 16 * 1024


@pytest.mark.parametrize(
    ("role", "texts"),
    [
        # An officer's document with too many entries is refused unread, an administrator's is read.
        ("admin", [(name, SMALL) for name in (*ODD_LINES, *ODD_LINE)]),
        # A wrong paste, and the input of the largest form.
        ("officer:JCM", [("good contacts", SMALL), ("unknown keys", MAX_DRAFT_OCTETS), ("empty lines", MAX_OCTETS)]),
    ],
)
async def test_document_odd_text_never_blocks_event_loop(
    tmp_path: Path, role: str, texts: Sequence[tuple[str, int]]
) -> None:
    """Defect: 12,000 pasted lines block the service for 37 s.

    Pantau: The first 50 problems are listed with the number of others, without quadratic work.
    """
    async with measured_portal(tmp_path, role) as measured:
        with without_collector():
            for name, size in texts:
                fields = {"form": "text", "started_from": digest_of(FULL), "text": odd_document(name, size)}
                await measured.post(name, Form(action="/agencies/JCM/settings"), _sent(fields))
    assert not measured.found


@pytest.mark.parametrize("role", ["officer:JCM", "admin"])
@pytest.mark.parametrize("odd", ["[x]", "{a: b}", "[[x]]", "", "1"])
async def test_document_malformed_secret_name_is_refused(tmp_path: Path, role: str, odd: str) -> None:
    """Defect: A list in place of a stored secret's name is answered 500.

    Pantau: It is refused, at its line.
    """
    async with measured_portal(tmp_path, role) as measured:
        text = FULL.replace("password_file: secrets/mail", f"password_stored: {odd}")
        fields = {"form": "text", "started_from": digest_of(FULL), "text": text}
        answer = await measured.post("", Form(action="/agencies/JCM/settings"), _sent(fields))
    assert (text != FULL, answer.status) == (True, 422)


async def test_document_many_errors_lists_first_and_count(tmp_path: Path) -> None:
    """Defect: A page lists all problems of a document, 3.7 MB.

    Pantau: It lists the first 50.
    """
    async with measured_portal(tmp_path, "officer:JCM") as measured:
        text = odd_document("unknown keys", SMALL)
        wrong = text.count(": y\n")
        fields = {"form": "text", "started_from": digest_of(FULL), "text": text}
        page = (await measured.post("", Form(action="/agencies/JCM/settings"), _sent(fields))).body.decode()
        assert page.count("bukan kunci yang dikenali") == MAX_LISTED
        assert f"{wrong - MAX_LISTED} lagi tidak disenaraikan" in page
        made = await measured.env.tokens.create("konsol", ("officer:JCM",), timedelta(days=90), by="Ujian")
        headers = {"authorization": f"Bearer {made.secret.text}", "if_match": f'"{digest_of(FULL)}"'}
        path = "/api/v1/agencies/JCM/document"
        refused = json.loads((await measured.send("", "PUT", path, text.encode(), **headers)).body)
        assert len(refused["errors"]) == MAX_LISTED + 1
        assert f"{wrong - MAX_LISTED} more are not listed; correct these first" in refused["detail"]


@pytest.mark.parametrize("name", ["n", "na", "naa"])
async def test_form_large_text_is_parsed_unchanged(name: str) -> None:
    """Defect: Half a megabyte of escapes blocks the loop for 160 ms.

    Pantau: A large form is read in a thread, in parts.
    """
    # With each name the escapes start elsewhere, and one spans the end of a part.
    typed = {name: "é%+&=\n" * 20_000, "e": ""}
    body = urlencode(typed).encode()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"sec-fetch-site", b"same-origin")]}
    assert await read_form(Request(scope, receive), max_octets=len(body)) == typed
