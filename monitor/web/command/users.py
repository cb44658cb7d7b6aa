"""What the command line orders about users: the first administrator is made here, and every other may be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from monitor.access.invitation_code import CodeWay
from monitor.access.visitor import User
from monitor.service.access.administration import Administration
from monitor.web.word import Name, Word


class UserWord(BaseModel):
    """A user."""

    name: str
    full_name: str
    #: As people write them: "officer:JCONTOH".
    roles: list[str]
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

    name: str
    full_name: str
    code: str
    ends_at: datetime


def users_of(administration: Administration) -> APIRouter:
    """Build the part of the control application that is about users."""
    router = APIRouter()

    @router.get("/users")
    async def users() -> list[UserWord]:
        return [_user(each) for each in await administration.users()]

    @router.post("/users")
    async def add(order: UserOrder) -> UserWord:
        return _user(await administration.add(order.name, order.full_name, order.roles, by=order.by))

    @router.post("/users/{name}/roles")
    async def roles(name: str, order: RolesOrder) -> UserWord:
        return _user(await administration.assign(name, order.roles, by=order.by))

    @router.post("/users/{name}/invite")
    async def invite(name: str, order: InviteOrder) -> InvitationWord:
        made = await administration.invite(name, order.way, by=order.by)
        return InvitationWord(name=made.user.name, full_name=made.user.full_name, code=made.code, ends_at=made.ends_at)

    @router.post("/users/{name}/disable")
    async def disable(name: str, word: Word) -> UserWord:
        return _user(await administration.disable(name, by=word.by))

    @router.post("/users/{name}/second-factor-off")
    async def second_factor_off(name: str, word: Word) -> UserWord:
        return _user(await administration.take_second_factor(name, by=word.by))

    @router.post("/users/{name}/enable")
    async def enable(name: str, word: Word) -> UserWord:
        return _user(await administration.enable(name, by=word.by))

    return router


def _user(user: User) -> UserWord:
    return UserWord(
        name=user.name,
        full_name=user.full_name,
        roles=[str(each) for each in sorted(user.assignments)],
        has_password=user.has_password,
        has_second_factor=user.has_second_factor,
        disabled_at=user.disabled_at,
    )
