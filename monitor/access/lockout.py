"""How long somebody waits after a wrong password: longer each time, and never for good.

A fixed lock could be set off by a stranger, and then a duty officer could not act at night. So the wait of an account ends
within minutes, and beside it counts from where the attempts come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

#: Typing errors cost nothing; many people may sign in from behind one address.
OF_ACCOUNT: Final = 3
OF_ADDRESS: Final = 20
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
