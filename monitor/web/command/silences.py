"""Silences for the command line: begin one, list them, end one."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from alerts.decide.silence import Silence
from monitor.config.files.duration import NoDuration, parse_duration
from monitor.service.order import NotDone
from monitor.service.silences import Silencer
from monitor.web.word import Id, Why, Word


class SilenceOrder(Word):
    """What is to be silent for how long, and who says so."""

    about: str = Field(min_length=1, max_length=200)
    lasts: str = Field(min_length=1, max_length=20)
    why: Why


def silences(silencer: Silencer) -> APIRouter:
    """Build the part of the control application that is about silences."""
    router = APIRouter()

    @router.get("/silences")
    async def current() -> list[Silence]:
        return list(await silencer.current())

    @router.post("/silences")
    async def add(order: SilenceOrder) -> Silence:
        try:
            lasts = parse_duration(order.lasts)
        except NoDuration as wrong:
            raise NotDone(f"{order.lasts}: {wrong}; write --for 2h, or 30m") from None
        return await silencer.add(order.about, lasts, order.why, order.by)

    @router.post("/silences/{number}/remove")
    async def remove(number: Id, word: Word) -> Silence:
        return await silencer.remove(number, word.by)

    return router
