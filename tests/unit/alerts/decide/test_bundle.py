"""Which notices go to a person together."""

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
        # The bundle has left, and opens a window of its own.
        ([SENT, replace(WAITS, is_started=True)], BUNDLE_INTERVAL + SECOND, StartBundle(T0 + 2 * BUNDLE_INTERVAL)),
        # It is due, and its gateway is slow.
        ([SENT, WAITS], BUNDLE_INTERVAL + SECOND, JoinBundle(2)),
        # Who could not be told has not heard of anything.
        ([replace(SENT, state=NotificationState.FAILED)], SECOND, SendAtOnce()),
        ([replace(SENT, state=NotificationState.WITHDRAWN)], SECOND, SendAtOnce()),
        # Nor does anybody who joins what has come to its end before a gateway was called.
        ([replace(WAITS, state=NotificationState.FAILED)], SECOND, SendAtOnce()),
        ([SENT, replace(WAITS, state=NotificationState.WITHDRAWN)], SECOND, StartBundle(T0 + BUNDLE_INTERVAL)),
        # The clock was set back by a day: nobody waits for tomorrow.
        ([replace(SENT, due_at=T0 + timedelta(days=1))], SECOND, StartBundle(T0 + SECOND + BUNDLE_INTERVAL)),
        # An incident does not wait for itself, and is not told twice in what still waits.
        ([replace(SENT, has_incident=True)], SECOND, SendAtOnce()),
        ([SENT, replace(WAITS, has_incident=True)], SECOND, AlreadyPending()),
        # What it has left tells nothing of it, and cannot be joined again.
        ([SENT, replace(WAITS, had_incident=True)], SECOND, StartBundle(T0 + BUNDLE_INTERVAL)),
        ([replace(WAITS, had_incident=True)], SECOND, SendAtOnce()),
    ],
)
def test_the_first_is_told_at_once_and_those_that_follow_wait_for_each_other(
    recent: list[BundleCandidate], after: timedelta, what: Bundling
) -> None:
    assert bundle(recent, T0 + after) == what


@pytest.mark.parametrize("recent", [[], [SENT]])
def test_bundle_result_of_a_release_waits_for_others_from_the_first_on(recent: list[BundleCandidate]) -> None:
    assert bundle(recent, T0, Purpose.RESULT) == StartBundle(T0 + RESULT_INTERVAL)
    assert bundle([*recent, WAITS], T0 + MINUTE, Purpose.RESULT) == JoinBundle(WAITS.notification_id)


def test_bundle_offers_of_a_release_are_two_calls_and_each_further_turn_is_one() -> None:
    bundled = partial(bundle, purpose=Purpose.RELEASE)
    assert bundled([], T0) == SendAtOnce()
    assert bundled([SENT], T0 + MINUTE) == StartBundle(T0 + OFFER_INTERVAL)
    assert bundled([SENT, WAITS], T0 + MINUTE) == JoinBundle(WAITS.notification_id)
    assert bundled([SENT], T0 + OFFER_INTERVAL) == SendAtOnce()
    # All begin at the same moment.
    assert bundled([], T0, is_repeat_offer=True) == StartBundle(T0 + REPEAT_OFFER_DELAY)
    assert bundled([SENT], T0 + OFFER_INTERVAL, is_repeat_offer=True) == StartBundle(
        T0 + OFFER_INTERVAL + REPEAT_OFFER_DELAY
    )


def telling(**facts: Any) -> NotificationDraft:
    return replace(DRAFT, facts=replace(DRAFT.facts, **facts))


def test_what_is_gathered_is_of_one_kind_and_goes_to_one_place() -> None:
    first = bundle_key(DRAFT, Urgency.FIRST)

    assert bundle_key(telling(type=IncidentType.SENDING), Urgency.FIRST) == first, "mail that fails is mail that fails"
    others = [
        bundle_key(telling(type=IncidentType.DEGRADED), Urgency.FIRST),
        bundle_key(telling(type=IncidentType.MONITORING_FAULT), Urgency.FIRST),
        bundle_key(DRAFT, Urgency.REPEAT),
        bundle_key(replace(DRAFT, addresses=(SMS_RAVI,)), Urgency.FIRST),
        bundle_key(replace(DRAFT, addresses=(VOICE_SITI,)), Urgency.FIRST),
        bundle_key(replace(DRAFT, language=Language.ENGLISH), Urgency.FIRST),
        bundle_key(telling(plan=Plan.ANNOUNCEMENT), Urgency.FIRST),
        bundle_key(telling(purpose=Purpose.RECOVERY), Urgency.FIRST),
        bundle_key(telling(purpose=Purpose.RESULT), Urgency.FIRST),
        bundle_key(telling(purpose=Purpose.RESULT, unposted=2), Urgency.FIRST),
        # Who has it, or had it and has handed it on.
        *(bundle_key(telling(by=by, escalated=on), Urgency.FIRST) for by in ("Siti", "Ravi") for on in (False, True)),
        # That it is another by now, and that the duty has been handed over.
        *(
            bundle_key(telling(purpose=Purpose.UPDATE, previous_type=was), Urgency.FIRST)
            for was in (IncidentType.BOTH, None)
        ),
    ]
    assert len({first, *others}) == 1 + len(others)


def test_people_are_told_apart_by_their_numbers_and_not_by_their_names() -> None:
    namesake = replace(DRAFT, addresses=(SMS_RAVI,))
    same_phone = replace(DRAFT, person="duty-officer")

    assert bundle_key(namesake, Urgency.FIRST) != bundle_key(DRAFT, Urgency.FIRST)
    assert bundle_key(same_phone, Urgency.FIRST) == bundle_key(DRAFT, Urgency.FIRST)


def test_a_letter_and_a_correction_always_go_alone() -> None:
    assert bundle_key(replace(DRAFT, addresses=(FAX,)), Urgency.FIRST) is not None
    assert bundle_key(replace(DRAFT, addresses=(LETTER,)), Urgency.FIRST) is None
    assert bundle_key(telling(purpose=Purpose.CORRECTION), Urgency.ESCALATION) is None


def test_what_a_brake_holds_as_long_as_it_may_is_still_looked_at() -> None:
    assert max(limit.within for limits in CONTACT_LIMITS.values() for limit in limits) < SEARCH_WINDOW


def test_no_number_is_in_the_key() -> None:
    assert SMS_SITI.number.lstrip("+") not in (bundle_key(DRAFT, Urgency.FIRST) or "")
