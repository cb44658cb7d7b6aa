"""Letters for the clerk who prints and posts them: a page with buttons, printouts, and commands of the command line.

The page needs no scripts. A button sends a form; a page of another site in the clerk's browser could send one as well,
so requests from other origins are rejected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Annotated, Final, Literal, TypedDict

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError

from alerts.decide.paper import WAITING, LetterStep
from alerts.documents.docket import Docket, DocketLine
from alerts.documents.render import docket
from alerts.documents.stack import stacked
from alerts.model.gateway import PageContent
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.model.lazy_text import said
from monitor.service.errors import OperationRejectedError
from monitor.service.facade import ServiceFacade
from monitor.service.paper.letters import LetterNotRecorded, LetterRecord, Letters, LetterView
from monitor.web.access.access_control import RequirePermission, permit
from monitor.web.form import Pages, fields_of, form_of, last_of
from monitor.web.request import CommandRequest, Id

#: Letters in one file, for which the clerk waits. The next file has the rest.
MOST_STACKED: Final = 100
#: Largest number of form fields: as many as a page shows, and a few more.
_TICKS: Final = 1100
_DAY = TypeAdapter(date)
_Clerk = Annotated[Principal, Depends(RequirePermission(Permission.POST_LETTERS))]


class LetterAction(StrEnum):
    """Actions of a clerk on a letter, as in URLs."""

    PRINTED = "printed"
    POSTED = "posted"
    #: The letter was posted before it was withdrawn, which the clerk did not know.
    POSTED_ALREADY = "posted-already"
    #: The letter was posted, though no print was recorded.
    POSTED_UNPRINTED = "posted-unprinted"

    @property
    def step(self) -> LetterStep:
        """Return the corresponding step of the letter."""
        return LetterStep.PRINTED if self is LetterAction.PRINTED else LetterStep.POSTED

    @property
    def already_posted(self) -> bool:
        """Whether the action concerns a letter that was withdrawn."""
        return self is LetterAction.POSTED_ALREADY

    @property
    def unprinted(self) -> bool:
        """Whether the action concerns a letter without a recorded print."""
        return self is LetterAction.POSTED_UNPRINTED


class _Written(TypedDict):
    """Form input that is shown again."""

    ticked: Sequence[str]
    day: str


class LetterRequest(CommandRequest):
    """Action on a letter."""

    #: The day on which the letter was posted; by default the day of the command.
    day: date | None = None


#: Actions that apply to several letters at once.
_OfSeveral = Literal[LetterAction.PRINTED, LetterAction.POSTED]


def letter_orders(tray: Letters) -> APIRouter:
    """Build the control router of letters."""
    router = APIRouter()

    @router.get("/letters")
    async def letters() -> list[LetterView]:
        return list(await tray.letters())

    @router.post("/notifications/{notification_id}/not-posted")
    async def not_posted(notification_id: Id, word: CommandRequest) -> None:
        await tray.undo_posting(notification_id, word.by)

    @router.post("/notifications/{notification_id}/{deed}")
    async def handled(notification_id: Id, deed: LetterAction, word: LetterRequest) -> LetterRecord:
        said = {"already_posted": deed.already_posted, "unprinted": deed.unprinted}
        return await tray.note(notification_id, deed.step, word.by, day=word.day, **said)

    return router


def letter_pages(tray: Letters, pages: Pages) -> APIRouter:
    """Build the router of the clerk's page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/letters")
    async def page(
        request: Request, principal: _Clerk, letter: Annotated[list[str] | None, Query()] = None
    ) -> Response:
        return await shown(request, principal, ticked=letter or ())

    @router.post("/letters/{deed}")
    async def together(deed: _OfSeveral, request: Request, principal: _Clerk) -> Response:
        fields = await fields_of(request, most=_TICKS)
        written = last_of(fields)
        ticked = fields.get("letter", [])
        again = _Written(ticked=ticked, day=written.get("day", ""))
        name, day = principal.by or _name_in(written), _day_in(written)
        if name is None or not ticked:
            return await shown(request, principal, "no_name" if name is None else "none_ticked", status=422, **again)
        if deed is LetterAction.POSTED and day is None:
            return await shown(request, principal, "no_day", status=422, **again)
        mine = {str(each.id): each.id for each in await _theirs(tray, principal)}
        strangers = [each for each in ticked if each not in mine]
        if strangers:
            return await shown(request, principal, "not_there", ", ".join(strangers)[:100], status=409, **again)
        unnoted = await tray.note_all([mine[each] for each in ticked], deed.step, name, day=day)
        if unnoted:
            return await shown(request, principal, "some_not_noted", status=409, unnoted=unnoted, **again)
        return RedirectResponse("/letters", status_code=303)

    @router.post("/letters/{notification_id}/not-posted")
    async def not_posted(notification_id: Id, request: Request, principal: _Clerk) -> Response:
        name = principal.by or _name_in(await form_of(request))
        if name is None:
            return await shown(request, principal, "no_name", status=422)
        await see_that_it_is_theirs(notification_id, principal)
        try:
            await tray.undo_posting(notification_id, name)
        except OperationRejectedError as wrong:
            return await shown(request, principal, "not_noted", wrong, status=409)
        return RedirectResponse("/letters", status_code=303)

    @router.post("/letters/{notification_id}/{deed}")
    async def handled(notification_id: Id, deed: LetterAction, request: Request, principal: _Clerk) -> Response:
        form = await form_of(request)
        name = principal.by or _name_in(form)
        if name is None:
            return await shown(request, principal, "no_name", status=422)
        await see_that_it_is_theirs(notification_id, principal)
        try:
            await tray.note(
                notification_id, deed.step, name, already_posted=deed.already_posted, unprinted=deed.unprinted
            )
        except OperationRejectedError as wrong:
            return await shown(request, principal, "not_noted", wrong, status=409)
        # A reload of the page must not repeat the command.
        return RedirectResponse("/letters", status_code=303)

    async def see_that_it_is_theirs(notification_id: int, principal: Principal) -> None:
        if principal.scope(Permission.POST_LETTERS).everything:
            return
        letter = next((each for each in await tray.letters() if each.id == notification_id), None)
        if letter is None:
            raise HTTPException(404, said("there is no letter {notice} in your trays", notice=notification_id))
        permit(principal, Permission.POST_LETTERS, letter.agency)

    async def shown(
        request: Request,
        principal: Principal,
        problem: str = "",
        why: str | Exception = "",
        *,
        status: int = 200,
        ticked: Sequence[str] = (),
        day: str = "",
        unnoted: Sequence[LetterNotRecorded] = (),
    ) -> Response:
        letters = await _theirs(tray, principal)
        waiting = [each for each in letters if each.step in WAITING]
        facts = {
            "path": "/letters",
            "problem": problem,
            "why": why,
            "waiting": waiting,
            "stopped": [each for each in letters if each.step is LetterStep.TAKEN_BACK],
            "posted": [each for each in letters if each.step is LetterStep.POSTED],
            "today": tray.today().isoformat(),
            "ticked": ticked,
            "day": day,
            "unnoted": unnoted,
            "first": waiting[:MOST_STACKED],
            "printed": [each for each in waiting if each.step is LetterStep.PRINTED][:MOST_STACKED],
        }
        # A page may have two thousand letters: half a megabyte.
        return await asyncio.to_thread(pages.show, request, "letters.html", facts, status)

    return router


