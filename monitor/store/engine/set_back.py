"""What waits for a time that is far off only because the clock was set back after it was written."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import update

from alerts.model.delivery import NoticeState
from monitor.store.backend.transaction import InTransaction
from monitor.store.schema.tables import attempt, incident, notice

#: Engines that share a store differ by less, and a decision is no older.
_TOLERANCE = timedelta(minutes=1)
#: No claim lasts so long.
_NO_CLAIM = timedelta(minutes=5)


class SqlSetBack(InTransaction):
    """The part of `alerts.record.store.Ledger` that is about clocks which were set back."""

    async def wait_from_now(self, now: datetime) -> int:
        """Let it wait from *now* on, and return how many things that were. What began in the future shows it.

        A step begins its wait anew, an acknowledgement its time, what a gateway took or did not take is looked at now, a notice that gathers others has
        gathered enough. What was sent, and when, stays as it was written.
        """
        future = now + _TOLERANCE
        step = (
            update(incident).where(incident.c.at_rest.is_(False), incident.c.step_since > future).values(step_since=now)
        )
        # Looked at once, it is due at a time that can be.
        begun = (attempt.c.started_at > future) & (attempt.c.look_at >= attempt.c.started_at)
        look = update(attempt).where(begun).values(look_at=now)
        gathering = (notice.c.state == NoticeState.PENDING) & (notice.c.created_at > future)
        gather = update(notice).where(gathering, notice.c.not_before > future).values(not_before=now)
        claim = update(incident).where(incident.c.at_rest.is_(False), incident.c.owned_until > now + _NO_CLAIM)
        active = update(incident).where(incident.c.at_rest.is_(False))
        heard = active.where(incident.c.heard_at > future).values(heard_at=now, reminded_at=None)
        reminded = active.where(incident.c.reminded_at > future).values(reminded_at=now)
        present = active.where(incident.c.present_since > future).values(present_since=now)
        waits = (step, heard, reminded, present, look, gather, claim.values(owned_until=now))
        done = [await self._connection.execute(each) for each in waits]
        return sum(result.rowcount for result in done)
