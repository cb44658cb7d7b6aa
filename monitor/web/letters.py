"""Letters for the clerk who prints and posts them: a page with forms, printouts, and commands of the command line.

Letters to external recipients wait in a tray, a directory of PDF files, until a clerk has printed and posted them. If
an incident ends before its letter is posted, the letter is withdrawn. The page needs no scripts.
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

from alerts.decide.paper import PENDING_STEPS, LetterStep
from alerts.documents.docket import Docket, DocketLine
from alerts.documents.render import docket
from alerts.documents.stack import merge_letters
from alerts.model.gateway import PageContent
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.model.translatable import translatable
from monitor.service.errors import OperationRejectedError
from monitor.service.facade import ServiceFacade
from monitor.service.paper.letters import LetterNotRecorded, LetterRecord, Letters, LetterView
from monitor.web.access.access_control import RequirePermission, check_permission
from monitor.web.form import Pages, last_values, read_fields, read_form
from monitor.web.request import CommandRequest, Id

#: Maximum number of letters in one PDF file to print, because the clerk waits while the file is made. Further letters
#: are in the next file.
MAX_PRINTED_TOGETHER: Final = 100
#: Maximum number of form fields: one per ticked letter, and a few more.
_MAX_FORM_FIELDS: Final = 1100
_DATE = TypeAdapter(date)
#: Principal who may post letters, at least for one agency.
_Clerk = Annotated[Principal, Depends(RequirePermission(Permission.POST_LETTERS))]


class LetterAction(StrEnum):
    """Actions of a clerk on a letter. The values are parts of URLs."""

    PRINTED = "printed"
    POSTED = "posted"
    #: The letter is withdrawn, but the clerk had posted it before the withdrawal.
    POSTED_ALREADY = "posted-already"
    #: The letter was posted although nobody recorded that it was printed.
    POSTED_UNPRINTED = "posted-unprinted"

    @property
    def step(self) -> LetterStep:
        """Step of the letter after the action."""
        return LetterStep.PRINTED if self is LetterAction.PRINTED else LetterStep.POSTED

    @property
    def already_posted(self) -> bool:
        """Whether the letter was posted before it was withdrawn."""
        return self is LetterAction.POSTED_ALREADY

    @property
    def unprinted(self) -> bool:
        """Whether the letter was posted although nobody recorded that it was printed."""
        return self is LetterAction.POSTED_UNPRINTED


class _FormInput(TypedDict):
    """Form input that the page shows again after an error."""

    #: IDs of the ticked letters, as the browser sent them.
    ticked: Sequence[str]
    #: Day of posting, as entered.
    day: str


class LetterRequest(CommandRequest):
    """Author of an action on a letter, and day of posting."""

    #: The day on which the letter was posted; `None`: the day of the command. Other actions ignore it.
    day: date | None = None


#: Actions that the clerk can perform on several letters at once.
_BatchAction = Literal[LetterAction.PRINTED, LetterAction.POSTED]


def letter_commands(letter_service: Letters) -> APIRouter:
    """Build the router of letters for the command line, which uses the control socket."""
    router = APIRouter()

    @router.get("/letters")
    async def letters() -> list[LetterView]:
        return list(await letter_service.letters())

    @router.post("/notifications/{notification_id}/not-posted")
    async def not_posted(notification_id: Id, command: CommandRequest) -> None:
        await letter_service.undo_posting(notification_id, command.by)

    @router.post("/notifications/{notification_id}/{action}")
    async def record_step(notification_id: Id, action: LetterAction, command: LetterRequest) -> LetterRecord:
        return await letter_service.record_step(
            notification_id,
            action.step,
            command.by,
            day=command.day,
            already_posted=action.already_posted,
            unprinted=action.unprinted,
        )

    return router


def letter_pages(letter_service: Letters, pages: Pages) -> APIRouter:
    """Build the router of the clerk's page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/letters")
    async def page(
        request: Request, principal: _Clerk, letter: Annotated[list[str] | None, Query()] = None
    ) -> Response:
        return await render_page(request, principal, ticked=letter or ())

    @router.post("/letters/{action}")
    async def record_several(action: _BatchAction, request: Request, principal: _Clerk) -> Response:
        fields = await read_fields(request, max_fields=_MAX_FORM_FIELDS)
        form = last_values(fields)
        ticked = fields.get("letter", [])
        form_input = _FormInput(ticked=ticked, day=form.get("day", ""))
        # On a portal without sign-in, the principal has no name, and the form asks for the clerk's name.
        name, day = principal.by or _entered_name(form), _entered_day(form)
        if name is None or not ticked:
            return await render_page(
                request, principal, "no_name" if name is None else "none_ticked", status=422, **form_input
            )
        if action is LetterAction.POSTED and day is None:
            return await render_page(request, principal, "no_day", status=422, **form_input)
        visible_ids = {str(each.id): each.id for each in await _visible_letters(letter_service, principal)}
        unknown = [each for each in ticked if each not in visible_ids]
        if unknown:
            return await render_page(
                request, principal, "not_there", ", ".join(unknown)[:100], status=409, **form_input
            )
        not_recorded = await letter_service.record_steps(
            [visible_ids[each] for each in ticked], action.step, name, day=day
        )
        if not_recorded:
            return await render_page(
                request, principal, "some_not_noted", status=409, not_recorded=not_recorded, **form_input
            )
        return RedirectResponse("/letters", status_code=303)

    @router.post("/letters/{notification_id}/not-posted")
    async def not_posted(notification_id: Id, request: Request, principal: _Clerk) -> Response:
        name = principal.by or _entered_name(await read_form(request))
        if name is None:
            return await render_page(request, principal, "no_name", status=422)
        await check_letter_permission(notification_id, principal)
        try:
            await letter_service.undo_posting(notification_id, name)
        except OperationRejectedError as error:
            return await render_page(request, principal, "not_noted", error, status=409)
        return RedirectResponse("/letters", status_code=303)

    @router.post("/letters/{notification_id}/{action}")
    async def record_step(notification_id: Id, action: LetterAction, request: Request, principal: _Clerk) -> Response:
        form = await read_form(request)
        name = principal.by or _entered_name(form)
        if name is None:
            return await render_page(request, principal, "no_name", status=422)
        await check_letter_permission(notification_id, principal)
        try:
            await letter_service.record_step(
                notification_id, action.step, name, already_posted=action.already_posted, unprinted=action.unprinted
            )
        except OperationRejectedError as error:
            return await render_page(request, principal, "not_noted", error, status=409)
        # Redirect, so that a reload of the page does not repeat the command.
        return RedirectResponse("/letters", status_code=303)

    async def check_letter_permission(notification_id: int, principal: Principal) -> None:
        """Raise `HTTPException` unless the principal may post letters of the agency of this letter."""
        if principal.scope(Permission.POST_LETTERS).is_unrestricted:
            return
        letter = next((each for each in await letter_service.letters() if each.id == notification_id), None)
        if letter is None:
            raise HTTPException(404, translatable("there is no letter {notice} in your trays", notice=notification_id))
        check_permission(principal, Permission.POST_LETTERS, letter.agency)

    async def render_page(
        request: Request,
        principal: Principal,
        problem: str = "",
        reason: str | Exception = "",
        *,
        status: int = 200,
        ticked: Sequence[str] = (),
        day: str = "",
        not_recorded: Sequence[LetterNotRecorded] = (),
    ) -> Response:
        # *problem*: key of an error text of the page; "" without an error. *reason*: shown after this text.
        letters = await _visible_letters(letter_service, principal)
        # Letters that are not posted yet, printed or not.
        pending = [each for each in letters if each.step in PENDING_STEPS]
        context = {
            "path": "/letters",
            "problem": problem,
            "reason": reason,
            "pending": pending,
            "withdrawn": [each for each in letters if each.step is LetterStep.TAKEN_BACK],
            "posted": [each for each in letters if each.step is LetterStep.POSTED],
            "today": letter_service.today().isoformat(),
            "ticked": ticked,
            "day": day,
            "not_recorded": not_recorded,
            # Letters that links above the list tick: those for the first PDF file, and those printed but not posted.
            "first_batch": pending[:MAX_PRINTED_TOGETHER],
            "printed": [each for each in pending if each.step is LetterStep.PRINTED][:MAX_PRINTED_TOGETHER],
        }
        # Use a thread, because a page with two thousand letters (pending, withdrawn and posted) has half a megabyte.
        return await asyncio.to_thread(pages.show, request, "letters.html", context, status)

    return router


