"""Bundling of notifications to one person. Pure: the caller passes the time.

When many agencies fail together, the notification about the first is sent at once. Further notifications that are
decided within `BUNDLE_INTERVAL` for the same addresses and purpose are combined to one notification about several
incidents: a bundle. It is sent at the end of the interval, and the next bundle begins. A letter is signed by one agency
and never bundled.
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
BUNDLE_INTERVAL = timedelta(seconds=120)
#: Interval for results of releases: they are not urgent, and an officer may have released forty announcements.
RESULT_INTERVAL = timedelta(minutes=15)
#: Interval for repeated offers of a release: each call asks for a PIN.
OFFER_INTERVAL = timedelta(minutes=10)
#: Delay of an offer of a release to the next person: in a mass outage the next persons of all agencies are due at the
#: same moment, and the delay bundles their offers.
REPEAT_OFFER_DELAY = timedelta(seconds=30)
#: How far back to search: throttling (a rate limit) delays a notification by three hours at most.
SEARCH_WINDOW = timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCandidate:
    """An earlier notification that may become, or delay, a bundle."""

    notification_id: int
    #: When it was sent or may be sent.
    due_at: datetime
    state: NotificationState
    #: A gateway was called: no incident can join any more.
    is_started: bool
    #: It contains the incident of the new notification.
    has_incident: bool
    #: It contained that incident, which was removed; an incident does not join twice.
    had_incident: bool = False


@dataclass(frozen=True, slots=True)
class SendAtOnce:
    """The notification is sent at once: no similar one was sent recently."""


@dataclass(frozen=True, slots=True)
class StartBundle:
    """The notification waits until `until`, so that other incidents can join it."""

    until: datetime


@dataclass(frozen=True, slots=True)
class JoinBundle:
    """The incident joins this unsent notification."""

    notification_id: int


@dataclass(frozen=True, slots=True)
class AlreadyPending:
    """An unsent notification contains this incident already: a second one would say the same."""


Bundling = SendAtOnce | StartBundle | JoinBundle | AlreadyPending


#: Purposes that are bundled.
_BUNDLED_PURPOSES = frozenset(
    {Purpose.OUTAGE, Purpose.UPDATE, Purpose.RECOVERY, Purpose.RELEASE, Purpose.TAKEN, Purpose.REMINDER, Purpose.RESULT}
)


def bundle_key(draft: NotificationDraft, urgency: Urgency) -> str | None:
    """Return the bundle key of *draft*: drafts with equal keys are bundled; `None`: the draft is always sent alone.

    People are identified by their addresses: two agencies may use one name for different people.
    """
    if draft.purpose not in _BUNDLED_PURPOSES or not draft.addresses:
        return None
    if any(address.channel is Channel.LETTER for address in draft.addresses):
        return None
    kind = "mail" if draft.facts.type in OUTAGES else draft.facts.type
    if draft.facts.by:
        kind = f"{kind}, {'handed on' if draft.facts.escalated else 'had'} by {draft.facts.by}"
    address_key = [[address.channel, address.number, address.extension] for address in draft.addresses]
    digest = hashlib.sha256(json.dumps([draft.language, address_key]).encode()).hexdigest()[:32]
    purpose_key = "belated" if draft.facts.is_belated else draft.purpose
    if draft.purpose is Purpose.RESULT:
        kind = "unposted" if draft.facts.unposted else "delivered"
    if draft.facts.is_handover:
        # A handover notification lists all open incidents, acknowledged or not.
        kind = "open"
    return f"{draft.plan}/{purpose_key}/{urgency}/{kind}/{digest}"


def bundle(
    recent: Sequence[BundleCandidate],
    now: datetime,
    purpose: Purpose = Purpose.OUTAGE,
    *,
    is_repeat_offer: bool = False,
) -> Bundling:
    """Decide how a notification is sent. *recent*: notifications with its bundle key within `SEARCH_WINDOW`.

    *is_repeat_offer*: the release was offered to other people before.
    """
    recent = [g for g in recent if not g.had_incident]
    unsent = [g for g in recent if g.state is NotificationState.PENDING and not g.is_started]
    if any(g.has_incident for g in unsent):
        return AlreadyPending()
    if unsent:
        return JoinBundle(unsent[-1].notification_id)
    if purpose is Purpose.RESULT:
        return StartBundle(now + RESULT_INTERVAL)
    # Failed notifications do not count, nor do earlier notifications of the same incident. A time in the future (the
    # clock was set back) counts as now.
    sent_times = [min(g.due_at, now) for g in recent if g.state not in _UNDELIVERED and not g.has_incident]
    interval = OFFER_INTERVAL if purpose is Purpose.RELEASE else BUNDLE_INTERVAL
    if sent_times and now - max(sent_times) < interval:
        return StartBundle(max(sent_times) + interval)
    return StartBundle(now + REPEAT_OFFER_DELAY) if is_repeat_offer else SendAtOnce()


_UNDELIVERED = frozenset({NotificationState.FAILED, NotificationState.WITHDRAWN})
