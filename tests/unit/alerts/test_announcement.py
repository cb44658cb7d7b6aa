"""Whom outside to tell, and on whose word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alerts.announcement import Announce, AwaitOfficer, Nobody, NotBefore, ReleaseNow, announce
from alerts.event import Release
from alerts.incident import IncidentState, apply
from alerts.notice import Matter
from tests.unit.alerts.people import BRIEF, MINUTE, T0, incident

AUTOMATIC = replace(BRIEF, announcement=replace(BRIEF.announcement, automatic=True))


def test_a_duty_officer_is_asked_only_when_the_outage_has_lasted() -> None:
    assert announce(incident(), T0 + 29 * MINUTE) == AwaitOfficer(offered=False)
    assert announce(incident(), T0 + 30 * MINUTE) == AwaitOfficer(offered=True)


def test_nothing_goes_out_by_itself_however_long_it_lasts() -> None:
    assert announce(incident(), T0 + 10_000 * MINUTE) == AwaitOfficer(offered=True)


def test_an_agency_that_opted_in_is_released_at_the_same_time() -> None:
    automatic = incident(brief=AUTOMATIC)

    assert announce(automatic, T0 + 29 * MINUTE) == NotBefore(T0 + 30 * MINUTE)
    assert announce(automatic, T0 + 30 * MINUTE) == ReleaseNow()


def test_once_released_each_recipient_is_told_on_each_of_their_channels() -> None:
    released = apply(incident(), Release(incident_id=1, at=T0 + MINUTE, by="Siti Contoh"))

    decision = announce(released, T0 + MINUTE)

    assert isinstance(decision, Announce)
    assert [(d.person, d.addresses[0].channel) for d in decision.drafts] == [
        ("kementerian", "fax"),
        ("kementerian", "letter"),
    ]
    assert len({d.key for d in decision.drafts}) == 2


def test_an_acknowledgement_does_not_stop_the_announcement() -> None:
    released = apply(incident(), Release(incident_id=1, at=T0, by="Siti Contoh"))

    assert isinstance(announce(replace(released, state=IncidentState.ACKNOWLEDGED), T0), Announce)


@pytest.mark.parametrize("matter", [Matter.DEGRADED, Matter.OWN_FAULT])
def test_nobody_outside_hears_of_slowness_or_of_our_own_faults(matter: Matter) -> None:
    assert announce(incident(matter, brief=AUTOMATIC), T0 + 99 * MINUTE) == Nobody()


def test_an_outage_that_is_over_is_not_announced_any_more() -> None:
    over = replace(incident(brief=AUTOMATIC), state=IncidentState.RESOLVED)

    assert announce(over, T0 + 99 * MINUTE) == Nobody()
