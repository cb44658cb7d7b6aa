"""Life cycle of an incident, as a table."""

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
from tests.unit.alerts.people import MINUTE, SNAPSHOT, T0, incident, trigger

ACKNOWLEDGE = Acknowledge(incident_id=1, at=T0 + MINUTE, by="Siti Contoh")
RESOLVE = Resolve(dedup_key="JCM", at=T0 + MINUTE, ended_at=T0 + MINUTE)
RELEASE = Release(incident_id=1, at=T0 + MINUTE, by="Ravi Contoh")
FALSE_ALARM = MarkFalseAlarm(incident_id=1, at=T0 + MINUTE, by="Siti Contoh", reason="rujukan silap")

NOTE = AddNote(incident_id=1, at=T0 + MINUTE, by="Siti Contoh", text="cakera diganti")
EXPIRE = Expire(incident_id=1, at=T0 + MINUTE)
ESCALATE = Escalate(incident_id=1, at=T0 + MINUTE, by="Siti Contoh")
DECLARE = Declare(
    dedup_key="JCM",
    at=T0 + MINUTE,
    by="Siti Contoh",
    type=IncidentType.BOTH,
    began_at=T0 - MINUTE,
    reason="mel web tidak dapat dibuka",
    policy=SNAPSHOT,
)
CLOSE = Close(incident_id=1, at=T0 + 9 * MINUTE, by="Ravi Contoh", reason="mel web dibaiki")
EVENTS = (trigger(), DECLARE, ACKNOWLEDGE, NOTE, ESCALATE, EXPIRE, RESOLVE, RELEASE, FALSE_ALARM, CLOSE)


def declared(incident_type: IncidentType = IncidentType.BOTH) -> Incident:
    """Return an incident that a person has just declared."""
    return open_incident(replace(DECLARE, type=incident_type), incident_id=1, number="JCM-01")


def in_state(state: IncidentState, event: Event | None = None) -> Incident:
    """Return an incident in *state*: declared for a `Close` event, otherwise detected."""
    return replace(declared() if isinstance(event, Close) else incident(), state=state)


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("state", IncidentState)
def test_apply_follows_transition_table(state: IncidentState, event: Event) -> None:
    after = apply(in_state(state, event), event)

    assert after.state is TRANSITIONS.get((state, type(event)), state)


def test_resolved_incident_accepts_only_false_alarm() -> None:
    over = in_state(IncidentState.RESOLVED)

    assert all(apply(over, event) is over for event in EVENTS if event is not FALSE_ALARM)


def test_first_acknowledgement_is_kept() -> None:
    once = apply(incident(), ACKNOWLEDGE)

    assert apply(once, replace(ACKNOWLEDGE, by="Ravi Contoh")) is once
    assert once.acknowledged_by == "Siti Contoh"


def until(of: Incident) -> timedelta | None:
    """Return how long after `T0` the acknowledgement of *of* expires."""
    return None if of.acknowledged_until is None else of.acknowledged_until - T0


ONE_HOUR_TIMEOUT = replace(
    SNAPSHOT, escalation=replace(SNAPSHOT.escalation, acknowledgement_timeout=timedelta(hours=1))
)
ACKNOWLEDGED = apply(incident(snapshot=ONE_HOUR_TIMEOUT), ACKNOWLEDGE)
LATER = T0 + 30 * MINUTE


@pytest.mark.parametrize(
    ("event", "minutes"),
    [
        (replace(ACKNOWLEDGE, at=LATER), 90),
        (replace(NOTE, at=LATER), 90),
        (replace(NOTE, at=LATER, by="Ravi Contoh"), 90),
        (replace(RELEASE, at=LATER), 90),
        (replace(RELEASE, at=LATER, by=AUTOMATIC), 61),
        (replace(ACKNOWLEDGE, at=LATER, by="Ravi Contoh"), 61),
        (replace(ACKNOWLEDGE, at=T0 + 2 * MINUTE), 62),
        (replace(ACKNOWLEDGE, at=T0 + 2 * MINUTE - timedelta(seconds=1)), 61),
        (trigger(IncidentType.BOTH, LATER), 61),
    ],
    ids=[
        *("acknowledged again", "note", "note of a colleague", "release", "automatic release", "other person"),
        *("a minute later", "automatic answer within a minute", "trigger of the same type"),
    ],
)
def test_acknowledgement_is_extended_by_response_of_assignee(event: Event, minutes: int) -> None:
    reminded = replace(ACKNOWLEDGED, reminded_at=T0 + 20 * MINUTE)
    assert until(apply(ACKNOWLEDGED, event)) == minutes * MINUTE
    after = apply(reminded, event)
    assert (after.reminded_at is None) is (after.last_response_at != ACKNOWLEDGED.last_response_at), (
        "a new promise has a reminder of its own"
    )


