"""Letters, for the clerk who prints and posts them: a page with buttons, and the command line's orders.

The page needs no script. A button sends a form; a page of a stranger's, open in the clerk's browser, could send one
here too, so what does not come from our own page is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment
from pydantic import ValidationError

from alerts.decide.paper import WAITING, LetterStep
from monitor.access.role import Permission
from monitor.access.visitor import Visitor
from monitor.service.order import NotDone
from monitor.service.paper.letters import Letters, LetterView, Noted
from monitor.web.access.gate import Needs, permit
from monitor.web.ask import asked, remember
from monitor.web.form import MAY_SEND_FORMS, form_of
from monitor.web.page import Tongue
from monitor.web.word import Id, Word

_Clerk = Annotated[Visitor, Depends(Needs(Permission.POST_LETTERS))]


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
    async def page(request: Request, visitor: _Clerk) -> Response:
        return remember(request, await shown(request, visitor))

    @router.post("/letters/{notice_id}/{deed}")
    async def handled(notice_id: Id, deed: ClerkDeed, request: Request, visitor: _Clerk) -> Response:
        form = await form_of(request)
        name = visitor.by or _name_in(form)
        if name is None:
            return await shown(request, visitor, "no_name", status=422)
        await see_that_it_is_theirs(notice_id, visitor)
        try:
            await tray.note(notice_id, deed.step, name, after_all=deed.after_all)
        except NotDone as wrong:
            return await shown(request, visitor, "not_noted", str(wrong), status=409)
        # So that a page that is loaded again does not order again.
        return RedirectResponse("/letters", status_code=303)

    async def see_that_it_is_theirs(notice_id: int, visitor: Visitor) -> None:
        if visitor.scope(Permission.POST_LETTERS).everything:
            return
        letter = next((each for each in await tray.letters() if each.id == notice_id), None)
        if letter is None:
            raise HTTPException(404, f"there is no letter {notice_id} in your trays")
        permit(visitor, Permission.POST_LETTERS, letter.agency)

    async def shown(
        request: Request, visitor: Visitor, problem: str = "", why: str = "", *, status: int = 200
    ) -> Response:
        scope = visitor.scope(Permission.POST_LETTERS)
        letters = [each for each in await tray.letters() if each.agency in scope]
        waiting = [each for each in letters if each.step in WAITING]
        page = (
            templates[asked(request).tongue]
            .get_template("letters.html")
            .render(
                visitor=visitor,
                path="/letters",
                problem=problem,
                why=why,
                waiting=waiting,
                stopped=[each for each in letters if each.step is LetterStep.TAKEN_BACK],
                posted=[each for each in letters if each.step is LetterStep.POSTED],
            )
        )
        return HTMLResponse(page, status_code=status, headers=MAY_SEND_FORMS)

    return router


def _name_in(form: Mapping[str, str]) -> str | None:
    """Return the name that was written into a form; `None`: none, or none that can be read."""
    try:
        return Word(by=form.get("by", "")).by
    except ValidationError:
        return None
