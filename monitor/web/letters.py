"""Letters, for the clerk who prints and posts them: a page with buttons, and the command line's orders.

The page needs no script. A button sends a form; a page of a stranger's, open in the clerk's browser, could send one
here too, so what does not come from our own page is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from jinja2 import Environment
from pydantic import ValidationError

from alerts.decide.paper import WAITING, LetterStep
from monitor.service.order import NotDone
from monitor.service.paper.letters import Letters, LetterView, Noted
from monitor.web.ask import asked, remember
from monitor.web.page import Tongue
from monitor.web.word import Id, Word

#: A name and what a browser makes of it.
_LARGEST_FORM = 4096


class ClerkDeed(StrEnum):
    """What a clerk can say of a letter, as an address has it."""

    PRINTED = "printed"
    POSTED = "posted"
    #: Before it was taken back, which the clerk did not know.
    POSTED_AFTER_ALL = "posted-after-all"

    @property
    def step(self) -> LetterStep:
        """Return the step that it is."""
        return LetterStep.PRINTED if self is ClerkDeed.PRINTED else LetterStep.POSTED

    @property
    def after_all(self) -> bool:
        """Whether it is said of a letter that was taken back."""
        return self is ClerkDeed.POSTED_AFTER_ALL


def letter_orders(tray: Letters) -> APIRouter:
    """Build what the command line asks and orders."""
    router = APIRouter()

    @router.get("/letters")
    async def letters() -> list[LetterView]:
        return list(await tray.letters())

    @router.post("/notices/{notice_id}/{deed}")
    async def handled(notice_id: Id, deed: ClerkDeed, word: Word) -> Noted:
        return await tray.note(notice_id, deed.step, word.by, after_all=deed.after_all)

    return router


def letter_pages(tray: Letters, templates: Mapping[Tongue, Environment]) -> APIRouter:
    """Build the clerk's page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/letters")
    async def page(request: Request) -> Response:
        return remember(request, await shown(request))

    @router.post("/letters/{notice_id}/{deed}")
    async def handled(notice_id: Id, deed: ClerkDeed, request: Request) -> Response:
        if not _is_from_our_page(request):
            return PlainTextResponse("only from the page of letters itself\n", status_code=403)
        name = await _name_in(request)
        if name is None:
            return await shown(request, "no_name", status=422)
        try:
            await tray.note(notice_id, deed.step, name, after_all=deed.after_all)
        except NotDone as wrong:
            return await shown(request, "not_noted", str(wrong), status=409)
        # So that a page that is loaded again does not order again.
        return RedirectResponse("/letters", status_code=303)

    async def shown(request: Request, problem: str = "", why: str = "", *, status: int = 200) -> Response:
        letters = await tray.letters()
        waiting = [each for each in letters if each.step in WAITING]
        page = (
            templates[asked(request).tongue]
            .get_template("letters.html")
            .render(
                problem=problem,
                why=why,
                waiting=waiting,
                stopped=[each for each in letters if each.step is LetterStep.TAKEN_BACK],
                posted=[each for each in letters if each.step is LetterStep.POSTED],
            )
        )
        return HTMLResponse(page, status_code=status, headers=_MAY_SEND_FORMS)

    return router


#: As the portal's, with forms; and with the sender's origin, which tells our own page from a stranger's.
_MAY_SEND_FORMS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
}


def _is_from_our_page(request: Request) -> bool:
    """Whether a form was sent by a page of ours: browsers say so, and tools must."""
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    return urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host", "")


async def _name_in(request: Request) -> str | None:
    """Return the name that was written into the form; `None`: none, or none that can be read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_FORM:
            return None
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
        return Word(by=fields.get("by", [""])[0]).by
    except (ValidationError, ValueError):
        return None