def test_assignee_and_previous_assignee_are_distinct() -> None:
    assert until(incident()) is None
    gone = apply(ACKNOWLEDGED, EXPIRE)
    assert (gone.acknowledged_by, gone.acknowledged_at, until(gone)) == (None, None, None)
    assert (gone.previous_assignee, gone.last_response_at) == ("Siti Contoh", T0 + MINUTE)
    again = apply(gone, replace(ACKNOWLEDGE, at=LATER, by="Ravi Contoh"))
    assert (again.acknowledged_by, again.previous_assignee, until(again)) == ("Ravi Contoh", None, 90 * MINUTE)
    assert until(apply(ACKNOWLEDGED, RESOLVE)) is None
    assert not gone.escalated


@pytest.mark.parametrize(
    "before",
    [ACKNOWLEDGED, incident(snapshot=ONE_HOUR_TIMEOUT), apply(ACKNOWLEDGED, EXPIRE)],
    ids=["acknowledged", "triggered", "expired"],
)
def test_escalated_incident_has_no_assignee(before: Incident) -> None:
    after = apply(before, replace(ESCALATE, at=LATER, by="Puan NOC Contoh"))
    assert (after.state, after.acknowledged_by, until(after)) == (IncidentState.TRIGGERED, None, None)
    assert (after.previous_assignee, after.escalated, after.last_response_at) == ("Puan NOC Contoh", True, LATER)
    again_escalated = replace(ESCALATE, at=LATER + MINUTE, by="Puan NOC Contoh")
    assert apply(after, replace(again_escalated, at=LATER + timedelta(seconds=59))) is after, (
        "a key that is brought twice"
    )
    assert apply(after, again_escalated).last_response_at == LATER + MINUTE
    assert apply(after, replace(again_escalated, at=LATER, by="Siti Contoh")).previous_assignee == "Siti Contoh"
    again = apply(after, replace(ACKNOWLEDGE, at=LATER))
    assert (again.acknowledged_by, again.previous_assignee, again.escalated) == ("Siti Contoh", None, False)


def test_worse_incident_has_no_previous_assignee() -> None:
    worse = apply(apply(apply(incident(IncidentType.DEGRADED), ACKNOWLEDGE), EXPIRE), trigger(IncidentType.BOTH, LATER))
    assert (worse.previous_assignee, worse.last_response_at) == (None, None)


def test_acknowledged_slowness_becoming_outage_restarts_escalation() -> None:
    slow = apply(incident(IncidentType.DEGRADED), ACKNOWLEDGE)

    worse = apply(slow, trigger(IncidentType.BOTH, T0 + 9 * MINUTE))

    assert worse.state is IncidentState.TRIGGERED
    assert worse.acknowledged_by is None
    assert (worse.position.restarts, worse.position.step) == (1, -1)
    assert worse.since == T0 + 9 * MINUTE


@pytest.mark.parametrize("before", [IncidentType.DEGRADED, IncidentType.SENDING])
def test_cause_is_updated_when_incident_gets_worse(before: IncidentType) -> None:
    event = trigger(IncidentType.BOTH, T0 + 9 * MINUTE)

    after = apply(incident(before), replace(event, policy=replace(event.policy, cause=Cause.TIMEOUT)))

    assert after.policy == replace(event.policy, cause=Cause.TIMEOUT)


@pytest.mark.parametrize("incident_type", [IncidentType.BOTH, IncidentType.RECEIVING], ids=["spreads", "moves"])
def test_outage_that_spreads_or_moves_changes_type_without_new_escalation(incident_type: IncidentType) -> None:
    partial = apply(incident(IncidentType.SENDING), ACKNOWLEDGE)

    after = apply(partial, trigger(incident_type, T0 + 9 * MINUTE))

    assert after.type is incident_type
    assert after.policy == partial.policy, "frozen, but for the cause"
    assert after.state is IncidentState.ACKNOWLEDGED
    assert after.position == partial.position


