"""Effect of a person's operation, and its contradiction with the measurements."""

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
from tests.unit.alerts.people import MINUTE, SNAPSHOT, T0, attempt, incident, tried, trigger, written

NOW = T0 + 30 * MINUTE
SENDS, RECEIVES, BOTH, SLOW = IncidentType.SENDING, IncidentType.RECEIVING, IncidentType.BOTH, IncidentType.DEGRADED
RELEASE = Release(incident_id=1, at=NOW, by="Siti Contoh")
RECOVERED = Close(incident_id=1, at=NOW, by="Siti Contoh", reason="dibaiki", recovered=True)
CLOSED = replace(RECOVERED, recovered=False)
CORRECT = MarkFalseAlarm(incident_id=1, at=NOW, by="Siti Contoh", reason="rujukan rosak")
WORKS, FAILS = Contradiction.WORKS_AGAIN, Contradiction.STILL_FAILS


def declared(incident_type: IncidentType) -> Incident:
    event = Declare(dedup_key="JCM", at=T0, by="Siti", type=incident_type, began_at=T0, reason="", policy=SNAPSHOT)
    return open_incident(event, incident_id=1, number="JCM-01")


def also_detected(incident_type: IncidentType, declared_first: IncidentType) -> Incident:
    return apply(declared(declared_first), trigger(incident_type, T0 + MINUTE))


@pytest.mark.parametrize(
    ("about", "order", "delivered", "contradiction"),
    [
        # Minutes from the start of the outage to the newest run of a direction whose message arrived.
        (incident(SENDS), RELEASE, {}, None),
        (incident(SENDS), RELEASE, {SENDS: 5}, WORKS),
        (incident(SENDS), RELEASE, {SENDS: 0}, None),
        (incident(SENDS), RELEASE, {RECEIVES: 5}, None),
        (incident(BOTH), RELEASE, {RECEIVES: 5}, WORKS),
        # An outage that no probe detects is not contradicted by probes.
        (declared(BOTH), RELEASE, {SENDS: 5, RECEIVES: 5}, None),
        (also_detected(SENDS, RECEIVES), RELEASE, {RECEIVES: 5}, None),
        (also_detected(SENDS, RECEIVES), RELEASE, {SENDS: 5}, WORKS),
        (also_detected(BOTH, RECEIVES), RELEASE, {RECEIVES: 5}, None),
        # Slow at first, failing later, delivered in between.
        (
            apply(incident(SLOW), replace(trigger(SENDS, T0 + 9 * MINUTE), began_at=T0 + 9 * MINUTE)),
            RELEASE,
            {SENDS: 5},
            None,
        ),
        # Already released: nothing would be sent.
        (apply(incident(SENDS), RELEASE), RELEASE, {SENDS: 5}, None),
        (incident(SENDS), RECOVERED, {}, FAILS),
        (incident(SENDS), RECOVERED, {SENDS: 5}, None),
        (incident(SENDS), RECOVERED, {RECEIVES: 5}, FAILS),
        (incident(BOTH), RECOVERED, {SENDS: 5}, FAILS),
        (incident(BOTH), RECOVERED, {SENDS: 5, RECEIVES: 5}, None),
        # Slow messages arrive; a monitoring fault has no direction.
        (incident(SLOW), RECOVERED, {SENDS: 5, RECEIVES: 5}, FAILS),
        (incident(IncidentType.MONITORING_FAULT), RECOVERED, {}, FAILS),
        # Nobody is told that mail works.
        (incident(SENDS), CLOSED, {}, None),
        (incident(SENDS), replace(RECOVERED, recovered=None), {}, None),
        (declared(SENDS), RECOVERED, {}, None),
        (declared(SENDS), replace(RECOVERED, recovered=None), {}, None),
        (also_detected(SENDS, RECEIVES), replace(RECOVERED, recovered=None), {}, None),
        (also_detected(SENDS, RECEIVES), RECOVERED, {}, FAILS),
        (incident(SENDS), CORRECT, {}, FAILS),
        (incident(SENDS), CORRECT, {SENDS: 5}, None),
        (declared(SENDS), CORRECT, {}, None),
        # The incident is resolved: a present failure is another outage.
        (apply(incident(SENDS), Resolve(dedup_key="JCM", at=NOW, ended_at=NOW)), CORRECT, {}, None),
    ],
)
def test_operation_contradicted_by_latest_runs_of_stated_direction(
    about: Incident, order: Operation, delivered: Mapping[IncidentType, int], contradiction: Contradiction | None
) -> None:
    runs = {way: T0 - MINUTE + minutes * MINUTE for way, minutes in delivered.items()}
    assert operation_effect(about, order, (), runs, NOW).contradiction is contradiction


def test_effect_lists_conflicting_types() -> None:
    runs = {SENDS: NOW, RECEIVES: NOW}
    assert operation_effect(incident(BOTH), RELEASE, (), runs, NOW).conflicting_types == (RECEIVES, SENDS)
    assert operation_effect(incident(BOTH), RECOVERED, (), {}, NOW).conflicting_types == (BOTH,)


def test_effect_lists_recipients_of_release_recovery_and_closure() -> None:
    released = operation_effect(incident(BOTH), RELEASE, (), {}, NOW)
    assert {each.addresses[0].channel for each in released.drafts} == {Channel.FAX, Channel.LETTER}
    notified = tried(written(staff_draft()), attempt(AttemptState.DELIVERED))
    [recovery] = operation_effect(incident(BOTH), RECOVERED, [notified], {}, NOW).drafts
    assert (recovery.person, recovery.purpose) == (notified.person, Purpose.RECOVERY)
    [correction] = operation_effect(incident(BOTH), CORRECT, [notified], {}, NOW).drafts
    assert correction.purpose is Purpose.CORRECTION
    [closed] = operation_effect(incident(BOTH), CLOSED, [notified], {}, NOW).drafts
    assert closed.purpose is Purpose.CLOSED
