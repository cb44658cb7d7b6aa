"""Growing delays after wrong passwords, and the lock of an account under attack.

A lock after a few failures would allow anybody to keep a duty officer out at night. Therefore failures from one client
address delay only further attempts from this address, for five minutes at most. One case delays everybody but browsers
with a device cookie: a hundred failures on one account from all addresses together, with less than an hour between one
and the next. While such an attack goes on, the account is locked in effect, until an administrator unlocks it or issues
an invitation code, which is accepted in spite of the lock (ADR 0073).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

#: Failed attempts on one account before the first delay, which allows for typing errors. They are counted separately
#: for each client address, each browser with a device cookie, each session, and each prompt for a one-time code.
FREE_ACCOUNT_ATTEMPTS: Final = 3
#: Failed attempts of one client address on all accounts before the first delay: many people may share an address.
FREE_ADDRESS_ATTEMPTS: Final = 20
#: Failed attempts on one account from all client addresses together, after which everybody is delayed.
MAX_ACCOUNT_FAILURES: Final = 100
#: How long an account has no delays after an administrator has unlocked it.
UNLOCK_DURATION: Final = timedelta(minutes=10)
_MAX_DELAY: Final = timedelta(minutes=5)
#: After this time without a failure, the count restarts at zero.
_RESET_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """One count of recent failed attempts: of an account, a client address, a browser, a session, or a code prompt."""

    count: int = 0
    #: Time of the last failure; `None`: there was none.
    last: datetime | None = None

    def with_failure(self, now: datetime) -> Failures:
        """Return a copy with one more failure."""
        return Failures(count=self._current_count(now) + 1, last=now)

    def blocked_until(self, now: datetime, free_attempts: int) -> datetime | None:
        """Return until when attempts are rejected; `None`: they are allowed.

        The delay doubles with each failure beyond *free_attempts*.
        """
        count = self._current_count(now)
        if self.last is None or count < free_attempts:
            return None
        # A failure that is more than `_MAX_DELAY` in the future was recorded before the clock was set back, and must
        # not block anybody. The clocks of two processes differ by less than `_MAX_DELAY`.
        if self.last - now > _MAX_DELAY:
            return None
        blocked_until = self.last + min(timedelta(seconds=2 ** min(count - free_attempts, 20)), _MAX_DELAY)
        return blocked_until if blocked_until > now else None

    def _current_count(self, now: datetime) -> int:
        return 0 if self.last is None or now - self.last >= _RESET_AFTER else self.count
