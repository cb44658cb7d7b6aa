"""Which notices go to a person together."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from alerts.decide.bundle import (
    GROUP_INTERVAL,
    OFFER_INTERVAL,
    REACH,
    RESULT_INTERVAL,
    TURN_DELAY,
    AlreadyPending,
    BundleCandidate,
    Bundling,
    JoinBundle,
    SendAtOnce,
    StartBundle,
    bundle,
    gathering,
)
from alerts.decide.escalation import facts
from alerts.decide.gateway.rate_limit import CONTACT_LIMITS
from alerts.model.delivery import NotificationDraft, NotificationState
from alerts.model.notification import IncidentType, Language, Plan, Purpose
from alerts.model.urgency import Urgency
from tests.unit.alerts.people import FAX, LETTER, MINUTE, SECOND, SMS_RAVI, SMS_SITI, T0, VOICE_SITI, incident

DRAFT = NotificationDraft(
    incident_id=1,
    person="siti",
    language=Language.MALAY,
    facts=facts(incident(), Plan.ESCALATION, Purpose.OUTAGE, T0),
    expires_at=T0 + 30 * MINUTE,
    addresses=(SMS_SITI,),
)
SENT = BundleCandidate(notification_id=1, due_at=T0, state=NotificationState.SENT, begun=True, of_this=False)
WAITS = BundleCandidate(
    notification_id=2, due_at=T0 + GROUP_INTERVAL, state=NotificationState.PENDING, begun=False, of_this=False
)


@pytest.mark.parametrize(
    ("recent", "after", "what"),
    [
        ([], timedelta(0), SendAtOnce()),
        ([SENT], SECOND, StartBundle(T0 + GROUP_INTERVAL)),
        ([SENT], 119 * SECOND, StartBundle(T0 + 120 * SECOND)),
        ([SENT], 120 * SECOND, SendAtOnce()),
        ([SENT, WAITS], SECOND, JoinBundle(2)),
        # The bundle has left, and opens a window of its own.
        ([SENT, replace(WAITS, begun=True)], GROUP_INTERVAL + SECOND, StartBundle(T0 + 2 * GROUP_INTERVAL)),
        # It is due, and its gateway is slow.
        ([SENT, WAITS], GROUP_INTERVAL + SECOND, JoinBundle(2)),
        # Who could not be told has not heard of anything.
        ([replace(SENT, state=NotificationState.FAILED)], SECOND, SendAtOnce()),
        ([replace(SENT, state=NotificationState.WITHDRAWN)], SECOND, SendAtOnce()),
        # Nor does anybody who joins what has come to its end before a gateway was called.
        ([replace(WAITS, state=NotificationState.FAILED)], SECOND, SendAtOnce()),
        ([SENT, replace(WAITS, state=NotificationState.WITHDRAWN)], SECOND, StartBundle(T0 + GROUP_INTERVAL)),
        # The clock was set back by a day: nobody waits for tomorrow.
        ([replace(SENT, due_at=T0 + timedelta(days=1))], SECOND, StartBundle(T0 + SECOND + GROUP_INTERVAL)),
        # An incident does not wait for itself, and is not told twice in what still waits.
        ([replace(SENT, of_this=True)], SECOND, SendAtOnce()),
        ([SENT, replace(WAITS, of_this=True)], SECOND, AlreadyPending()),
        # What it has left tells nothing of it, and cannot be joined again.
        ([SENT, replace(WAITS, was_of_this=True)], SECOND, StartBundle(T0 + GROUP_INTERVAL)),
        ([replace(WAITS, was_of_this=True)], SECOND, SendAtOnce()),
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
    assert bundled([], T0, is_turn=True) == StartBundle(T0 + TURN_DELAY)
    assert bundled([SENT], T0 + OFFER_INTERVAL, is_turn=True) == StartBundle(T0 + OFFER_INTERVAL + TURN_DELAY)


def telling(**facts: Any) -> NotificationDraft:
    return replace(DRAFT, facts=replace(DRAFT.facts, **facts))


def test_what_is_gathered_is_of_one_kind_and_goes_to_one_place() -> None:
    first = gathering(DRAFT, Urgency.FIRST)

    assert gathering(telling(type=IncidentType.SENDING), Urgency.FIRST) == first, "mail that fails is mail that fails"
    others = [
        gathering(telling(type=IncidentType.DEGRADED), Urgency.FIRST),
        gathering(telling(type=IncidentType.MONITORING_FAULT), Urgency.FIRST),
        gathering(DRAFT, Urgency.REPEAT),
        gathering(replace(DRAFT, addresses=(SMS_RAVI,)), Urgency.FIRST),
        gathering(replace(DRAFT, addresses=(VOICE_SITI,)), Urgency.FIRST),
        gathering(replace(DRAFT, language=Language.ENGLISH), Urgency.FIRST),
        gathering(telling(plan=Plan.ANNOUNCEMENT), Urgency.FIRST),
        gathering(telling(purpose=Purpose.RECOVERY), Urgency.FIRST),
        gathering(telling(purpose=Purpose.RESULT), Urgency.FIRST),
        gathering(telling(purpose=Purpose.RESULT, unposted=2), Urgency.FIRST),
        # Who has it, or had it and has handed it on.
        *(gathering(telling(by=by, escalated=on), Urgency.FIRST) for by in ("Siti", "Ravi") for on in (False, True)),
        # That it is another by now, and that the duty has been handed over.
        *(
            gathering(telling(purpose=Purpose.UPDATE, previous_type=was), Urgency.FIRST)
            for was in (IncidentType.BOTH, None)
        ),
    ]
    assert len({first, *others}) == 1 + len(others)


def test_people_are_told_apart_by_their_numbers_and_not_by_their_names() -> None:
    namesake = replace(DRAFT, addresses=(SMS_RAVI,))
    same_phone = replace(DRAFT, person="duty-officer")

    assert gathering(namesake, Urgency.FIRST) != gathering(DRAFT, Urgency.FIRST)
    assert gathering(same_phone, Urgency.FIRST) == gathering(DRAFT, Urgency.FIRST)


def test_a_letter_and_a_correction_always_go_alone() -> None:
    assert gathering(replace(DRAFT, addresses=(FAX,)), Urgency.FIRST) is not None
    assert gathering(replace(DRAFT, addresses=(LETTER,)), Urgency.FIRST) is None
    assert gathering(telling(purpose=Purpose.CORRECTION), Urgency.ESCALATION) is None


def test_what_a_brake_holds_as_long_as_it_may_is_still_looked_at() -> None:
    assert max(limit.within for limits in CONTACT_LIMITS.values() for limit in limits) < REACH


def test_no_number_is_in_the_key() -> None:
    assert SMS_SITI.number.lstrip("+") not in (gathering(DRAFT, Urgency.FIRST) or "")
