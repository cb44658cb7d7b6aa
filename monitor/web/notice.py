"""Content of a notification as it was sent: its text, its call script, its page."""

from __future__ import annotations

from typing import assert_never

from fastapi import APIRouter, HTTPException, Request, Response

from alerts.model.gateway import PageContent, SmsContent, VoiceContent
from monitor.access.role import Permission
from monitor.model.lazy_text import said
from monitor.service.facade import ServiceFacade
from monitor.web.access.access_control import notification_in_path, require
from monitor.web.form import Pages
from monitor.web.request import Id


def notice_pages(source: ServiceFacade, pages: Pages) -> APIRouter:
    """Build the router of single notifications.

    They are composed again from the stored facts, so the content equals what was sent.
    """
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.READ, notification_in_path(source)))

    @router.get("/notifications/{notification_id}")
    async def notice(request: Request, notification_id: Id) -> Response:
        found = await source.content(notification_id)
        if found is None:
            raise HTTPException(404, said("there is no notice {notice}", notice=notification_id))
        view, content = found
        match content:
            case SmsContent(text=text):
                lines = [text]
            case VoiceContent(scripts=scripts):
                lines = [line for script in scripts for line in (script.headline, *script.blocks, script.menu) if line]
            case PageContent(title=title):
                lines = [title]
            case _:
                assert_never(content)
        facts = {"notice": view, "said": lines, "is_page": isinstance(content, PageContent)}
        return pages.show(request, "notification.html", facts, headers=None)

    @router.get("/notifications/{notification_id}/page.pdf")
    async def page(notification_id: Id) -> Response:
        found = await source.content(notification_id)
        if found is None or not isinstance(found[1], PageContent):
            raise HTTPException(404, said("there is no fax or letter {notice}", notice=notification_id))
        return Response(found[1].pdf, media_type="application/pdf")

    return router
