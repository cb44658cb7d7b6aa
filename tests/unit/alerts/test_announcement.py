"""Whom outside to tell, and on whose word."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from alerts.announcement import Announce, AwaitOfficer, AwaitStaff, Nobody, NotBefore, ReleaseNow, announce, expiry
from alerts.calendar import Calendar
from alerts.contact import Address
from alerts.event import Acknowledge, Release
from alerts.incident import IncidentState, apply
from alerts.notice import Matter, Purpose
from alerts.office_hours import OfficeHours
from tests.unit.alerts.people import BRIEF, FAX, MINUTE, SMS_SITI, T0, VOICE_SITI, incident

AUTOMATIC = replace(BRIEF, announcement=replace(BRIEF.announcement, automatic=True))


def test_a_duty_officer_is_asked_only_when_the_outage_has_lasted() -> None:
    assert announce(incident(), T0 + 29 * MINUTE) == AwaitOfficer(offered=False, at=T0 + 30 * MINUTE)
    assert announce(incident(), T0 + 30 * MINUTE) == AwaitOfficer(offered=True, at=T0 + 30 * MINUTE)


def test_nothing_goes_out_by_itself_however_long_it_lasts() -> None:
    assert announce(incident(), T0 + 10_000 * MINUTE) == AwaitOfficer(offered=True, at=T0 + 30 * MINUTE)


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


def test_nothing_is_released_by_itself_before_staff_know() -> None:
    automatic = incident(brief=AUTOMATIC)

    assert announce(automatic, T0 + 29 * MINUTE, staff_know=False) == NotBefore(T0 + 30 * MINUTE)
    assert announce(automatic, T0 + 99 * MINUTE, staff_know=False) == AwaitStaff()


def test_a_person_who_releases_it_knows() -> None:
    released = apply(incident(), Release(incident_id=1, at=T0, by="Siti Contoh"))

    assert isinstance(announce(released, T0, staff_know=False), Announce)


def test_an_outage_that_is_over_is_not_announced_any_more() -> None:
    over = replace(incident(brief=AUTOMATIC), state=IncidentState.RESOLVED)

    assert announce(over, T0 + 99 * MINUTE) == Nobody()


# -- office hours ----------------------------------------------------------------------------------------------------

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
OFFICE_FAX = replace(FAX, hours=OfficeHours(calendar=Calendar(), zone=MALAYSIA))


@pytest.mark.parametrize(
    ("decided", "tried_until"),
    [
        # Twelve hours, as for any fax, and then to the end of the working day that follows.
        ("2026-11-25 08:00", "2026-11-26 17:00"),
        ("2026-11-25 16:58", "2026-11-26 17:00"),
        # Released in the night: the twelve hours begin when the office opens.
        ("2026-11-25 23:00", "2026-11-27 17:00"),
        # On Friday evening.
        ("2026-11-27 20:00", "2026-12-01 17:00"),
    ],
)
def test_a_fax_that_waits_for_an_office_has_the_working_time_it_needs(decided: str, tried_until: str) -> None:
    at, until = (datetime.fromisoformat(text).replace(tzinfo=MALAYSIA) for text in (decided, tried_until))
    assert expiry(OFFICE_FAX, at) == until
    assert expiry(FAX, at) == at + timedelta(hours=12)


def offered(by: str, matter: Matter = Matter.BOTH) -> list[tuple[str, tuple[Address, ...]]]:
    taken_on = apply(incident(matter), Acknowledge(incident_id=1, at=T0 + MINUTE, by=by))
    decision = announce(taken_on, T0 + 30 * MINUTE)
    assert isinstance(decision, AwaitOfficer)
    assert all(d.purpose is Purpose.RELEASE and d.facts.may_release for d in decision.drafts)
    return [(d.key, d.addresses) for d in decision.drafts]


def test_whoever_has_taken_it_on_is_called_about_the_release() -> None:
    assert offered("Siti Contoh") == [("1/escalation/0.0.0/release/siti", (VOICE_SITI, SMS_SITI))]


def test_somebody_at_the_console_is_not_called_about_it() -> None:
    assert offered("uid 1000") == []


def test_before_its_time_nobody_is_asked() -> None:
    taken_on = apply(incident(), Acknowledge(incident_id=1, at=T0, by="Siti Contoh"))

    decision = announce(taken_on, T0 + 29 * MINUTE)

    assert decision == AwaitOfficer(offered=False, at=T0 + 30 * MINUTE)