@pytest.mark.parametrize(
    ("incident_type", "reported"),
    [(IncidentType.DEGRADED, IncidentType.BOTH), (IncidentType.SENDING, IncidentType.SENDING)],
)
def test_less_severe_type_sets_current_type_without_new_escalation(
    incident_type: IncidentType, reported: IncidentType
) -> None:
    outage, later = apply(incident(IncidentType.BOTH), ACKNOWLEDGE), T0 + 9 * MINUTE

    after = apply(outage, trigger(incident_type, later))
    began = later - MINUTE
    assert after == replace(
        outage,
        current_type=incident_type,
        detected=incident_type,
        current_type_since=later,
        current_type_began_at=began,
    )
    assert after.reported_type is reported
    assert apply(after, trigger(incident_type, later + MINUTE)) is after
    since = replace(trigger(incident_type, later), less_severe_since=later - 8 * MINUTE)
    assert apply(outage, since).current_type_since == later - 8 * MINUTE
    again = apply(after, trigger(IncidentType.BOTH, later + MINUTE))
    assert again == replace(outage, current_type_since=later + MINUTE, current_type_began_at=later)


@pytest.mark.parametrize("incident_type", [IncidentType.DEGRADED, IncidentType.MONITORING_FAULT])
def test_incident_other_than_outage_cannot_be_released(incident_type: IncidentType) -> None:
    assert apply(incident(incident_type), RELEASE).released_at is None


def test_false_alarm_resolves_open_incident_and_is_set_once() -> None:
    once = apply(incident(), FALSE_ALARM)

    assert (once.state, once.false_alarm_by, once.false_alarm_reason) == (
        IncidentState.RESOLVED,
        "Siti Contoh",
        "rujukan silap",
    )
    assert once.ended_at == once.resolved_at == once.false_alarm_at == T0 + MINUTE
    assert apply(once, replace(FALSE_ALARM, by="Ravi Contoh")) is once


@pytest.mark.parametrize(("late", "taken"), [(-MINUTE, True), (0 * MINUTE, True), (MINUTE, False)])
def test_resolved_incident_can_be_marked_false_alarm_for_one_day(late: timedelta, *, taken: bool) -> None:
    over = apply(incident(), RESOLVE)
    at = RESOLVE.at + FALSE_ALARM_PERIOD + late

    after = apply(over, replace(FALSE_ALARM, at=at))

    assert (after.false_alarm_at == at) is taken
    assert (after.resolved_at, after.ended_at) == (RESOLVE.at, RESOLVE.ended_at)


@pytest.mark.parametrize(
    ("incident_type", "began", "at", "same"),
    [
        (IncidentType.SENDING, T0, T0 + 2 * MINUTE, True),
        (IncidentType.DEGRADED, T0 + MINUTE, T0 + 2 * MINUTE, True),
        (IncidentType.BOTH, T0, T0 + 2 * MINUTE, False),
        (IncidentType.RECEIVING, T0, T0 + 2 * MINUTE, False),
        (IncidentType.SENDING, T0 + 2 * MINUTE, T0 + 3 * MINUTE, False),
        (IncidentType.SENDING, T0, T0 + FALSE_ALARM_PERIOD + 2 * MINUTE, False),
    ],
    ids=["detected again", "less severe", "worse", "other direction", "begun since", "a day later"],
)
def test_trigger_is_suppressed_only_for_trouble_ended_by_person(
    incident_type: IncidentType, began: datetime, at: datetime, *, same: bool
) -> None:
    for event in (FALSE_ALARM, CLOSE_RECOVERED, replace(CLOSE_RECOVERED, recovered=False)):
        ended = apply(incident(IncidentType.SENDING), event)
        assert is_suppressed(ended, replace(trigger(incident_type, at), began_at=began)) is same


def test_false_alarm_after_end_does_not_suppress_trouble_begun_between() -> None:
    corrected = apply(apply(incident(), RESOLVE), replace(FALSE_ALARM, at=T0 + 30 * MINUTE))
    assert corrected.suppressed_since is None
    assert not is_suppressed(corrected, replace(trigger(at=T0 + 31 * MINUTE), began_at=T0 + 29 * MINUTE))


