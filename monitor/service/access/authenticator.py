"""Sign-in with a password and a second factor, sessions, and the choice of a password with an invitation code.

The answer and its duration do not depend on the cause of a failure, so that nobody can find out who has an account.
Attempts on one account are processed one after the other, so that concurrent attempts do not avoid the delay.

Failed attempts delay further attempts from the same address and on the same account (`monitor.access.lockout`). A known
device is a browser with a cookie from an earlier sign-in of the user (`monitor.access.device`). Failures of each known
device and of each session are counted separately, so that other people's attempts do not delay the user.
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
from monitor.access.device import device_cookie_value, verify_device_cookie
from monitor.access.encryption import Ciphertext, SecretId, SecretPurpose
from monitor.access.invitation_code import CodeKind, digest_of_code, normalise_code
from monitor.access.lockout import FREE_ACCOUNT_ATTEMPTS, FREE_ADDRESS_ATTEMPTS, MAX_ACCOUNT_FAILURES, Failures
from monitor.access.password import password_problem
from monitor.access.principal import User
from monitor.access.role import Role
from monitor.access.totp import PENDING_LIFETIME, matching_step, parse_totp
from monitor.service.access.secret import (
    SessionKey,
    hash_password,
    new_nonce,
    new_one_time_secret,
    new_recovery_codes,
    verify_password,
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
    one_time_secret_id,
)

log = structlog.get_logger()
T = TypeVar("T")

#: A session without activity ends after this time, because another person may use the browser.
_IDLE_TIMEOUT: Final = timedelta(minutes=30)
#: A session ends after this time, the length of a shift.
MAX_SESSION_TIME: Final = timedelta(hours=12)
#: Lifetime of a cached session, in seconds. A change of permissions in another process takes effect after this time.
#: Without the cache each request of a page, several a minute, would read the database.
_CACHE_SECONDS: Final = 5.0
#: Minimum interval at which the use of a session is stored.
_USE_INTERVAL: Final = timedelta(minutes=1)
#: Maximum number of concurrent hash computations. Each takes 19 MiB and 50 ms of CPU, which the probes also need.
_MAX_HASHES: Final = 2
#: Maximum number of counts by address; beyond it the oldest is dropped.
_MAX_ADDRESSES: Final = 10_000
#: Maximum number of devices and sessions whose failures are counted.
_MAX_DEVICES: Final = 10_000

#: Returns the device cookie that a browser presents for a user name; "": the browser has none.
DeviceCookieReader = Callable[[str], str]
#: Maximum number of cached sessions, which stay valid while the database is unavailable.
_MAX_SESSIONS: Final = 2_000
#: Maximum number of attempts that wait or are processed; further ones are rejected. Known devices have twice the limit.
_MAX_WAITING: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A new session."""

    key: SessionKey
    session: WebSession
    #: Device cookie for the browser, derived from the password; "": the user has no password.
    device_cookie: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPendingSession:
    """A new pending session: the password was correct, and a code of the second factor is required next."""

    key: SessionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TotpEnrolment:
    """New secret for an authenticator app, which is not stored yet."""

    secret: str = field(repr=False)
    #: The encrypted secret for the confirmation form. It can be decrypted in the same session only.
    sealed: str = field(repr=False)


@dataclass(slots=True, kw_only=True)
class _AccountLock:
    """Lock that serialises the attempts on one account."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Number of attempts that hold the lock or wait for it.
    waiters: int = 0


class _FailureCounter(Enum):
    """Counts of failures that may delay an attempt."""

    #: From the same address, on any account.
    ADDRESS = auto()
    #: From the same address, on the same account.
    ACCOUNT_AT_ADDRESS = auto()
    #: From any address, on the same account.
    ACCOUNT = auto()
    #: Wrong codes of the second factor of the account.
    ONE_TIME_CODE = auto()


#: Counts that delay an attempt with a password, with an invitation code, and with a one-time code.
_PASSWORD_COUNTS: Final = frozenset(
    {_FailureCounter.ADDRESS, _FailureCounter.ACCOUNT_AT_ADDRESS, _FailureCounter.ACCOUNT}
)
_INVITATION_CODE_COUNTS: Final = frozenset({_FailureCounter.ADDRESS})
_ONE_TIME_CODE_COUNTS: Final = frozenset(
    {_FailureCounter.ADDRESS, _FailureCounter.ACCOUNT_AT_ADDRESS, _FailureCounter.ONE_TIME_CODE}
)


def no_device_cookie(_name: str) -> str:
    """Return "", for clients that present no device cookie."""
    return ""


class SignInFailedError(Exception):
    """Sign-in rejected. The message is a key of the portal's texts."""


