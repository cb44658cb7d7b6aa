"""Rate limits: messages per number and per gateway. Pure: the caller passes the time.

`alerts.engine.notification_processor` checks the limits before each attempt, and delays a notification that exceeds
them. The first notification of an incident to a person is never limited (`alerts.model.urgency`). Only messages that a
gateway accepted count: otherwise an outage of a provider would use up the limit. They are counted in the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from alerts.model.channel import Channel
from alerts.model.gateway import MAX_CALL_DURATION


class RateLimitScope(StrEnum):
    """Scope of a rate limit."""

    #: Messages to one number.
    CONTACT = "contact"
    #: Messages of a gateway per minute.
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most `count` messages within the time `within`."""

    count: int
    within: timedelta


_MINUTE = timedelta(minutes=1)


def _limits(*counts: tuple[int, timedelta]) -> tuple[RateLimit, ...]:
    return tuple(RateLimit(count=count, within=within) for count, within in counts)


#: Limits per number, as in GoAlert (`notification/throttle.go`). Faxes and letters need no limit.
CONTACT_LIMITS: Mapping[Channel, Sequence[RateLimit]] = MappingProxyType(
    {
        Channel.VOICE: _limits((3, 15 * _MINUTE), (7, 60 * _MINUTE), (15, 180 * _MINUTE)),
        Channel.SMS: _limits((5, 15 * _MINUTE), (11, 60 * _MINUTE), (21, 180 * _MINUTE)),
    }
)


def telephone_free_at(began: Sequence[datetime], now: datetime) -> datetime:
    """Return when the next call to a telephone may start. A telephone gets one call at a time.

    *began*: starts of the calls to it without a known end. A start in the future (the clock was set back) is ignored.
    """
    under_way = [at for at in began if at <= now < at + MAX_CALL_DURATION]
    return max(under_way) + MAX_CALL_DURATION if under_way else now


def minute_limit(count: int) -> tuple[RateLimit, ...]:
    """Return the limit of a gateway that accepts *count* messages a minute."""
    return _limits((count, _MINUTE))


def free_at(sent_at: Sequence[datetime], limits: Sequence[RateLimit], now: datetime) -> datetime:
    """Return when one more message may be sent without exceeding any of *limits*; *now* at the earliest.

    *sent_at*: times of the accepted messages, the oldest first. A time in the future (the clock was set back) counts as
    now.
    """
    free = now
    for limit in limits:
        if len(sent_at) >= limit.count:
            free = max(free, min(sent_at[-limit.count], now) + limit.within)
    return free
