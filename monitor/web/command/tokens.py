"""What the command line orders about programs' tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from monitor.access.api_token import ApiToken
from monitor.config.files.duration import NoDuration, parse_duration
from monitor.service.access.tokens import ProgramTokens
from monitor.service.order import NotDone
from monitor.web.word import Id, Word


class TokenWord(BaseModel):
    """A token, without its secret."""

    id: int
    name: str
    #: As people write them: "viewer:JCONTOH".
    roles: list[str]
    made_by: str
    made_at: datetime
    ends_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None


class MadeTokenWord(BaseModel):
    """A token that was made, and its secret."""

    token: TokenWord
    secret: str


class TokenOrder(Word):
    """Which program is to have one, for what, and for how long."""

    name: str = Field(min_length=1, max_length=64)
    roles: Sequence[str]
    lasts: str = Field(min_length=1, max_length=20)


def tokens_of(tokens: ProgramTokens) -> APIRouter:
    """Build the part of the control application that is about tokens."""
    router = APIRouter()

    @router.get("/tokens")
    async def listed() -> list[TokenWord]:
        return [_token(each) for each in await tokens.all()]

    @router.post("/tokens")
    async def add(order: TokenOrder) -> MadeTokenWord:
        try:
            lasts = parse_duration(order.lasts)
        except NoDuration as wrong:
            raise NotDone(f"{order.lasts}: {wrong}; write --for 90d") from None
        # Whoever may use the control socket may do everything.
        made = await tokens.make(order.name, order.roles, lasts, by=order.by)
        return MadeTokenWord(token=_token(made.token), secret=made.secret.text)

    @router.post("/tokens/{number}/revoke")
    async def revoke(number: Id, word: Word) -> TokenWord:
        return _token(await tokens.revoke(number, by=word.by))

    return router


def _token(token: ApiToken) -> TokenWord:
    return TokenWord(
        id=token.id,
        name=token.name,
        roles=[str(each) for each in sorted(token.assignments)],
        made_by=token.made_by,
        made_at=token.made_at,
        ends_at=token.ends_at,
        used_at=token.used_at,
        revoked_at=token.revoked_at,
    )
