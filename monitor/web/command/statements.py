"""Monthly statements for the command line."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from fastapi import APIRouter
from pydantic import Field

from monitor.service.days.statements import Statements
from monitor.web.word import Word


class StatementOrder(Word):
    """Whose statement, of which month, and who asks for it."""

    agency: str = Field(min_length=1, max_length=64)
    #: "2026-11".
    month: str = Field(min_length=1, max_length=20)


def statements(maker: Statements) -> APIRouter:
    """Build the part of the control application that makes statements."""
    router = APIRouter()

    @router.post("/statements")
    async def statement(order: StatementOrder) -> Mapping[str, str]:
        files = await maker.statement(order.agency, order.month, order.by)
        return {name: b64encode(content).decode() for name, content in files.items()}

    return router