def test_trouble_that_spread_after_false_alarm_is_not_suppressed() -> None:
    corrected = apply(incident(IncidentType.BOTH), FALSE_ALARM)
    detected = trigger(IncidentType.BOTH, T0 + 3 * MINUTE)

    assert is_suppressed(corrected, replace(detected, began_at=T0, latest_part_began_at=T0 + MINUTE))
    assert not is_suppressed(corrected, replace(detected, began_at=T0, latest_part_began_at=T0 + 2 * MINUTE))


def test_resolved_incident_without_false_alarm_is_not_suppressed() -> None:
    assert not is_suppressed(apply(incident(), RESOLVE), trigger())


# -- closing ---------------------------------------------------------------------------------------------------------

CLOSE_RECOVERED = replace(CLOSE, at=T0 + MINUTE, recovered=True)


@pytest.mark.parametrize("recovered", [True, False])
@pytest.mark.parametrize("before", [incident(), ACKNOWLEDGED, declared(), incident(IncidentType.MONITORING_FAULT)])
def test_close_ends_any_open_incident_and_states_recovery(before: Incident, *, recovered: bool) -> None:
    after = apply(before, replace(CLOSE_RECOVERED, recovered=recovered))
    assert after.closed is not None
    assert (after.closed.by, after.closed.reason, after.closed.recovered) == (
        "Ravi Contoh",
        "mel web dibaiki",
        recovered,
    )
    assert (after.is_open, after.resolved_at, after.closed_without_recovery) == (False, T0 + MINUTE, not recovered)
    assert after.ended_at == (T0 + MINUTE if recovered else None), "nobody knows when it ended who does not say it has"
    assert apply(after, replace(CLOSE, by="Siti Contoh", recovered=True)) is after


def test_close_of_detected_incident_requires_recovery_statement() -> None:
    detected = incident()
    assert apply(detected, CLOSE) is detected
    both = apply(declared(IncidentType.RECEIVING), trigger(IncidentType.SENDING))
    goes_on = apply(both, CLOSE)
    assert (goes_on.is_open, goes_on.active_type, goes_on.closed) == (True, IncidentType.SENDING, None)
    assert not apply(both, CLOSE_RECOVERED).is_open


def test_closed_incident_suppresses_trigger_until_recovery_is_detected() -> None:
    closed = apply(incident(), replace(CLOSE_RECOVERED, recovered=False))
    again = replace(trigger(at=T0 + 5 * MINUTE), began_at=T0)
    assert is_suppressed(closed, again)
    assert closed.suppressed_since == T0 + MINUTE
    well = apply(closed, replace(RESOLVE, at=T0 + 9 * MINUTE, ended_at=T0 + 8 * MINUTE))
    assert (well.detected, well.suppressed_since, well.ended_at) == (None, None, T0 + 8 * MINUTE)
    assert well.resolved_at == closed.resolved_at
    assert not is_suppressed(well, again)
    assert apply(well, replace(RESOLVE, at=T0 + 10 * MINUTE)) is well


def test_closed_incident_without_detection_does_not_suppress() -> None:
    closed = apply(declared(), CLOSE)
    assert (closed.is_open, closed.suppressed_since) == (False, None)
    assert not is_suppressed(closed, trigger(at=CLOSE.at))


def test_automatically_closed_incident_does_not_suppress() -> None:
    left = apply(incident(), replace(CLOSE_RECOVERED, by=AUTOMATIC, recovered=False))
    assert (left.is_open, left.suppressed_since) == (False, None)
    assert not is_suppressed(left, replace(trigger(at=T0 + 5 * MINUTE), began_at=T0))


# -- declaring -------------------------------------------------------------------------------------------------------

DETECTED = trigger(IncidentType.SENDING, T0 + 3 * MINUTE)


def test_detected_recovery_does_not_end_declared_incident() -> None:
    declared_only = declared()
    assert (declared_only.detected, declared_only.declared_type, declared_only.flapping) == (
        None,
        IncidentType.BOTH,
        False,
    )
    assert apply(declared_only, RESOLVE) is declared_only

    over = apply(declared_only, CLOSE)
    assert (over.state, over.resolved_at, over.ended_at) == (IncidentState.RESOLVED, CLOSE.at, CLOSE.at)
    assert over.declared is not None
    assert (over.declared.ended_at, over.declared.ended_by, over.declared_type) == (CLOSE.at, "Ravi Contoh", None)
    assert apply(over, CLOSE) is over


