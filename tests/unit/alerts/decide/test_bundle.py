"""Bundling of notifications to one person."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from alerts.decide.bundle import (
    BUNDLE_INTERVAL,
    OFFER_INTERVAL,
    REPEAT_OFFER_DELAY,
    RESULT_INTERVAL,
    SEARCH_WINDOW,
    AlreadyPending,
    BundleCandidate,
    Bundling,
    JoinBundle,
    SendAtOnce,
    StartBundle,
    bundle,
    bundle_key,
)
from alerts.decide.escalation import build_facts
from alerts.decide.gateway.rate_limit import CONTACT_LIMITS
from alerts.model.delivery import NotificationDraft, NotificationState
from alerts.model.notification import IncidentType, Language, Plan, Purpose
from alerts.model.urgency import Urgency
from tests.unit.alerts.people import FAX, LETTER, MINUTE, SECOND, SMS_RAVI, SMS_SITI, T0, VOICE_SITI, incident

DRAFT = NotificationDraft(
    incident_id=1,
    person="siti",
    language=Language.MALAY,
    facts=build_facts(incident(), Plan.ESCALATION, Purpose.OUTAGE, T0),
    expires_at=T0 + 30 * MINUTE,
    addresses=(SMS_SITI,),
)
SENT = BundleCandidate(notification_id=1, due_at=T0, state=NotificationState.SENT, is_started=True, has_incident=False)
WAITS = BundleCandidate(
    notification_id=2,
    due_at=T0 + BUNDLE_INTERVAL,
    state=NotificationState.PENDING,
    is_started=False,
    has_incident=False,
)


@pytest.mark.parametrize(
    ("recent", "after", "what"),
    [
        ([], timedelta(0), SendAtOnce()),
        ([SENT], SECOND, StartBundle(T0 + BUNDLE_INTERVAL)),
        ([SENT], 119 * SECOND, StartBundle(T0 + 120 * SECOND)),
        ([SENT], 120 * SECOND, SendAtOnce()),
        ([SENT, WAITS], SECOND, JoinBundle(2)),
        # The bundle was sent and starts a new window.
        ([SENT, replace(WAITS, is_started=True)], BUNDLE_INTERVAL + SECOND, StartBundle(T0 + 2 * BUNDLE_INTERVAL)),
        # The bundle is due and its gateway is slow.
        ([SENT, WAITS], BUNDLE_INTERVAL + SECOND, JoinBundle(2)),
        # A person whose notification failed has not been notified.
        ([replace(SENT, state=NotificationState.FAILED)], SECOND, SendAtOnce()),
        ([replace(SENT, state=NotificationState.WITHDRAWN)], SECOND, SendAtOnce()),
        # A notification that was settled before its first attempt cannot be joined.
        ([replace(WAITS, state=NotificationState.FAILED)], SECOND, SendAtOnce()),
        ([SENT, replace(WAITS, state=NotificationState.WITHDRAWN)], SECOND, StartBundle(T0 + BUNDLE_INTERVAL)),
        # The clock was set back by a day: no notification waits until tomorrow.
        ([replace(SENT, due_at=T0 + timedelta(days=1))], SECOND, StartBundle(T0 + SECOND + BUNDLE_INTERVAL)),
        # An incident does not wait for its own notification, and is not added twice to a pending one.
        ([replace(SENT, has_incident=True)], SECOND, SendAtOnce()),
        ([SENT, replace(WAITS, has_incident=True)], SECOND, AlreadyPending()),
        # A notification that the incident has left does not count and cannot be joined again.
        ([SENT, replace(WAITS, had_incident=True)], SECOND, StartBundle(T0 + BUNDLE_INTERVAL)),
        ([replace(WAITS, had_incident=True)], SECOND, SendAtOnce()),
    ],
)
def test_bundle_first_is_sent_at_once_and_following_are_bundled(
    recent: list[BundleCandidate], after: timedelta, what: Bundling
) -> None:
    assert bundle(recent, T0 + after) == what


@pytest.mark.parametrize("recent", [[], [SENT]])
def test_bundle_release_results_wait_from_first_on(recent: list[BundleCandidate]) -> None:
    assert bundle(recent, T0, Purpose.RESULT) == StartBundle(T0 + RESULT_INTERVAL)
    assert bundle([*recent, WAITS], T0 + MINUTE, Purpose.RESULT) == JoinBundle(WAITS.notification_id)


def test_bundle_release_offers_make_two_calls_then_one_per_turn() -> None:
    bundled = partial(bundle, purpose=Purpose.RELEASE)
    assert bundled([], T0) == SendAtOnce()
    assert bundled([SENT], T0 + MINUTE) == StartBundle(T0 + OFFER_INTERVAL)
    assert bundled([SENT, WAITS], T0 + MINUTE) == JoinBundle(WAITS.notification_id)
    assert bundled([SENT], T0 + OFFER_INTERVAL) == SendAtOnce()
    # All repeats begin at the same moment.
    assert bundled([], T0, is_repeat_offer=True) == StartBundle(T0 + REPEAT_OFFER_DELAY)
    assert bundled([SENT], T0 + OFFER_INTERVAL, is_repeat_offer=True) == StartBundle(
        T0 + OFFER_INTERVAL + REPEAT_OFFER_DELAY
    )


def draft_with(**facts: Any) -> NotificationDraft:
    return replace(DRAFT, facts=replace(DRAFT.facts, **facts))


def test_bundle_key_separates_kinds_and_addresses() -> None:
    first = bundle_key(DRAFT, Urgency.FIRST)

    assert bundle_key(draft_with(type=IncidentType.SENDING), Urgency.FIRST) == first, (
        "mail that fails is mail that fails"
    )
    others = [
        bundle_key(draft_with(type=IncidentType.DEGRADED), Urgency.FIRST),
        bundle_key(draft_with(type=IncidentType.MONITORING_FAULT), Urgency.FIRST),
        bundle_key(DRAFT, Urgency.REPEAT),
        bundle_key(replace(DRAFT, addresses=(SMS_RAVI,)), Urgency.FIRST),
        bundle_key(replace(DRAFT, addresses=(VOICE_SITI,)), Urgency.FIRST),
        bundle_key(replace(DRAFT, language=Language.ENGLISH), Urgency.FIRST),
        bundle_key(draft_with(plan=Plan.ANNOUNCEMENT), Urgency.FIRST),
        bundle_key(draft_with(purpose=Purpose.RECOVERY), Urgency.FIRST),
        bundle_key(draft_with(purpose=Purpose.RESULT), Urgency.FIRST),
        bundle_key(draft_with(purpose=Purpose.RESULT, unposted=2), Urgency.FIRST),
        # The assignee, and the previous assignee after escalating.
        *(
            bundle_key(draft_with(by=by, escalated=on), Urgency.FIRST)
            for by in ("Siti", "Ravi")
            for on in (False, True)
        ),
        # A changed type, and a handover.
        *(
            bundle_key(draft_with(purpose=Purpose.UPDATE, previous_type=was), Urgency.FIRST)
            for was in (IncidentType.BOTH, None)
        ),
    ]
    assert len({first, *others}) == 1 + len(others)


def test_bundle_key_depends_on_number_not_on_person_name() -> None:
    namesake = replace(DRAFT, addresses=(SMS_RAVI,))
    same_phone = replace(DRAFT, person="duty-officer")

    assert bundle_key(namesake, Urgency.FIRST) != bundle_key(DRAFT, Urgency.FIRST)
    assert bundle_key(same_phone, Urgency.FIRST) == bundle_key(DRAFT, Urgency.FIRST)


def test_letter_and_correction_are_not_bundled() -> None:
    assert bundle_key(replace(DRAFT, addresses=(FAX,)), Urgency.FIRST) is not None
    assert bundle_key(replace(DRAFT, addresses=(LETTER,)), Urgency.FIRST) is None
    assert bundle_key(draft_with(purpose=Purpose.CORRECTION), Urgency.ESCALATION) is None


def test_search_window_exceeds_longest_rate_limit() -> None:
    assert max(limit.within for limits in CONTACT_LIMITS.values() for limit in limits) < SEARCH_WINDOW


def test_bundle_key_contains_no_number() -> None:
    assert SMS_SITI.number.lstrip("+") not in (bundle_key(DRAFT, Urgency.FIRST) or "")
