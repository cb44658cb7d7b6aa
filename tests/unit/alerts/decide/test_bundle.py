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
    AtOnce,
    Begin,
    Bundling,
    Covered,
    Gathered,
    Join,
    bundle,
    gathering,
)
from alerts.decide.escalation import facts
from alerts.decide.gateway.brake import CONTACT_LIMITS
from alerts.model.delivery import Draft, NoticeState
from alerts.model.notice import Language, Matter, Plan, Purpose
from alerts.model.urgency import Urgency
from tests.unit.alerts.people import FAX, LETTER, MINUTE, SECOND, SMS_RAVI, SMS_SITI, T0, VOICE_SITI, incident

DRAFT = Draft(
    incident_id=1,
    person="siti",
    language=Language.MALAY,
    facts=facts(incident(), Plan.ESCALATION, Purpose.OUTAGE, T0),
    expires_at=T0 + 30 * MINUTE,
    addresses=(SMS_SITI,),
)
SENT = Gathered(notice_id=1, due_at=T0, state=NoticeState.SENT, begun=True, of_this=False)
WAITS = Gathered(notice_id=2, due_at=T0 + GROUP_INTERVAL, state=NoticeState.PENDING, begun=False, of_this=False)


@pytest.mark.parametrize(
    ("recent", "after", "what"),
    [
        ([], timedelta(0), AtOnce()),
        ([SENT], SECOND, Begin(T0 + GROUP_INTERVAL)),
        ([SENT], 119 * SECOND, Begin(T0 + 120 * SECOND)),
        ([SENT], 120 * SECOND, AtOnce()),
        ([SENT, WAITS], SECOND, Join(2)),
        # The bundle has left, and opens a window of its own.
        ([SENT, replace(WAITS, begun=True)], GROUP_INTERVAL + SECOND, Begin(T0 + 2 * GROUP_INTERVAL)),
        # It is due, and its gateway is slow.
        ([SENT, WAITS], GROUP_INTERVAL + SECOND, Join(2)),
        # Who could not be told has not heard of anything.
        ([replace(SENT, state=NoticeState.FAILED)], SECOND, AtOnce()),
        ([replace(SENT, state=NoticeState.WITHDRAWN)], SECOND, AtOnce()),
        # Nor does anybody who joins what has come to its end before a gateway was called.
        ([replace(WAITS, state=NoticeState.FAILED)], SECOND, AtOnce()),
        ([SENT, replace(WAITS, state=NoticeState.WITHDRAWN)], SECOND, Begin(T0 + GROUP_INTERVAL)),
        # The clock was set back by a day: nobody waits for tomorrow.
        ([replace(SENT, due_at=T0 + timedelta(days=1))], SECOND, Begin(T0 + SECOND + GROUP_INTERVAL)),
        # An incident does not wait for itself, and is not told twice in what still waits.
        ([replace(SENT, of_this=True)], SECOND, AtOnce()),
        ([SENT, replace(WAITS, of_this=True)], SECOND, Covered()),
        # What it has left tells nothing of it, and cannot be joined again.
        ([SENT, replace(WAITS, was_of_this=True)], SECOND, Begin(T0 + GROUP_INTERVAL)),
        ([replace(WAITS, was_of_this=True)], SECOND, AtOnce()),
    ],
)
def test_the_first_is_told_at_once_and_those_that_follow_wait_for_each_other(
    recent: list[Gathered], after: timedelta, what: Bundling
) -> None:
    assert bundle(recent, T0 + after) == what


@pytest.mark.parametrize("recent", [[], [SENT]])
def test_bundle_result_of_a_release_waits_for_others_from_the_first_on(recent: list[Gathered]) -> None:
    assert bundle(recent, T0, Purpose.RESULT) == Begin(T0 + RESULT_INTERVAL)
    assert bundle([*recent, WAITS], T0 + MINUTE, Purpose.RESULT) == Join(WAITS.notice_id)


def test_bundle_offers_of_a_release_are_two_calls_and_each_further_turn_is_one() -> None:
    bundled = partial(bundle, purpose=Purpose.RELEASE)
    assert bundled([], T0) == AtOnce()
    assert bundled([SENT], T0 + MINUTE) == Begin(T0 + OFFER_INTERVAL)
    assert bundled([SENT, WAITS], T0 + MINUTE) == Join(WAITS.notice_id)
    assert bundled([SENT], T0 + OFFER_INTERVAL) == AtOnce()
    # All begin at the same moment.
    assert bundled([], T0, is_turn=True) == Begin(T0 + TURN_DELAY)
    assert bundled([SENT], T0 + OFFER_INTERVAL, is_turn=True) == Begin(T0 + OFFER_INTERVAL + TURN_DELAY)


def telling(**facts: Any) -> Draft:
    return replace(DRAFT, facts=replace(DRAFT.facts, **facts))


def test_what_is_gathered_is_of_one_kind_and_goes_to_one_place() -> None:
    first = gathering(DRAFT, Urgency.FIRST)

    assert gathering(telling(matter=Matter.SENDING), Urgency.FIRST) == first, "mail that fails is mail that fails"
    others = [
        gathering(telling(matter=Matter.DEGRADED), Urgency.FIRST),
        gathering(telling(matter=Matter.OWN_FAULT), Urgency.FIRST),
        gathering(DRAFT, Urgency.REPEAT),
        gathering(replace(DRAFT, addresses=(SMS_RAVI,)), Urgency.FIRST),
        gathering(replace(DRAFT, addresses=(VOICE_SITI,)), Urgency.FIRST),
        gathering(replace(DRAFT, language=Language.ENGLISH), Urgency.FIRST),
        gathering(telling(plan=Plan.ANNOUNCEMENT), Urgency.FIRST),
        gathering(telling(purpose=Purpose.RECOVERY), Urgency.FIRST),
        gathering(telling(purpose=Purpose.RESULT), Urgency.FIRST),
        gathering(telling(purpose=Purpose.RESULT, unposted=2), Urgency.FIRST),
        # Who has it, or had it and has handed it on.
        *(gathering(telling(by=by, handed_on=on), Urgency.FIRST) for by in ("Siti", "Ravi") for on in (False, True)),
        # That it is another by now, and that the duty has been handed over.
        *(gathering(telling(purpose=Purpose.UPDATE, was=was), Urgency.FIRST) for was in (Matter.BOTH, None)),
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