def test_close_of_undeclared_incident_without_recovery_changes_nothing() -> None:
    detected = incident()
    assert apply(detected, CLOSE) is detected


@pytest.mark.parametrize("first", ["person", "prober"])
def test_declared_and_detected_incident_ends_when_both_have_ended(first: str) -> None:
    together = apply(declared(IncidentType.SENDING), DETECTED)
    assert (together.detected, together.active_type) == (IncidentType.SENDING, IncidentType.SENDING)
    well = replace(RESOLVE, at=T0 + 12 * MINUTE, ended_at=T0 + 8 * MINUTE)
    one, other = (CLOSE, well) if first == "person" else (replace(well, at=T0 + 8 * MINUTE), CLOSE)

    between = apply(together, one)
    assert (between.state, between.ended_at) == (IncidentState.TRIGGERED, None)
    over = apply(between, other)
    assert (over.state, over.ended_at) == (IncidentState.RESOLVED, CLOSE.at), "by whoever was last"


def test_closing_declared_part_extends_acknowledgement() -> None:
    taken = apply(replace(apply(declared(), DETECTED), policy=ONE_HOUR_TIMEOUT), ACKNOWLEDGE)
    assert until(apply(taken, CLOSE)) == 69 * MINUTE


@pytest.mark.parametrize(
    ("was", "declares", "becomes"),
    [
        (IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH),
        (IncidentType.SENDING, IncidentType.BOTH, IncidentType.BOTH),
        (IncidentType.RECEIVING, IncidentType.RECEIVING, None),
        (IncidentType.BOTH, IncidentType.SENDING, None),
        (IncidentType.DEGRADED, IncidentType.RECEIVING, IncidentType.RECEIVING),
    ],
)
def test_declaration_is_merged_with_known_type(
    was: IncidentType, declares: IncidentType, becomes: IncidentType | None
) -> None:
    known = [incident(was)] if was is IncidentType.DEGRADED else [incident(was), declared(was)]
    for before in known:
        after = apply(before, replace(DECLARE, type=declares, began_at=T0 - 9 * MINUTE))
        if becomes is None:
            assert after is before
        else:
            assert after.declared is not None
            assert (after.type, after.detected) == (becomes, before.detected)
            assert (after.began_at, after.declared.by) == (T0 - 9 * MINUTE, "Siti Contoh")


def test_declared_outage_of_slow_agency_restarts_escalation() -> None:
    slow = apply(incident(IncidentType.DEGRADED), ACKNOWLEDGE)
    worse = apply(slow, replace(DECLARE, at=T0 + 9 * MINUTE))
    assert (worse.state, worse.position.restarts, worse.since) == (IncidentState.TRIGGERED, 1, T0 + 9 * MINUTE)


def test_detected_direction_is_added_to_declared_type() -> None:
    after = apply(declared(IncidentType.RECEIVING), DETECTED)
    assert (after.type, after.detected, after.declared_type) == (
        IncidentType.BOTH,
        IncidentType.SENDING,
        IncidentType.RECEIVING,
    )
    # The direction can be declared again after the declaration was closed.
    again = apply(apply(after, CLOSE), replace(DECLARE, type=IncidentType.RECEIVING, by="Ravi Contoh"))
    assert (again.declared_type, again.type) == (IncidentType.RECEIVING, IncidentType.BOTH)


def test_false_alarm_of_declaration_does_not_suppress_detection() -> None:
    """Failures that began before the false alarm open an incident: nobody has declared them false."""
    corrected = apply(declared(), FALSE_ALARM)
    assert corrected.state is IncidentState.RESOLVED
    assert not is_suppressed(corrected, replace(trigger(IncidentType.SENDING, T0 + 2 * MINUTE), began_at=T0))
    both = apply(apply(declared(), DETECTED), replace(FALSE_ALARM, at=T0 + 5 * MINUTE))
    assert is_suppressed(both, replace(DETECTED, at=T0 + 6 * MINUTE))


def test_ended_part_leaves_other_part_as_current_type() -> None:
    together = apply(declared(IncidentType.RECEIVING), DETECTED)
    assert (together.type, together.current_type) == (IncidentType.BOTH, IncidentType.BOTH)
    declared_only, detected = apply(together, replace(RESOLVE, at=LATER)), apply(together, CLOSE)
    assert (declared_only.current_type, declared_only.current_type_since, declared_only.type) == (
        IncidentType.RECEIVING,
        LATER,
        IncidentType.BOTH,
    )
    assert (detected.current_type, detected.current_type_since) == (IncidentType.SENDING, CLOSE.at)
    assert apply(detected, replace(RESOLVE, at=LATER)).state is IncidentState.RESOLVED


