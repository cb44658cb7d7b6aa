"""Decide when one more message may go: so many to a number, so many by a gateway. Pure: the caller passes the time.

`alerts.engine.notification_processor` asks before each attempt and holds the notice; the store counts (`UnitOfWork.taken_since`). The first
notice of an incident to a person is never asked about here (`alerts.model.urgency.ALWAYS_GOES`). Only what a gateway took
is counted: else an outage of a provider would use up what the next one needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from alerts.model.channel import Channel
from alerts.model.gateway import CALL_LASTS


class RateLimitScope(StrEnum):
    """What a rate limit counts messages of."""

    #: The person got as many messages as one number may get in this time.
    CONTACT = "contact"
    #: The gateway sends only so many messages a minute.
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """So many within so long."""

    count: int
    within: timedelta


_MINUTE = timedelta(minutes=1)


def _limits(*counts: tuple[int, timedelta]) -> tuple[RateLimit, ...]:
    return tuple(RateLimit(count=count, within=within) for count, within in counts)


#: To one number. As GoAlert has them (`notification/throttle.go`); faxes and letters are few by themselves.
CONTACT_LIMITS: Mapping[Channel, Sequence[RateLimit]] = MappingProxyType(
    {
        Channel.VOICE: _limits((3, 15 * _MINUTE), (7, 60 * _MINUTE), (15, 180 * _MINUTE)),
        Channel.SMS: _limits((5, 15 * _MINUTE), (11, 60 * _MINUTE), (21, 180 * _MINUTE)),
    }
)


def telephone_free_at(began: Sequence[datetime], now: datetime) -> datetime:
    """Return when the next call to a telephone may begin: it takes one call of ours at a time, whatever each is about.

    *began*: when the calls to it began whose end is not known. A call that began in the future (a clock that was set back) is
    over.
    """
    under_way = [at for at in began if at <= now < at + CALL_LASTS]
    return max(under_way) + CALL_LASTS if under_way else now


def minute_limit(count: int) -> tuple[RateLimit, ...]:
    """Return what a gateway that takes *count* messages a minute allows."""
    return _limits((count, _MINUTE))


def free_at(taken: Sequence[datetime], limits: Sequence[RateLimit], now: datetime) -> datetime:
    """Return when one more may go: *now*, or when the oldest that stands in the way is long enough ago.

    *taken*: when the others went, oldest first; what lies in the future (a clock that was set back) counts as just now.
    """
    free = now
    for limit in limits:
        if len(taken) >= limit.count:
            free = max(free, min(taken[-limit.count], now) + limit.within)
    return free
