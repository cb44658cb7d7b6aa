"""Page of one notification with its content: SMS text, call script, or fax or letter as a PDF."""

from __future__ import annotations

from typing import assert_never

from fastapi import APIRouter, HTTPException, Request, Response

from alerts.model.gateway import PageContent, SmsContent, VoiceContent
from monitor.access.role import Permission
from monitor.model.translatable import translatable
from monitor.service.facade import ServiceFacade
from monitor.web.access.access_control import notification_in_path, require
from monitor.web.form import Pages
from monitor.web.request import Id


def notification_pages(facade: ServiceFacade, pages: Pages) -> APIRouter:
    """Build the router of single notifications.

    The database does not store the content. The service composes it again from the stored facts, with the same result.
    `PageContent` is the content of a fax or letter.
    """
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.READ, notification_in_path(facade)))

    @router.get("/notifications/{notification_id}")
    async def show_notification(request: Request, notification_id: Id) -> Response:
        composed = await facade.composed_notification(notification_id)
        if composed is None:
            raise HTTPException(404, translatable("there is no notification {notice}", notice=notification_id))
        view, content = composed
        match content:
            case SmsContent(text=text):
                text_lines = [text]
            case VoiceContent(scripts=scripts):
                text_lines = [
                    line for script in scripts for line in (script.headline, *script.blocks, script.menu) if line
                ]
            case PageContent(title=title):
                text_lines = [title]
            case _:
                assert_never(content)
        context = {"notice": view, "lines": text_lines, "is_page": isinstance(content, PageContent)}
        # The page has no form, so it needs no headers for forms.
        return pages.show(request, "notification.html", context, headers=None)

    @router.get("/notifications/{notification_id}/page.pdf")
    async def show_pdf(notification_id: Id) -> Response:
        _, content = await facade.composed_notification(notification_id) or (None, None)
        if not isinstance(content, PageContent):
            raise HTTPException(404, translatable("there is no fax or letter {notice}", notice=notification_id))
        return Response(content.pdf, media_type="application/pdf")

    return router
