"""Polling intervals of a mailbox that is read, and the rate limit for reading its server's responses. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from zlib import crc32

#: Cost of a line in addition to its octets: parsing a line takes as long as reading a literal of this many octets.
_LINE_COST = 512


def reading_cost(octets: bytes) -> int:
    """Return the cost of reading *octets*: their number, and a surcharge for each line, because parsing takes CPU."""
    return len(octets) + _LINE_COST * octets.count(b"\n")


@dataclass(slots=True, kw_only=True)
class ReadRateLimit:
    """Rate limit for a server's responses: a burst, and a rate per second. Beyond them the reader waits.

    One process reads all mailboxes, so a server that sends without end must take only a small part of the CPU.
    """

    #: Cost that may be read without waiting.
    read_burst: int
    #: Cost per second.
    read_rate: int
    #: Seconds of a monotonic clock.
    clock: Callable[[], float]
    #: Level of the leaky bucket: the cost that `read_rate` has not drained yet.
    _level: float = 0.0
    _updated_at: float = field(default=float("-inf"))

    def spend(self, cost: int) -> float:
        """Add *cost*; return the seconds to wait before reading more."""
        now = self.clock()
        self._level = max(0.0, self._level - (now - self._updated_at) * self.read_rate) + cost
        self._updated_at = now
        return max(0.0, (self._level - self.read_burst) / self.read_rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollingPolicy:
    """Intervals between polls, and between connections, of one mailbox."""

    #: Between polls right after a message was accepted. Dovecot's IDLE announces a message half a second late, whereas
    #: a poll finds it at once.
    min_interval: timedelta = timedelta(seconds=0.1)
    #: Longest interval between polls while a run waits. IDLE alone does not suffice: some servers stop announcing after
    #: a while.
    max_interval: timedelta = timedelta(seconds=5)
    #: Between polls while no run waits and the server announces new mail (IDLE), or is a POP3 server. Far below the
    #: half hour after which servers disconnect.
    announced_interval: timedelta = timedelta(minutes=5)
    #: Between polls while no run waits and the server does not announce new mail.
    unannounced_interval: timedelta = timedelta(seconds=60)
    #: Between two polls of a POP3 mailbox while a run waits, each with its own sign-in.
    pop3_interval: timedelta = timedelta(seconds=3)
    #: A connection without a response for this long counts as lost. The value is short, because a run may be waiting
    #: while a firewall has dropped the connection's state.
    response_timeout: timedelta = timedelta(seconds=10)
    #: Backoff between two attempts to connect: the minimum, doubled after each failure, up to the maximum.
    retry_min: timedelta = timedelta(seconds=1)
    retry_max: timedelta = timedelta(seconds=60)
    #: Pause after rejected credentials, so that repeated attempts do not lock the account.
    refusal_pause: timedelta = timedelta(seconds=60)
    #: A connection that is lost after less than this counts as a failed attempt; an older one is reopened without a
    #: backoff.
    stable_after: timedelta = timedelta(seconds=5)
    #: Longest lifetime of a connection. An old sign-in is no evidence that a new one works: a server may serve an open
    #: session while its port is closed or it rejects every password.
    connection_lifetime: timedelta = timedelta(minutes=5)
    #: Minimum lifetime of a connection. After a stale session, which missed a message, later connections are renewed
    #: sooner, but not sooner than this.
    min_lifetime: timedelta = timedelta(seconds=30)
    #: Limits of the cost of reading one mailbox (`reading_cost`): burst, and cost per second. At the limit, reading
    #: takes some hundredths of a core; the probe messages of ten thousand routes a minute use half of the limit.
    read_burst: int = 16 * 1024 * 1024
    read_rate: int = 2 * 1024 * 1024
    #: Between two searches for probe messages that were not deleted.
    sweep_interval: timedelta = timedelta(hours=1)

    def poll_interval(self, ages: Iterable[timedelta], *, run_waits: bool, quiet_interval: timedelta) -> timedelta:
        """Return the interval until the next poll.

        *ages*: time since each awaited message was accepted. The interval is an eighth of the lowest age, between
        `min_interval` and `max_interval`; while no run waits it is *quiet_interval*
        (`announced_interval` or `unannounced_interval`).
        """
        if not run_waits:
            return quiet_interval
        newest = min(ages, default=None)
        if newest is None:
            return self.max_interval
        return min(self.max_interval, max(self.min_interval, newest / 8))

    def lifetime_of(self, mailbox: str) -> timedelta:
        """Return the lifetime of connections to *mailbox*: 80 to 100 % of `connection_lifetime`, by the name's hash."""
        return self.connection_lifetime * (0.8 + 0.2 * (crc32(mailbox.encode()) % 1000) / 1000)

    def false_alarm_pause(self, count: int) -> timedelta:
        """Return how long to ignore announcements after *count* consecutive announcements without new mail.

        A few are usual: after a deletion, servers announce the number of remaining messages.
        """
        return timedelta(0) if count <= 3 else _doubled(self.min_interval, count - 3, self.max_interval)

    def backoff(self, failures: int) -> timedelta:
        """Return the backoff after a number of failed attempts, one or more."""
        return _doubled(self.retry_min, failures - 1, self.retry_max)


def _doubled(span: timedelta, times: int, maximum: timedelta) -> timedelta:
    """Return *span* doubled *times* times, at most *maximum*."""
    return min(maximum, span * float(2 ** min(times, 16)))
