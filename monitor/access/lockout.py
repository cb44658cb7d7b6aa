"""Delays after wrong passwords: growing, but never permanent.

A fixed lock could be triggered by anybody, and would stop a duty officer at night. So each address waits for its own
attempts on an account, for minutes at most. A hundred attempts an hour from all addresses lock the account: an
administrator unlocks it, and an administrator's code is accepted nevertheless (ADR 0073).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

#: Free attempts on an account from one address, one known browser, in one session, or with one-time codes: typing
#: errors cost nothing.
OF_ACCOUNT: Final = 3
#: From an address: many people may share one.
OF_ADDRESS: Final = 20
#: On an account from all addresses together.
OF_ALL: Final = 100
#: Time without delays after an administrator has unlocked an account.
UNLOCKED_FOR: Final = timedelta(minutes=10)
_LONGEST: Final = timedelta(minutes=5)
#: Failures are forgotten after this time without another.
_FORGET: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Consecutive failed sign-ins of an account or an address."""

    count: int = 0
    last: datetime | None = None

    def more(self, now: datetime) -> Failures:
        """Return a copy with one more."""
        return Failures(count=self._counted(now) + 1, last=now)

    def until(self, now: datetime, free: int) -> datetime | None:
        """Return until when attempts are rejected; `None`: now allowed. *free*: failures without a delay."""
        count = self._counted(now)
        if self.last is None or count < free:
            return None
        # After the clock was set back nobody waits until it has caught up. Clocks of two services may differ by less.
        if self.last - now > _LONGEST:
            return None
        ends = self.last + min(timedelta(seconds=2 ** min(count - free, 20)), _LONGEST)
        return ends if ends > now else None

    def _counted(self, now: datetime) -> int:
        return 0 if self.last is None or now - self.last >= _FORGET else self.count
