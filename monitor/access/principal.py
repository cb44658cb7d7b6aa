"""Principal of a request: a signed-in user, a program with an API token, a wallboard, or a local client.

A *wallboard* is a screen in an operations centre; its link has a secret instead of a sign-in. A *local client* uses a
portal without sign-in, which listens on the loopback interface only.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from monitor.access.api_token import FORBIDDEN_TO_TOKENS, ApiToken
from monitor.access.lockout import UNLOCK_DURATION
from monitor.access.role import AgencyScope, Permission, RoleAssignment, scope_of

#: Permissions of local clients.
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
    #: Roles of the user.
    assignments: AbstractSet[RoleAssignment] = frozenset()
    #: When an administrator disabled the account; `None`: the user may sign in.
    disabled_at: datetime | None = None
    #: Whether a password is set; until then only an invitation code is accepted.
    has_password: bool = False
    #: Whether a one-time code is required besides the password.
    has_second_factor: bool = False
    #: Until then earlier failures do not delay sign-ins, because an administrator has unlocked the account; `None`: it
    #: was not unlocked.
    unlocked_until: datetime | None = None

    def is_unlocked(self, now: datetime) -> bool:
        """Whether failures do not delay sign-ins. Setting the clock back to before the unlock ends this, too."""
        return self.unlocked_until is not None and timedelta(0) < self.unlocked_until - now <= UNLOCK_DURATION

    @property
    def by(self) -> str:
        """The user as an actor in the audit log: "Pegawai Contoh (pegawai)"."""
        return f"{self.full_name} ({self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """User, API token or wallboard of a request, with its permissions."""

    #: `None`: not signed in.
    user: User | None = None
    #: Token of a program; `None`: the client is not a program.
    token: ApiToken | None = None
    #: Permissions that need no sign-in, for all agencies: those of a local client.
    open_permissions: AbstractSet[Permission] = frozenset()
    #: Agencies that a wallboard may `READ`, its only permission; empty: the client is not a wallboard.
    wallboard: AgencyScope = AgencyScope()  # noqa: RUF009 - an immutable value
    #: Whether a role of the user requires a second factor that is not set up. Until it is, no role has an effect.
    needs_second_factor_setup: bool = False

    @property
    def is_authenticated(self) -> bool:
        """Whether a user is signed in, or a program has shown a token."""
        return self.user is not None or self.token is not None

    @property
    def by(self) -> str:
        """The actor in the audit log; "" for clients without sign-in, who type their name in a form."""
        actor = self.user or self.token
        return actor.by if actor else ""

    @property
    def names(self) -> AbstractSet[str]:
        """All names of this principal in the audit log. Actions by telephone are recorded with the full name alone."""
        return {self.by, self.user.full_name} if self.user else {self.by}

    @property
    def refusal_name(self) -> str:
        """The name of the principal in the message about a rejected request."""
        if self.user is not None:
            return self.user.name
        return self.token.by if self.token else "nobody who has signed in"

    def scope(self, permission: Permission) -> AgencyScope:
        """Return the agencies for which the principal has a permission."""
        if permission in self.open_permissions:
            return AgencyScope(is_unrestricted=True)
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