def test_declared_by_is_stated_to_staff_while_detection_covers_less() -> None:
    declared_only = declared(IncidentType.BOTH)
    part, whole = apply(declared_only, DETECTED), apply(declared_only, trigger(IncidentType.BOTH, T0 + 3 * MINUTE))
    stated = [
        build_facts(each, Plan.ESCALATION, Purpose.OUTAGE, T0).declared_by for each in (declared_only, part, whole)
    ]
    assert stated == ["Siti Contoh", "Siti Contoh", ""]
    assert build_facts(declared_only, Plan.ANNOUNCEMENT, Purpose.OUTAGE, T0).declared_by == ""
    assert build_facts(apply(part, CLOSE), Plan.ESCALATION, Purpose.OUTAGE, T0).declared_by == ""


@pytest.mark.parametrize("minutes", [-60, -1])
def test_recovery_time_before_start_is_replaced_by_detection_time(minutes: int) -> None:
    """A notice stated "failed from 6.31 to 6.10" after the fault domain had changed."""
    found_at = T0 + 20 * MINUTE
    well = Resolve(dedup_key="JCM", at=found_at, ended_at=T0 + minutes * MINUTE)
    assert incident().began_at == T0 - MINUTE
    assert apply(incident(), well).ended_at == found_at
    closed = apply(incident(), Close(incident_id=1, at=T0, by="Siti", reason="", recovered=False))
    assert apply(closed, well).ended_at == found_at
    # The clock was set back.
    assert apply(incident(), replace(well, at=T0 - 60 * MINUTE)).ended_at == incident().began_at


SLOW, SENDS, RECEIVES, BOTH = IncidentType.DEGRADED, IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH


@pytest.mark.parametrize(
    ("detected", "began"),
    [
        ([(SLOW, 0)], 0),
        # The time of the outage, not of the slowness before it.
        ([(SLOW, 0), (SENDS, 9)], 9),
        ([(SENDS, 0), (BOTH, 9)], 9),
        ([(BOTH, 0), (SENDS, 3)], 3),
        # An outage that has become slow is still reported as the outage.
        ([(SENDS, 0), (SLOW, 9)], 0),
        ([(SLOW, 0), (SENDS, 9), (SLOW, 20)], 9),
        ([(SLOW, 0), (SENDS, 9), (BOTH, 20)], 20),
    ],
)
def test_incident_states_start_of_stated_type(detected: Sequence[tuple[IncidentType, int]], began: int) -> None:
    def event(incident_type: IncidentType, minutes: int) -> Trigger:
        return replace(trigger(incident_type, T0 + (minutes + 2) * MINUTE), began_at=T0 + minutes * MINUTE)

    found = open_incident(event(*detected[0]), incident_id=1, number="JCM-01")
    for each in detected[1:]:
        found = apply(found, event(*each))
    assert build_facts(found, Plan.ANNOUNCEMENT, Purpose.OUTAGE, T0).began_at == T0 + began * MINUTE
    outage = next((minutes for incident_type, minutes in detected if incident_type is not SLOW), 0)
    over = apply(found, replace(RESOLVE, at=T0 + 60 * MINUTE, ended_at=T0 + 50 * MINUTE))
    assert over.reported_type_began_at == T0 + outage * MINUTE, "all of the outage"


def test_declared_and_detected_incident_states_later_start() -> None:
    declared_first = apply(declared(RECEIVES), replace(DETECTED, began_at=T0 + 7 * MINUTE))
    assert (declared_first.type, declared_first.reported_type_began_at) == (BOTH, T0 + 7 * MINUTE)
    said_first = apply(declared_first, replace(RESOLVE, at=LATER))
    assert (said_first.current_type, said_first.reported_type_began_at) == (RECEIVES, DECLARE.began_at)
    measured_first = apply(incident(SENDS), replace(DECLARE, type=RECEIVES, began_at=T0 - 30 * MINUTE))
    assert (measured_first.reported_type_began_at, measured_first.began_at) == (T0 - MINUTE, T0 - 30 * MINUTE)
