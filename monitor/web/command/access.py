"""Commands for users, API tokens, and stored secrets. No stored secret is sent over the socket.

The first administrator must be created here; all other users may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import AliasPath, BaseModel, BeforeValidator, Field

from monitor.access.api_token import ApiToken
from monitor.access.invitation_code import CodeWay
from monitor.access.principal import User
from monitor.config.files.duration import InvalidDurationError, parse_duration
from monitor.service.access.administration import Administration, Invitation
from monitor.service.access.secret_store import SecretCount, SecretRotation, SecretStore
from monitor.service.access.tokens import ProgramTokens
from monitor.service.errors import OperationRejectedError
from monitor.web.request import CommandRequest, Id, Name

#: As text: "officer:JCONTOH".
_Roles = Annotated[
    list[str],
    BeforeValidator(lambda assignments: [str(each) for each in sorted(assignments)]),
    Field(validation_alias="assignments"),
]


class UserResponse(BaseModel):
    """A user."""

    name: str
    full_name: str
    roles: _Roles
    has_password: bool
    has_second_factor: bool
    disabled_at: datetime | None


class UserRequest(CommandRequest):
    """New user with roles."""

    name: str
    full_name: Name
    roles: Sequence[str] = ()


class RolesRequest(CommandRequest):
    """New roles of a user."""

    roles: list[str]


class InviteRequest(CommandRequest):
    """How an invitation code reaches its user."""

    kind: CodeWay


class InvitationResponse(BaseModel):
    """Invitation code, which must be passed to its user."""

    name: str = Field(validation_alias=AliasPath("user", "name"))
    full_name: str = Field(validation_alias=AliasPath("user", "full_name"))
    code: str
    ends_at: datetime


class TokenResponse(BaseModel):
    """Token without its secret."""

    id: int
    name: str
    roles: _Roles
    made_by: str
    made_at: datetime
    ends_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None


class NewTokenResponse(BaseModel):
    """New token with its secret."""

    token: TokenResponse
    secret: str


class TokenRequest(CommandRequest):
    """New token: program, roles, lifetime."""

    name: str = Field(min_length=1, max_length=64)
    roles: Sequence[str]
    duration: str = Field(min_length=1, max_length=20)


def users_of(administration: Administration) -> APIRouter:
    """Build the control router of users."""
    router = APIRouter()

    @router.get("/users", response_model=list[UserResponse])
    async def users() -> Sequence[User]:
        return await administration.users()

    @router.post("/users", response_model=UserResponse)
    async def add(order: UserRequest) -> User:
        return await administration.add(order.name, order.full_name, order.roles, by=order.by)

    @router.post("/users/{name}/roles", response_model=UserResponse)
    async def roles(name: str, order: RolesRequest) -> User:
        return await administration.assign(name, order.roles, by=order.by)

    @router.post("/users/{name}/invite", response_model=InvitationResponse)
    async def invite(name: str, order: InviteRequest) -> Invitation:
        return await administration.invite(name, order.kind, by=order.by)

    @router.post("/users/{name}/disable", response_model=UserResponse)
    async def disable(name: str, word: CommandRequest) -> User:
        return await administration.disable(name, by=word.by)

    @router.post("/users/{name}/unlock", response_model=UserResponse)
    async def unlock(name: str, word: CommandRequest) -> User:
        return await administration.unlock(name, by=word.by)

    @router.post("/users/{name}/reset-second-factor", response_model=UserResponse)
    async def reset_second_factor(name: str, word: CommandRequest) -> User:
        return await administration.take_second_factor(name, by=word.by)

    @router.post("/users/{name}/enable", response_model=UserResponse)
    async def enable(name: str, word: CommandRequest) -> User:
        return await administration.enable(name, by=word.by)

    return router


def tokens_of(tokens: ProgramTokens) -> APIRouter:
    """Build the control router of API tokens."""
    router = APIRouter()

    @router.get("/tokens", response_model=list[TokenResponse])
    async def listed() -> Sequence[ApiToken]:
        return await tokens.all()

    @router.post("/tokens")
    async def add(order: TokenRequest) -> NewTokenResponse:
        try:
            duration = parse_duration(order.duration)
        except InvalidDurationError as wrong:
            raise OperationRejectedError(f"{order.duration}: {wrong}; write --for 90d") from None
        # Every user of the control socket has all permissions.
        made = await tokens.make(order.name, order.roles, duration, by=order.by)
        token = TokenResponse.model_validate(made.token, from_attributes=True)
        return NewTokenResponse(token=token, secret=made.secret.text)

    @router.post("/tokens/{number}/revoke", response_model=TokenResponse)
    async def revoke(number: Id, word: CommandRequest) -> ApiToken:
        return await tokens.revoke(number, by=word.by)

    return router


def secrets_of(safe: SecretStore) -> APIRouter:
    """Build the control router of stored secrets."""
    router = APIRouter()

    @router.get("/secrets")
    async def secrets() -> Sequence[SecretCount]:
        return await safe.counts()

    @router.post("/secrets/rotate")
    async def rotate(word: CommandRequest) -> SecretRotation:
        return await safe.rotate(by=word.by)

    return router
