"""API tokens of programs: creation, revocation, and identification of a program by its token.

The valid tokens are few and cached for some seconds. So a guess causes no query, and a program with a known token is
never delayed by others behind the same address who guess.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from alerts.hours.elapsed import is_recent
from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.access.api_token import LONGEST_TOKEN, PREFIX, ApiToken, exceeding
from monitor.access.lockout import OF_ADDRESS, Failures
from monitor.access.role import RoleAssignment
from monitor.service.access.administration import read_roles
from monitor.service.access.secret import TokenSecret
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.store.admin.tokens import TokenRecords

log = structlog.get_logger()

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", re.ASCII)
#: In seconds: the maximum delay until another process applies a revocation.
_LOOKED_AT: Final = 5.0
#: Minimum interval at which the use of a token is stored.
_USED: Final = timedelta(minutes=1)
#: All are cached.
MOST_TOKENS: Final = 500
#: Maximum of addresses that are remembered.
_ADDRESSES: Final = 10_000
#: A shorter lifetime is a mistake in the unit.
_SHORTEST: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A new token with its secret, which is shown once."""

    token: ApiToken
    secret: TokenSecret = field(repr=False)


class InvalidTokenError(Exception):
    """The token is not valid."""


class TooManyAttemptsError(InvalidTokenError):
    """One address has sent too many invalid tokens."""

    def __init__(self, until: timedelta) -> None:
        """*until*: how long further tokens from the address are refused."""
        super().__init__(until)
        self.until = until


class ProgramTokens:
    """API tokens.

    Raises `OperationRejectedError` and `NotFoundError` with what to do instead, and `StoreUnavailable`.
    """

    def __init__(self, records: TokenRecords, clock: Clock, *, agencies: Callable[[], Collection[str]]) -> None:
        """*agencies* returns the codes of the monitored agencies."""
        self._records = records
        self._clock = clock
        self._agencies = agencies
        self._reading = asyncio.Lock()
        #: By digest: the tokens as last read, and the loop's time of that.
        self._standing: Mapping[str, ApiToken] | None = None
        self._read_at = 0.0
        self._used: dict[int, datetime] = {}
        self._addresses: OrderedDict[str, Failures] = OrderedDict()

    def now(self) -> datetime:
        """Return the current time."""
        return self._clock.now()

    async def all(self) -> Sequence[ApiToken]:
        """Return all tokens ever made, the newest first."""
        return await self._records.all()

    async def page(self, *, before: int, most: int) -> Sequence[ApiToken]:
        """Return the newest tokens *before* a number."""
        return await self._records.page(before=before, most=most)

    async def make(
        self,
        name: str,
        roles: Iterable[str],
        lasts: timedelta,
        *,
        by: str,
        address: str = "",
        own: AbstractSet[RoleAssignment] | None = None,
    ) -> NewToken:
        """Create a token that is valid for *lasts*.

        *own*: the permissions of its author, which limit those of the token; `None`: all.
        """
        called, now = name.strip(), self._clock.now()
        if not _NAME.fullmatch(called):
            raise OperationRejectedError.said("no_program_name", name=name[:64])
        assignments = read_roles(roles, self._agencies())
        if not assignments:
            raise OperationRejectedError.said("token_without_role")
        if own is not None and (beyond := exceeding(assignments, own)) is not None:
            raise OperationRejectedError.said("beyond_own", role=beyond)
        if not _SHORTEST <= lasts <= LONGEST_TOKEN:
            raise OperationRejectedError.said("token_too_long", days=LONGEST_TOKEN.days)
        if len(await self._records.standing(now)) >= MOST_TOKENS:
            raise OperationRejectedError.said("many_tokens", most=MOST_TOKENS)
        secret, ends_at = TokenSecret.new(), now + lasts
        said = " ".join(str(each) for each in sorted(assignments))
        entry = self._entry("token made", by, address, token=called, roles=said, until=ends_at.isoformat())
        number = await self._records.add(called, secret.digest, assignments, ends_at, entry)
        self._standing = None
        return NewToken(token=await self._numbered(number), secret=secret)

    async def revoke(self, number: int, *, by: str, address: str = "") -> ApiToken:
        """Revoke a token."""
        token = await self._numbered(number)
        if token.revoked_at is not None:
            raise OperationRejectedError.said("token_gone", number=number, name=token.name)
        entry = self._entry("token taken back", by, address, token=token.name, number=str(number))
        await self._records.revoke(number, entry)
        self._standing = None
        return await self._numbered(number)

    async def shown(self, secret: TokenSecret, address: str) -> ApiToken:
        """Return the token with the secret that a program presents. Raise `InvalidTokenError`.

        While the database is unavailable, tokens recognised before stay valid.
        """
        now = self._clock.now()
        token = (await self._present(now)).get(secret.digest)
        if token is None or not token.stands(now):
            self._refuse(now, address, is_ours=secret.text.startswith(PREFIX))
            raise InvalidTokenError
        await self._use(token, now)
        return token

    # -- internals -----------------------------------------------------------------------------------------------

    async def _present(self, now: datetime) -> Mapping[str, ApiToken]:
        loop = asyncio.get_running_loop()
        async with self._reading:
            if self._standing is None or loop.time() - self._read_at >= _LOOKED_AT:
                try:
                    self._standing = await self._records.standing(now)
                except StoreUnavailable:
                    if self._standing is None:
                        raise
                self._read_at = loop.time()
            return self._standing

    def _refuse(self, now: datetime, address: str, *, is_ours: bool) -> None:
        failures = self._addresses.pop(address, Failures())
        if (until := failures.until(now, OF_ADDRESS)) is not None:
            self._addresses[address] = failures
            raise TooManyAttemptsError(until - now)
        log.warning("token rejected", address=address, has_prefix=is_ours)
        self._addresses[address] = failures.more(now)
        while len(self._addresses) > _ADDRESSES:
            self._addresses.popitem(last=False)

    async def _use(self, token: ApiToken, now: datetime) -> None:
        used = self._used.get(token.id, token.used_at)
        if used is not None and is_recent(used, now, _USED):
            return
        self._used[token.id] = now
        try:
            await self._records.use(token.id, now)
        except StoreUnavailable as away:
            log.info("token use could not be recorded", reason=str(away))

    async def _numbered(self, number: int) -> ApiToken:
        if (token := await self._records.find(number)) is None:
            raise NotFoundError.said("no_token", number=number)
        return token

    def _entry(self, what: str, by: str, address: str, **detail: str) -> AuditEntry:
        return AuditEntry(
            at=self._clock.now(), actor=by, event=what, detail={**detail, **({"address": address} if address else {})}
        )
