"""How long somebody waits after a wrong password: longer each time, and never for good.

A fixed lock could be set off by a stranger, and then a duty officer could not act at night. So each address waits for its own
attempts on an account, for minutes at most. Attempts from all addresses hold the account when there are a hundred in an hour: that
an administrator lifts, and a code from one opens all the same (docs/adr/0073).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

#: On an account from one address, from one known browser, in one session, or with one-time codes: typing errors cost nothing.
OF_ACCOUNT: Final = 3
#: From an address: many people may sign in from behind one.
OF_ADDRESS: Final = 20
#: On an account from all addresses together.
OF_ALL: Final = 100
#: For so long somebody whom an administrator has unlocked signs in without waiting.
UNLOCKED_FOR: Final = timedelta(minutes=10)
_LONGEST: Final = timedelta(minutes=5)
#: Who has failed no more for so long starts anew.
_FORGET: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """The failed sign-ins in a row, of an account or from an address."""

    count: int = 0
    last: datetime | None = None

    def more(self, now: datetime) -> Failures:
        """Return them with one more."""
        return Failures(count=self._counted(now) + 1, last=now)

    def until(self, now: datetime, free: int) -> datetime | None:
        """Return until when no further attempt is looked at; `None`: it is now. *free*: so many cost no wait."""
        count = self._counted(now)
        if self.last is None or count < free:
            return None
        # A clock that was set back must not lock anybody out: nobody waits for it to catch up. Two services' clocks may differ by less.
        if self.last - now > _LONGEST:
            return None
        ends = self.last + min(timedelta(seconds=2 ** min(count - free, 20)), _LONGEST)
        return ends if ends > now else None

    def _counted(self, now: datetime) -> int:
        return 0 if self.last is None or now - self.last >= _FORGET else self.count
