"""Tokens by which programs ask and order: for how long one is good, and what none ever may."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from monitor.access.role import PERMISSIONS, Permission, RoleAssignment, scope_of

#: What is found in a log or a repository by it is one of ours.
PREFIX: Final = "pantau_"
#: Somebody looks at each once a year.
LONGEST_TOKEN: Final = timedelta(days=366)
#: Who has found a token must not be able to make himself an account by it, or the next token.
NEVER_BY_TOKEN: Final = frozenset({Permission.MANAGE_USERS})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """What a program may, as long as it shows the secret of it."""

    id: int
    #: Of the program: "konsol-noc". A program may have two while one takes the other's place.
    name: str
    assignments: AbstractSet[RoleAssignment]
    made_by: str
    made_at: datetime
    ends_at: datetime
    #: To the minute; `None`: never yet.
    used_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def by(self) -> str:
        """How the journal and other people read what did something."""
        return f"program {self.name}"

    def stands(self, now: datetime) -> bool:
        """Whether it opens."""
        return self.revoked_at is None and now < self.ends_at


def exceeding(wanted: Iterable[RoleAssignment], own: AbstractSet[RoleAssignment]) -> RoleAssignment | None:
    """Return the first of the assignments *wanted* that permits what *own* do not; `None`: there is none."""
    return next(
        (
            each
            for each in sorted(wanted)
            if any(each.agency not in scope_of(own, permission) for permission in PERMISSIONS[each.role])
        ),
        None,
    )
