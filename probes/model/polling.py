"""Polling intervals of a mailbox, and the rate limit for reading its server's responses. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from zlib import crc32

#: Cost of a line besides its octets: as a literal of this size.
_LINE = 512


def cost(said: bytes) -> int:
    """Return the cost of reading *said*, in octets of a long literal."""
    return len(said) + _LINE * said.count(b"\n")


@dataclass(slots=True, kw_only=True)
class ReadRateLimit:
    """Rate limit for a server's responses: a burst, and a rate per second; beyond them the reader waits.

    One process reads all mailboxes: a server that floods, or that pads each of its responses, must take only a small
    part of it.
    """

    at_once: int
    a_second: int
    #: Seconds of a monotonic clock.
    clock: Callable[[], float]
    _spent: float = 0.0
    _at: float = field(default=float("-inf"))

    def spend(self, cost: int) -> float:
        """Add *cost*; return the seconds to wait before reading more."""
        now = self.clock()
        self._spent = max(0.0, self._spent - (now - self._at) * self.a_second) + cost
        self._at = now
        return max(0.0, (self._spent - self.at_once) / self.a_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollingPolicy:
    """Intervals between polls, and between connections."""

    #: Right after a message was accepted. Dovecot's IDLE announces half a second late, a poll is immediate.
    quickest: timedelta = timedelta(seconds=0.1)
    #: While a run waits; IDLE stops announcing after a while on some servers.
    slowest: timedelta = timedelta(seconds=5)
    #: While no run waits and the server announces new mail. Far below the half hour after which servers disconnect.
    listening: timedelta = timedelta(minutes=5)
    #: While no run waits and the server does not announce.
    unheard: timedelta = timedelta(seconds=60)
    #: Between two polls of a POP3 mailbox while a run waits, each with its own sign-in.
    revisit: timedelta = timedelta(seconds=3)
    #: An open mailbox without a response for this long has lost its connection. Short, because a message may be waiting
    #: while a firewall has dropped the connection's state.
    answer: timedelta = timedelta(seconds=10)
    #: Between two attempts to connect: minimum, doubled each time, up to the maximum.
    retry: timedelta = timedelta(seconds=1)
    retry_at_most: timedelta = timedelta(seconds=60)
    #: After rejected credentials, so that repeated attempts do not lock the account.
    after_refusal: timedelta = timedelta(seconds=60)
    #: The loss of a connection that lasted less than this is reported.
    settled: timedelta = timedelta(seconds=5)
    #: Longest lifetime of a connection. An old sign-in is no evidence that a new one works: servers keep serving a
    #: session while the port is closed and every password is rejected.
    renewal: timedelta = timedelta(minutes=5)
    #: Minimum lifetime of a connection: after a stale session, later connections are renewed sooner, but not sooner
    #: than this.
    renewal_at_least: timedelta = timedelta(seconds=30)
    #: Limits of the cost of reading one mailbox (`probes.model.polling.cost`): burst, and rate per second. At the limit
    #: it takes some hundredths of a core; our own messages of ten thousand routes a minute use half of it.
    at_once: int = 16 * 1024 * 1024
    a_second: int = 2 * 1024 * 1024
    #: Between two sweeps for undeleted mail.
    sweep: timedelta = timedelta(hours=1)

    def pause(self, ages: Iterable[timedelta], *, waiting: bool, unwatched: timedelta) -> timedelta:
        """Return the interval until the next poll.

        *ages*: time since each awaited message was accepted: short at first, then longer. While no run waits, it is
        *unwatched*.
        """
        if not waiting:
            return unwatched
        youngest = min(ages, default=None)
        if youngest is None:
            return self.slowest
        return min(self.slowest, max(self.quickest, youngest / 8))

    def renewal_of(self, mailbox: str) -> timedelta:
        """Return the lifetime of a mailbox's connection: slightly below `renewal`, and different for each mailbox."""
        return self.renewal * (0.8 + 0.2 * (crc32(mailbox.encode()) % 1000) / 1000)

    def after_false_alarms(self, count: int) -> timedelta:
        """Return how long to ignore announcements after this many consecutive ones without new mail.

        A few are usual: after a deletion, servers announce the number of remaining mails.
        """
        return timedelta(0) if count <= 3 else min(self.slowest, self.quickest * float(2 ** min(count - 3, 16)))

    def backoff(self, failures: int) -> timedelta:
        """Return the backoff after a number of failed attempts, one or more."""
        return min(self.retry_at_most, self.retry * float(2 ** min(failures - 1, 16)))
