"""Sign-in with a password, recognition of sessions, and the choice of a password with a code.

Whatever is wrong, the answer and its duration are the same, so that nobody can find out who has an account. Attempts on
one account are processed one after the other, so that concurrent attempts do not avoid the delay.

Failed attempts of unauthenticated clients delay their own address (`monitor.access.lockout`). A browser in which the
user has signed in before has a count of its own (`monitor.access.device`), as has a session: attempts of others behind
the same address do not delay it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Final, TypeVar

import structlog

from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.access.device import device_mark, marked_device
from monitor.access.encryption import Ciphertext, SecretPlace, SecretPurpose
from monitor.access.invitation_code import CodeWay, digest_of_code, typed_code
from monitor.access.lockout import OF_ACCOUNT, OF_ADDRESS, OF_ALL, Failures
from monitor.access.password import password_problem
from monitor.access.principal import User
from monitor.access.role import Role
from monitor.access.totp import HALF_FOR, one_time_digits, step_of
from monitor.service.access.secret import (
    SessionKey,
    hash_password,
    is_password,
    new_nonce,
    new_one_time_secret,
    new_recovery_codes,
)
from monitor.service.access.secret_store import SecretStore
from monitor.store.admin.keyring import SecretLockedError
from monitor.store.admin.users import (
    AccessCodeRecord,
    FailedAttempt,
    PendingSession,
    SecondFactors,
    UserRecord,
    Users,
    WebSession,
    one_time_place,
)

log = structlog.get_logger()
T = TypeVar("T")

#: After this time without use another person may sit at the browser.
IDLE: Final = timedelta(minutes=30)
#: The length of a shift.
LONGEST: Final = timedelta(hours=12)
#: In seconds: the maximum delay until a change of permissions takes effect; a page sends requests several times a
#: minute.
_LOOKED_AT: Final = 5.0
#: Minimum interval at which the use of a session is stored.
_SEEN: Final = timedelta(minutes=1)
#: Each hash takes 19 MiB and 50 ms of CPU; the probes need the other core.
_AT_ONCE: Final = 2
#: Maximum of addresses, and of browsers with failures, that are remembered.
_ADDRESSES: Final = 10_000
_DEVICES: Final = 10_000

#: Returns the device mark that a browser presents for a name; "": none.
DeviceShown = Callable[[str], str]
#: Maximum of sessions that are recognised while the database is unavailable.
_SESSIONS: Final = 2_000
#: Maximum of attempts that wait for a password check; more are a flood, and are refused.
_QUEUE: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A new session."""

    key: SessionKey
    session: WebSession
    #: Device mark for the browser; "": the user has no password from which it could be derived.
    device: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPendingSession:
    """The password was correct, and a one-time code is required next."""

    key: SessionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TotpEnrolment:
    """New secret for an authenticator app, which is not stored yet."""

    secret: str = field(repr=False)
    #: The secret in encrypted form, for the form that confirms it; invalid in another session.
    pending: str = field(repr=False)


@dataclass(slots=True, kw_only=True)
class _Turn:
    """Lock that serialises the attempts on one account."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Number of attempts that hold it or wait for it.
    wanted: int = 0


class _Count(Enum):
    """Counts of failures that may delay an attempt."""

    ADDRESS = auto()
    #: Of the account, from the address.
    ACCOUNT_THERE = auto()
    #: Of the account, from everywhere.
    ACCOUNT = auto()
    ONE_TIME_CODE = auto()


_BY_PASSWORD: Final = frozenset({_Count.ADDRESS, _Count.ACCOUNT_THERE, _Count.ACCOUNT})
_BY_CODE: Final = frozenset({_Count.ADDRESS})
_SECOND_STEP: Final = frozenset({_Count.ADDRESS, _Count.ACCOUNT_THERE, _Count.ONE_TIME_CODE})


def no_device(_name: str) -> str:
    """Return that a browser presents no device mark."""
    return ""


class SignInFailedError(Exception):
    """Sign-in refused. The message is a key of the portal's words."""