def letter_printouts(letter_service: Letters, facade: ServiceFacade) -> APIRouter:
    """Build the router of printouts: PDF files of letters, and dockets. A docket lists the letters posted on a day."""
    router = APIRouter(include_in_schema=False)
    # Typeset one letter at a time, whoever requests it, so that typesetting does not delay notifications.
    typesetting = asyncio.Lock()

    @router.get("/letters/waiting.pdf")
    async def print_letters(
        principal: _Clerk,
        letter: Annotated[list[Id] | None, Query()] = None,
        sides: Annotated[int, Query(ge=1, le=2)] = 1,
    ) -> Response:
        # *sides*: number of printed sides of a sheet. Print only the requested letters, which the page listed, because
        # the clerk then records them as printed. A letter queued since would be in the file, but not in the record.
        requested = frozenset(letter or ())
        if not requested:
            raise HTTPException(422, "select at least one letter")
        if len(requested) > MAX_PRINTED_TOGETHER:
            raise HTTPException(
                422,
                translatable("select at most {most} letters: they are printed in one file", most=MAX_PRINTED_TOGETHER),
            )
        pending = [
            each.id
            for each in await _visible_letters(letter_service, principal)
            if each.step in PENDING_STEPS and each.id in requested
        ]
        # Use the PDF in the tray unless somebody has changed or removed the file: typesetting a letter again takes
        # thirty times as long as reading its file.
        stored_pdfs = await letter_service.unchanged_pdfs(pending)
        pages: list[bytes] = []
        for each in pending:
            if each in stored_pdfs:
                pages.append(stored_pdfs[each])
                continue
            async with typesetting:
                _, content = await facade.composed_notification(each) or (None, None)
            if isinstance(content, PageContent):
                pages.append(content.pdf)
        if not pages:
            raise HTTPException(404, "none of these letters is pending in your trays")
        # The title and the file names are in Malay: "surat" is a letter.
        title = f"{len(pages)} surat"
        return _pdf_response(await asyncio.to_thread(merge_letters, pages, title, both_sides=sides == 2), "surat.pdf")

    @router.get("/letters/docket")
    async def print_docket(principal: _Clerk, day: date | None = None) -> Response:
        posting_day, scope = day or letter_service.today(), principal.scope(Permission.POST_LETTERS)
        lines = [_docket_line(each) for each in await letter_service.posted_on(posting_day) if each.agency in scope]
        posting_docket = Docket(on=posting_day, lines=lines, made_at=facade.now(), made_by=principal.by)
        page = await asyncio.to_thread(docket, posting_docket)
        return _pdf_response(page.pdf, f"surat-dipos-{posting_day}.pdf")

    return router


async def _visible_letters(letter_service: Letters, principal: Principal) -> Sequence[LetterView]:
    """Return the letters of the agencies for which the principal may post letters; printed letters are last.

    With this order, the first PDF file that the page offers contains letters that are not printed yet.
    """
    scope = principal.scope(Permission.POST_LETTERS)
    letters = [each for each in await letter_service.letters() if each.agency in scope]
    return sorted(letters, key=lambda each: each.step is LetterStep.PRINTED)


def _entered_name(form: Mapping[str, str]) -> str | None:
    """Return the name entered in a form; `None` if it is empty or invalid."""
    try:
        return CommandRequest(by=form.get("by", "")).by
    except ValidationError:
        return None


def _entered_day(form: Mapping[str, str]) -> date | None:
    """Return the date entered in a form; `None` if it is empty or invalid."""
    try:
        return _DATE.validate_strings(form.get("day", "").strip())
    except ValidationError:
        return None


def _docket_line(letter: LetterView) -> DocketLine:
    return DocketLine(number=letter.incident, purpose=letter.purpose, to=letter.to)


def _pdf_response(octets: bytes, name: str) -> Response:
    headers = {"Content-Disposition": f'inline; filename="{name}"'}
    return Response(octets, media_type="application/pdf", headers=headers)
