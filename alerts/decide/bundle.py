"""Bundling of notifications to one person. Pure: the caller passes the time.

When many agencies fail at once, the first is notified at once. Those that follow within `GROUP_INTERVAL`, with the same
addresses and purpose, are collected in one notification: a bundle. It is sent at the end of the interval, and the next
one begins. A letter is signed by one agency and never bundled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.model.channel import Channel
from alerts.model.delivery import NotificationDraft, NotificationState
from alerts.model.incident import OUTAGES
from alerts.model.notification import Purpose
from alerts.model.urgency import Urgency

#: Interval of a bundle after a single notification (GoAlert bundles by cycle, Alertmanager by group).
GROUP_INTERVAL = timedelta(seconds=120)
#: Interval for results of releases: they are not urgent, and an officer may have released forty announcements.
RESULT_INTERVAL = timedelta(minutes=15)
#: Interval for repeated offers of a release: each call asks for a PIN.
OFFER_INTERVAL = timedelta(minutes=10)
#: Interval for offers to further people: the turns of a mass outage begin at the same moment.
TURN_DELAY = timedelta(seconds=30)
#: How far back to search: throttling delays a notification by three hours at most.
REACH = timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCandidate:
    """An earlier notification that may become, or delay, a bundle."""

    notification_id: int
    #: When it was sent or may be sent.
    due_at: datetime
    state: NotificationState
    #: A gateway was called: nothing is added any more.
    begun: bool
    #: It contains the incident in question.
    of_this: bool
    #: It contained that incident and does not any more; an incident is not added twice.
    was_of_this: bool = False


@dataclass(frozen=True, slots=True)
class SendAtOnce:
    """No similar notification was sent recently."""


@dataclass(frozen=True, slots=True)
class StartBundle:
    """Wait until `until`, so that others can join."""

    until: datetime


@dataclass(frozen=True, slots=True)
class JoinBundle:
    """Join this notification, which still waits."""

    notification_id: int


@dataclass(frozen=True, slots=True)
class AlreadyPending:
    """A notification about this incident is throttled: a second one would say the same."""


Bundling = SendAtOnce | StartBundle | JoinBundle | AlreadyPending


#: Purposes that are bundled.
_GATHERED = frozenset(
    {Purpose.OUTAGE, Purpose.UPDATE, Purpose.RECOVERY, Purpose.RELEASE, Purpose.TAKEN, Purpose.REMINDER, Purpose.RESULT}
)


def gathering(draft: NotificationDraft, urgency: Urgency) -> str | None:
    """Return the bundle key of *draft*: equal keys are bundled; `None`: it is always sent alone.

    People are identified by their addresses: two agencies may use one name for different people.
    """
    if draft.purpose not in _GATHERED or not draft.addresses:
        return None
    if any(address.channel is Channel.LETTER for address in draft.addresses):
        return None
    kind = "mail" if draft.facts.type in OUTAGES else draft.facts.type
    if draft.facts.by:
        kind = f"{kind}, {'handed on' if draft.facts.escalated else 'had'} by {draft.facts.by}"
    where = [[address.channel, address.number, address.extension] for address in draft.addresses]
    digest = hashlib.sha256(json.dumps([draft.language, where]).encode()).hexdigest()[:32]
    news = "belated" if draft.facts.is_belated else draft.purpose
    if draft.purpose is Purpose.RESULT:
        kind = "unposted" if draft.facts.unposted else "delivered"
    if draft.facts.is_handover:
        # Acknowledged or not: all are listed and sent together.
        kind = "open"
    return f"{draft.plan}/{news}/{urgency}/{kind}/{digest}"


def bundle(
    recent: Sequence[BundleCandidate], now: datetime, purpose: Purpose = Purpose.OUTAGE, *, is_turn: bool = False
) -> Bundling:
    """Decide about a notification, given those with the same key within `REACH`.

    *is_turn*: it offers a release again.
    """
    recent = [g for g in recent if not g.was_of_this]
    waiting = [g for g in recent if g.state is NotificationState.PENDING and not g.begun]
    if any(g.of_this for g in waiting):
        return AlreadyPending()
    if waiting:
        return JoinBundle(waiting[-1].notification_id)
    # A failed notification informed nobody, and an incident does not wait for itself. A time in the future (the clock
    # was set back) counts as now.
    if purpose is Purpose.RESULT:
        return StartBundle(now + RESULT_INTERVAL)
    told = [min(g.due_at, now) for g in recent if g.state not in _CAME_TO_NOTHING and not g.of_this]
    interval = OFFER_INTERVAL if purpose is Purpose.RELEASE else GROUP_INTERVAL
    if told and now - max(told) < interval:
        return StartBundle(max(told) + interval)
    return StartBundle(now + TURN_DELAY) if is_turn else SendAtOnce()


_CAME_TO_NOTHING = frozenset({NotificationState.FAILED, NotificationState.WITHDRAWN})