def letter_papers(tray: Letters, source: ServiceFacade) -> APIRouter:
    """Build the router of printouts. *source* composes letters."""
    router = APIRouter(include_in_schema=False)
    # Typesetting must not delay notifications, so only one printout is typeset at a time for all clerks.
    turn = asyncio.Lock()

    @router.get("/letters/waiting.pdf")
    async def stack(
        principal: _Clerk,
        letter: Annotated[list[Id] | None, Query()] = None,
        sides: Annotated[int, Query(ge=1, le=2)] = 1,
    ) -> Response:
        # Only the named letters: one that arrived meanwhile would otherwise be recorded as printed without being in the
        # file, or be in it unrecorded.
        named = frozenset(letter or ())
        if not named:
            raise HTTPException(422, "tick at least one letter")
        if len(named) > MOST_STACKED:
            raise HTTPException(422, said("tick {most} letters at most: they are set in one file", most=MOST_STACKED))
        waiting = [each.id for each in await _theirs(tray, principal) if each.step in WAITING and each.id in named]
        # Typesetting a letter takes thirty times as long as reading it, so letters stored unchanged in the tray are
        # read.
        lying = await tray.lying(waiting)
        pages: list[bytes] = []
        for each in waiting:
            if each in lying:
                pages.append(lying[each])
                continue
            async with turn:
                found = await source.content(each)
            if found is not None and isinstance(found[1], PageContent):
                pages.append(found[1].pdf)
        if not pages:
            raise HTTPException(404, "none of these letters waits in your trays")
        title = f"{len(pages)} surat"
        return _pdf(await asyncio.to_thread(stacked, pages, title, both_sides=sides == 2), "surat.pdf")

    @router.get("/letters/docket")
    async def posted(principal: _Clerk, day: date | None = None) -> Response:
        on, scope = day or tray.today(), principal.scope(Permission.POST_LETTERS)
        lines = [_line(each) for each in await tray.posted_on(on) if each.agency in scope]
        made = Docket(on=on, lines=lines, made_at=source.now(), made_by=principal.by)
        page = await asyncio.to_thread(docket, made)
        return _pdf(page.pdf, f"surat-dipos-{on}.pdf")

    return router


async def _theirs(tray: Letters, principal: Principal) -> Sequence[LetterView]:
    scope = principal.scope(Permission.POST_LETTERS)
    # Printed letters come last, so that the next file contains others if many are pending.
    letters = [each for each in await tray.letters() if each.agency in scope]
    return sorted(letters, key=lambda each: each.step is LetterStep.PRINTED)


def _name_in(form: Mapping[str, str]) -> str | None:
    """Return the name entered in a form; `None` if it is empty or invalid."""
    try:
        return CommandRequest(by=form.get("by", "")).by
    except ValidationError:
        return None


def _day_in(form: Mapping[str, str]) -> date | None:
    """Return the date entered in a form; `None` if it is empty or invalid."""
    try:
        return _DAY.validate_strings(form.get("day", "").strip())
    except ValidationError:
        return None


def _line(letter: LetterView) -> DocketLine:
    return DocketLine(number=letter.incident, purpose=letter.purpose, to=letter.to)


def _pdf(octets: bytes, name: str) -> Response:
    headers = {"Content-Disposition": f'inline; filename="{name}"'}
    return Response(octets, media_type="application/pdf", headers=headers)
