"""Rendering of pages with forms, and reading of posted forms.

A posted form is accepted only if it is not too large, if a page of the portal sent it, and if the user is still the one
for whom that page was rendered.
"""

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
from monitor.config.files.document import MAX_OCTETS
from monitor.model.translatable import translatable
from monitor.web.page import PageLanguage
from monitor.web.page_query import other_parameters, read_query, store_language

#: Maximum size in octets of a form with typed input.
MAX_FORM_SIZE: Final = 16 * 1024
#: Maximum size in octets of a form with the whole text of a document (an agency's YAML configuration). URL encoding may
#: turn one octet of the text into three.
MAX_TEXT_FORM_SIZE: Final = 3 * MAX_OCTETS + 4096
#: Maximum number of fields of most forms, and of parts of a form with a file.
_MAX_FIELDS: Final = 100
#: Number of octets that `_decode` decodes in one step.
_DECODED_AT_ONCE: Final = 16 * 1024
#: Maximum size in octets of the headers of a part. A part of a form (RFC 7578) is one field or one file.
_MAX_PART_HEADERS: Final = 2048
#: Content type of a form with a file, with the boundary between its parts (RFC 2046 5.1.1).
_BOUNDARY: Final = re.compile(
    r"multipart/form-data\s*;(?:[^;]{0,100};)?\s*boundary=\"?([0-9A-Za-z'()+_,./:=?-]{1,70})\"?\s*(?:;|$)"
)
#: Content-Disposition header of a part, and one parameter of this header: its name, and its quoted or unquoted value.
_DISPOSITION: Final = re.compile(rb"^content-disposition:\s*form-data([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_PARAMETER: Final = re.compile(rb";\s*([a-z]+)\*?=(?:\"([^\"]*)\"|([^\";\s]*))", re.IGNORECASE)

#: Names of form fields whose values must not appear in any response.
SECRET_FIELDS: Final = ("password", "client_secret")
#: Path prefixes of forms that contain mostly secrets. An error page does not offer to send such a form again.
_SECRET_PATHS: Final = ("/sign-in", "/sign-out", "/welcome", "/account/")
_URLENCODED: Final = "application/x-www-form-urlencoded"
#: Hidden field with the name of the user for whom the form's page was rendered.
_OWNER_FIELD: Final = "form_owner"
#: Maximum number of characters of a sign-in name that an error message repeats.
_MAX_NAME_LENGTH: Final = 64
_POST_FORM_TAG: Final = re.compile(r'<form method="post"[^>]*>')
#: Attribute of `request.state` that keeps the body after it has been read.
_BODY_ATTRIBUTE: Final = "form_body"

#: Headers of a page with forms. They forbid scripts, and let the browser send the header `Origin` with a form:
#: `is_from_our_page` needs it if the browser sends no `Sec-Fetch-Site`.
MAY_SEND_FORMS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
}


#: Defaults of template variables. *problem*: key of an error text. *reason*: why the service rejected the command, as
#: text or error. *form*: the user's input, to show again.
_NO_PROBLEM: Final[Mapping[str, object]] = {"problem": "", "reason": "", "form": {}}


