"""API tokens of programs: lifetime, and permissions that no token may have."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from monitor.access.role import PERMISSIONS, Permission, RoleAssignment, scope_of

#: Prefix by which secret scanners recognise our tokens in logs and repositories.
PREFIX: Final = "pantau_"
#: A token must be renewed at least once a year.
LONGEST_TOKEN: Final = timedelta(days=366)
#: A leaked token must not create an account or another token.
NEVER_BY_TOKEN: Final = frozenset({Permission.MANAGE_USERS})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """Permissions of a program that shows the token's secret."""

    id: int
    #: Name of the program: "konsol-noc". It may have two tokens during a rotation.
    name: str
    assignments: AbstractSet[RoleAssignment]
    made_by: str
    made_at: datetime
    ends_at: datetime
    #: To the minute; `None`: never used.
    used_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def by(self) -> str:
        """The actor in the audit log."""
        return f"program {self.name}"

    def stands(self, now: datetime) -> bool:
        """Whether the token is valid."""
        return self.revoked_at is None and now < self.ends_at


def exceeding(wanted: Iterable[RoleAssignment], own: AbstractSet[RoleAssignment]) -> RoleAssignment | None:
    """Return the first *wanted* assignment whose permissions *own* does not have; `None` without any."""
    return next(
        (
            each
            for each in sorted(wanted)
            if any(each.agency not in scope_of(own, permission) for permission in PERMISSIONS[each.role])
        ),
        None,
    )
