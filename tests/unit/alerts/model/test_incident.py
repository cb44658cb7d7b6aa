"""The life of an incident, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from alerts.decide.escalation import build_facts
from alerts.model.event import (
    AUTOMATIC,
    Acknowledge,
    AddNote,
    Close,
    Declare,
    Escalate,
    Event,
    Expire,
    MarkFalseAlarm,
    Release,
    Resolve,
    Trigger,
)
from alerts.model.incident import (
    FALSE_ALARM_PERIOD,
    TRANSITIONS,
    Incident,
    IncidentState,
    apply,
    is_suppressed,
    open_incident,
)
from alerts.model.notification import Cause, IncidentType, Plan, Purpose
from tests.unit.alerts.people import BRIEF, MINUTE, T0, incident, trigger

ACKNOWLEDGE = Acknowledge(incident_id=1, at=T0 + MINUTE, by="Siti Contoh")
RESOLVE = Resolve(dedup_key="JCM", at=T0 + MINUTE, ended_at=T0 + MINUTE)
RELEASE = Release(incident_id=1, at=T0 + MINUTE, by="Ravi Contoh")
CORRECT = MarkFalseAlarm(incident_id=1, at=T0 + MINUTE, by="Siti Contoh", reason="rujukan silap")

REMARK = AddNote(incident_id=1, at=T0 + MINUTE, by="Siti Contoh", text="cakera diganti")
EXPIRE = Expire(incident_id=1, at=T0 + MINUTE)
HAND_ON = Escalate(incident_id=1, at=T0 + MINUTE, by="Siti Contoh")
DECLARE = Declare(
    dedup_key="JCM",
    at=T0 + MINUTE,
    by="Siti Contoh",
    type=IncidentType.BOTH,
    began_at=T0 - MINUTE,
    reason="mel web tidak dapat dibuka",
    policy=BRIEF,
)
CLOSE = Close(incident_id=1, at=T0 + 9 * MINUTE, by="Ravi Contoh", reason="mel web dibaiki")
EVENTS = (trigger(), DECLARE, ACKNOWLEDGE, REMARK, HAND_ON, EXPIRE, RESOLVE, RELEASE, CORRECT, CLOSE)


def declared(matter: IncidentType = IncidentType.BOTH) -> Incident:
    """Return an incident that a person has just opened."""
    return open_incident(replace(DECLARE, type=matter), incident_id=1, number="JCM-01")


def in_state(state: IncidentState, event: Event | None = None) -> Incident:
    """Return an incident in *state*; one that is measured, unless *event* is about what is declared."""
    return replace(declared() if isinstance(event, Close) else incident(), state=state)


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("state", IncidentState)
def test_every_pair_of_state_and_event_does_what_the_table_says(state: IncidentState, event: Event) -> None:
    after = apply(in_state(state, event), event)

    assert after.state is TRANSITIONS.get((state, type(event)), state)


def test_nothing_but_a_correction_touches_a_resolved_incident() -> None:
    over = in_state(IncidentState.RESOLVED)

    assert all(apply(over, event) is over for event in EVENTS if event is not CORRECT)


def test_the_first_to_acknowledge_is_the_one_who_did() -> None:
    once = apply(incident(), ACKNOWLEDGE)

    assert apply(once, replace(ACKNOWLEDGE, by="Ravi Contoh")) is once
    assert once.acknowledged_by == "Siti Contoh"


def until(of: Incident) -> timedelta | None:
    """Return how long after `T0` the acknowledgement of *of* stands."""
    return None if of.acknowledged_until is None else of.acknowledged_until - T0


AN_HOUR = replace(BRIEF, escalation=replace(BRIEF.escalation, acknowledgement_timeout=timedelta(hours=1)))
TAKEN = apply(incident(brief=AN_HOUR), ACKNOWLEDGE)
LATER = T0 + 30 * MINUTE


@pytest.mark.parametrize(
    ("event", "minutes"),
    [
        (replace(ACKNOWLEDGE, at=LATER), 90),
        (replace(REMARK, at=LATER), 90),
        (replace(REMARK, at=LATER, by="Ravi Contoh"), 90),
        (replace(RELEASE, at=LATER), 90),
        (replace(RELEASE, at=LATER, by=AUTOMATIC), 61),
        (replace(ACKNOWLEDGE, at=LATER, by="Ravi Contoh"), 61),
        (replace(ACKNOWLEDGE, at=T0 + 2 * MINUTE), 62),
        (replace(ACKNOWLEDGE, at=T0 + 2 * MINUTE - timedelta(seconds=1)), 61),
        (trigger(IncidentType.BOTH, LATER), 61),
    ],
    ids=[
        *("said again", "a remark", "of a colleague", "a release", "by itself", "another's word"),
        *("a minute later", "a machine that answers at once", "more of the same"),
    ],
)
def test_an_acknowledgement_stands_for_its_time_after_anything_is_heard(event: Event, minutes: int) -> None:
    reminded = replace(TAKEN, reminded_at=T0 + 20 * MINUTE)
    assert until(apply(TAKEN, event)) == minutes * MINUTE
    after = apply(reminded, event)
    assert (after.reminded_at is None) is (after.last_response_at != TAKEN.last_response_at), (
        "a new promise has a reminder of its own"
    )


def test_who_has_it_and_who_had_it_are_told_apart() -> None:
    assert until(incident()) is None
    gone = apply(TAKEN, EXPIRE)
    assert (gone.acknowledged_by, gone.acknowledged_at, until(gone)) == (None, None, None)
    assert (gone.previous_assignee, gone.last_response_at) == ("Siti Contoh", T0 + MINUTE)
    again = apply(gone, replace(ACKNOWLEDGE, at=LATER, by="Ravi Contoh"))
    assert (again.acknowledged_by, again.previous_assignee, until(again)) == ("Ravi Contoh", None, 90 * MINUTE)
    assert until(apply(TAKEN, RESOLVE)) is None
    assert not gone.escalated


@pytest.mark.parametrize(
    "before", [TAKEN, incident(brief=AN_HOUR), apply(TAKEN, EXPIRE)], ids=["had", "told", "expired"]
)
def test_what_is_handed_on_nobody_has(before: Incident) -> None:
    after = apply(before, replace(HAND_ON, at=LATER, by="Puan NOC Contoh"))
    assert (after.state, after.acknowledged_by, until(after)) == (IncidentState.TRIGGERED, None, None)
    assert (after.previous_assignee, after.escalated, after.last_response_at) == ("Puan NOC Contoh", True, LATER)
    said = replace(HAND_ON, at=LATER + MINUTE, by="Puan NOC Contoh")
    assert apply(after, replace(said, at=LATER + timedelta(seconds=59))) is after, "a key that is brought twice"
    assert apply(after, said).last_response_at == LATER + MINUTE
    assert apply(after, replace(said, at=LATER, by="Siti Contoh")).previous_assignee == "Siti Contoh"
    again = apply(after, replace(ACKNOWLEDGE, at=LATER))
    assert (again.acknowledged_by, again.previous_assignee, again.escalated) == ("Siti Contoh", None, False)


def test_what_gets_worse_was_handed_on_by_nobody() -> None:
    worse = apply(apply(apply(incident(IncidentType.DEGRADED), ACKNOWLEDGE), EXPIRE), trigger(IncidentType.BOTH, LATER))
    assert (worse.previous_assignee, worse.last_response_at) == (None, None)


def test_slowness_that_becomes_an_outage_is_told_anew_even_if_the_slowness_was_acknowledged() -> None:
    slow = apply(incident(IncidentType.DEGRADED), ACKNOWLEDGE)

    worse = apply(slow, trigger(IncidentType.BOTH, T0 + 9 * MINUTE))

    assert worse.state is IncidentState.TRIGGERED
    assert worse.acknowledged_by is None
    assert (worse.position.restarts, worse.position.step) == (1, -1)
    assert worse.since == T0 + 9 * MINUTE


@pytest.mark.parametrize("before", [IncidentType.DEGRADED, IncidentType.SENDING])
def test_why_it_fails_is_what_was_seen_when_it_got_worse(before: IncidentType) -> None:
    event = trigger(IncidentType.BOTH, T0 + 9 * MINUTE)

    after = apply(incident(before), replace(event, policy=replace(event.policy, cause=Cause.TIMEOUT)))

    assert after.policy == replace(event.policy, cause=Cause.TIMEOUT)


@pytest.mark.parametrize("matter", [IncidentType.BOTH, IncidentType.RECEIVING], ids=["spreads", "moves"])
def test_an_outage_that_spreads_or_moves_changes_the_words_and_rings_nobody_again(matter: IncidentType) -> None:
    partial = apply(incident(IncidentType.SENDING), ACKNOWLEDGE)

    after = apply(partial, trigger(matter, T0 + 9 * MINUTE))

    assert after.type is matter
    assert after.policy == partial.policy, "frozen, but for the cause"
    assert after.state is IncidentState.ACKNOWLEDGED
    assert after.position == partial.position


@pytest.mark.parametrize(
    ("matter", "told"), [(IncidentType.DEGRADED, IncidentType.BOTH), (IncidentType.SENDING, IncidentType.SENDING)]
)
def test_a_lesser_trouble_rings_nobody_and_is_what_is_told_from_then_on(
    matter: IncidentType, told: IncidentType
) -> None:
    outage, later = apply(incident(IncidentType.BOTH), ACKNOWLEDGE), T0 + 9 * MINUTE

    after = apply(outage, trigger(matter, later))
    began = later - MINUTE
    assert after == replace(
        outage, current_type=matter, detected=matter, current_type_since=later, current_type_began_at=began
    )
    assert after.reported_type is told
    assert apply(after, trigger(matter, later + MINUTE)) is after
    since = replace(trigger(matter, later), less_since=later - 8 * MINUTE)
    assert apply(outage, since).current_type_since == later - 8 * MINUTE
    again = apply(after, trigger(IncidentType.BOTH, later + MINUTE))
    assert again == replace(outage, current_type_since=later + MINUTE, current_type_began_at=later)


@pytest.mark.parametrize("matter", [IncidentType.DEGRADED, IncidentType.MONITORING_FAULT])
def test_what_is_no_outage_cannot_be_announced(matter: IncidentType) -> None:
    assert apply(incident(matter), RELEASE).released_at is None


def test_a_false_alarm_ends_an_open_incident_and_is_declared_once() -> None:
    once = apply(incident(), CORRECT)

    assert (once.state, once.false_alarm_by, once.false_alarm_reason) == (
        IncidentState.RESOLVED,
        "Siti Contoh",
        "rujukan silap",
    )
    assert once.ended_at == once.resolved_at == once.false_alarm_at == T0 + MINUTE
    assert apply(once, replace(CORRECT, by="Ravi Contoh")) is once


@pytest.mark.parametrize(("late", "taken"), [(-MINUTE, True), (0 * MINUTE, True), (MINUTE, False)])
def test_what_is_over_can_be_declared_a_false_alarm_for_a_day(late: timedelta, *, taken: bool) -> None:
    over = apply(incident(), RESOLVE)
    at = RESOLVE.at + FALSE_ALARM_PERIOD + late

    after = apply(over, replace(CORRECT, at=at))

    assert (after.false_alarm_at == at) is taken
    assert (after.resolved_at, after.ended_at) == (RESOLVE.at, RESOLVE.ended_at)


@pytest.mark.parametrize(
    ("matter", "began", "at", "same"),
    [
        (IncidentType.SENDING, T0, T0 + 2 * MINUTE, True),
        (IncidentType.DEGRADED, T0 + MINUTE, T0 + 2 * MINUTE, True),
        (IncidentType.BOTH, T0, T0 + 2 * MINUTE, False),
        (IncidentType.RECEIVING, T0, T0 + 2 * MINUTE, False),
        (IncidentType.SENDING, T0 + 2 * MINUTE, T0 + 3 * MINUTE, False),
        (IncidentType.SENDING, T0, T0 + FALSE_ALARM_PERIOD + 2 * MINUTE, False),
    ],
    ids=["measured again", "less of it", "worse", "something else", "begun since", "a day later"],
)
def test_only_what_a_person_has_ended_is_kept_quiet(
    matter: IncidentType, began: datetime, at: datetime, *, same: bool
) -> None:
    for word in (CORRECT, CLOSED_BY_HAND, replace(CLOSED_BY_HAND, recovered=False)):
        ended = apply(incident(IncidentType.SENDING), word)
        assert is_suppressed(ended, replace(trigger(matter, at), began_at=began)) is same


def test_correction_after_the_end_holds_no_trouble_that_began_between() -> None:
    corrected = apply(apply(incident(), RESOLVE), replace(CORRECT, at=T0 + 30 * MINUTE))
    assert corrected.suppressed_since is None
    assert not is_suppressed(corrected, replace(trigger(at=T0 + 31 * MINUTE), began_at=T0 + 29 * MINUTE))


def test_trouble_that_spread_after_a_false_alarm_was_declared_is_another_matter() -> None:
    corrected = apply(incident(IncidentType.BOTH), CORRECT)
    measured = trigger(IncidentType.BOTH, T0 + 3 * MINUTE)

    assert is_suppressed(corrected, replace(measured, began_at=T0, latest_at=T0 + MINUTE))
    assert not is_suppressed(corrected, replace(measured, began_at=T0, latest_at=T0 + 2 * MINUTE))


def test_what_nobody_declared_false_is_no_false_alarm() -> None:
    assert not is_suppressed(apply(incident(), RESOLVE), trigger())


# -- what a person closes --------------------------------------------------------------------------------------------

CLOSED_BY_HAND = replace(CLOSE, at=T0 + MINUTE, recovered=True)


@pytest.mark.parametrize("recovered", [True, False])
@pytest.mark.parametrize("before", [incident(), TAKEN, declared(), incident(IncidentType.MONITORING_FAULT)])
def test_a_person_closes_whatever_is_open_and_says_whether_mail_works_again(
    before: Incident, *, recovered: bool
) -> None:
    after = apply(before, replace(CLOSED_BY_HAND, recovered=recovered))
    assert after.closed is not None
    assert (after.closed.by, after.closed.reason, after.closed.recovered) == (
        "Ravi Contoh",
        "mel web dibaiki",
        recovered,
    )
    assert (after.is_open, after.resolved_at, after.closed_without_recovery) == (False, T0 + MINUTE, not recovered)
    assert after.ended_at == (T0 + MINUTE if recovered else None), "nobody knows when it ended who does not say it has"
    assert apply(after, replace(CLOSE, by="Siti Contoh", recovered=True)) is after


def test_of_what_is_measured_a_person_has_to_say_whether_it_is_over() -> None:
    measured = incident()
    assert apply(measured, CLOSE) is measured
    both = apply(declared(IncidentType.RECEIVING), trigger(IncidentType.SENDING))
    goes_on = apply(both, CLOSE)
    assert (goes_on.is_open, goes_on.active_type, goes_on.closed) == (True, IncidentType.SENDING, None)
    assert not apply(both, CLOSED_BY_HAND).is_open


def test_what_was_closed_by_hand_is_held_until_it_is_measured_no_more() -> None:
    closed = apply(incident(), replace(CLOSED_BY_HAND, recovered=False))
    again = replace(trigger(at=T0 + 5 * MINUTE), began_at=T0)
    assert is_suppressed(closed, again)
    assert closed.suppressed_since == T0 + MINUTE
    well = apply(closed, replace(RESOLVE, at=T0 + 9 * MINUTE, ended_at=T0 + 8 * MINUTE))
    assert (well.detected, well.suppressed_since, well.ended_at) == (None, None, T0 + 8 * MINUTE)
    assert well.resolved_at == closed.resolved_at
    assert not is_suppressed(well, again)
    assert apply(well, replace(RESOLVE, at=T0 + 10 * MINUTE)) is well


def test_a_person_who_had_nothing_measured_before_them_holds_nothing() -> None:
    closed = apply(declared(), CLOSE)
    assert (closed.is_open, closed.suppressed_since) == (False, None)
    assert not is_suppressed(closed, trigger(at=CLOSE.at))


def test_what_nobody_watches_any_more_is_closed_and_holds_nothing_when_it_comes_back() -> None:
    left = apply(incident(), replace(CLOSED_BY_HAND, by=AUTOMATIC, recovered=False))
    assert (left.is_open, left.suppressed_since) == (False, None)
    assert not is_suppressed(left, replace(trigger(at=T0 + 5 * MINUTE), began_at=T0))


# -- what a person declares ------------------------------------------------------------------------------------------

MEASURED = trigger(IncidentType.SENDING, T0 + 3 * MINUTE)


def test_what_is_measured_to_be_well_does_not_end_what_a_person_has_declared() -> None:
    by_hand = declared()
    assert (by_hand.detected, by_hand.declared_type, by_hand.flapping) == (None, IncidentType.BOTH, False)
    assert apply(by_hand, RESOLVE) is by_hand

    over = apply(by_hand, CLOSE)
    assert (over.state, over.resolved_at, over.ended_at) == (IncidentState.RESOLVED, CLOSE.at, CLOSE.at)
    assert over.declared is not None
    assert (over.declared.ended_at, over.declared.ended_by, over.declared_type) == (CLOSE.at, "Ravi Contoh", None)
    assert apply(over, CLOSE) is over


def test_nobody_closes_what_nobody_declared() -> None:
    measured = incident()
    assert apply(measured, CLOSE) is measured


@pytest.mark.parametrize("first", ["person", "prober"])
def test_what_is_declared_and_measured_ends_when_both_say_so(first: str) -> None:
    together = apply(declared(IncidentType.SENDING), MEASURED)
    assert (together.detected, together.active_type) == (IncidentType.SENDING, IncidentType.SENDING)
    well = replace(RESOLVE, at=T0 + 12 * MINUTE, ended_at=T0 + 8 * MINUTE)
    one, other = (CLOSE, well) if first == "person" else (replace(well, at=T0 + 8 * MINUTE), CLOSE)

    between = apply(together, one)
    assert (between.state, between.ended_at) == (IncidentState.TRIGGERED, None)
    over = apply(between, other)
    assert (over.state, over.ended_at) == (IncidentState.RESOLVED, CLOSE.at), "by whoever was last"


def test_who_says_that_their_part_is_over_has_the_rest_for_longer() -> None:
    taken = apply(replace(apply(declared(), MEASURED), policy=AN_HOUR), ACKNOWLEDGE)
    assert until(apply(taken, CLOSE)) == 69 * MINUTE


@pytest.mark.parametrize(
    ("was", "said", "becomes"),
    [
        (IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH),
        (IncidentType.SENDING, IncidentType.BOTH, IncidentType.BOTH),
        (IncidentType.RECEIVING, IncidentType.RECEIVING, None),
        (IncidentType.BOTH, IncidentType.SENDING, None),
        (IncidentType.DEGRADED, IncidentType.RECEIVING, IncidentType.RECEIVING),
    ],
)
def test_a_person_adds_to_what_is_known_and_need_not_say_it_again(
    was: IncidentType, said: IncidentType, becomes: IncidentType | None
) -> None:
    known = [incident(was)] if was is IncidentType.DEGRADED else [incident(was), declared(was)]
    for before in known:
        after = apply(before, replace(DECLARE, type=said, began_at=T0 - 9 * MINUTE))
        if becomes is None:
            assert after is before
        else:
            assert after.declared is not None
            assert (after.type, after.detected) == (becomes, before.detected)
            assert (after.began_at, after.declared.by) == (T0 - 9 * MINUTE, "Siti Contoh")


def test_slowness_that_a_person_knows_to_be_an_outage_is_told_anew() -> None:
    slow = apply(incident(IncidentType.DEGRADED), ACKNOWLEDGE)
    worse = apply(slow, replace(DECLARE, at=T0 + 9 * MINUTE))
    assert (worse.state, worse.position.restarts, worse.since) == (IncidentState.TRIGGERED, 1, T0 + 9 * MINUTE)


def test_what_was_measured_about_another_direction_is_added_to_what_is_declared() -> None:
    after = apply(declared(IncidentType.RECEIVING), MEASURED)
    assert (after.type, after.detected, after.declared_type) == (
        IncidentType.BOTH,
        IncidentType.SENDING,
        IncidentType.RECEIVING,
    )
    # Said again once it was over, it is said anew.
    again = apply(apply(after, CLOSE), replace(DECLARE, type=IncidentType.RECEIVING, by="Ravi Contoh"))
    assert (again.declared_type, again.type) == (IncidentType.RECEIVING, IncidentType.BOTH)


def test_a_declaration_that_is_taken_back_keeps_no_measurement_quiet() -> None:
    """Failures that began before the correction open an incident: nobody has said that they are none."""
    corrected = apply(declared(), CORRECT)
    assert corrected.state is IncidentState.RESOLVED
    assert not is_suppressed(corrected, replace(trigger(IncidentType.SENDING, T0 + 2 * MINUTE), began_at=T0))
    both = apply(apply(declared(), MEASURED), replace(CORRECT, at=T0 + 5 * MINUTE))
    assert is_suppressed(both, replace(MEASURED, at=T0 + 6 * MINUTE))


def test_what_is_left_when_one_part_is_over_is_what_is_present() -> None:
    together = apply(declared(IncidentType.RECEIVING), MEASURED)
    assert (together.type, together.current_type) == (IncidentType.BOTH, IncidentType.BOTH)
    by_hand, measured = apply(together, replace(RESOLVE, at=LATER)), apply(together, CLOSE)
    assert (by_hand.current_type, by_hand.current_type_since, by_hand.type) == (
        IncidentType.RECEIVING,
        LATER,
        IncidentType.BOTH,
    )
    assert (measured.current_type, measured.current_type_since) == (IncidentType.SENDING, CLOSE.at)
    assert apply(measured, replace(RESOLVE, at=LATER)).state is IncidentState.RESOLVED


def test_staff_are_told_who_has_declared_it_while_less_of_it_is_measured() -> None:
    by_hand = declared(IncidentType.BOTH)
    part, whole = apply(by_hand, MEASURED), apply(by_hand, trigger(IncidentType.BOTH, T0 + 3 * MINUTE))
    told = [build_facts(each, Plan.ESCALATION, Purpose.OUTAGE, T0).declared_by for each in (by_hand, part, whole)]
    assert told == ["Siti Contoh", "Siti Contoh", ""]
    assert build_facts(by_hand, Plan.ANNOUNCEMENT, Purpose.OUTAGE, T0).declared_by == ""
    assert build_facts(apply(part, CLOSE), Plan.ESCALATION, Purpose.OUTAGE, T0).declared_by == ""


@pytest.mark.parametrize("minutes", [-60, -1])
def test_resolve_well_since_before_it_began_ends_when_it_was_found(minutes: int) -> None:
    """The centre was told "failed from 6.31 to 6.10": a reference was suspected, and then another was to blame."""
    found_at = T0 + 20 * MINUTE
    well = Resolve(dedup_key="JCM", at=found_at, ended_at=T0 + minutes * MINUTE)
    assert incident().began_at == T0 - MINUTE
    assert apply(incident(), well).ended_at == found_at
    closed = apply(incident(), Close(incident_id=1, at=T0, by="Siti", reason="", recovered=False))
    assert apply(closed, well).ended_at == found_at
    # A clock that was set back.
    assert apply(incident(), replace(well, at=T0 - 60 * MINUTE)).ended_at == incident().began_at


SLOW, SENDS, RECEIVES, BOTH = IncidentType.DEGRADED, IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH


@pytest.mark.parametrize(
    ("measured", "began"),
    [
        ([(SLOW, 0)], 0),
        # A letter said that nothing could be sent since mail was first in junk.
        ([(SLOW, 0), (SENDS, 9)], 9),
        ([(SENDS, 0), (BOTH, 9)], 9),
        ([(BOTH, 0), (SENDS, 3)], 3),
        # An outage that has become slow is told as the outage that it was.
        ([(SENDS, 0), (SLOW, 9)], 0),
        ([(SLOW, 0), (SENDS, 9), (SLOW, 20)], 9),
        ([(SLOW, 0), (SENDS, 9), (BOTH, 20)], 20),
    ],
)
def test_incident_states_since_when_what_it_states_is_so(
    measured: Sequence[tuple[IncidentType, int]], began: int
) -> None:
    def event(matter: IncidentType, minutes: int) -> Trigger:
        return replace(trigger(matter, T0 + (minutes + 2) * MINUTE), began_at=T0 + minutes * MINUTE)

    found = open_incident(event(*measured[0]), incident_id=1, number="JCM-01")
    for each in measured[1:]:
        found = apply(found, event(*each))
    assert build_facts(found, Plan.ANNOUNCEMENT, Purpose.OUTAGE, T0).began_at == T0 + began * MINUTE
    outage = next((minutes for matter, minutes in measured if matter is not SLOW), 0)
    over = apply(found, replace(RESOLVE, at=T0 + 60 * MINUTE, ended_at=T0 + 50 * MINUTE))
    assert over.reported_type_began_at == T0 + outage * MINUTE, "all of the outage"


def test_incident_declared_and_measured_states_the_later_begin() -> None:
    declared_first = apply(declared(RECEIVES), replace(MEASURED, began_at=T0 + 7 * MINUTE))
    assert (declared_first.type, declared_first.reported_type_began_at) == (BOTH, T0 + 7 * MINUTE)
    said_first = apply(declared_first, replace(RESOLVE, at=LATER))
    assert (said_first.current_type, said_first.reported_type_began_at) == (RECEIVES, DECLARE.began_at)
    measured_first = apply(incident(SENDS), replace(DECLARE, type=RECEIVES, began_at=T0 - 30 * MINUTE))
    assert (measured_first.reported_type_began_at, measured_first.began_at) == (T0 - MINUTE, T0 - 30 * MINUTE)