class Authenticator:
    """Authenticator of users. Raises `StoreUnavailable`, except for cached sessions.

    In all methods *address* is the client address.
    """

    def __init__(
        self,
        users: Users,
        clock: Clock,
        *,
        agencies: Callable[[], Sequence[str]],
        factors: SecondFactors,
        secret_store: SecretStore,
        second_factor_roles: AbstractSet[Role] = frozenset(),
    ) -> None:
        """Take *agencies*, which returns the names of the monitored agencies, which count as guessable in a password.

        *second_factor_roles*: the roles that require a second factor.
        """
        self._users = users
        self._clock = clock
        self._factors = factors
        self._secret_store = secret_store
        self._second_factor_roles = second_factor_roles
        self._agencies = agencies
        self._hashing = asyncio.Semaphore(_MAX_HASHES)
        #: Number of attempts that wait or are processed.
        self._waiting = 0
        #: By user name, or by user name and device key.
        self._account_locks: dict[str, _AccountLock] = {}
        #: Failures by client address, by address and account (`_account_at`), and by unknown user name ("name …").
        self._failures: OrderedDict[str, Failures] = OrderedDict()
        #: Failures of known devices by device key, and of sessions by digest.
        self._device_failures: OrderedDict[str, Failures] = OrderedDict()
        #: By digest: the session as last read, and the time of the read by the loop's clock.
        self._session_cache: OrderedDict[str, tuple[WebSession, float]] = OrderedDict()
        self._dummy_hash: str | None = None

    async def sign_in(
        self, name: str, password: str, address: str, read_device_cookie: DeviceCookieReader = no_device_cookie
    ) -> NewSession | NewPendingSession:
        """Begin a session, or a pending one if the user has a second factor. Raise `SignInFailedError`."""
        device_key = await self._known_device(name, read_device_cookie)
        async with self._account_lock(name, device_key):
            record = await self._find_user(name, address, device_key)
            is_correct = await self._run_in_thread(
                verify_password, password, (record and record.password) or await self._get_dummy_hash()
            )
            if record is None or record.password is None or record.user.disabled_at is not None or not is_correct:
                await self._record_failure(record, name, address, "sign-in failed", device_key)
                raise SignInFailedError("sign_in_wrong")
            session = await self._begin_or_await_second_factor(record.user, address)
            if isinstance(session, NewSession):
                self._clear_failures(name, address, device_key)
            return session

    async def complete_sign_in(
        self, key: SessionKey | None, code: str, address: str, read_device_cookie: DeviceCookieReader = no_device_cookie
    ) -> NewSession:
        """Replace a pending session by a session after a valid one-time or recovery code. Raise `SignInFailedError`."""
        pending = await self._factors.pending_session(key.digest) if key else None
        if key is None or pending is None:
            raise SignInFailedError("sign_in_again")
        device_key = await self._known_device(pending.name, read_device_cookie)
        async with self._account_lock(pending.name, device_key):
            record = await self._find_user(pending.name, address, device_key, _ONE_TIME_CODE_COUNTS)
            # Read the pending session again: a concurrent attempt may have completed it.
            pending = await self._factors.pending_session(key.digest)
            if (
                pending is None
                or pending.ends_at <= self._clock.now()
                or record is None
                or record.user.disabled_at is not None
            ):
                raise SignInFailedError("sign_in_again")
            await self._check_second_factor(record, code, address, device_key)
            self._clear_failures(pending.name, address, device_key)
            return await self._begin_session(record.user, address, "signed in with a second factor")

    async def choose_password(
        self, name: str, code: str, password: str, address: str
    ) -> NewSession | NewPendingSession:
        """Store a password that a user chooses with an invitation code, and sign in. Raise `SignInFailedError`."""
        async with self._account_lock(name):
            # Failures on the account do not delay this attempt, because an invitation code cannot be guessed.
            record = await self._find_user(name, address, delaying_counts=_INVITATION_CODE_COUNTS)
            stored_code = await self._users.code(record.user.id) if record else None
            now = self._clock.now()
            is_valid = stored_code is not None and stored_code.ends_at > now
            is_valid = await self._matches_invitation_code(code, stored_code) and is_valid
            if record is None or record.user.disabled_at is not None or not is_valid:
                await self._record_failure(record, name, address, "code refused")
                raise SignInFailedError("code_wrong")
            await self._store_password(record.user, password, address, "password chosen by a code")
            # An invitation code does not replace the second factor, because it may be given by telephone.
            return await self._begin_or_await_second_factor(record.user, address)

    async def change_password(self, session: WebSession, old: str, new: str, address: str) -> NewSession:
        """Change the password of a signed-in user; all other sessions end. Raise `SignInFailedError`."""
        async with self._account_lock(session.user.name, session.digest):
            record = await self._check_password(session, old, address, "password not changed")
            await self._store_password(record.user, new, address, "password changed")
            return await self._begin_session(record.user, address, "signed in")

    async def sign_in_external(self, user: User, address: str, event: str) -> NewSession | NewPendingSession:
        """Begin a session, or a pending one, of a user whom another provider has authenticated.

        Raise `SignInFailedError`.
        """
        if user.disabled_at is not None:
            raise SignInFailedError("sign_in_wrong")
        # Require Pantau's second factor: the provider may not have checked one.
        return await self._begin_or_await_second_factor(user, address, event)

    # -- second factor -------------------------------------------------------------------------------------------

    def must_set_up_second_factor(self, user: User) -> bool:
        """Whether a role of the user requires a second factor that the user has not set up."""
        return not user.has_second_factor and any(each.role in self._second_factor_roles for each in user.assignments)

    def new_enrolment(self, session: WebSession) -> TotpEnrolment | None:
        """Return a new secret for the user's authenticator app; `None`: no encryption key is configured."""
        if not self._secret_store.has_key:
            return None
        secret = new_one_time_secret()
        ciphertext = self._secret_store.encrypt(_enrolment_secret_id(session), secret)
        return TotpEnrolment(secret=secret, sealed=f"{ciphertext.key_id}:{ciphertext.text}")

    def read_enrolment(self, session: WebSession, sealed: str) -> TotpEnrolment:
        """Return the enrolment from the *sealed* secret of the confirmation form. Raise `SignInFailedError`."""
        key_id, _, ciphertext = sealed.partition(":")
        try:
            secret = self._secret_store.decrypt(
                _enrolment_secret_id(session), Ciphertext(key_id=key_id, text=ciphertext)
            )
        except SecretLockedError:
            raise SignInFailedError("factor_offer_over") from None
        return TotpEnrolment(secret=secret, sealed=sealed)

    async def set_up_second_factor(
        self, session: WebSession, enrolment: TotpEnrolment, code: str, password: str, address: str
    ) -> tuple[NewSession, Sequence[str]]:
        """Store a second factor after a valid *code* of the app; return a new session and recovery codes, shown once.

        All other sessions end. The password is required again: otherwise a person at an unattended browser could lock
        the user out. Raise `SignInFailedError`.
        """
        user = session.user
        async with self._account_lock(user.name, session.digest):
            record = await self._check_password(session, password, address, "second factor not set up")
            now, digits = self._clock.now(), parse_totp(code)
            step = matching_step(enrolment.secret, digits, now) if digits else None
            if step is None:
                raise SignInFailedError("one_time_wrong")
            codes = new_recovery_codes()
            secret = self._secret_store.encrypt(one_time_secret_id(user.id), enrolment.secret)
            digests = [digest_of_code(each) for each in codes]
            entry = _entry(user, "second factor set up", now, address)
            if not await self._factors.set_up(user.id, secret, step, digests, entry):
                raise SignInFailedError("factor_there")
            self.clear_cache()
            return await self._begin_session(replace(record.user, has_second_factor=True), address, "signed in"), codes

    async def renew_recovery_codes(self, session: WebSession, code: str, address: str) -> Sequence[str]:
        """Return new recovery codes, shown once; the previous ones become invalid. Raise `SignInFailedError`."""
        device_key = session.digest
        async with self._account_lock(session.user.name, device_key):
            await self._check_second_factor(
                await self._find_user(session.user.name, address, device_key), code, address, device_key
            )
            codes = new_recovery_codes()
            entry = _entry(session.user, "recovery codes made", self._clock.now(), address)
            await self._factors.renew_recovery_codes(session.user.id, [digest_of_code(each) for each in codes], entry)
            return codes

    async def remove_second_factor(self, session: WebSession, code: str, address: str) -> None:
        """Remove the second factor of a user who enters a valid code. Raise `SignInFailedError`."""
        device_key = session.digest
        async with self._account_lock(session.user.name, device_key):
            await self._check_second_factor(
                await self._find_user(session.user.name, address, device_key), code, address, device_key
            )
            entry = _entry(session.user, "second factor taken off", self._clock.now(), address)
            await self._factors.remove(session.user.id, entry, ends_sessions=False)
            self.clear_cache()

    async def count_recovery_codes(self, user: User) -> int:
        """Return the number of unused recovery codes of the user."""
        return await self._factors.recovery_codes(user.id)

    # -- sessions ------------------------------------------------------------------------------------------------

    async def session(self, key: SessionKey, *, is_activity: bool = True) -> WebSession | None:
        """Return the session of a browser that presents *key*; `None`: it is expired or unknown.

        *is_activity*: whether a person makes the request, and so extends the session; a page that refreshes itself
        does not. While the database is unavailable, cached sessions stay valid, so that signed-in users can see the
        outage.
        """
        digest, loop = key.digest, asyncio.get_running_loop()
        cached = self._session_cache.get(digest)
        session = cached[0] if cached else None
        if cached is None or loop.time() - cached[1] >= _CACHE_SECONDS:
            try:
                session = await self._users.session(digest)
            except StoreUnavailable:
                if session is None:
                    raise
            self._remember(digest, session)
        now = self._clock.now()
        if (
            session is None
            or now >= session.ends_at
            or now - session.seen_at >= _IDLE_TIMEOUT
            or session.user.disabled_at
        ):
            return None
        # `abs`: after the clock was set back, `seen_at` is in the future, and the session would expire too late.
        if is_activity and abs(now - session.seen_at) >= _USE_INTERVAL:
            session = await self._record_use(session, now)
        return session

    async def sign_out(self, session: WebSession, address: str) -> None:
        """End a session."""
        now = self._clock.now()
        self._session_cache.pop(session.digest, None)
        await self._users.end_session(session.digest, _entry(session.user, "signed out", now, address))

    def clear_cache(self) -> None:
        """Clear the session cache, so that changed roles take effect at once."""
        self._session_cache.clear()

    # -- internals -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _account_lock(self, name: str, device_key: str | None = None) -> AsyncIterator[None]:
        """Process the attempts on one account, or on one of its known devices, one after the other."""
        # The limit of known devices is twice as high, so that unauthenticated clients cannot lock out their users.
        if self._waiting >= (_MAX_WAITING if device_key is None else 2 * _MAX_WAITING):
            raise SignInFailedError("sign_in_busy")
        # A user name contains no blank, so the blank separates name and device unambiguously.
        name = name if device_key is None else f"{name} {device_key}"
        account_lock = self._account_locks.setdefault(name, _AccountLock())
        account_lock.waiters += 1
        self._waiting += 1
        try:
            async with account_lock.lock:
                yield
        finally:
            self._waiting -= 1
            account_lock.waiters -= 1
            # Do not use `lock.locked()`: between two holders the lock is free, and a third would create another lock.
            if not account_lock.waiters:
                del self._account_locks[name]

    async def _known_device(self, name: str, read_device_cookie: DeviceCookieReader) -> str | None:
        """Return the key of a browser in which the user of this name has signed in before; `None`: it is unknown."""
        cookie = read_device_cookie(name)
        record = await self._users.find(name) if cookie else None
        return (
            verify_device_cookie(cookie, record.user.id, record.password)
            if record is not None and record.password
            else None
        )

    async def _find_user(
        self,
        name: str,
        address: str,
        device_key: str | None = None,
        delaying_counts: AbstractSet[_FailureCounter] = _PASSWORD_COUNTS,
    ) -> UserRecord | None:
        """Return the user of this name, or `None`. Raise `SignInFailedError` while a count delays the attempt.

        On a known device, only the failures of the device itself delay an attempt; otherwise *delaying_counts* do.
        """
        now = self._clock.now()
        if device_key is not None:
            if self._device_failures.get(device_key, Failures()).blocked_until(now, FREE_ACCOUNT_ATTEMPTS) is not None:
                raise SignInFailedError("sign_in_wait")
            return await self._users.find(name)
        record = await self._users.find(name)
        no_failures = Failures()
        counts = {
            _FailureCounter.ADDRESS: (self._failures.get(address, no_failures), FREE_ADDRESS_ATTEMPTS),
            _FailureCounter.ACCOUNT_AT_ADDRESS: (
                self._failures.get(_account_at(name, address), no_failures),
                FREE_ACCOUNT_ATTEMPTS,
            ),
            # Delay an unknown name like a known one, to disclose nothing.
            _FailureCounter.ACCOUNT: (
                record.failures if record else self._failures.get(f"name {name}", no_failures),
                MAX_ACCOUNT_FAILURES,
            ),
            _FailureCounter.ONE_TIME_CODE: (record.code_failures if record else no_failures, FREE_ACCOUNT_ATTEMPTS),
        }
        # An administrator may exempt the user from delays for some minutes.
        if record is not None and record.user.is_unlocked(now):
            delaying_counts &= {_FailureCounter.ONE_TIME_CODE}
        if any(counts[each][0].blocked_until(now, counts[each][1]) is not None for each in delaying_counts):
            raise SignInFailedError("sign_in_wait")
        return record

    async def _check_password(self, session: WebSession, password: str, address: str, event: str) -> UserRecord:
        """Return the record of a signed-in user who has entered the correct password again. Raise `SignInFailedError`.

        *event*: the audit event of a failure.
        """
        # Failures of a session are counted like those of a known device.
        user, device_key = session.user, session.digest
        record = await self._find_user(user.name, address, device_key)
        is_correct = await self._run_in_thread(
            verify_password, password, (record and record.password) or await self._get_dummy_hash()
        )
        if record is None or record.password is None or not is_correct:
            await self._record_failure(record, user.name, address, event, device_key)
            raise SignInFailedError("old_password_wrong")
        return record

    async def _record_failure(
        self,
        record: UserRecord | None,
        name: str,
        address: str,
        event: str,
        device_key: str | None = None,
        *,
        failed_attempt: FailedAttempt = FailedAttempt.FIRST_STEP,
    ) -> None:
        now = self._clock.now()
        log.warning(event, user=record.user.name if record else None, address=address)
        if device_key is not None:
            _add_failure(self._device_failures, device_key, now, _MAX_DEVICES)
        else:
            for each in (address, _account_at(name, address)):
                _add_failure(self._failures, each, now, _MAX_ADDRESSES)
        if record is None:
            _add_failure(self._failures, f"name {name}", now, _MAX_ADDRESSES)
            return
        entry = _entry(record.user, event, now, address)
        await self._users.record_failure(
            record.user.id, entry, failed_attempt=failed_attempt if device_key is None else None
        )

    def _clear_failures(self, name: str, address: str, device_key: str | None) -> None:
        self._device_failures.pop(device_key or "", None)
        self._failures.pop(_account_at(name, address), None)

    async def _begin_or_await_second_factor(
        self, user: User, address: str, event: str = "signed in"
    ) -> NewSession | NewPendingSession:
        """Begin a session or, for a user with a second factor, a pending session."""
        if not user.has_second_factor:
            return await self._begin_session(user, address, event)
        now, key = self._clock.now(), SessionKey.new()
        pending = PendingSession(digest=key.digest, user_id=user.id, name=user.name, ends_at=now + PENDING_LIFETIME)
        await self._factors.begin_pending_session(pending, _entry(user, f"{event}, but for the code", now, address))
        return NewPendingSession(key=key)

    async def _check_second_factor(
        self, record: UserRecord | None, code: str, address: str, device_key: str | None = None
    ) -> None:
        """Raise `SignInFailedError` unless *code* is a valid one-time or recovery code. Each is valid only once."""
        if record is None or not record.user.has_second_factor:
            raise SignInFailedError("sign_in_again")
        if not await self._is_valid_second_factor(record.user, code, address):
            event, failed_attempt = "one-time code refused", FailedAttempt.SECOND_STEP
            await self._record_failure(
                record, record.user.name, address, event, device_key, failed_attempt=failed_attempt
            )
            raise SignInFailedError("one_time_wrong")

    async def _is_valid_second_factor(self, user: User, code: str, address: str) -> bool:
        now = self._clock.now()
        if (digits := parse_totp(code)) is None:
            entry = _entry(user, "recovery code used", now, address)
            return await self._factors.use_recovery_code(user.id, digest_of_code(code), entry)
        try:
            secret = await self._secret_store.read(one_time_secret_id(user.id))
        except SecretLockedError as lock_error:
            log.error("one-time code cannot be verified", user=user.name, reason=str(lock_error))  # noqa: TRY400 - no bug
            raise SignInFailedError("factor_locked") from None
        # A step is the period of one code (RFC 6238).
        step = matching_step(secret, digits, now) if secret else None
        return step is not None and await self._factors.use_step(user.id, step)

    async def _begin_session(self, user: User, address: str, event: str) -> NewSession:
        now, key = self._clock.now(), SessionKey.new()
        session = WebSession(
            digest=key.digest,
            user=user,
            started_at=now,
            seen_at=now,
            ends_at=now + MAX_SESSION_TIME,
            address=address[:64],
        )
        await self._users.start_session(session, _entry(user, event, now, address))
        record = await self._users.find(user.name)
        cookie = (
            device_cookie_value(user.id, new_nonce(), record.password) if record is not None and record.password else ""
        )
        return NewSession(key=key, session=session, device_cookie=cookie)

    async def _store_password(self, user: User, password: str, address: str, event: str) -> None:
        """Store a new password. Raise `SignInFailedError` for a weak one; the old password or the code stays valid."""
        names = [user.name, *user.full_name.split(), *self._agencies()]
        if (problem := await self._run_in_thread(password_problem, password, names)) is not None:
            raise SignInFailedError(problem)
        new_hash = await self._run_in_thread(hash_password, password)
        await self._users.choose_password(user.id, new_hash, _entry(user, event, self._clock.now(), address))
        self.clear_cache()

    async def _matches_invitation_code(self, code: str, stored_code: AccessCodeRecord | None) -> bool:
        if stored_code is not None and stored_code.kind is CodeKind.LETTER:
            return digest_of_code(code) == stored_code.digest
        return await self._run_in_thread(
            verify_password, normalise_code(code), stored_code.digest if stored_code else await self._get_dummy_hash()
        )

    async def _get_dummy_hash(self) -> str:
        """Return a hash to verify against for unknown users, so that the duration does not reveal them."""
        if self._dummy_hash is None:
            self._dummy_hash = await self._run_in_thread(hash_password, SessionKey.new().text)
        return self._dummy_hash

    async def _run_in_thread(self, work: Callable[..., T], *args: object) -> T:
        async with self._hashing:
            return await asyncio.to_thread(partial(work, *args))

    async def _record_use(self, session: WebSession, now: datetime) -> WebSession:
        session = replace(session, seen_at=now)
        try:
            await self._users.record_use(session.digest, now)
        except StoreUnavailable as error:
            log.info("session use could not be recorded", reason=str(error))
        self._remember(session.digest, session)
        return session

    def _remember(self, digest: str, session: WebSession | None) -> None:
        self._session_cache.pop(digest, None)
        if session is not None:
            self._session_cache[digest] = session, asyncio.get_running_loop().time()
        while len(self._session_cache) > _MAX_SESSIONS:
            self._session_cache.popitem(last=False)


def _account_at(name: str, address: str) -> str:
    """Return the key of the failures on an account from an address. An address contains no blank."""
    return f"{address} {name}"


def _add_failure(failures: OrderedDict[str, Failures], key: str, now: datetime, limit: int) -> None:
    failures[key] = failures.pop(key, Failures()).with_failure(now)
    while len(failures) > limit:
        failures.popitem(last=False)


def _entry(user: User, event: str, now: datetime, address: str) -> AuditEntry:
    return AuditEntry(at=now, actor=user.by, event=event, detail={"user": user.name, "address": address})


def _enrolment_secret_id(session: WebSession) -> SecretId:
    """Return the ID of a secret that is offered to the user of a session, and not confirmed yet."""
    return SecretId(purpose=SecretPurpose.ONE_TIME_OFFER, owner=f"{session.user.id} {session.digest}")
