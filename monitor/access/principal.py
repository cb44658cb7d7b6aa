"""Principal of a request: a signed-in user, a program with an API token, a wallboard, or a local client."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from monitor.access.api_token import FORBIDDEN_TO_TOKENS, ApiToken
from monitor.access.lockout import UNLOCK_DURATION
from monitor.access.role import AgencyScope, Permission, RoleAssignment, scope_of

#: Permissions without sign-in, if the portal listens on the loopback interface only.
LOCAL_PERMISSIONS: Final = frozenset(
    {Permission.READ, Permission.READ_PEOPLE, Permission.POST_LETTERS, Permission.RELOAD}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user account."""

    id: int
    #: Sign-in name: lower-case letters, digits, dots and hyphens.
    name: str
    #: Full name: "Pegawai Contoh".
    full_name: str
    assignments: AbstractSet[RoleAssignment] = frozenset()
    #: `None`: the user may sign in.
    disabled_at: datetime | None = None
    #: Whether a password is set; until then only an invitation code is accepted.
    has_password: bool = False
    #: Whether a one-time code is required besides the password.
    has_second_factor: bool = False
    #: Until when sign-ins are not delayed by earlier failures, after an administrator has unlocked the account.
    unlocked_until: datetime | None = None

    def is_unlocked(self, now: datetime) -> bool:
        """Whether sign-ins are not delayed now. Setting the clock back does not extend the time."""
        return self.unlocked_until is not None and timedelta(0) < self.unlocked_until - now <= UNLOCK_DURATION

    @property
    def by(self) -> str:
        """The actor in the audit log."""
        return f"{self.full_name} ({self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """User, API token or wallboard of a request, with its permissions."""

    #: `None`: not signed in.
    user: User | None = None
    #: The token of a program.
    token: ApiToken | None = None
    #: Permissions for all agencies without a sign-in.
    open_permissions: AbstractSet[Permission] = frozenset()
    #: For a wallboard without sign-in: the agencies it may `READ`, and nothing else.
    wallboard: AgencyScope = AgencyScope()  # noqa: RUF009 - a value
    #: A role of the user requires a second factor, and it is not set up: nothing else is permitted until then.
    needs_second_factor_setup: bool = False

    @property
    def is_authenticated(self) -> bool:
        """Whether a user is signed in, or a program has shown a token."""
        return self.user is not None or self.token is not None

    @property
    def by(self) -> str:
        """The actor in the audit log; "" without sign-in, where a form states it."""
        actor = self.user or self.token
        return actor.by if actor else ""

    @property
    def names(self) -> AbstractSet[str]:
        """Actors in the audit log that are this principal: for actions by telephone, the full name alone."""
        return {self.by, self.user.full_name} if self.user else {self.by}

    @property
    def refusal_name(self) -> str:
        """The name in the text of a rejected request."""
        if self.user is not None:
            return self.user.name
        return self.token.by if self.token else "nobody who has signed in"

    def scope(self, permission: Permission) -> AgencyScope:
        """Return the agencies for which the principal has a permission."""
        if permission in self.open_permissions:
            return AgencyScope(everything=True)
        if self.token is not None:
            return AgencyScope() if permission in FORBIDDEN_TO_TOKENS else scope_of(self.token.assignments, permission)
        if permission is Permission.READ and self.wallboard:
            return self.wallboard
        return (
            scope_of(self.user.assignments, permission)
            if self.user and not self.needs_second_factor_setup
            else AgencyScope()
        )

    def may(self, permission: Permission, agency: str | None = None) -> bool:
        """Whether the principal has a permission for an agency; `None`: for any agency."""
        scope = self.scope(permission)
        return bool(scope) if agency is None else agency in scope
