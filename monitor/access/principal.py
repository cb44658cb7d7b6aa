"""Principal of a request: a signed-in user, a program with a token, or somebody at the machine itself."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from monitor.access.api_token import NEVER_BY_TOKEN, ApiToken
from monitor.access.lockout import UNLOCKED_FOR
from monitor.access.role import AgencyScope, Permission, RoleAssignment, scope_of

#: Permissions without sign-in, where the portal listens on this machine only.
OPEN_HERE: Final = frozenset({Permission.READ, Permission.READ_PEOPLE, Permission.POST_LETTERS, Permission.RELOAD})


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user account."""

    id: int
    #: Sign-in name: lower-case letters, digits, dots and hyphens.
    name: str
    #: Full name: "Pegawai Contoh".
    full_name: str
    assignments: AbstractSet[RoleAssignment] = frozenset()
    #: `None`: may sign in.
    disabled_at: datetime | None = None
    #: Whether a password is set; until then only an invitation code is accepted.
    has_password: bool = False
    #: Whether a one-time code is required besides the password.
    has_second_factor: bool = False
    #: Until when attempts are not delayed by failures of others, after an administrator unlocked the account.
    unlocked_until: datetime | None = None

    def is_unlocked(self, now: datetime) -> bool:
        """Whether attempts are not delayed now. A clock set back does not extend it."""
        return self.unlocked_until is not None and timedelta(0) < self.unlocked_until - now <= UNLOCKED_FOR

    @property
    def by(self) -> str:
        """The actor in the audit log."""
        return f"{self.full_name} ({self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Principal of a request."""

    #: `None`: not signed in.
    user: User | None = None
    #: The token of a program.
    token: ApiToken | None = None
    #: Permissions for every agency, whoever it is.
    open: AbstractSet[Permission] = frozenset()
    #: For a wallboard without sign-in: the agencies it may `READ`, and nothing else.
    wallboard: AgencyScope = AgencyScope()  # noqa: RUF009 - a value
    #: A role requires a second factor that is not set up: only setting it up is permitted.
    is_held: bool = False

    @property
    def is_known(self) -> bool:
        """Whether a user is signed in, or a program has shown a token."""
        return self.user is not None or self.token is not None

    @property
    def by(self) -> str:
        """The actor in the audit log; "" without sign-in, where a form states it."""
        known = self.user or self.token
        return known.by if known else ""

    @property
    def names(self) -> AbstractSet[str]:
        """Names under which an incident may be acknowledged: by telephone the full name alone."""
        return {self.by, self.user.full_name} if self.user else {self.by}

    @property
    def called(self) -> str:
        """The name in a refusal."""
        if self.user is not None:
            return self.user.name
        return self.token.by if self.token else "nobody who has signed in"

    def scope(self, permission: Permission) -> AgencyScope:
        """Return the agencies for which the principal has a permission."""
        if permission in self.open:
            return AgencyScope(everything=True)
        if self.token is not None:
            return AgencyScope() if permission in NEVER_BY_TOKEN else scope_of(self.token.assignments, permission)
        if permission is Permission.READ and self.wallboard:
            return self.wallboard
        return scope_of(self.user.assignments, permission) if self.user and not self.is_held else AgencyScope()

    def may(self, permission: Permission, agency: str | None = None) -> bool:
        """Whether the principal has a permission for an agency; `None`: for any agency."""
        scope = self.scope(permission)
        return bool(scope) if agency is None else agency in scope
