"""Decide which notices go to a person together. Pure: the caller passes the time.

When many agencies fail at once, the first is told at once. Those that follow within `GROUP_INTERVAL`, and would go to the same
addresses as the same kind of news, are gathered into one notice: a bundle. It leaves when that time is over, and opens
the next one. A letter is signed by one agency and never bundled.
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

#: For how long others are gathered after a person was told of one (GoAlert bundles by cycle, Alertmanager by group).
GROUP_INTERVAL = timedelta(seconds=120)
#: For how long results of releases are gathered before the first is told: it presses nobody, and an officer may have released
#: the announcements of forty agencies.
RESULT_INTERVAL = timedelta(minutes=15)
#: For how long further offers of a release are gathered after one: each call about one asks for a PIN.
OFFER_INTERVAL = timedelta(minutes=10)
#: For how long offers to others than the first are gathered: their turns begin at the same moment, those of a mass outage as well.
TURN_DELAY = timedelta(seconds=30)
#: How far back to look: a brake holds a notice for three hours at most.
REACH = timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCandidate:
    """A notice that others may be bundled with, or wait after."""

    notice_id: int
    #: When it left, or may leave.
    due_at: datetime
    state: NotificationState
    #: A gateway was called: nothing is added to it any more.
    begun: bool
    #: It tells of the incident that is decided about.
    of_this: bool
    #: It was to tell of that incident and does not any more; once out, it cannot be put in again.
    was_of_this: bool = False


@dataclass(frozen=True, slots=True)
class SendAtOnce:
    """Nothing of the kind was told to the person a moment ago."""


@dataclass(frozen=True, slots=True)
class StartBundle:
    """Wait until `until`, so that others can join."""

    until: datetime


@dataclass(frozen=True, slots=True)
class JoinBundle:
    """Be told in this notice, which still waits."""

    notice_id: int


@dataclass(frozen=True, slots=True)
class AlreadyPending:
    """A notice about this incident still waits to go there (a brake holds it): a second one would say the same."""


Bundling = SendAtOnce | StartBundle | JoinBundle | AlreadyPending


#: The others come one at a time.
_GATHERED = frozenset(
    {Purpose.OUTAGE, Purpose.UPDATE, Purpose.RECOVERY, Purpose.RELEASE, Purpose.TAKEN, Purpose.REMINDER, Purpose.RESULT}
)


def gathering(draft: NotificationDraft, urgency: Urgency) -> str | None:
    """Return what *draft* may be bundled with: equal keys go together; `None`: it always goes alone.

    People are told apart by their addresses: two agencies may call different people by the same name.
    """
    if draft.purpose not in _GATHERED or not draft.addresses:
        return None
    if any(address.channel is Channel.LETTER for address in draft.addresses):
        return None
    kind = "mail" if draft.facts.matter in OUTAGES else draft.facts.matter
    if draft.facts.by:
        kind = f"{kind}, {'handed on' if draft.facts.handed_on else 'had'} by {draft.facts.by}"
    where = [[address.channel, address.number, address.extension] for address in draft.addresses]
    digest = hashlib.sha256(json.dumps([draft.language, where]).encode()).hexdigest()[:32]
    news = "belated" if draft.facts.is_belated else draft.purpose
    if draft.purpose is Purpose.RESULT:
        kind = "unposted" if draft.facts.unposted else "delivered"
    if draft.facts.is_handover:
        # Taken on or not: it is told of each, and they are told of together.
        kind = "open"
    return f"{draft.plan}/{news}/{urgency}/{kind}/{digest}"


def bundle(
    recent: Sequence[BundleCandidate], now: datetime, purpose: Purpose = Purpose.OUTAGE, *, is_turn: bool = False
) -> Bundling:
    """Decide about a notice, given those with the same key that were decided on within `REACH`.

    *is_turn*: it offers a release that was offered before.
    """
    recent = [g for g in recent if not g.was_of_this]
    waiting = [g for g in recent if g.state is NotificationState.PENDING and not g.begun]
    if any(g.of_this for g in waiting):
        return AlreadyPending()
    if waiting:
        return JoinBundle(waiting[-1].notice_id)
    # Who could not be told has not been told a moment ago; and an incident does not wait for itself. What lies in the
    # future (a clock that was set back) counts as just now.
    if purpose is Purpose.RESULT:
        return StartBundle(now + RESULT_INTERVAL)
    told = [min(g.due_at, now) for g in recent if g.state not in _CAME_TO_NOTHING and not g.of_this]
    interval = OFFER_INTERVAL if purpose is Purpose.RELEASE else GROUP_INTERVAL
    if told and now - max(told) < interval:
        return StartBundle(max(told) + interval)
    return StartBundle(now + TURN_DELAY) if is_turn else SendAtOnce()


_CAME_TO_NOTHING = frozenset({NotificationState.FAILED, NotificationState.WITHDRAWN})
