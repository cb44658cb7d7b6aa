"""What a person's order would have people read, and whether that contradicts what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from alerts.decide.contradiction import Operation, operation_effect
from alerts.model.channel import Channel
from alerts.model.contradiction import Contradiction
from alerts.model.delivery import AttemptState
from alerts.model.event import Close, Declare, MarkFalseAlarm, Release, Resolve
from alerts.model.incident import Incident, apply, open_incident
from alerts.model.notification import IncidentType, Purpose
from tests.unit.alerts.decide.test_state_change import staff_draft
from tests.unit.alerts.people import BRIEF, MINUTE, T0, attempt, incident, tried, trigger, written

NOW = T0 + 30 * MINUTE
SENDS, RECEIVES, BOTH, SLOW = IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH, IncidentType.DEGRADED
RELEASE = Release(incident_id=1, at=NOW, by="Siti Contoh")
RECOVERED = Close(incident_id=1, at=NOW, by="Siti Contoh", reason="dibaiki", recovered=True)
CLOSED = replace(RECOVERED, recovered=False)
CORRECT = MarkFalseAlarm(incident_id=1, at=NOW, by="Siti Contoh", reason="rujukan rosak")
WORKS, FAILS = Contradiction.WORKS_AGAIN, Contradiction.STILL_FAILS


def declared(matter: IncidentType) -> Incident:
    said = Declare(dedup_key="JCM", at=T0, by="Siti", type=matter, began_at=T0, reason="", policy=BRIEF)
    return open_incident(said, incident_id=1, number="JCM-01")


def also_measured(matter: IncidentType, declared_first: IncidentType) -> Incident:
    return apply(declared(declared_first), trigger(matter, T0 + MINUTE))


@pytest.mark.parametrize(
    ("about", "order", "delivered", "contradiction"),
    [
        # Minutes after the outage began that the newest run of a direction did whose message arrived.
        (incident(SENDS), RELEASE, {}, None),
        (incident(SENDS), RELEASE, {SENDS: 5}, WORKS),
        (incident(SENDS), RELEASE, {SENDS: 0}, None),
        (incident(SENDS), RELEASE, {RECEIVES: 5}, None),
        (incident(BOTH), RELEASE, {RECEIVES: 5}, WORKS),
        # What no probe sees no probe contradicts.
        (declared(BOTH), RELEASE, {SENDS: 5, RECEIVES: 5}, None),
        (also_measured(SENDS, RECEIVES), RELEASE, {RECEIVES: 5}, None),
        (also_measured(SENDS, RECEIVES), RELEASE, {SENDS: 5}, WORKS),
        (also_measured(BOTH, RECEIVES), RELEASE, {RECEIVES: 5}, None),
        # It was slow, failed later, and arrived between.
        (
            apply(incident(SLOW), replace(trigger(SENDS, T0 + 9 * MINUTE), began_at=T0 + 9 * MINUTE)),
            RELEASE,
            {SENDS: 5},
            None,
        ),
        # Released before: nothing would go.
        (apply(incident(SENDS), RELEASE), RELEASE, {SENDS: 5}, None),
        (incident(SENDS), RECOVERED, {}, FAILS),
        (incident(SENDS), RECOVERED, {SENDS: 5}, None),
        (incident(SENDS), RECOVERED, {RECEIVES: 5}, FAILS),
        (incident(BOTH), RECOVERED, {SENDS: 5}, FAILS),
        (incident(BOTH), RECOVERED, {SENDS: 5, RECEIVES: 5}, None),
        # What is slow arrives; what is ours has no direction.
        (incident(SLOW), RECOVERED, {SENDS: 5, RECEIVES: 5}, FAILS),
        (incident(IncidentType.MONITORING_FAULT), RECOVERED, {}, FAILS),
        # Nobody is told that it works.
        (incident(SENDS), CLOSED, {}, None),
        (incident(SENDS), replace(RECOVERED, recovered=None), {}, None),
        (declared(SENDS), RECOVERED, {}, None),
        (declared(SENDS), replace(RECOVERED, recovered=None), {}, None),
        (also_measured(SENDS, RECEIVES), replace(RECOVERED, recovered=None), {}, None),
        (also_measured(SENDS, RECEIVES), RECOVERED, {}, FAILS),
        (incident(SENDS), CORRECT, {}, FAILS),
        (incident(SENDS), CORRECT, {SENDS: 5}, None),
        (declared(SENDS), CORRECT, {}, None),
        # It was over: what is measured now is another outage.
        (apply(incident(SENDS), Resolve(dedup_key="JCM", at=NOW, ended_at=NOW)), CORRECT, {}, None),
    ],
)
def test_order_is_contradicted_by_the_newest_runs_of_what_it_states(
    about: Incident, order: Operation, delivered: Mapping[IncidentType, int], contradiction: Contradiction | None
) -> None:
    runs = {way: T0 - MINUTE + minutes * MINUTE for way, minutes in delivered.items()}
    assert operation_effect(about, order, (), runs, NOW).contradiction is contradiction


def test_effect_names_the_directions_that_work_and_what_still_fails() -> None:
    runs = {SENDS: NOW, RECEIVES: NOW}
    assert operation_effect(incident(BOTH), RELEASE, (), runs, NOW).conflicting_types == (RECEIVES, SENDS)
    assert operation_effect(incident(BOTH), RECOVERED, (), {}, NOW).conflicting_types == (BOTH,)


def test_effect_has_whom_a_release_and_a_recovery_would_tell() -> None:
    released = operation_effect(incident(BOTH), RELEASE, (), {}, NOW)
    assert {each.addresses[0].channel for each in released.drafts} == {Channel.FAX, Channel.LETTER}
    told = tried(written(staff_draft()), attempt(AttemptState.DELIVERED))
    [recovery] = operation_effect(incident(BOTH), RECOVERED, [told], {}, NOW).drafts
    assert (recovery.person, recovery.purpose) == (told.person, Purpose.RECOVERY)
    [correction] = operation_effect(incident(BOTH), CORRECT, [told], {}, NOW).drafts
    assert correction.purpose is Purpose.CORRECTION
    [closed] = operation_effect(incident(BOTH), CLOSED, [told], {}, NOW).drafts
    assert closed.purpose is Purpose.CLOSED
