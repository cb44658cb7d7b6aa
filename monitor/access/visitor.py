"""Whoever asks the portal for something: a user who has signed in, or somebody at the machine itself."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Final

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

    @property
    def by(self) -> str:
        """How the journal and other people read who did something."""
        return f"{self.full_name} ({self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who asks."""

    #: `None`: nobody has signed in.
    user: User | None = None
    #: What is permitted for every agency, whoever it is.
    open: AbstractSet[Permission] = frozenset()

    @property
    def by(self) -> str:
        """How the journal reads who did something; "" of somebody who has not signed in, and says it in a form."""
        return self.user.by if self.user else ""

    def scope(self, permission: Permission) -> AgencyScope:
        """Return for which agencies the visitor has a permission."""
        if permission in self.open:
            return AgencyScope(everything=True)
        return scope_of(self.user.assignments, permission) if self.user else AgencyScope()

    def may(self, permission: Permission, agency: str | None = None) -> bool:
        """Whether the visitor has a permission for an agency; `None`: for any at all."""
        scope = self.scope(permission)
        return bool(scope) if agency is None else agency in scope
