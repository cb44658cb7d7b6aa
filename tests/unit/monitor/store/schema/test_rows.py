"""Whom to tell, as JSON in the store: what an older version wrote is read, and what this one writes comes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from alerts.hours.calendar import Calendar, State
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.oncall import Days, Layer, Rota
from alerts.model.policy_snapshot import EscalationPolicy, PolicySnapshot, RedialPolicy, Step
from monitor.store.schema.rows import ADDRESSES, POLICY
from tests.unit.alerts.people import BRIEF as PRESENT
from tests.unit.alerts.people import RAVI, SITI

#: The brief of `tests.unit.alerts.people`, as version 0.1.0 wrote it before there were rotas.
OLD = Path(__file__).with_name("brief_without_rotas.json").read_bytes()

KEDAH = Calendar(state=State.KEDAH, holidays=(date(2026, 12, 7),), workdays=(date(2026, 12, 11),))
HOURS = OfficeHours(
    calendar=KEDAH, zone=ZoneInfo("Asia/Kuala_Lumpur"), spans=((time(8), time(13)), (time(14), time(17)))
)
DESK = Address(channel=Channel.VOICE, number="+60300000102", extension="W102#", hours=HOURS, verified=date(2026, 11, 1))
ROTA = Rota(
    name="JCM/bertugas",
    zone=ZoneInfo("Europe/London"),
    handover=time(17, 30),
    calendar=KEDAH,
    layers=(
        Layer(days=Days.WORKDAYS, people=(SITI, RAVI), starts_on=date(2026, 11, 2), shift_days=3),
        Layer(days=Days.REST, people=(replace(RAVI, addresses=(DESK,)),), starts_on=date(2026, 11, 1)),
    ),
)
ESCALATION = EscalationPolicy(
    steps=(
        Step(
            after=timedelta(minutes=5),
            rotas=(ROTA.name,),
            channels=(Channel.VOICE,),
            redial=RedialPolicy(interval=timedelta(minutes=2), times=4),
        ),
    ),
    rotas=(ROTA,),
    fallback=SITI,
)


def read(text: bytes) -> PolicySnapshot:
    return POLICY.validate_json(text)


def test_a_brief_that_an_older_version_wrote_is_read_with_what_it_did_not_know_left_out() -> None:
    brief = read(OLD)

    # What was acknowledged before acknowledgements expired has the usual time from now on, and what was told in rounds repeats.
    new = EscalationPolicy(steps=())
    usual = replace(
        PRESENT.escalation, acknowledgement_timeout=new.acknowledgement_timeout, repeat_interval=new.repeat_interval
    )
    assert brief == replace(PRESENT, escalation=usual)
    assert (brief.escalation.rotas, brief.escalation.fallback) == ((), None)
    assert (brief.escalation.repeat_interval, brief.escalation.office_hours) == (timedelta(hours=1), None)
    assert [(step.rotas, step.redial) for step in brief.escalation.steps] == [((), None), ((), None)]
    addresses = [a for step in brief.escalation.steps for contact in step.contacts for a in contact.addresses]
    assert {(a.hours, a.verified) for a in addresses} == {(None, None)}


def test_the_definition_of_a_rota_comes_back_from_the_store_whole() -> None:
    written = POLICY.dump_json(replace(PRESENT, escalation=ESCALATION))

    assert read(written).escalation == ESCALATION
    (desk,) = read(written).escalation.rotas[0].layers[1].people[0].addresses
    # These are no part of the comparison above.
    assert (desk.hours, desk.verified) == (HOURS, date(2026, 11, 1))


def test_hours_are_kept_with_a_notice() -> None:
    (desk,) = ADDRESSES.validate_json(ADDRESSES.dump_json((DESK,)))
    assert desk.hours == HOURS