class Authenticator:
    """Authenticates users. Raises `StoreUnavailable`, except for sessions recognised before."""

    def __init__(
        self,
        users: Users,
        clock: Clock,
        *,
        agencies: Callable[[], Sequence[str]],
        factors: SecondFactors,
        safe: SecretStore,
        required: AbstractSet[Role] = frozenset(),
    ) -> None:
        """*agencies* returns the names of the monitored agencies, which are no valid passwords.

        *required*: the roles that require a second factor.
        """
        self._users = users
        self._clock = clock
        self._factors = factors
        self._safe = safe
        self._required = required
        self._agencies = agencies
        self._hashing = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._turns: dict[str, _Turn] = {}
        self._addresses: OrderedDict[str, Failures] = OrderedDict()
        #: Of browsers in which a user has signed in before, and of sessions.
        self._devices: OrderedDict[str, Failures] = OrderedDict()
        #: By digest: the session as last read, and the loop's time of that.
        self._known: OrderedDict[str, tuple[WebSession, float]] = OrderedDict()
        self._nobody: str | None = None

    async def sign_in(
        self, name: str, password: str, address: str, shown: DeviceShown = no_device
    ) -> NewSession | NewPendingSession:
        """Begin a session, or a pending one if a second factor is required. Raise `SignInFailedError`.

        *shown*: returns the device mark that the browser presents.
        """
        device = await self._device(name, shown)
        async with self._turn(name, device):
            kept = await self._admitted(name, address, device)
            right = await self._in_thread(is_password, password, (kept and kept.password) or await self._dummy())
            if kept is None or kept.password is None or kept.user.disabled_at is not None or not right:
                await self._failed(kept, name, address, "sign-in failed", device)
                raise SignInFailedError("sign_in_wrong")
            entered = await self._enter(kept.user, address)
            if isinstance(entered, NewSession):
                self._succeeded(name, address, device)
            return entered

    async def second_step(
        self, key: SessionKey | None, code: str, address: str, shown: DeviceShown = no_device
    ) -> NewSession:
        """Turn a pending session into a session, by a one-time or a recovery code. Raise `SignInFailedError`."""
        half = await self._factors.half(key.digest) if key else None
        if key is None or half is None:
            raise SignInFailedError("sign_in_again")
        device = await self._device(half.name, shown)
        async with self._turn(half.name, device):
            kept = await self._admitted(half.name, address, device, _SECOND_STEP)
            # Read again: a concurrent attempt may have used it.
            half = await self._factors.half(key.digest)
            if half is None or half.ends_at <= self._clock.now() or kept is None or kept.user.disabled_at is not None:
                raise SignInFailedError("sign_in_again")
            await self._prove(kept, code, address, device)
            self._succeeded(half.name, address, device)
            return await self._begin(kept.user, address, "signed in with a second factor")

    async def choose_password(
        self, name: str, code: str, password: str, address: str
    ) -> NewSession | NewPendingSession:
        """Store a password chosen with a code, and sign in with it. Raise `SignInFailedError`."""
        async with self._turn(name):
            # A code from an administrator cannot be guessed, so attempts on the account do not delay it.
            kept = await self._admitted(name, address, waits_for=_BY_CODE)
            opening = await self._users.code(kept.user.id) if kept else None
            now = self._clock.now()
            good = opening is not None and opening.ends_at > now
            good = await self._opens(code, opening) and good
            if kept is None or kept.user.disabled_at is not None or not good:
                await self._failed(kept, name, address, "code refused")
                raise SignInFailedError("code_wrong")
            await self._change(kept.user, password, address, "password chosen by a code")
            # A code that was given by telephone does not replace the second factor.
            return await self._enter(kept.user, address)

    async def change_password(self, session: WebSession, old: str, new: str, address: str) -> NewSession:
        """Change the password of a signed-in user; all other sessions end. Raise `SignInFailedError`."""
        async with self._turn(session.user.name, session.digest):
            kept = await self._asked_again(session, old, address, "password not changed")
            await self._change(kept.user, new, address, "password changed")
            return await self._begin(kept.user, address, "signed in")

    async def enter(self, user: User, address: str, what: str) -> NewSession | NewPendingSession:
        """Begin a session, or a pending one, of a user whom another provider has authenticated.

        Raise `SignInFailedError`.
        """
        if user.disabled_at is not None:
            raise SignInFailedError("sign_in_wrong")
        # Pantau cannot tell whether the provider has checked a second factor.
        return await self._enter(user, address, what)

    # -- second factor -------------------------------------------------------------------------------------------

    def is_held(self, user: User) -> bool:
        """Whether the user must set up a second factor first."""
        return not user.has_second_factor and any(each.role in self._required for each in user.assignments)

    def offer(self, session: WebSession) -> TotpEnrolment | None:
        """Return a new secret for the user's authenticator app; `None`: there is no key to encrypt it."""
        if not self._safe.can_keep:
            return None
        secret = new_one_time_secret()
        kept = self._safe.encrypt(_offered_to(session), secret)
        return TotpEnrolment(secret=secret, pending=f"{kept.key_id}:{kept.text}")

    def offered(self, session: WebSession, kept: str) -> TotpEnrolment:
        """Return the new secret from the form that confirms it. Raise `SignInFailedError`."""
        key_id, _, text = kept.partition(":")
        try:
            secret = self._safe.decrypt(_offered_to(session), Ciphertext(key_id=key_id, text=text))
        except SecretLockedError:
            raise SignInFailedError("factor_offer_over") from None
        return TotpEnrolment(secret=secret, pending=kept)

    async def set_up(
        self, session: WebSession, offer: TotpEnrolment, code: str, password: str, address: str
    ) -> tuple[NewSession, Sequence[str]]:
        """Store a second factor whose app shows the correct code; return recovery codes, shown once.

        All other sessions end. The password is required again: otherwise a person at another's desk could lock that
        user out. Raise `SignInFailedError`.
        """
        user = session.user
        async with self._turn(user.name, session.digest):
            kept = await self._asked_again(session, password, address, "second factor not set up")
            now, digits = self._clock.now(), one_time_digits(code)
            step = step_of(offer.secret, digits, now) if digits else None
            if step is None:
                raise SignInFailedError("one_time_wrong")
            codes = new_recovery_codes()
            secret = self._safe.encrypt(one_time_place(user.id), offer.secret)
            digests = [digest_of_code(each) for each in codes]
            entry = _entry(user, "second factor set up", now, address)
            if not await self._factors.set_up(user.id, secret, step, digests, entry):
                raise SignInFailedError("factor_there")
            self.forget()
            return await self._begin(replace(kept.user, has_second_factor=True), address, "signed in"), codes

    async def renew_recovery_codes(self, session: WebSession, code: str, address: str) -> Sequence[str]:
        """Return new recovery codes, shown once; the previous ones become invalid. Raise `SignInFailedError`."""
        device = session.digest
        async with self._turn(session.user.name, device):
            await self._prove(await self._admitted(session.user.name, address, device), code, address, device)
            codes = new_recovery_codes()
            entry = _entry(session.user, "recovery codes made", self._clock.now(), address)
            await self._factors.renew_recovery_codes(session.user.id, [digest_of_code(each) for each in codes], entry)
            return codes

    async def take_off(self, session: WebSession, code: str, address: str) -> None:
        """Remove the second factor of a user who enters a valid code. Raise `SignInFailedError`."""
        device = session.digest
        async with self._turn(session.user.name, device):
            await self._prove(await self._admitted(session.user.name, address, device), code, address, device)
            entry = _entry(session.user, "second factor taken off", self._clock.now(), address)
            await self._factors.take_away(session.user.id, entry, ends_sessions=False)
            self.forget()

    async def recovery_codes(self, user: User) -> int:
        """Return the number of unused recovery codes of the user."""
        return await self._factors.recovery_codes(user.id)

    # -- sessions ------------------------------------------------------------------------------------------------

    async def session(self, key: SessionKey, *, is_use: bool = True) -> WebSession | None:
        """Return the session of a browser that presents *key*; `None`: it is expired or unknown.

        *is_use*: whether a person makes the request, which extends the session. While the database is unavailable,
        sessions recognised before stay valid: otherwise the page that reports the outage would be closed to their
        users.
        """
        digest, loop = key.digest, asyncio.get_running_loop()
        known = self._known.get(digest)
        session = known[0] if known else None
        if known is None or loop.time() - known[1] >= _LOOKED_AT:
            try:
                session = await self._users.session(digest)
            except StoreUnavailable:
                if session is None:
                    raise
            self._remember(digest, session)
        now = self._clock.now()
        if session is None or now >= session.ends_at or now - session.seen_at >= IDLE or session.user.disabled_at:
            return None
        # In both directions: after the clock was set back, no session would otherwise expire until it has caught up.
        if is_use and abs(now - session.seen_at) >= _SEEN:
            session = await self._see(session, now)
        return session

    async def sign_out(self, session: WebSession, address: str) -> None:
        """End a session."""
        now = self._clock.now()
        self._known.pop(session.digest, None)
        await self._users.end(session.digest, _entry(session.user, "signed out", now, address))

    def forget(self) -> None:
        """Read every session again: roles have changed."""
        self._known.clear()

    # -- internals -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _turn(self, name: str, device: str | None = None) -> AsyncIterator[None]:
        # Unauthenticated clients fill at most half of the queue; known browsers use the rest.
        if self._waiting >= (_QUEUE if device is None else 2 * _QUEUE):
            raise SignInFailedError("sign_in_busy")
        # A name contains no blank.
        name = name if device is None else f"{name} {device}"
        turn = self._turns.setdefault(name, _Turn())
        turn.wanted += 1
        self._waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            self._waiting -= 1
            turn.wanted -= 1
            # Not by whether the lock is held: between two holders it is free, and a third would get a lock of its own.
            if not turn.wanted:
                del self._turns[name]

    async def _device(self, name: str, shown: DeviceShown) -> str | None:
        """Return the key of a browser in which a user of this name has signed in before; `None`: it is unknown."""
        mark = shown(name)
        kept = await self._users.find(name) if mark else None
        return marked_device(mark, kept.user.id, kept.password) if kept is not None and kept.password else None

    async def _admitted(
        self, name: str, address: str, device: str | None = None, waits_for: AbstractSet[_Count] = _BY_PASSWORD
    ) -> UserRecord | None:
        """Return the user of this name, unless the attempt is delayed. *waits_for*: the counts that delay it."""
        now = self._clock.now()
        if device is not None:
            if self._devices.get(device, Failures()).until(now, OF_ACCOUNT) is not None:
                raise SignInFailedError("sign_in_wait")
            return await self._users.find(name)
        kept = await self._users.find(name)
        none = Failures()
        counts = {
            _Count.ADDRESS: (self._addresses.get(address, none), OF_ADDRESS),
            _Count.ACCOUNT_THERE: (self._addresses.get(_account_at(name, address), none), OF_ACCOUNT),
            # An unknown name is delayed like a known one.
            _Count.ACCOUNT: (kept.failures if kept else self._addresses.get(f"name {name}", none), OF_ALL),
            _Count.ONE_TIME_CODE: (kept.code_failures if kept else none, OF_ACCOUNT),
        }
        if kept is not None and kept.user.is_unlocked(now):
            waits_for &= {_Count.ONE_TIME_CODE}
        if any(counts[each][0].until(now, counts[each][1]) is not None for each in waits_for):
            raise SignInFailedError("sign_in_wait")
        return kept

    async def _asked_again(self, session: WebSession, password: str, address: str, failed: str) -> UserRecord:
        """Return a signed-in user who has entered the password again. Raise `SignInFailedError`."""
        user, device = session.user, session.digest
        kept = await self._admitted(user.name, address, device)
        right = await self._in_thread(is_password, password, (kept and kept.password) or await self._dummy())
        if kept is None or kept.password is None or not right:
            await self._failed(kept, user.name, address, failed, device)
            raise SignInFailedError("old_password_wrong")
        return kept

    async def _failed(
        self,
        kept: UserRecord | None,
        name: str,
        address: str,
        what: str,
        device: str | None = None,
        *,
        counted: FailedAttempt = FailedAttempt.FIRST_STEP,
    ) -> None:
        now = self._clock.now()
        log.warning(what, user=kept.user.name if kept else None, address=address)
        if device is not None:
            _count(self._devices, device, now, _DEVICES)
        else:
            for each in (address, _account_at(name, address)):
                _count(self._addresses, each, now, _ADDRESSES)
        if kept is None:
            _count(self._addresses, f"name {name}", now, _ADDRESSES)
            return
        entry = _entry(kept.user, what, now, address)
        await self._users.fail(kept.user.id, entry, counted=counted if device is None else None)

    def _succeeded(self, name: str, address: str, device: str | None) -> None:
        self._devices.pop(device or "", None)
        self._addresses.pop(_account_at(name, address), None)

    async def _enter(self, user: User, address: str, what: str = "signed in") -> NewSession | NewPendingSession:
        if not user.has_second_factor:
            return await self._begin(user, address, what)
        now, key = self._clock.now(), SessionKey.new()
        half = PendingSession(digest=key.digest, user_id=user.id, name=user.name, ends_at=now + HALF_FOR)
        await self._factors.begin_half(half, _entry(user, f"{what}, but for the code", now, address))
        return NewPendingSession(key=key)

    async def _prove(self, kept: UserRecord | None, code: str, address: str, device: str | None = None) -> None:
        """Check the second factor of a user, and use the code. Raise `SignInFailedError`."""
        if kept is None or not kept.user.has_second_factor:
            raise SignInFailedError("sign_in_again")
        if not await self._is_good(kept.user, code, address):
            what, counted = "one-time code refused", FailedAttempt.SECOND_STEP
            await self._failed(kept, kept.user.name, address, what, device, counted=counted)
            raise SignInFailedError("one_time_wrong")

    async def _is_good(self, user: User, code: str, address: str) -> bool:
        now = self._clock.now()
        if (digits := one_time_digits(code)) is None:
            entry = _entry(user, "recovery code used", now, address)
            return await self._factors.use_recovery_code(user.id, digest_of_code(code), entry)
        try:
            secret = await self._safe.secret(one_time_place(user.id))
        except SecretLockedError as why:
            log.error("one-time code cannot be verified", user=user.name, reason=str(why))  # noqa: TRY400 - no bug
            raise SignInFailedError("factor_locked") from None
        step = step_of(secret, digits, now) if secret else None
        return step is not None and await self._factors.use_step(user.id, step)

    async def _begin(self, user: User, address: str, what: str) -> NewSession:
        now, key = self._clock.now(), SessionKey.new()
        session = WebSession(
            digest=key.digest, user=user, started_at=now, seen_at=now, ends_at=now + LONGEST, address=address[:64]
        )
        await self._users.begin(session, _entry(user, what, now, address))
        kept = await self._users.find(user.name)
        mark = device_mark(user.id, new_nonce(), kept.password) if kept is not None and kept.password else ""
        return NewSession(key=key, session=session, device=mark)

    async def _change(self, user: User, password: str, address: str, what: str) -> None:
        """Store a new password. On `SignInFailedError` the old one, or the code, stays valid."""
        names = [user.name, *user.full_name.split(), *self._agencies()]
        if (wrong := await self._in_thread(password_problem, password, names)) is not None:
            raise SignInFailedError(wrong)
        kept = await self._in_thread(hash_password, password)
        await self._users.choose_password(user.id, kept, _entry(user, what, self._clock.now(), address))
        self.forget()

    async def _opens(self, code: str, opening: AccessCodeRecord | None) -> bool:
        if opening is not None and opening.kind is CodeWay.LETTER:
            return digest_of_code(code) == opening.digest
        return await self._in_thread(is_password, typed_code(code), opening.digest if opening else await self._dummy())

    async def _dummy(self) -> str:
        """Return a hash to compare with if there is none."""
        if self._nobody is None:
            self._nobody = await self._in_thread(hash_password, SessionKey.new().text)
        return self._nobody

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        async with self._hashing:
            return await asyncio.to_thread(partial(work, *args))

    async def _see(self, session: WebSession, now: datetime) -> WebSession:
        session = replace(session, seen_at=now)
        try:
            await self._users.see(session.digest, now)
        except StoreUnavailable as away:
            log.info("session use could not be recorded", reason=str(away))
        self._remember(session.digest, session)
        return session

    def _remember(self, digest: str, session: WebSession | None) -> None:
        self._known.pop(digest, None)
        if session is not None:
            self._known[digest] = session, asyncio.get_running_loop().time()
        while len(self._known) > _SESSIONS:
            self._known.popitem(last=False)


def _account_at(name: str, address: str) -> str:
    """Return the key of the count of attempts on an account from one address. An address contains no blank."""
    return f"{address} {name}"


def _count(failures: OrderedDict[str, Failures], of: str, now: datetime, most: int) -> None:
    failures[of] = failures.pop(of, Failures()).more(now)
    while len(failures) > most:
        failures.popitem(last=False)


def _entry(user: User, what: str, now: datetime, address: str) -> AuditEntry:
    return AuditEntry(at=now, actor=user.by, event=what, detail={"user": user.name, "address": address})


def _offered_to(session: WebSession) -> SecretPlace:
    return SecretPlace(purpose=SecretPurpose.ONE_TIME_OFFER, owner=f"{session.user.id} {session.digest}")
