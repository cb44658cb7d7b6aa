"""Contacts linked to a user: portal and telephone identify the same person under any spelling."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alerts.model.channel import Channel
from alerts.model.event import Acknowledge
from alerts.model.incident import Incident, apply, open_incident
from alerts.model.policy_snapshot import EscalationPolicy, Step
from monitor.views.incident_action import IncidentAction, possible_actions
from tests.unit.alerts.people import MINUTE, RAVI, SITI, SNAPSHOT, T0, trigger

SITI_OF_THE_PORTAL = replace(SITI, user="siti")
POLICY = EscalationPolicy(
    steps=(Step(after=0 * MINUTE, contacts=(RAVI, SITI_OF_THE_PORTAL), channels=(Channel.SMS,)),),
)
#: The name of her portal account.
IN_PORTAL = "Siti binti Contoh (siti)"


def acknowledged(by: str) -> Incident:
    opened = open_incident(trigger(snapshot=replace(SNAPSHOT, escalation=POLICY)), incident_id=1, number="JCM-01")
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
def test_policy_finds_contact_of_user(by: str, key: str | None) -> None:
    found = POLICY.contact_by_name(by)
    assert (found.key if found else None) == key


@pytest.mark.parametrize(
    ("by", "names", "action"),
    [
        ("Siti Contoh", {IN_PORTAL, "Siti binti Contoh"}, IncidentAction.ACKNOWLEDGE),
        (IN_PORTAL, {IN_PORTAL, "Siti binti Contoh"}, IncidentAction.ACKNOWLEDGE),
        ("Siti Contoh", {"Ravi Contoh (ravi)", "Ravi Contoh"}, IncidentAction.TAKE_OVER),
        ("Somebody Else (else)", {IN_PORTAL}, IncidentAction.TAKE_OVER),
    ],
)
def test_assignee_with_other_spelling_does_not_take_over_from_self(
    by: str, names: set[str], action: IncidentAction
) -> None:
    actions = possible_actions(acknowledged(by), names, T0)
    assert actions & {IncidentAction.ACKNOWLEDGE, IncidentAction.TAKE_OVER} == {action}


def test_telephone_answer_keeps_assignee_name_of_portal() -> None:
    assert acknowledged(IN_PORTAL).acting_name("siti") == IN_PORTAL
    assert acknowledged(IN_PORTAL).acting_name("ravi") == "Ravi Contoh"
