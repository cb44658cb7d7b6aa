"""What waits for a time that is far off only because the clock was set back after it was written."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import BindParameter, bindparam, exists, or_, select, update

from alerts.model.delivery import NoticeState
from monitor.store.backend.transaction import InTransaction
from monitor.store.schema.tables import attempt, incident, notice

#: Engines that share a store differ by less, and a decision is no older.
_TOLERANCE = timedelta(minutes=1)
#: No claim lasts so long.
_NO_CLAIM = timedelta(minutes=5)

_NOW: BindParameter[datetime] = bindparam("now")
_FUTURE: BindParameter[datetime] = bindparam("future")
_PAST_CLAIMS: BindParameter[datetime] = bindparam("past_claims")
_ACTIVE = incident.c.at_rest.is_(False)
#: What waits so, with what it waits for from now on. A step begins its wait anew, an acknowledgement its time, what a
#: gateway took or did not take is looked at now, a notice that gathers others has gathered enough.
_WAITS = (
    (incident, _ACTIVE & (incident.c.step_since > _FUTURE), {"step_since": _NOW}),
    (incident, _ACTIVE & (incident.c.heard_at > _FUTURE), {"heard_at": _NOW, "reminded_at": None}),
    (incident, _ACTIVE & (incident.c.reminded_at > _FUTURE), {"reminded_at": _NOW}),
    (incident, _ACTIVE & (incident.c.present_since > _FUTURE), {"present_since": _NOW}),
    # Looked at once, it is due at a time that can be.
    (attempt, (attempt.c.started_at > _FUTURE) & (attempt.c.look_at >= attempt.c.started_at), {"look_at": _NOW}),
    (
        notice,
        (notice.c.state == NoticeState.PENDING) & (notice.c.created_at > _FUTURE) & (notice.c.not_before > _FUTURE),
        {"not_before": _NOW},
    ),
    (incident, _ACTIVE & (incident.c.owned_until > _PAST_CLAIMS), {"owned_until": _NOW}),
)
_LET_WAIT = [update(table).where(waits).values(**anew) for table, waits, anew in _WAITS]
_ANYTHING_WAITS = select(or_(*(exists().where(waits) for _, waits, _ in _WAITS)))


class SqlSetBack(InTransaction):
    """The part of `alerts.record.store.Ledger` that is about clocks which were set back."""

    async def wait_from_now(self, now: datetime) -> int:
        """Let it wait from *now* on, and return how many things that were. What began in the future shows it.

        What was sent, and when, stays as it was written.
        """
        times = {"now": now, "future": now + _TOLERANCE, "past_claims": now + _NO_CLAIM}
        # Asked twice a minute for as long as the engine runs, and nearly always there is nothing.
        if not (await self._connection.execute(_ANYTHING_WAITS, times)).scalar_one():
            return 0
        done = [await self._connection.execute(each, times) for each in _LET_WAIT]
        return sum(result.rowcount for result in done)
