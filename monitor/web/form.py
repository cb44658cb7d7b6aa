"""Forms: the pages that contain them, and the parser of posted forms, bounded in size and limited to our own pages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment
from markupsafe import escape

from monitor.access.principal import Principal
from monitor.config.files.document import LARGEST
from monitor.model.lazy_text import said
from monitor.web.page import PageLanguage
from monitor.web.page_query import asked, others_asked, remember

#: For typed input, in octets.
LARGEST_FORM: Final = 16 * 1024
#: For the whole text of a document, of which an octet may take three in a form.
LARGEST_TEXT_FORM: Final = 3 * LARGEST + 4096
_FIELDS: Final = 100
#: Octets.
_PART: Final = 16 * 1024
#: Longest head of a field or a file, in octets.
_LONGEST_HEAD: Final = 2048
#: RFC 2046 5.1.1.
_BOUNDARY: Final = re.compile(
    r"multipart/form-data\s*;(?:[^;]{0,100};)?\s*boundary=\"?([0-9A-Za-z'()+_,./:=?-]{1,70})\"?\s*(?:;|$)"
)
_DISPOSITION: Final = re.compile(rb"^content-disposition:\s*form-data([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_PARAMETER: Final = re.compile(rb";\s*([a-z]+)\*?=(?:\"([^\"]*)\"|([^\";\s]*))", re.IGNORECASE)

#: Values of these fields appear in no response.
SECRET_FIELDS: Final = ("password", "client_secret")
#: Forms at these addresses contain little but secrets.
_OF_SECRETS: Final = ("/sign-in", "/sign-out", "/welcome", "/account/")
_URLENCODED: Final = "application/x-www-form-urlencoded"
#: The field that names the user of the form's page. Every posted form has it.
_OWNER: Final = "form_owner"
_LONGEST_NAME: Final = 64
_POSTED: Final = re.compile(r'<form method="post"[^>]*>')
#: Key in the request of the body, once it was read.
_BODY: Final = "form_body"

#: Headers of a page of forms: no script, and the sender's origin, which distinguishes our own page from a foreign one
#: where a browser sends nothing else.
MAY_SEND_FORMS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
}


#: No problem: its key of words, the reason of the refusal, and the input.
_FINE: Final[Mapping[str, object]] = {"problem": "", "why": "", "written": {}}


@dataclass(frozen=True, slots=True)
class Pages:
    """Renderer of pages, in the requested language."""

    templates: Mapping[PageLanguage, Environment]

    def show(
        self,
        request: Request,
        name: str,
        facts: Mapping[str, object],
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = MAY_SEND_FORMS,
    ) -> Response:
        """Return a page, and store a language selected in its URL.

        *principal*, *path* and *query* default to those of the request, and the error to none; *facts* override them.
        *headers*: replace those of a page with forms. Its forms are accepted from *principal* only.
        """
        path = request.url.path
        # The response to a form, or to another URL, links to *path* for another language. Codes may be typed in any
        # case.
        is_its_own = request.method == "GET" and str(facts.get("path", path)).casefold() == path.casefold()
        common = {
            **_FINE,
            "principal": getattr(request.state, "principal", Principal()),
            "path": path,
            "query": others_asked(request) if is_its_own else "",
        }
        facts = {**common, **facts}
        text = self.templates[asked(request).language].get_template(name).render(facts)
        if isinstance(principal := facts["principal"], Principal) and principal.user is not None:
            # Added here, and not in each template, so that no new form can lack it.
            field = f'<input type="hidden" name="{_OWNER}" value="{escape(principal.user.name)}">'
            text = _POSTED.sub(lambda form: form[0] + field, text)
        return remember(request, HTMLResponse(text, status_code=status, headers=headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptForm:
    """Form that was not accepted, to be sent again from the page that reports it."""

    action: str
    fields: Sequence[tuple[str, str]] = field(repr=False)
    #: Fields that no page repeats: they are typed again.
    secrets: Sequence[str] = ()


async def kept_form(request: Request) -> KeptForm | None:
    """Return the posted form, to be sent again; `None`: it is no form of ours, or has only secrets."""
    path, kind = request.url.path, request.headers.get("content-type", "")
    if request.method != "POST" or not kind.startswith(_URLENCODED) or path.startswith(_OF_SECRETS):
        return None
    if not hasattr(request.state, _BODY):
        try:
            await _body_of(request, largest=LARGEST_TEXT_FORM)
        except HTTPException:
            return None
    body: bytes = getattr(request.state, _BODY)
    if body.count(b"&") >= _FIELDS:
        return None
    found = await asyncio.to_thread(_parsed, body)
    secrets = [name for name in SECRET_FIELDS if any(found.pop(name, ()))]
    fields = [(name, each) for name, values in found.items() for each in values]
    query = f"?{request.url.query}" if request.url.query else ""
    return KeptForm(action=own_path(path + query), fields=fields, secrets=secrets)


def is_from_our_page(request: Request) -> bool:
    """Whether a page of ours sent a form: browsers state it, and tools must."""
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    return urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host", "")


async def form_of(request: Request, *, largest: int = LARGEST_FORM, most: int = _FIELDS) -> Mapping[str, str]:
    """Return the fields of a form; of a repeated field, the last value. Raise `HTTPException`."""
    return last_of(await fields_of(request, largest=largest, most=most))


def last_of(fields: Mapping[str, list[str]]) -> Mapping[str, str]:
    """Return the last value of each field."""
    return {name: values[-1] for name, values in fields.items()}


async def fields_of(request: Request, *, largest: int = LARGEST_FORM, most: int = _FIELDS) -> Mapping[str, list[str]]:
    """Return the fields of a form with all their values, in their order, at most *most*. Raise `HTTPException`.

    A form from a foreign page is refused, and the body is read only up to its largest size.
    """
    body = await _body_of(request, largest=largest)
    if body.count(b"&") >= most:
        raise HTTPException(413, said("a form has at most {most} fields", most=most))
    # A megabyte of escapes takes a quarter of a second.
    found = await asyncio.to_thread(_parsed, body) if len(body) > LARGEST_FORM else _parsed(body)
    _check_owner(request, found.pop(_OWNER, ()))
    return found


def _check_owner(request: Request, owners: Sequence[str]) -> None:
    """Raise `HTTPException` for a form of another user, who has signed in earlier in the same browser."""
    user = getattr(request.state, "principal", Principal()).user
    owner = next((each for each in owners if user is not None and each != user.name), None)
    if user is None or owner is None:
        return
    pattern = "{owner} filled in this form, and {user} has signed in since; sign in as {owner} to send it"
    raise HTTPException(401, said(pattern, owner=owner[:_LONGEST_NAME], user=user.name))


def _parsed(body: bytes) -> dict[str, list[str]]:
    """Parse a form (application/x-www-form-urlencoded)."""
    found: dict[str, list[str]] = {}
    for pair in body.split(b"&"):
        name, _, value = pair.partition(b"=")
        if pair:
            found.setdefault(_unquoted(name), []).append(_unquoted(value))
    return found


def _unquoted(octets: bytes) -> str:
    """Return the text of a name or value.

    It is decoded in parts: one call for a megabyte would block all other threads.
    """
    octets, at, parts = octets.replace(b"+", b" "), 0, []
    while at < len(octets):
        # An escape has three octets and must not be split.
        end = at + _PART
        cut = octets.find(b"%", end - 2, end)
        parts.append(unquote_to_bytes(octets[at : end if cut < 0 else cut]))
        at = end if cut < 0 else cut
    return b"".join(parts).decode("utf-8", "replace")


async def file_of(request: Request, *, largest: int) -> tuple[Mapping[str, str], bytes]:
    """Return the fields of a form with a file (RFC 7578), and the file; empty if none was chosen.

    Raise `HTTPException`.
    """
    body = await _body_of(request, largest=largest + LARGEST_FORM)
    # The library's mail parsers are not used: a line of semicolons keeps them busy for minutes and blocks the whole
    # service.
    if (boundary := _BOUNDARY.match(request.headers.get("content-type", ""))) is None:
        raise HTTPException(422, "a form with a file is multipart/form-data")
    fields: dict[str, str] = {}
    found = b""
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode(), _FIELDS + 1)[1 : _FIELDS + 1]:
        head, _, content = part.partition(b"\r\n\r\n")
        told = _disposition(head)
        if b"filename" in told:
            found = content
        elif b"name" in told:
            fields[told[b"name"].decode("utf-8", "replace")] = content.decode("utf-8", "replace")
    if len(found) > largest:
        raise HTTPException(413, said("the file has more than {size} KiB", size=largest // 1024))
    _check_owner(request, [fields.pop(_OWNER)] if _OWNER in fields else ())
    return fields, found


def _disposition(head: bytes) -> Mapping[bytes, bytes]:
    """Return the parameters of a part's disposition (RFC 7578 4.2), as browsers write them; none for anything else."""
    said = _DISPOSITION.search(head) if len(head) <= _LONGEST_HEAD else None
    if said is None:
        return {}
    return {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(said[1])}


async def _body_of(request: Request, *, largest: int) -> bytes:
    if not is_from_our_page(request):
        raise HTTPException(
            403, "this form is taken from a page of Pantau itself only; open that page and send it again"
        )
    if (body := await read_body(request, largest)) is None:
        raise HTTPException(413, said("a form has at most {most} octets", most=largest))
    setattr(request.state, _BODY, body)
    return body


async def read_body(request: Request, largest: int) -> bytes | None:
    """Return the body, read only up to *largest*; `None`: it is longer."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest:
            return None
    return bytes(body)


def as_text(pasted: str) -> str:
    """Return a pasted text as if read from a file: browsers send CRLF, and it may have a byte order mark."""
    return pasted.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def own_path(address: str) -> str:
    """Return the requested address, if it is local; else the first page.

    An address that browsers read as another site's, with two slashes or a backslash, is not local.
    """
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_ours and "\\" not in address and not urlsplit(address).netloc else "/"
