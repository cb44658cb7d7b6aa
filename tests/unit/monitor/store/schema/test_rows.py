"""Policy snapshots and addresses as stored JSON: older versions are read, and values round-trip."""

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
from tests.unit.alerts.people import RAVI, SITI
from tests.unit.alerts.people import SNAPSHOT as PRESENT

#: The policy snapshot of `tests.unit.alerts.people`, as version 0.1.0 wrote it before there were rotas.
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


def test_policy_snapshot_of_older_version_is_read_with_defaults() -> None:
    snapshot = read(OLD)

    # An earlier acknowledgement has the default timeout from now on, and an earlier escalation repeats.
    new = EscalationPolicy(steps=())
    usual = replace(
        PRESENT.escalation, acknowledgement_timeout=new.acknowledgement_timeout, repeat_interval=new.repeat_interval
    )
    assert snapshot == replace(PRESENT, escalation=usual)
    assert (snapshot.escalation.rotas, snapshot.escalation.fallback) == ((), None)
    assert (snapshot.escalation.repeat_interval, snapshot.escalation.office_hours) == (timedelta(hours=1), None)
    assert [(step.rotas, step.redial) for step in snapshot.escalation.steps] == [((), None), ((), None)]
    addresses = [a for step in snapshot.escalation.steps for contact in step.contacts for a in contact.addresses]
    assert {(a.hours, a.verified) for a in addresses} == {(None, None)}


def test_policy_snapshot_with_rota_round_trips() -> None:
    written = POLICY.dump_json(replace(PRESENT, escalation=ESCALATION))

    assert read(written).escalation == ESCALATION
    (desk,) = read(written).escalation.rotas[0].layers[1].people[0].addresses
    # The comparison above excludes these fields.
    assert (desk.hours, desk.verified) == (HOURS, date(2026, 11, 1))


def test_addresses_with_office_hours_round_trip() -> None:
    (desk,) = ADDRESSES.validate_json(ADDRESSES.dump_json((DESK,)))
    assert desk.hours == HOURS