@dataclass(frozen=True, slots=True)
class Pages:
    """Renderer of pages in the language of the request."""

    #: Template environments by language.
    templates: Mapping[PageLanguage, Environment]

    def show(
        self,
        request: Request,
        name: str,
        context: Mapping[str, object],
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = MAY_SEND_FORMS,
    ) -> Response:
        """Return the page rendered from the template *name*. If the URL selects a language, store it in a cookie.

        *context*: template variables. They override the defaults: `principal` and `path` of the request,
        `other_parameters` of its URL, and `_NO_PROBLEM`. If `principal` is a user, the portal accepts the forms of the
        page only from this user. *headers*: response headers; default: those of a page with forms.
        """
        path = request.url.path
        # The link to the other language leads to the context's `path`. Keep the query parameters only if this is the
        # requested path, and not in a response to a form. Ignore case: users may type an agency code in lower case.
        keeps_parameters = request.method == "GET" and str(context.get("path", path)).casefold() == path.casefold()
        defaults = {
            **_NO_PROBLEM,
            "principal": getattr(request.state, "principal", Principal()),
            "path": path,
            "other_parameters": other_parameters(request) if keeps_parameters else "",
        }
        context = {**defaults, **context}
        text = self.templates[read_query(request).language].get_template(name).render(context)
        if isinstance(principal := context["principal"], Principal) and principal.user is not None:
            # Add the owner field here and not in each template, so that no template can forget it.
            owner_field = f'<input type="hidden" name="{_OWNER_FIELD}" value="{escape(principal.user.name)}">'
            text = _POST_FORM_TAG.sub(lambda form: form[0] + owner_field, text)
        return store_language(request, HTMLResponse(text, status_code=status, headers=headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedForm:
    """Form that could not be processed for now. The error page contains it, so that the user can send it again."""

    #: Path to which the form is sent.
    action: str
    #: Names and values, without secrets.
    fields: Sequence[tuple[str, str]] = field(repr=False)
    #: Names of secret fields, which the user must enter again.
    secrets: Sequence[str] = ()


async def read_rejected_form(request: Request) -> RejectedForm | None:
    """Return the form in a request, so that the user can send it again.

    Return `None` if the request contains no valid form of the portal, or a form of `_SECRET_PATHS`.
    """
    path, content_type = request.url.path, request.headers.get("content-type", "")
    if request.method != "POST" or not content_type.startswith(_URLENCODED) or path.startswith(_SECRET_PATHS):
        return None
    if not hasattr(request.state, _BODY_ATTRIBUTE):
        try:
            await _read_portal_form(request, max_octets=MAX_TEXT_FORM_SIZE)
        except HTTPException:
            return None
    body: bytes = getattr(request.state, _BODY_ATTRIBUTE)
    if body.count(b"&") >= _MAX_FIELDS:
        return None
    values_by_name = await asyncio.to_thread(_parse_urlencoded, body)
    secrets = [name for name in SECRET_FIELDS if any(values_by_name.pop(name, ()))]
    fields = [(name, each) for name, values in values_by_name.items() for each in values]
    query = f"?{request.url.query}" if request.url.query else ""
    return RejectedForm(action=local_path(path + query), fields=fields, secrets=secrets)


def is_from_our_page(request: Request) -> bool:
    """Whether a page of the portal sent the request. `Sec-Fetch-Site` decides, or if it is missing, `Origin`.

    Return `False` for a request with neither header, even if the client is not a browser.
    """
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    return urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host", "")


async def read_form(
    request: Request, *, max_octets: int = MAX_FORM_SIZE, max_fields: int = _MAX_FIELDS
) -> Mapping[str, str]:
    """Return the fields of a form; of a repeated field the last value. Raise `HTTPException` like `read_fields`."""
    return last_values(await read_fields(request, max_octets=max_octets, max_fields=max_fields))


def last_values(fields: Mapping[str, list[str]]) -> Mapping[str, str]:
    """Return the last value of each field."""
    return {name: values[-1] for name, values in fields.items()}


async def read_fields(
    request: Request, *, max_octets: int = MAX_FORM_SIZE, max_fields: int = _MAX_FIELDS
) -> Mapping[str, list[str]]:
    """Return the fields of a form, each with all its values in order.

    Raise `HTTPException` if no page of the portal sent the form, if the page was rendered for another user, or if the
    form has more than *max_octets* or *max_fields*.
    """
    body = await _read_portal_form(request, max_octets=max_octets)
    if body.count(b"&") >= max_fields:
        raise HTTPException(413, translatable("a form has at most {most} fields", most=max_fields))
    # Decoding a megabyte of escapes takes a quarter of a second, so use a thread for large forms.
    fields = await asyncio.to_thread(_parse_urlencoded, body) if len(body) > MAX_FORM_SIZE else _parse_urlencoded(body)
    _check_owner(request, fields.pop(_OWNER_FIELD, ()))
    return fields


def _check_owner(request: Request, owners: Sequence[str]) -> None:
    """Raise `HTTPException` if the form's page was rendered for another user than the one who is signed in now."""
    user = getattr(request.state, "principal", Principal()).user
    other_owner = next((each for each in owners if user is not None and each != user.name), None)
    if user is None or other_owner is None:
        return
    message = "{owner} filled in this form, and {user} has signed in since; sign in as {owner} to send it"
    raise HTTPException(401, translatable(message, owner=other_owner[:_MAX_NAME_LENGTH], user=user.name))


def _parse_urlencoded(body: bytes) -> dict[str, list[str]]:
    """Parse a form (application/x-www-form-urlencoded)."""
    fields: dict[str, list[str]] = {}
    for pair in body.split(b"&"):
        name, _, value = pair.partition(b"=")
        if pair:
            fields.setdefault(_decode(name), []).append(_decode(value))
    return fields


def _decode(octets: bytes) -> str:
    """Return the text of a URL-encoded name or value.

    Decode long values in steps: a single call of the library for a megabyte would block all other threads.
    """
    octets, start, parts = octets.replace(b"+", b" "), 0, []
    while start < len(octets):
        # Do not split an escape such as %C3: if an escape may cross the end of this step, end the step before it.
        end = start + _DECODED_AT_ONCE
        escape_start = octets.find(b"%", end - 2, end)
        parts.append(unquote_to_bytes(octets[start : end if escape_start < 0 else escape_start]))
        start = end if escape_start < 0 else escape_start
    return b"".join(parts).decode("utf-8", "replace")


async def read_file_form(request: Request, *, max_octets: int) -> tuple[Mapping[str, str], bytes]:
    """Return the fields of a form with a file (RFC 7578), and the content of the file (b"" if no file was chosen).

    Raise `HTTPException` like `read_fields`, if the file has more than *max_octets*, or if the form has another content
    type.
    """
    body = await _read_portal_form(request, max_octets=max_octets + MAX_FORM_SIZE)
    # Do not use the mail parsers of the standard library: they need minutes for a line of semicolons, and block the
    # whole service meanwhile.
    if (boundary := _BOUNDARY.match(request.headers.get("content-type", ""))) is None:
        raise HTTPException(422, "a form with a file is multipart/form-data")
    fields: dict[str, str] = {}
    file = b""
    # A line end precedes each boundary (RFC 2046 5.1.1), but may be missing before the first; so prepend one. The text
    # before the first boundary is no part. Ignore parts above the limit.
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode(), _MAX_FIELDS + 1)[1 : _MAX_FIELDS + 1]
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        disposition = _disposition(head)
        if b"filename" in disposition:
            file = content
        elif b"name" in disposition:
            fields[disposition[b"name"].decode("utf-8", "replace")] = content.decode("utf-8", "replace")
    if len(file) > max_octets:
        raise HTTPException(413, translatable("the file has more than {size} KiB", size=max_octets // 1024))
    _check_owner(request, [fields.pop(_OWNER_FIELD)] if _OWNER_FIELD in fields else ())
    return fields, file


def _disposition(headers: bytes) -> Mapping[bytes, bytes]:
    """Return the parameters of a part's Content-Disposition (RFC 7578 4.2).

    Return no parameters if the header is missing, or if the part's headers are longer than those of any browser.
    """
    match = _DISPOSITION.search(headers) if len(headers) <= _MAX_PART_HEADERS else None
    if match is None:
        return {}
    return {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(match[1])}


async def _read_portal_form(request: Request, *, max_octets: int) -> bytes:
    """Return the body of a form that a page of the portal sent, and keep it for `read_rejected_form`.

    Raise `HTTPException` for a form that no page of the portal sent, or that has more than *max_octets*.
    """
    if not is_from_our_page(request):
        raise HTTPException(403, "this form is accepted from a page of Pantau only; open that page and send it again")
    if (body := await read_body(request, max_octets)) is None:
        raise HTTPException(413, translatable("a form has at most {most} octets", most=max_octets))
    setattr(request.state, _BODY_ATTRIBUTE, body)
    return body


async def read_body(request: Request, max_octets: int) -> bytes | None:
    """Return the body. Stop reading and return `None` if the body is longer than *max_octets*."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_octets:
            return None
    return bytes(body)


def normalize_pasted(pasted: str) -> str:
    """Return a pasted text with the line ends of a file (browsers send CRLF) and without a byte order mark."""
    return pasted.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def local_path(url: str) -> str:
    """Return *url* if it is a path of the portal, otherwise "/", the path of the status page.

    Reject two leading slashes and backslashes: browsers interpret them as the start of a host name.
    """
    is_local = url.startswith("/") and not url.startswith(("//", "/\\")) and url.isprintable()
    return url if is_local and "\\" not in url and not urlsplit(url).netloc else "/"
