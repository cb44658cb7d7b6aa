"""How often a mailbox is looked at, and how much its server may say in a while. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from zlib import crc32

#: What reading a line costs beside its octets: the time that a literal of this size takes.
_LINE = 512


def cost(said: bytes) -> int:
    """Return what it costs to read *said*, in octets of a long literal."""
    return len(said) + _LINE * said.count(b"\n")


@dataclass(slots=True, kw_only=True)
class ReadRateLimit:
    """So much of a server's words at once, and so much a second: what is beyond that is waited for.

    What it says has to be read by the one process that reads all others, too: a server that pours, or that pads each of
    its answers, must not cost more than a small part of it.
    """

    at_once: int
    a_second: int
    #: In seconds; any clock that does not jump.
    clock: Callable[[], float]
    _spent: float = 0.0
    _at: float = field(default=float("-inf"))

    def spend(self, cost: int) -> float:
        """Note that so much was read; return for how many seconds nothing more should be."""
        now = self.clock()
        self._spent = max(0.0, self._spent - (now - self._at) * self.a_second) + cost
        self._at = now
        return max(0.0, (self._spent - self.at_once) / self.a_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollingPolicy:
    """The pauses between two looks, and between two connections."""

    #: Right after a message was accepted. Dovecot's IDLE tells half a second late, a look does not.
    quickest: timedelta = timedelta(seconds=0.1)
    #: While a run waits; IDLE goes silent after a while on some servers.
    slowest: timedelta = timedelta(seconds=5)
    #: While nobody waits and the server tells by itself. Far below the half hour after which servers hang up.
    listening: timedelta = timedelta(minutes=5)
    #: While nobody waits and the server does not.
    unheard: timedelta = timedelta(seconds=60)
    #: Between two visits to a POP3 mailbox while a run waits, each with a sign-in of its own.
    revisit: timedelta = timedelta(seconds=3)
    #: An open mailbox that does not answer within this has lost its connection. Short, because a message may be waiting
    #: behind a connection that a firewall has forgotten.
    answer: timedelta = timedelta(seconds=10)
    #: Between two attempts to connect: at least, doubled each time, at most.
    retry: timedelta = timedelta(seconds=1)
    retry_at_most: timedelta = timedelta(seconds=60)
    #: After refused credentials, so that our repetition does not lock the account.
    after_refusal: timedelta = timedelta(seconds=60)
    #: A connection that lived shorter is not reopened without telling anybody.
    settled: timedelta = timedelta(seconds=5)
    #: A connection is kept no longer than this. One that was let in long ago proves nothing of those who want in now:
    #: servers keep serving it while the port is closed and every password is refused.
    renewal: timedelta = timedelta(minutes=5)
    #: A connection that showed nothing new, though there was, has those after it renewed sooner, but no sooner than this.
    renewal_at_least: timedelta = timedelta(seconds=30)
    #: What reading one mailbox may cost (`probes.model.polling.cost`) at once, and a second. At the limit it takes
    #: some hundredths of a core; our own messages of ten thousand routes a minute come to half of it.
    at_once: int = 16 * 1024 * 1024
    a_second: int = 2 * 1024 * 1024
    #: Between two searches for mail that was left behind.
    sweep: timedelta = timedelta(hours=1)

    def pause(self, ages: Iterable[timedelta], *, waiting: bool, unwatched: timedelta) -> timedelta:
        """Return how long to listen before the next look.

        *ages* are how long ago the awaited messages were accepted: quick at first, then slower. While nobody waits, it
        is *unwatched*.
        """
        if not waiting:
            return unwatched
        youngest = min(ages, default=None)
        if youngest is None:
            return self.slowest
        return min(self.slowest, max(self.quickest, youngest / 8))

    def renewal_of(self, mailbox: str) -> timedelta:
        """Return how long the connection to a mailbox is kept: a little shorter than `renewal`, and not all alike."""
        return self.renewal * (0.8 + 0.2 * (crc32(mailbox.encode()) % 1000) / 1000)

    def after_false_alarms(self, count: int) -> timedelta:
        """Return how long not to listen when so many announcements in a row came to nothing.

        A few are usual: servers announce how many are left when mail was deleted.
        """
        return timedelta(0) if count <= 3 else min(self.slowest, self.quickest * float(2 ** min(count - 3, 16)))

    def backoff(self, failures: int) -> timedelta:
        """Return how long to wait after so many failed attempts, one or more."""
        return min(self.retry_at_most, self.retry * float(2 ** min(failures - 1, 16)))
