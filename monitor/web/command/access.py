"""What the command line orders about users, programs' tokens, and the secrets in the store, of which none goes over the socket.

The first administrator is made here, and every other user may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import AliasPath, BaseModel, BeforeValidator, Field

from monitor.access.api_token import ApiToken
from monitor.access.invitation_code import CodeWay
from monitor.access.visitor import User
from monitor.config.files.duration import NoDuration, parse_duration
from monitor.service.access.administration import Administration, Invitation
from monitor.service.access.safe import Safe, SecretCount, SecretRotation
from monitor.service.access.tokens import ProgramTokens
from monitor.service.order import NotDone
from monitor.web.word import Id, Name, Word

#: As people write them: "officer:JCONTOH".
_Roles = Annotated[
    list[str],
    BeforeValidator(lambda assignments: [str(each) for each in sorted(assignments)]),
    Field(validation_alias="assignments"),
]


class UserWord(BaseModel):
    """A user."""

    name: str
    full_name: str
    roles: _Roles
    has_password: bool
    has_second_factor: bool
    disabled_at: datetime | None


class UserOrder(Word):
    """Who is to sign in, as what."""

    name: str
    full_name: Name
    roles: Sequence[str] = ()


class RolesOrder(Word):
    """What a user is from now on."""

    roles: list[str]


class InviteOrder(Word):
    """How a code comes to its person."""

    way: CodeWay


class InvitationWord(BaseModel):
    """A code, to be told to its person."""

    name: str = Field(validation_alias=AliasPath("user", "name"))
    full_name: str = Field(validation_alias=AliasPath("user", "full_name"))
    code: str
    ends_at: datetime


class TokenWord(BaseModel):
    """A token, without its secret."""

    id: int
    name: str
    roles: _Roles
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


def users_of(administration: Administration) -> APIRouter:
    """Build the part of the control application that is about users."""
    router = APIRouter()

    @router.get("/users", response_model=list[UserWord])
    async def users() -> Sequence[User]:
        return await administration.users()

    @router.post("/users", response_model=UserWord)
    async def add(order: UserOrder) -> User:
        return await administration.add(order.name, order.full_name, order.roles, by=order.by)

    @router.post("/users/{name}/roles", response_model=UserWord)
    async def roles(name: str, order: RolesOrder) -> User:
        return await administration.assign(name, order.roles, by=order.by)

    @router.post("/users/{name}/invite", response_model=InvitationWord)
    async def invite(name: str, order: InviteOrder) -> Invitation:
        return await administration.invite(name, order.way, by=order.by)

    @router.post("/users/{name}/disable", response_model=UserWord)
    async def disable(name: str, word: Word) -> User:
        return await administration.disable(name, by=word.by)

    @router.post("/users/{name}/unlock", response_model=UserWord)
    async def unlock(name: str, word: Word) -> User:
        return await administration.unlock(name, by=word.by)

    @router.post("/users/{name}/second-factor-off", response_model=UserWord)
    async def second_factor_off(name: str, word: Word) -> User:
        return await administration.take_second_factor(name, by=word.by)

    @router.post("/users/{name}/enable", response_model=UserWord)
    async def enable(name: str, word: Word) -> User:
        return await administration.enable(name, by=word.by)

    return router


def tokens_of(tokens: ProgramTokens) -> APIRouter:
    """Build the part of the control application that is about tokens."""
    router = APIRouter()

    @router.get("/tokens", response_model=list[TokenWord])
    async def listed() -> Sequence[ApiToken]:
        return await tokens.all()

    @router.post("/tokens")
    async def add(order: TokenOrder) -> MadeTokenWord:
        try:
            lasts = parse_duration(order.lasts)
        except NoDuration as wrong:
            raise NotDone(f"{order.lasts}: {wrong}; write --for 90d") from None
        # Whoever may use the control socket may do everything.
        made = await tokens.make(order.name, order.roles, lasts, by=order.by)
        token = TokenWord.model_validate(made.token, from_attributes=True)
        return MadeTokenWord(token=token, secret=made.secret.text)

    @router.post("/tokens/{number}/revoke", response_model=TokenWord)
    async def revoke(number: Id, word: Word) -> ApiToken:
        return await tokens.revoke(number, by=word.by)

    return router


def secrets_of(safe: Safe) -> APIRouter:
    """Build the part of the control application that is about secrets."""
    router = APIRouter()

    @router.get("/secrets")
    async def secrets() -> Sequence[SecretCount]:
        return await safe.counts()

    @router.post("/secrets/rotate")
    async def rotate(word: Word) -> SecretRotation:
        return await safe.rotate(by=word.by)

    return router
