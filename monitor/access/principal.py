"""Whoever asks the portal for something: a user who has signed in, a program with a token, or somebody at the machine itself."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from monitor.access.api_token import NEVER_BY_TOKEN, ApiToken
from monitor.access.lockout import UNLOCKED_FOR
from monitor.access.role import AgencyScope, Permission, RoleAssignment, scope_of

#: What is open to whoever reaches a portal that has no sign-in: it listens on this machine only.
OPEN_HERE: Final = frozenset({Permission.READ, Permission.READ_PEOPLE, Permission.POST_LETTERS, Permission.RELOAD})


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who may sign in."""

    id: int
    #: What is typed to sign in: small letters, digits, dots and hyphens.
    name: str
    #: As people are called: "Pegawai Contoh".
    full_name: str
    assignments: AbstractSet[RoleAssignment] = frozenset()
    #: `None`: may sign in.
    disabled_at: datetime | None = None
    #: Whether a password was chosen; until then only an invitation's code opens.
    has_password: bool = False
    #: Whether a one-time code is asked for beside the password.
    has_second_factor: bool = False
    #: Until when an administrator lets them sign in without waiting for the failures of strangers.
    unlocked_until: datetime | None = None

    def is_unlocked(self, now: datetime) -> bool:
        """Whether attempts to sign in wait for nothing now. A clock that was set back meanwhile does not extend it."""
        return self.unlocked_until is not None and timedelta(0) < self.unlocked_until - now <= UNLOCKED_FOR

    @property
    def by(self) -> str:
        """How the journal and other people read who did something."""
        return f"{self.full_name} ({self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks."""

    #: `None`: nobody has signed in.
    user: User | None = None
    #: That a program has shown.
    token: ApiToken | None = None
    #: What is permitted for every agency, whoever it is.
    open: AbstractSet[Permission] = frozenset()
    #: Of a wall, at which nobody signs in: for which agencies it may `READ`, and nothing else.
    wallboard: AgencyScope = AgencyScope()  # noqa: RUF009 - a value
    #: Must have a second factor by a role, and has none: may set one up, and nothing else.
    is_held: bool = False

    @property
    def is_known(self) -> bool:
        """Whether somebody has signed in, or a program has shown a token."""
        return self.user is not None or self.token is not None

    @property
    def by(self) -> str:
        """How the journal reads who did something; "" of somebody who has not signed in, and says it in a form."""
        known = self.user or self.token
        return known.by if known else ""

    @property
    def names(self) -> AbstractSet[str]:
        """By which an incident is theirs: whoever has taken it on by telephone is called by their name alone."""
        return {self.by, self.user.full_name} if self.user else {self.by}

    @property
    def called(self) -> str:
        """How a refusal names who asks."""
        if self.user is not None:
            return self.user.name
        return self.token.by if self.token else "nobody who has signed in"

    def scope(self, permission: Permission) -> AgencyScope:
        """Return for which agencies the visitor has a permission."""
        if permission in self.open:
            return AgencyScope(everything=True)
        if self.token is not None:
            return AgencyScope() if permission in NEVER_BY_TOKEN else scope_of(self.token.assignments, permission)
        if permission is Permission.READ and self.wallboard:
            return self.wallboard
        return scope_of(self.user.assignments, permission) if self.user and not self.is_held else AgencyScope()

    def may(self, permission: Permission, agency: str | None = None) -> bool:
        """Whether the visitor has a permission for an agency; `None`: for any at all."""
        scope = self.scope(permission)
        return bool(scope) if agency is None else agency in scope
