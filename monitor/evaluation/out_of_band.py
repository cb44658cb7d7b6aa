"""Decision to alert the NOC (network operations centre) out of band, that is, without the database. Pure.

If the database or another process has failed, incidents cannot be opened and notifications cannot be stored. Then the
NOC gets a short alert, which nobody has to acknowledge. The alert is repeated while the problem lasts, and followed by
an all-clear. A *reason* is a kind of problem; at most one problem of each reason is active.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.hours.elapsed import TOLERANCE


class OutOfBandReason(StrEnum):
    """Reason why the NOC is alerted out of band."""

    #: Nothing can be written to the database, so that incidents do not open and nobody is notified.
    STORE = "store"
    #: A peer (another process on the database) has stopped without an orderly stop.
    PEER = "peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfBandPolicy:
    """How long a problem must last before an alert, and how often it is repeated."""

    #: Minimum duration of a problem of each reason.
    store: timedelta = timedelta(minutes=10)
    peer: timedelta = timedelta(minutes=2)
    #: Interval between repeated alerts.
    repeat: timedelta = timedelta(minutes=30)
    #: Retry interval after every gateway has failed.
    retry: timedelta = timedelta(minutes=1)
    #: A peer without a heartbeat for longer is ignored: it was reported long ago, or removed.
    forget_peer: timedelta = timedelta(days=1)

    def delay(self, reason: OutOfBandReason) -> timedelta:
        """Return how long a problem must last before an alert."""
        return self.store if reason is OutOfBandReason.STORE else self.peer


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveReason:
    """A current problem, and the alerts about it. It is stored as JSON, so the field names stay."""

    #: Start of the problem.
    since: datetime
    #: Time of the last alert; `None`: no alert was sent.
    notified_at: datetime | None = None
    #: Time of the last alert that no gateway accepted; `None`: none failed since the last success.
    failed_at: datetime | None = None
    #: Name of the silent peer; "" for the database.
    whose: str = ""


#: Problems by reason. They are stored in a file, so that a restart does not repeat alerts.
ActiveReasons = Mapping[OutOfBandReason, ActiveReason]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOutOfBand:
    """Decision: alert the NOC now, or send the all-clear."""

    reason: OutOfBandReason
    #: Start of the problem.
    since: datetime
    #: Name of the silent peer; "" for the database.
    peer: str = ""
    #: Whether the problem is over, so that the all-clear is sent.
    is_resolved: bool = False


def update_reasons(
    stored_reasons: ActiveReasons,
    current_reasons: ActiveReasons,
    policy: OutOfBandPolicy,
    now: datetime,
    unknown: AbstractSet[OutOfBandReason] = frozenset(),
) -> tuple[ActiveReasons, tuple[SendOutOfBand, ...]]:
    """Return the problems to store, and the alerts to send.

    *stored_reasons*: the result of the last call. *current_reasons*: the problems now. *unknown*: reasons that cannot
    be examined now, whose problems stay as stored. A stored problem with a time in the future, from before the clock
    was set back, is ignored.
    """
    updated: dict[OutOfBandReason, ActiveReason] = {}
    due_alerts = []
    for reason in OutOfBandReason:
        stored, current = stored_reasons.get(reason), current_reasons.get(reason)
        if stored is not None and any(at > now for at in (stored.since, stored.notified_at, stored.failed_at) if at):
            stored = None
        if reason in unknown:
            if stored is not None:
                updated[reason] = stored
            continue
        if current is None:
            if stored is not None and stored.notified_at is not None:
                due_alerts.append(SendOutOfBand(reason=reason, since=stored.since, peer=stored.whose, is_resolved=True))
            continue
        since = min(current.since, now) if stored is None else min(stored.since, current.since)
        active = replace(stored or current, since=since)
        if _is_due(active, reason, policy, now):
            due_alerts.append(SendOutOfBand(reason=reason, since=active.since, peer=current.whose))
            # The caller stores the problem with this time before it sends the alert. So the alert is not repeated at
            # once if the process ends in between.
            active = replace(active, notified_at=now, failed_at=None, whose=current.whose)
        updated[reason] = active
    return updated, tuple(due_alerts)


def mark_failed(stored_reasons: ActiveReasons, alert: SendOutOfBand, now: datetime) -> ActiveReasons:
    """Return the problems to store after no gateway accepted *alert*, so that it is retried."""
    active = stored_reasons.get(alert.reason)
    return (
        stored_reasons
        if active is None
        else {**stored_reasons, alert.reason: replace(active, notified_at=None, failed_at=now)}
    )


def _is_due(active: ActiveReason, reason: OutOfBandReason, policy: OutOfBandPolicy, now: datetime) -> bool:
    if now - active.since < policy.delay(reason):
        return False
    if active.notified_at is not None:
        return now - active.notified_at >= policy.repeat
    return active.failed_at is None or now - active.failed_at >= policy.retry


def find_silent_peer(
    own_name: str, heartbeats: Mapping[str, tuple[datetime, datetime | None]], policy: OutOfBandPolicy, now: datetime
) -> ActiveReason | None:
    """Return the peer that is silent for the longest time, if the process *own_name* must report it; otherwise `None`.

    *heartbeats*: last heartbeat and last orderly stop (`None`: none) of every other process, by name. Only the live
    process whose name sorts first reports, so that there is one alert.
    """

    def is_alive(at: datetime) -> bool:
        return -TOLERANCE <= now - at <= policy.peer

    silent = {
        name: at
        for name, (at, stopped) in heartbeats.items()
        if (stopped is None or stopped < at) and not is_alive(at) and now - at < policy.forget_peer
    }
    live = [name for name, (at, stopped) in heartbeats.items() if stopped is None and is_alive(at)]
    if not silent or min([own_name, *live]) != own_name:
        return None
    longest_silent = min(silent, key=lambda name: (silent[name], name))
    return ActiveReason(since=silent[longest_silent], whose=longest_silent)
