"""Commands for users, API tokens, and stored secrets, on the control socket, which the command line uses.

The socket never transfers the value of a stored secret; rotating encrypts all secrets with the current key. The first
administrator can be created by these commands only; other users can also be created on the portal. The models of the
responses read their fields from the service's objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import AliasPath, BaseModel, BeforeValidator, Field

from monitor.access.api_token import ApiToken
from monitor.access.invitation_code import CodeKind
from monitor.access.principal import User
from monitor.config.files.duration import InvalidDurationError, parse_duration
from monitor.service.access.administration import Administration, Invitation
from monitor.service.access.secret_store import SecretCount, SecretRotation, SecretStore
from monitor.service.access.tokens import ProgramTokens
from monitor.service.errors import OperationRejectedError
from monitor.web.request import CommandRequest, Id, Name

#: Roles of a user or token as text, such as "officer:JCONTOH". They are read from the attribute `assignments`.
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
    #: `None`: the user is enabled.
    disabled_at: datetime | None


class UserRequest(CommandRequest):
    """New user with roles."""

    #: Sign-in name.
    name: str
    full_name: Name
    #: Roles, such as "officer:JCONTOH".
    roles: Sequence[str] = ()


class RolesRequest(CommandRequest):
    """New roles of a user."""

    roles: list[str]


class InviteRequest(CommandRequest):
    """Request for an invitation code."""

    #: How the code reaches its user: "telephone" or "letter".
    kind: CodeKind


class InvitationResponse(BaseModel):
    """Invitation code with which the user chooses a password. The requester passes it on."""

    name: str = Field(validation_alias=AliasPath("user", "name"))
    full_name: str = Field(validation_alias=AliasPath("user", "full_name"))
    code: str
    #: When the code expires.
    ends_at: datetime


class TokenResponse(BaseModel):
    """Token without its secret."""

    id: int
    name: str
    roles: _Roles
    made_by: str
    made_at: datetime
    #: When the token expires.
    ends_at: datetime
    #: Last use; `None`: never used.
    used_at: datetime | None
    revoked_at: datetime | None


class NewTokenResponse(BaseModel):
    """New token with its secret."""

    token: TokenResponse
    secret: str


class TokenRequest(CommandRequest):
    """New token."""

    #: Name of the program that will use the token.
    name: str = Field(min_length=1, max_length=64)
    roles: Sequence[str]
    #: Lifetime, such as "90d".
    duration: str = Field(min_length=1, max_length=20)


def user_commands(administration: Administration) -> APIRouter:
    """Build the router of users on the control socket, which the command line uses."""
    router = APIRouter()

    @router.get("/users", response_model=list[UserResponse])
    async def users() -> Sequence[User]:
        return await administration.users()

    @router.post("/users", response_model=UserResponse)
    async def add(command: UserRequest) -> User:
        return await administration.add(command.name, command.full_name, command.roles, by=command.by)

    @router.post("/users/{name}/roles", response_model=UserResponse)
    async def set_roles(name: str, command: RolesRequest) -> User:
        return await administration.assign(name, command.roles, by=command.by)

    @router.post("/users/{name}/invite", response_model=InvitationResponse)
    async def invite(name: str, command: InviteRequest) -> Invitation:
        return await administration.invite(name, command.kind, by=command.by)

    @router.post("/users/{name}/disable", response_model=UserResponse)
    async def disable(name: str, command: CommandRequest) -> User:
        return await administration.disable(name, by=command.by)

    # Exempt the user for ten minutes from the delay that failed sign-ins of other people cause.
    @router.post("/users/{name}/unlock", response_model=UserResponse)
    async def unlock(name: str, command: CommandRequest) -> User:
        return await administration.unlock(name, by=command.by)

    @router.post("/users/{name}/reset-second-factor", response_model=UserResponse)
    async def reset_second_factor(name: str, command: CommandRequest) -> User:
        return await administration.reset_second_factor(name, by=command.by)

    @router.post("/users/{name}/enable", response_model=UserResponse)
    async def enable(name: str, command: CommandRequest) -> User:
        return await administration.enable(name, by=command.by)

    return router


def token_commands(tokens: ProgramTokens) -> APIRouter:
    """Build the router of API tokens on the control socket, which the command line uses."""
    router = APIRouter()

    @router.get("/tokens", response_model=list[TokenResponse])
    async def list_tokens() -> Sequence[ApiToken]:
        return await tokens.all()

    @router.post("/tokens")
    async def add(command: TokenRequest) -> NewTokenResponse:
        try:
            duration = parse_duration(command.duration)
        except InvalidDurationError as error:
            raise OperationRejectedError(f"{command.duration}: {error}; write --for 90d") from None
        # Without `author_roles`, all roles are allowed: every user of the control socket has all permissions.
        created = await tokens.create(command.name, command.roles, duration, by=command.by)
        token = TokenResponse.model_validate(created.token, from_attributes=True)
        return NewTokenResponse(token=token, secret=created.secret.text)

    # *number*: the token's ID. An error message shows this name to the user of the command line.
    @router.post("/tokens/{number}/revoke", response_model=TokenResponse)
    async def revoke(number: Id, command: CommandRequest) -> ApiToken:
        return await tokens.revoke(number, by=command.by)

    return router


def secret_commands(secret_store: SecretStore) -> APIRouter:
    """Build the router of stored secrets on the control socket, which the command line uses."""
    router = APIRouter()

    @router.get("/secrets")
    async def secrets() -> Sequence[SecretCount]:
        return await secret_store.counts()

    @router.post("/secrets/rotate")
    async def rotate(command: CommandRequest) -> SecretRotation:
        return await secret_store.rotate(by=command.by)

    return router
