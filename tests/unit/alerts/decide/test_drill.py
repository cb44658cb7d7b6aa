"""Plan, order and pace of a drill, and what blocks it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.decide.drill import (
    DrillNotification,
    DrillState,
    DrillTarget,
    blocking_reason,
    drill_facts,
    drill_state,
    due_notifications,
    may_replace,
    may_use_now,
    plan_notifications,
)
from alerts.hours.calendar import Calendar, State
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.delivery import AttemptState
from alerts.model.notification import IssuingOffice, Language, Plan, Purpose
from tests.unit.alerts.people import MINUTE, OFFICE, SECOND, T0, attempt

NOC = IssuingOffice(short="PANTAU", name="Pusat Operasi Contoh", domain="")
#: Tuesday, 24 November 2026, 10.00 in Malaysia; 10.00 on a Friday; 3.00 at night.
WORKING = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
FRIDAY = datetime(2026, 11, 27, 2, 0, tzinfo=UTC)
NIGHT = datetime(2026, 11, 23, 19, 0, tzinfo=UTC)
SUNDAY = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)

GATEWAYS = {Channel.SMS: ("sms-1", "sms-2"), Channel.VOICE: ("suara",), Channel.FAX: ("faks",)}


def person(number: int, *channels: Channel, agency: str = "JCM") -> DrillTarget:
    addresses = tuple(Address(channel=channel, number=f"+6010000{number:04}") for channel in channels)
    contact = Contact(key=f"p{number}", name=f"Pegawai {number}", language=Language.MALAY, addresses=addresses)
    return DrillTarget(agency=agency, contact=contact, office=OFFICE)


BOTH = (Channel.SMS, Channel.VOICE)


# -- the plan --------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.sampled_from(Channel), unique=True), max_size=6),
    st.dictionaries(st.sampled_from(Channel), st.lists(st.sampled_from("abcd"), unique=True), max_size=4),
    st.integers(0, 50),
)
def test_drill_plan_covers_every_address_and_gateway_once(
    people: list[list[Channel]], gateways: dict[Channel, list[str]], turn: int
) -> None:
    targets = [person(n, *channels) for n, channels in enumerate(people)]
    named = {channel: tuple(f"{channel}-{name}" for name in names) for channel, names in gateways.items()}
    planned = plan_notifications(targets, named, turn)

    addresses = [(t.contact.key, a.channel) for t in targets for a in t.contact.addresses if named.get(a.channel)]
    tried = Counter((e.target.contact.key, e.address.channel) for e in planned)
    assert set(tried) == set(addresses)
    reachable = {c for _, c in addresses}
    assert {e.gateway for e in planned} == {g for c in reachable for g in named[c]}
    assert len({e.key for e in planned}) == len(planned)


def test_drill_rotates_gateways_of_address() -> None:
    people = [person(1, Channel.SMS), person(2, Channel.SMS)]
    by_turn = [[e.gateway for e in plan_notifications(people, GATEWAYS, turn)] for turn in (0, 1)]
    assert by_turn == [["sms-1", "sms-2"], ["sms-2", "sms-1"]]


def test_drill_key_contains_no_number() -> None:
    (exercise,) = plan_notifications([person(7, Channel.VOICE)], GATEWAYS, 0)
    assert exercise.key == "JCM/p7/voice/0/suara"
    assert exercise.address.number[3:] not in repr(exercise)


# -- the pace --------------------------------------------------------------------------------------------------------

PACE = 30 * SECOND


def due(planned: tuple[DrillNotification, ...], begun: dict[str, datetime], now: datetime) -> list[str]:
    return [e.key for e in due_notifications(planned, begun, PACE, now)]


def test_drill_uses_each_gateway_and_person_once_per_pace() -> None:
    planned = plan_notifications([person(1, *BOTH), person(2, *BOTH)], {Channel.SMS: ("s",), Channel.VOICE: ("v",)}, 0)
    one_sms, two_sms, one_voice, two_voice = (e.key for e in planned)
    # The first person's SMS and the second person's call: a call would reach the first person while reading.
    assert due(planned, {}, T0) == [one_sms, two_voice]
    begun = {one_sms: T0, two_voice: T0}
    assert due(planned, begun, T0 + PACE - SECOND) == []
    assert due(planned, begun, T0 + PACE) == [two_sms, one_voice]
    assert due(planned, begun | {two_sms: T0, one_voice: T0}, T0 + MINUTE) == []
    # The clock was set back.
    assert due(planned, begun, T0 - 60 * MINUTE) == [two_sms, one_voice]


def test_drill_pace_counts_from_last_use_of_gateway_or_person() -> None:
    of_one_gateway = plan_notifications([person(n, Channel.SMS) for n in (1, 2, 3)], {Channel.SMS: ("s",)}, 0)
    of_one_person = plan_notifications([person(1, *Channel)], {channel: (channel,) for channel in Channel}, 0)
    for planned in (of_one_gateway, of_one_person):
        first, second, third, *_ = (e.key for e in planned)
        for begun in ({first: T0, second: T0 + PACE}, {first: T0 + PACE, second: T0}):
            assert due(planned, begun, T0 + 2 * PACE - SECOND) == []
            assert due(planned, begun, T0 + 2 * PACE) == [third]


# -- what blocks a drill ---------------------------------------------------------------------------------------------


def voice(number: str = "+60100000101", extension: str = "", hours: OfficeHours | None = None) -> Address:
    return Address(channel=Channel.VOICE, number=number, extension=extension, hours=hours)


def reason(
    now: datetime = WORKING,
    *,
    busy_keys: frozenset[str] = frozenset(),
    pending: bool = False,
    address: Address | None = None,
) -> str | None:
    tried = address or voice()
    target = replace(person(1), contact=replace(person(1).contact, addresses=(tried,)))
    exercise = DrillNotification(target=target, address=tried, gateway="v")
    return blocking_reason(exercise, busy_keys=busy_keys, pending=pending, now=now)


def test_drill_blocked_by_open_incident_or_pending_notification() -> None:
    assert reason() is None
    assert reason(busy_keys=frozenset({"p1"})) == "an incident is open for this person"
    assert reason(busy_keys=frozenset({"p2"})) is None
    # A person of another agency with the same telephone is the same person.
    assert reason(busy_keys=frozenset({voice().number})) == "an incident is open for this person"
    assert reason(pending=True) == "a notification of an incident waits to be sent"


KEDAH = OfficeHours(
    calendar=Calendar(state=State.KEDAH), zone=ZoneInfo("Asia/Kuala_Lumpur"), spans=((time(8), time(17)),)
)


@pytest.mark.parametrize(
    ("address", "open_at", "closed_at"),
    [
        # A mobile may be called at any hour; the drill has its own time window.
        (voice(), (WORKING, NIGHT, SUNDAY), ()),
        (voice("+60300000101"), (WORKING, FRIDAY), (NIGHT, SUNDAY)),
        (voice("+60100000101", extension="W12#"), (WORKING,), (NIGHT, SUNDAY)),
        (Address(channel=Channel.FAX, number="+60300000201"), (WORKING,), (NIGHT, SUNDAY)),
        # Kedah rests on Friday and works on Sunday.
        (voice("+60400000101", hours=KEDAH), (WORKING, SUNDAY), (FRIDAY, NIGHT)),
        # A foreign number is not treated as a mobile.
        (voice("+12025550101"), (WORKING,), (NIGHT,)),
    ],
    ids=["mobile", "landline", "extension", "fax", "kedah", "abroad"],
)
def test_drill_call_to_office_is_blocked_outside_office_hours(
    address: Address, open_at: tuple[datetime, ...], closed_at: tuple[datetime, ...]
) -> None:
    assert [may_use_now(address, at) for at in open_at] == [True] * len(open_at)
    assert [may_use_now(address, at) for at in closed_at] == [False] * len(closed_at)
    assert all(reason(at, address=address) == "the office is closed" for at in closed_at)


# -- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "may"),
    [
        (DrillState.CALLING, DrillState.ACCEPTED, True),
        (DrillState.ACCEPTED, DrillState.FAILED, True),
        (DrillState.DELIVERED, DrillState.FAILED, False),
        (DrillState.FAILED, DrillState.DELIVERED, True),
        (DrillState.FAILED, DrillState.CONFIRMED, True),
        (DrillState.DELIVERED, DrillState.CONFIRMED, True),
        (DrillState.CONFIRMED, DrillState.DELIVERED, False),
        (DrillState.CONFIRMED, DrillState.CONFIRMED, False),
        (DrillState.SKIPPED, DrillState.FAILED, False),
        (DrillState.FAILED, DrillState.SKIPPED, False),
    ],
)
def test_drill_state_is_not_replaced_by_less_certain_state(before: DrillState, after: DrillState, *, may: bool) -> None:
    assert may_replace(before, after) is may


def test_drill_page_of_agency_is_announcement_other_channels_are_escalation() -> None:
    for channel in Channel:
        facts = drill_facts(OFFICE, channel, "LATIH-01", T0)
        assert facts.purpose is Purpose.DRILL
        assert facts.plan is (Plan.ANNOUNCEMENT if channel in {Channel.FAX, Channel.LETTER} else Plan.ESCALATION)
        # The NOC has no mail domain, which a page for recipients would have to state.
        assert drill_facts(NOC, channel, "LATIH-01", T0).plan is Plan.ESCALATION


# -- drill states ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "on_the_phone", "in_the_tray"),
    [
        (AttemptState.ACCEPTED, DrillState.ACCEPTED, DrillState.DELIVERED),
        (AttemptState.SENT, DrillState.ACCEPTED, DrillState.DELIVERED),
        (AttemptState.DELIVERED, DrillState.DELIVERED, DrillState.DELIVERED),
        (AttemptState.FAILED, DrillState.FAILED, DrillState.FAILED),
        (AttemptState.UNKNOWN, DrillState.FAILED, DrillState.FAILED),
    ],
)
def test_drill_unknown_is_failed_and_queued_letter_is_delivered(
    state: AttemptState, on_the_phone: DrillState, in_the_tray: DrillState
) -> None:
    assert drill_state(Channel.SMS, attempt(state=state)) is on_the_phone
    assert drill_state(Channel.LETTER, attempt(state=state)) is in_the_tray
