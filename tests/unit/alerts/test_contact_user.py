"""A contact names its user: by it the portal and the telephone know the same person, however the name is written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alerts.model.channel import Channel
from alerts.model.event import Acknowledge
from alerts.model.incident import Incident, apply, open_incident
from alerts.model.policy_snapshot import EscalationPolicy, Step
from monitor.views.incident_action import IncidentAction, possible_actions
from tests.unit.alerts.people import BRIEF, MINUTE, RAVI, SITI, T0, trigger

SITI_OF_THE_PORTAL = replace(SITI, user="siti")
POLICY = EscalationPolicy(
    steps=(Step(after=0 * MINUTE, contacts=(RAVI, SITI_OF_THE_PORTAL), channels=(Channel.SMS,)),),
)
#: As her account in the portal has her.
IN_PORTAL = "Siti binti Contoh (siti)"


def taken_on(by: str) -> Incident:
    opened = open_incident(trigger(brief=replace(BRIEF, escalation=POLICY)), incident_id=1, number="JCM-01")
    return apply(opened, Acknowledge(incident_id=1, at=T0, by=by))


@pytest.mark.parametrize(
    ("by", "key"),
    [
        (IN_PORTAL, "siti"),
        ("Siti Contoh", "siti"),
        ("siti", "siti"),
        ("Siti Contoh (konsol)", "siti"),
        ("Siti binti Contoh", None),
        ("Siti binti Contoh (ravi)", None),
        ("Ravi Contoh (siti)", "siti"),
    ],
)
def test_escalation_policy_names_the_contact_of_a_user(by: str, key: str | None) -> None:
    found = POLICY.contact_by_name(by)
    assert (found.key if found else None) == key


@pytest.mark.parametrize(
    ("by", "names", "deed"),
    [
        ("Siti Contoh", {IN_PORTAL, "Siti binti Contoh"}, IncidentAction.ACKNOWLEDGE),
        (IN_PORTAL, {IN_PORTAL, "Siti binti Contoh"}, IncidentAction.ACKNOWLEDGE),
        ("Siti Contoh", {"Ravi Contoh (ravi)", "Ravi Contoh"}, IncidentAction.TAKE_OVER),
        ("Somebody Else (else)", {IN_PORTAL}, IncidentAction.TAKE_OVER),
    ],
)
def test_officer_with_another_spelling_does_not_take_over_from_themselves(
    by: str, names: set[str], deed: IncidentAction
) -> None:
    deeds = possible_actions(taken_on(by), names, T0)
    assert deeds & {IncidentAction.ACKNOWLEDGE, IncidentAction.TAKE_OVER} == {deed}


def test_answer_by_telephone_to_what_was_taken_on_in_the_portal_keeps_its_name() -> None:
    assert taken_on(IN_PORTAL).acting_name("siti") == IN_PORTAL
    assert taken_on(IN_PORTAL).acting_name("ravi") == "Ravi Contoh"
