"""Bundling of notifications to one person. Pure: the caller passes the time.

When many agencies fail together, the notification about the first incident is sent at once. Further notifications that
are decided within `BUNDLE_INTERVAL` for the same addresses and purpose are combined into one notification about several
incidents: a bundle. The bundle is sent at the end of the interval, and the next bundle begins. A letter is signed by
one agency and never bundled.

A *release* is the approval of an announcement to offices outside. Staff are asked for it by calls and SMS (offers). The
*result* of a release informs the person who released the announcement whether the offices were reached.
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

#: Minimum time between two similar notifications to a person; those decided meanwhile are bundled.
BUNDLE_INTERVAL = timedelta(seconds=120)
#: Longer interval for results of releases: they are not urgent, and an officer may have released forty announcements.
RESULT_INTERVAL = timedelta(minutes=15)
#: Longer interval for offers of a release: each call asks for a PIN.
OFFER_INTERVAL = timedelta(minutes=10)
#: Delay of an offer to the next person. In a mass outage the offers of all agencies to the next person are due at the
#: same moment; the delay bundles them.
REPEAT_OFFER_DELAY = timedelta(seconds=30)
#: Maximum age of a notification that may be joined: a rate limit delays a notification by three hours at most.
SEARCH_WINDOW = timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCandidate:
    """An earlier notification with the same bundle key: the new one may join it, or has to wait because of it."""

    notification_id: int
    #: When the notification was sent or may be sent.
    due_at: datetime
    state: NotificationState
    #: Whether a gateway was called, so that no incident can join any more.
    is_started: bool
    #: Whether the notification contains the incident of the new notification.
    has_incident: bool
    #: Whether the notification contained that incident earlier, and it was removed. An incident does not join twice.
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
    """An unsent notification contains this incident already, so that no further notification is needed."""


Bundling = SendAtOnce | StartBundle | JoinBundle | AlreadyPending


#: Purposes that are bundled.
_BUNDLED_PURPOSES = frozenset(
    {Purpose.OUTAGE, Purpose.UPDATE, Purpose.RECOVERY, Purpose.RELEASE, Purpose.TAKEN, Purpose.REMINDER, Purpose.RESULT}
)


def bundle_key(draft: NotificationDraft, urgency: Urgency) -> str | None:
    """Return the bundle key of *draft*: drafts with equal keys are bundled; `None`: the draft is always sent alone.

    The key identifies the reader by addresses, because two agencies may use one name for different people.
    """
    if draft.purpose not in _BUNDLED_PURPOSES or not draft.addresses:
        return None
    if any(address.channel is Channel.LETTER for address in draft.addresses):
        return None
    # The words in the key are stored, and only distinguish bundles.
    kind = "mail" if draft.facts.type in OUTAGES else draft.facts.type
    if draft.facts.by:
        # A bundle names the person who escalated, or who had the incidents before; it can name only one.
        kind = f"{kind}, {'handed on' if draft.facts.escalated else 'had'} by {draft.facts.by}"
    address_keys = [[address.channel, address.number, address.extension] for address in draft.addresses]
    reader = hashlib.sha256(json.dumps([draft.language, address_keys]).encode()).hexdigest()[:32]
    # A belated notification reports a problem that ended before staff could be notified.
    purpose = "belated" if draft.facts.is_belated else draft.purpose
    if draft.purpose is Purpose.RESULT:
        kind = "unposted" if draft.facts.unposted else "delivered"
    if draft.facts.is_handover:
        # A handover notification lists all open incidents, acknowledged or not.
        kind = "open"
    return f"{draft.plan}/{purpose}/{urgency}/{kind}/{reader}"


#: States of notifications that cause no wait.
_UNDELIVERED = frozenset({NotificationState.FAILED, NotificationState.WITHDRAWN})


def bundle(
    recent: Sequence[BundleCandidate],
    now: datetime,
    purpose: Purpose = Purpose.OUTAGE,
    *,
    is_repeat_offer: bool = False,
) -> Bundling:
    """Decide how a notification is sent.

    *recent*: notifications with the same bundle key, created within `SEARCH_WINDOW`, the oldest first.
    *is_repeat_offer*: other people were asked for the release before.
    """
    recent = [each for each in recent if not each.had_incident]
    unsent = [each for each in recent if each.state is NotificationState.PENDING and not each.is_started]
    if any(each.has_incident for each in unsent):
        return AlreadyPending()
    if unsent:
        return JoinBundle(unsent[-1].notification_id)
    if purpose is Purpose.RESULT:
        return StartBundle(now + RESULT_INTERVAL)
    # Failed notifications and those of the same incident cause no wait. A time in the future (the clock was set back)
    # counts as now.
    sent_times = [min(each.due_at, now) for each in recent if each.state not in _UNDELIVERED and not each.has_incident]
    interval = OFFER_INTERVAL if purpose is Purpose.RELEASE else BUNDLE_INTERVAL
    if sent_times and now - max(sent_times) < interval:
        return StartBundle(max(sent_times) + interval)
    return StartBundle(now + REPEAT_OFFER_DELAY) if is_repeat_offer else SendAtOnce()
