"""API tokens of programs: creation, revocation, and authentication.

All valid tokens are cached for some seconds, so an invalid token causes no query. Many invalid tokens from one client
address block further invalid tokens from this address, and never delay a program that has a valid token.
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
from monitor.access.api_token import MAX_TOKEN_LIFETIME, PREFIX, ApiToken, first_exceeding
from monitor.access.lockout import FREE_ADDRESS_ATTEMPTS, Failures
from monitor.access.role import RoleAssignment
from monitor.service.access.administration import read_roles
from monitor.service.access.secret import TokenSecret
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.store.admin.tokens import TokenRecords

log = structlog.get_logger()

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", re.ASCII)
#: Lifetime of the cache in seconds, after which a revocation in another process takes effect.
_CACHE_SECONDS: Final = 5.0
#: Minimum interval at which the use of a token is stored.
_USE_INTERVAL: Final = timedelta(minutes=1)
#: Maximum number of valid tokens, because all are cached.
MAX_TOKENS: Final = 500
#: Maximum number of client addresses whose failures are counted; beyond it the oldest is dropped.
_MAX_ADDRESSES: Final = 10_000
#: Minimum lifetime: a shorter one is probably a mistake in the unit.
_MIN_LIFETIME: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A new token with its secret, which is shown once."""

    token: ApiToken
    secret: TokenSecret = field(repr=False)


class InvalidTokenError(Exception):
    """The token is not valid."""


class TooManyAttemptsError(InvalidTokenError):
    """A client address has sent too many invalid tokens."""

    def __init__(self, retry_after: timedelta) -> None:
        """Take *retry_after*, the time for which further tokens from the address are rejected."""
        super().__init__(retry_after)
        self.retry_after = retry_after


