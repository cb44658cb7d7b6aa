"""Delays after wrong passwords: growing, but never permanent.

Anybody could trigger a lock, and so keep a duty officer out at night. So an address is delayed for its own attempts on an
account only, and for minutes at most. The exception is a hundred attempts an hour from all addresses together: they lock
the account until an administrator unlocks it; a code from an administrator is accepted nevertheless (ADR 0073).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

#: Number of attempts without a delay on an account, each from one address, from one browser with a device cookie, in one
#: session, and with one-time codes. They allow for typing errors.
FREE_ACCOUNT_ATTEMPTS: Final = 3
#: The same from an address on all accounts, because many people may share an address.
FREE_ADDRESS_ATTEMPTS: Final = 20
#: The same on an account from all addresses together.
MAX_ACCOUNT_FAILURES: Final = 100
#: Time without delays after an administrator has unlocked an account.
UNLOCK_DURATION: Final = timedelta(minutes=10)
_MAX_DELAY: Final = timedelta(minutes=5)
#: After this time without a failure the count starts again.
_RESET_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Consecutive failed sign-ins of an account or an address."""

    count: int = 0
    last: datetime | None = None

    def with_failure(self, now: datetime) -> Failures:
        """Return a copy with one more failure."""
        return Failures(count=self._current_count(now) + 1, last=now)

    def blocked_until(self, now: datetime, free_attempts: int) -> datetime | None:
        """Return until when attempts are rejected; `None`: they are allowed. *free_attempts*: failures without a delay."""
        count = self._current_count(now)
        if self.last is None or count < free_attempts:
            return None
        # A failure so far in the future is from before the clock was set back, and must not block anybody. The clocks of
        # two processes may differ by less.
        if self.last - now > _MAX_DELAY:
            return None
        blocked_until = self.last + min(timedelta(seconds=2 ** min(count - free_attempts, 20)), _MAX_DELAY)
        return blocked_until if blocked_until > now else None

    def _current_count(self, now: datetime) -> int:
        return 0 if self.last is None or now - self.last >= _RESET_AFTER else self.count
