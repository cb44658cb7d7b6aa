"""What staff declare and close, for the command line."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from alerts.model.notice import Matter
from monitor.service.declarer import Declarer
from monitor.views.overview import IncidentView, view_incident
from monitor.web.word import Why, Word


class DeclareOrder(Word):
    """What does not work where, since when, and who knows it from what."""

    agency: str = Field(min_length=1, max_length=64)
    matter: Literal[Matter.SENDING, Matter.RECEIVING, Matter.BOTH]
    #: Empty: now.
    since: str = Field(default="", max_length=40)
    why: Why


class CloseOrder(Word):
    """Who says that it is over, and how they know."""

    why: Why


class DeclaredView(BaseModel):
    """An outage that was declared."""

    incident: IncidentView
    #: The silence by which nobody is told of it, and until when; `None`: the staff are told now.
    silence: int | None
    silent_until: datetime | None


def declarations(declarer: Declarer) -> APIRouter:
    """Build the part of the control application that is about outages which people know of."""
    router = APIRouter()

    @router.post("/declarations")
    async def declare(order: DeclareOrder) -> DeclaredView:
        done = await declarer.declare(order.agency, order.matter, since=order.since, why=order.why, by=order.by)
        silence = done.silence
        return DeclaredView(
            incident=view_incident(done.incident),
            silence=None if silence is None else silence.id,
            silent_until=None if silence is None else silence.ends,
        )

    @router.post("/incidents/{number}/close")
    async def close(number: str, order: CloseOrder) -> IncidentView:
        return view_incident(await declarer.close(number, why=order.why, by=order.by))

    return router
