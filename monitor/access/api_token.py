"""API tokens of programs: lifetime, and permissions that no token may have."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from monitor.access.role import PERMISSIONS, Permission, RoleAssignment, scope_of

#: Prefix of tokens, by which secret scanners recognise them in logs and repositories.
PREFIX: Final = "pantau_"
#: Longest permitted lifetime: a token must be replaced at least once a year.
MAX_TOKEN_LIFETIME: Final = timedelta(days=366)
#: A leaked token must not create an account or another token.
FORBIDDEN_TO_TOKENS: Final = frozenset({Permission.MANAGE_USERS})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """API token of a program, without the secret itself."""

    id: int
    #: Name of the program: "konsol-noc". A program may have two tokens during a rotation.
    name: str
    #: Roles of the program.
    assignments: AbstractSet[RoleAssignment]
    #: Actor who created the token, as in the audit log.
    made_by: str
    made_at: datetime
    #: When the token expires.
    ends_at: datetime
    #: Last use, to the minute; `None`: never used.
    used_at: datetime | None = None
    #: `None`: not revoked.
    revoked_at: datetime | None = None

    @property
    def by(self) -> str:
        """The program's name as an actor in the audit log."""
        return f"program {self.name}"

    def is_valid(self, now: datetime) -> bool:
        """Whether the token is neither revoked nor expired."""
        return self.revoked_at is None and now < self.ends_at


def first_exceeding(
    requested: Iterable[RoleAssignment], author_assignments: AbstractSet[RoleAssignment]
) -> RoleAssignment | None:
    """Return the first *requested* assignment of a token that grants more than those of its author, or `None`."""
    return next(
        (
            assignment
            for assignment in sorted(requested)
            if any(
                assignment.agency not in scope_of(author_assignments, permission)
                for permission in PERMISSIONS[assignment.role]
            )
        ),
        None,
    )
