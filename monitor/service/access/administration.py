"""User administration of the portal: users, their roles, and invitation codes.

A user chooses a password with an invitation code, so that no administrator knows the password.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry
from monitor.access.invitation_code import CodeKind, digest_of_code, normalise_code
from monitor.access.lockout import UNLOCK_DURATION
from monitor.access.principal import User
from monitor.access.role import ALL_AGENCIES, RoleAssignment, parse_assignment
from monitor.service.access.secret import hash_password, new_code
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.store.admin.users import AccessCodeRecord, LastAdministratorError, SecondFactors, UserExistsError, Users

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """An invitation code, which is shown once. Only its hash is stored."""

    user: User
    #: How the user gets the code: by telephone or by letter. Codes by letter are longer.
    kind: CodeKind
    code: str
    ends_at: datetime

    def __repr__(self) -> str:
        """Omit the code."""
        return f"Invitation({self.user.name!r}, {self.kind.value!r})"


class Administration:
    """User administration. In all methods *by* and *address* are the author and the author's client address.

    Every operation writes an audit log entry. Raises `OperationRejectedError` and `NotFoundError`, whose messages name
    the remedy, and `StoreUnavailable`.
    """

    def __init__(
        self,
        users: Users,
        clock: Clock,
        *,
        agencies: Callable[[], Collection[str]],
        factors: SecondFactors,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Take *agencies*, which returns the codes of monitored agencies, and *factors*, the users' second factors.

        *on_change* is called when permissions may have changed.
        """
        self._users = users
        self._clock = clock
        self._agencies = agencies
        self._factors = factors
        self._on_change = on_change

    async def users(self) -> Sequence[User]:
        """Return all users, by name."""
        return await self._users.all()

    async def page(self, query: str, *, after: str = "", limit: int) -> Sequence[User]:
        """Return at most *limit* users that match *query*, by name, beginning after the name *after*."""
        return await self._users.page(query.strip(), after=after, limit=limit)

    async def user(self, name: str) -> User:
        """Return the user of this name."""
        record = await self._users.find(name.strip().lower())
        if record is None:
            raise NotFoundError.from_text("no_user", name=name[:64])
        return record.user

    async def add(self, name: str, full_name: str, roles: Iterable[str], *, by: str, address: str = "") -> User:
        """Create a user, who cannot sign in before `invite`.

        *roles*: assignments such as "officer:JCONTOH".
        """
        user_name = name.strip().lower()
        if not _NAME.fullmatch(user_name):
            raise OperationRejectedError.from_text("no_user_name", name=name[:64])
        assignments = self._read_roles(roles)
        try:
            entry = self._entry("user made", by, address, user=user_name, name=full_name)
            user_id = await self._users.add(user_name, full_name, entry)
        except UserExistsError:
            raise OperationRejectedError.from_text("user_there", name=user_name) from None
        if assignments:
            await self._assign(User(id=user_id, name=user_name, full_name=full_name), assignments, by, address)
        return await self.user(user_name)

    async def assign(self, name: str, roles: Iterable[str], *, by: str, address: str = "") -> User:
        """Replace the roles of a user."""
        user, assignments = await self.user(name), self._read_roles(roles)
        await self._assign(user, assignments, by, address)
        return await self.user(name)

    async def invite(self, name: str, kind: CodeKind, *, by: str, address: str = "") -> Invitation:
        """Create an invitation code for choosing a first or new password; the previous code becomes invalid."""
        user = await self.user(name)
        if user.disabled_at is not None:
            raise OperationRejectedError.from_text("user_disabled", name=user.name)
        code, ends_at = new_code(kind), self._clock.now() + kind.validity
        if kind is CodeKind.LETTER:
            code_digest = digest_of_code(code)
        else:
            code_digest = await asyncio.to_thread(hash_password, normalise_code(code))
        entry = self._entry("code made", by, address, user=user.name, way=str(kind), until=ends_at.isoformat())
        await self._users.invite(user.id, AccessCodeRecord(kind=kind, digest=code_digest, ends_at=ends_at), entry)
        return Invitation(user=user, kind=kind, code=code, ends_at=ends_at)

    async def disable(self, name: str, *, by: str, address: str = "") -> User:
        """Disable the sign-in of a user, and end the user's sessions."""
        user = await self.user(name)
        entry = self._entry("user disabled", by, address, user=user.name)
        try:
            await self._users.disable(user.id, self._clock.now(), entry)
        except LastAdministratorError:
            raise OperationRejectedError.from_text("last_administrator", name=user.name) from None
        self._on_change()
        return await self.user(name)

    async def unlink(self, name: str, *, by: str, address: str = "") -> User:
        """Unlink the external accounts of a user, so that they cannot be used for sign-in until linked again."""
        user = await self.user(name)
        await self._users.unlink(user.id, self._entry("accounts unlinked", by, address, user=user.name))
        return user

    async def enable(self, name: str, *, by: str, address: str = "") -> User:
        """Enable the sign-in of a user."""
        user = await self.user(name)
        # `None` enables the user.
        await self._users.disable(user.id, None, self._entry("user enabled", by, address, user=user.name))
        return await self.user(name)

    async def unlock(self, name: str, *, by: str, address: str = "") -> User:
        """Exempt a user for `UNLOCK_DURATION` from the delay of sign-in that other people's failed attempts cause."""
        user, until = await self.user(name), self._clock.now() + UNLOCK_DURATION
        if user.disabled_at is not None:
            raise OperationRejectedError.from_text("user_disabled", name=user.name)
        entry = self._entry("user unlocked", by, address, user=user.name, until=until.isoformat())
        await self._users.unlock(user.id, until, entry)
        return await self.user(name)

    def is_unlocked(self, user: User) -> bool:
        """Whether a user is exempt from the sign-in delay now."""
        return user.is_unlocked(self._clock.now())

    async def reset_second_factor(self, name: str, *, by: str, address: str = "") -> User:
        """Remove the second factor of a user who has lost it, and end the user's sessions."""
        user = await self.user(name)
        if not user.has_second_factor:
            raise OperationRejectedError.from_text("no_second_factor", name=user.name)
        entry = self._entry("second factor taken away", by, address, user=user.name)
        await self._factors.remove(user.id, entry, ends_sessions=True)
        self._on_change()
        return await self.user(name)

    async def _assign(self, user: User, assignments: frozenset[RoleAssignment], by: str, address: str) -> None:
        roles = " ".join(str(each) for each in sorted(assignments))
        entry = self._entry("roles given", by, address, user=user.name, roles=roles)
        try:
            await self._users.assign(user.id, assignments, entry)
        except LastAdministratorError:
            raise OperationRejectedError.from_text("last_administrator", name=user.name) from None
        self._on_change()

    def _read_roles(self, roles: Iterable[str]) -> frozenset[RoleAssignment]:
        return read_roles(roles, self._agencies())

    def _entry(self, event: str, by: str, address: str, **detail: str) -> AuditEntry:
        return AuditEntry(
            at=self._clock.now(), actor=by, event=event, detail={**detail, **({"address": address} if address else {})}
        )


def read_roles(roles: Iterable[str], agencies: Collection[str]) -> frozenset[RoleAssignment]:
    """Parse assignments such as "officer:JCONTOH", with codes in *agencies*. Raise `OperationRejectedError`."""
    try:
        assignments = frozenset(parse_assignment(each) for each in roles)
    except ValueError as error:
        raise OperationRejectedError(str(error)) from None
    for each in sorted(assignments):
        if each.agency != ALL_AGENCIES and each.agency not in agencies:
            raise OperationRejectedError.from_text(
                "no_agency_among", agency=each.agency[:64], known=", ".join(sorted(agencies)[:20]) or "none"
            )
    return assignments