class ProgramTokens:
    """Creation, revocation and authentication of API tokens.

    Raises `OperationRejectedError` and `NotFoundError`, whose messages name the remedy, and `StoreUnavailable`.
    """

    def __init__(self, records: TokenRecords, clock: Clock, *, agencies: Callable[[], Collection[str]]) -> None:
        """Take *agencies*, which returns the codes of the monitored agencies."""
        self._records = records
        self._clock = clock
        self._agencies = agencies
        self._lock = asyncio.Lock()
        #: Valid tokens by digest, as last read; `None`: the tokens must be read before use.
        self._valid_tokens: Mapping[str, ApiToken] | None = None
        #: Time of the last read, by the loop's clock.
        self._read_at = 0.0
        #: By token id: the last use that was stored.
        self._used_at: dict[int, datetime] = {}
        #: Failures by client address.
        self._failures_by_address: OrderedDict[str, Failures] = OrderedDict()

    def now(self) -> datetime:
        """Return the current time."""
        return self._clock.now()

    async def all(self) -> Sequence[ApiToken]:
        """Return all tokens ever made, the newest first."""
        return await self._records.all()

    async def page(self, *, before: int, limit: int) -> Sequence[ApiToken]:
        """Return at most *limit* tokens with an id below *before*, the newest first."""
        return await self._records.page(before=before, limit=limit)

    async def create(
        self,
        name: str,
        roles: Iterable[str],
        lifetime: timedelta,
        *,
        by: str,
        address: str = "",
        author_roles: AbstractSet[RoleAssignment] | None = None,
    ) -> NewToken:
        """Create a token that is valid for *lifetime*.

        *by*, *address*: the author and the author's client address, for the audit log. *author_roles*: the author's
        roles, which the token's *roles* must not exceed; `None`: no limit.
        """
        program_name, now = name.strip(), self._clock.now()
        if not _NAME.fullmatch(program_name):
            raise OperationRejectedError.from_text("no_program_name", name=name[:64])
        assignments = read_roles(roles, self._agencies())
        if not assignments:
            raise OperationRejectedError.from_text("token_without_role")
        if author_roles is not None and (excess_role := first_exceeding(assignments, author_roles)) is not None:
            raise OperationRejectedError.from_text("beyond_own", role=excess_role)
        if lifetime < _MIN_LIFETIME:
            raise OperationRejectedError.from_text("token_too_short")
        if lifetime > MAX_TOKEN_LIFETIME:
            raise OperationRejectedError.from_text("token_too_long", days=MAX_TOKEN_LIFETIME.days)
        if len(await self._records.list_valid(now)) >= MAX_TOKENS:
            raise OperationRejectedError.from_text("many_tokens", most=MAX_TOKENS)
        secret, ends_at = TokenSecret.new(), now + lifetime
        roles_text = " ".join(str(each) for each in sorted(assignments))
        entry = self._entry("token made", by, address, token=program_name, roles=roles_text, until=ends_at.isoformat())
        token_id = await self._records.add(program_name, secret.digest, assignments, ends_at, entry)
        self._valid_tokens = None
        return NewToken(token=await self._find(token_id), secret=secret)

    async def revoke(self, token_id: int, *, by: str, address: str = "") -> ApiToken:
        """Revoke a token."""
        token = await self._find(token_id)
        if token.revoked_at is not None:
            raise OperationRejectedError.from_text("token_gone", number=token_id, name=token.name)
        entry = self._entry("token taken back", by, address, token=token.name, number=str(token_id))
        await self._records.revoke(token_id, entry)
        self._valid_tokens = None
        return await self._find(token_id)

    async def authenticate(self, secret: TokenSecret, address: str) -> ApiToken:
        """Return the valid token with the secret that a program presents. Raise `InvalidTokenError`.

        While the database is unavailable, cached tokens stay valid.
        """
        now = self._clock.now()
        token = (await self._current_tokens(now)).get(secret.digest)
        if token is None or not token.is_valid(now):
            self._reject(now, address, has_prefix=secret.text.startswith(PREFIX))
            raise InvalidTokenError
        await self._record_use(token, now)
        return token

    # -- internals -----------------------------------------------------------------------------------------------

    async def _current_tokens(self, now: datetime) -> Mapping[str, ApiToken]:
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._valid_tokens is None or loop.time() - self._read_at >= _CACHE_SECONDS:
                try:
                    self._valid_tokens = await self._records.list_valid(now)
                except StoreUnavailable:
                    if self._valid_tokens is None:
                        raise
                self._read_at = loop.time()
            return self._valid_tokens

    def _reject(self, now: datetime, address: str, *, has_prefix: bool) -> None:
        """Count and log an invalid token. Raise `TooManyAttemptsError` while the address is blocked.

        *has_prefix*: whether the token has the prefix of Pantau's tokens.
        """
        failures = self._failures_by_address.pop(address, Failures())
        if (blocked_until := failures.blocked_until(now, FREE_ADDRESS_ATTEMPTS)) is not None:
            self._failures_by_address[address] = failures
            raise TooManyAttemptsError(blocked_until - now)
        log.warning("token rejected", address=address, has_prefix=has_prefix)
        self._failures_by_address[address] = failures.with_failure(now)
        while len(self._failures_by_address) > _MAX_ADDRESSES:
            self._failures_by_address.popitem(last=False)

    async def _record_use(self, token: ApiToken, now: datetime) -> None:
        last_use = self._used_at.get(token.id, token.used_at)
        if last_use is not None and is_recent(last_use, now, _USE_INTERVAL):
            return
        self._used_at[token.id] = now
        try:
            await self._records.use(token.id, now)
        except StoreUnavailable as error:
            log.info("token use could not be recorded", reason=str(error))

    async def _find(self, token_id: int) -> ApiToken:
        if (token := await self._records.find(token_id)) is None:
            raise NotFoundError.from_text("no_token", number=token_id)
        return token

    def _entry(self, event: str, by: str, address: str, **detail: str) -> AuditEntry:
        return AuditEntry(
            at=self._clock.now(), actor=by, event=event, detail={**detail, **({"address": address} if address else {})}
        )
