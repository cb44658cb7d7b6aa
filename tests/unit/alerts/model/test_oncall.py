"""Rotas, overrides and handovers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.hours.calendar import Calendar, State
from alerts.model.contact import Contact
from alerts.model.notification import Language
from alerts.model.oncall import (
    GAP_HORIZON,
    Days,
    Gap,
    Handover,
    Layer,
    Override,
    Rota,
    affected_contacts,
    gaps,
    next_handover,
    on_call,
    on_call_periods,
)
from tests.unit.alerts.people import MINUTE, RAVI, SITI

MALAYSIA, LONDON = ZoneInfo("Asia/Kuala_Lumpur"), ZoneInfo("Europe/London")
MEI = Contact(key="mei", name="Mei Contoh", language=Language.MALAY, addresses=())

#: The first day is Monday, 23 November 2026.
WEEKLY = Rota(
    name="JCM/bertugas",
    zone=MALAYSIA,
    layers=(Layer(people=(SITI, RAVI), starts_on=date(2026, 11, 23)),),
)


def local(text: str, zone: ZoneInfo = MALAYSIA) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def who(rota: Rota, text: str, *overrides: Override) -> str:
    person = on_call(rota, overrides, local(text, rota.zone))
    return person.key if person else "nobody"


def override(contact: Contact, begins: str, ends: str, number: int = 1, rota: Rota = WEEKLY) -> Override:
    return Override(
        id=number,
        rota=rota.name,
        contact=contact,
        starts_at=local(begins),
        ends_at=local(ends),
        by="Pegawai Contoh",
        made_at=local("2026-11-20 09:00"),
    )


# -- rotations ------------------------------------------------------------------------------------------------------


def test_weekly_shift_begins_and_ends_at_monday_handover() -> None:
    assert [who(WEEKLY, f"2026-11-{at}") for at in ("23 08:00", "29 23:59", "30 07:59", "30 08:00")] == [
        "siti",
        "siti",
        "siti",
        "ravi",
    ]


def test_rotation_starts_again_after_last_person() -> None:
    assert [who(WEEKLY, f"2026-{day} 12:00") for day in ("11-25", "12-02", "12-09", "12-16")] == [
        "siti",
        "ravi",
        "siti",
        "ravi",
    ]


@pytest.mark.parametrize(
    ("days", "expected"), [(1, "siti ravi siti ravi"), (2, "siti siti ravi ravi"), (3, "siti siti siti ravi")]
)
def test_shift_may_last_any_number_of_days(days: int, expected: str) -> None:
    rota = replace(WEEKLY, layers=(replace(WEEKLY.layers[0], shift_days=days),))
    assert " ".join(who(rota, f"2026-11-{day} 12:00") for day in (23, 24, 25, 26)) == expected


def test_nobody_is_on_call_before_first_day() -> None:
    assert who(WEEKLY, "2026-11-23 07:59") == "nobody"


def test_handover_uses_time_and_zone_of_rota() -> None:
    rota = replace(WEEKLY, zone=LONDON, handover=time(18, 30))
    assert who(rota, "2026-11-30 18:29") == "siti"
    assert who(rota, "2026-11-30 18:30") == "ravi"
    assert on_call(rota, (), datetime(2026, 11, 30, 18, 30, tzinfo=UTC)) == RAVI


# -- days -----------------------------------------------------------------------------------------------------------


BY_DAYS = replace(
    WEEKLY,
    layers=(
        Layer(days=Days.WORKDAYS, people=(SITI,), starts_on=date(2026, 11, 1)),
        Layer(days=Days.REST, people=(RAVI, MEI), starts_on=date(2026, 11, 1), shift_days=1),
    ),
)


def test_weekend_layer_applies_from_handover_to_handover() -> None:
    assert [who(BY_DAYS, f"2026-11-{at}") for at in ("27 12:00", "28 07:59", "28 08:00", "29 08:00", "30 08:00")] == [
        "siti",
        "siti",
        "mei",
        "ravi",
        "siti",
    ]


def test_public_holiday_is_rest_day_in_its_state() -> None:
    selangor = replace(BY_DAYS, calendar=Calendar(state=State.SELANGOR))
    assert who(selangor, "2026-12-11 12:00") != "siti"
    assert who(BY_DAYS, "2026-12-11 12:00") == "siti"


def test_kedah_friday_is_rest_day_and_sunday_is_not() -> None:
    kedah = replace(BY_DAYS, calendar=Calendar(state=State.KEDAH))
    assert who(kedah, "2026-11-27 12:00") != "siti"
    assert who(kedah, "2026-11-29 12:00") == "siti"


def test_first_layer_with_person_takes_precedence() -> None:
    later = Layer(people=(MEI,), starts_on=date(2026, 12, 1))
    rota = replace(WEEKLY, layers=(later, *WEEKLY.layers))
    assert (who(rota, "2026-11-26 12:00"), who(rota, "2026-12-01 12:00")) == ("siti", "mei")


# -- overrides ------------------------------------------------------------------------------------------------------


def test_override_applies_while_it_lasts() -> None:
    active = override(MEI, "2026-11-25 18:00", "2026-11-26 06:00")
    assert [who(WEEKLY, f"2026-11-{at}", active) for at in ("25 17:59", "25 18:00", "26 05:59", "26 06:00")] == [
        "siti",
        "mei",
        "mei",
        "siti",
    ]


def test_latest_override_takes_precedence() -> None:
    first = override(MEI, "2026-11-25 18:00", "2026-11-26 06:00", 1)
    second = override(RAVI, "2026-11-25 20:00", "2026-11-25 22:00", 2)
    for both in ((first, second), (second, first)):
        assert who(WEEKLY, "2026-11-25 21:00", *both) == "ravi"
        assert who(WEEKLY, "2026-11-25 23:00", *both) == "mei"


def test_override_of_other_rota_is_ignored() -> None:
    other = override(MEI, "2026-11-25 18:00", "2026-11-26 06:00", rota=replace(WEEKLY, name="MDC/bertugas"))
    assert who(WEEKLY, "2026-11-25 21:00", other) == "siti"


def test_contact_of_rota_takes_precedence_over_copy_in_override() -> None:
    old = replace(RAVI, addresses=())
    found = on_call(WEEKLY, [override(old, "2026-11-25 18:00", "2026-11-26 06:00")], local("2026-11-25 20:00"))
    assert found == RAVI


# -- gaps and handovers ---------------------------------------------------------------------------------------------


WORKDAYS_ONLY = replace(WEEKLY, layers=(Layer(days=Days.WORKDAYS, people=(SITI,), starts_on=date(2026, 11, 1)),))


def test_empty_weekend_is_one_gap() -> None:
    found = gaps(WORKDAYS_ONLY, (), local("2026-11-25 12:00"))
    assert found == (Gap(starts_at=local("2026-11-28 08:00"), ends_at=local("2026-11-30 08:00")),)


def test_override_fills_part_of_gap() -> None:
    partial = override(MEI, "2026-11-28 00:00", "2026-11-29 12:00")
    found = gaps(WORKDAYS_ONLY, [partial], local("2026-11-25 12:00"))
    assert found == (Gap(starts_at=local("2026-11-29 12:00"), ends_at=local("2026-11-30 08:00")),)


def test_gap_is_clipped_to_now_and_horizon() -> None:
    saturday = local("2026-11-28 12:00")
    first, last = gaps(WORKDAYS_ONLY, (), saturday)
    assert (first.starts_at, last.ends_at) == (saturday, saturday + GAP_HORIZON)


def test_fully_staffed_rota_has_no_gap() -> None:
    assert gaps(BY_DAYS, (), local("2026-11-25 12:00")) == ()


def test_next_handover_is_when_person_changes() -> None:
    assert next_handover(WEEKLY, (), local("2026-11-25 12:00")) == Handover(at=local("2026-11-30 08:00"), to=RAVI)
    active = override(MEI, "2026-11-25 18:00", "2026-11-26 06:00")
    assert next_handover(WEEKLY, [active], local("2026-11-25 12:00")) == Handover(at=active.starts_at, to=MEI)
    assert next_handover(WORKDAYS_ONLY, (), local("2026-11-25 12:00")) == Handover(
        at=local("2026-11-28 08:00"), to=None
    )


def test_next_handover_of_single_person_rota_is_none() -> None:
    alone = replace(WEEKLY, layers=(replace(WEEKLY.layers[0], people=(SITI,)),))
    assert next_handover(alone, (), local("2026-11-25 12:00")) is None


# -- clock changes --------------------------------------------------------------------------------------------------


NIGHTLY = replace(
    WEEKLY,
    zone=LONDON,
    handover=time(1, 30),
    layers=(Layer(people=(SITI, RAVI), starts_on=date(2026, 3, 1), shift_days=1),),
)


def test_handover_skipped_in_spring_is_first_instant_after_clock_change() -> None:
    """01:30 does not come on 29 March: at 01:00 GMT it is 02:00 BST."""
    jump = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    before, after = on_call(NIGHTLY, (), jump - MINUTE), on_call(NIGHTLY, (), jump)
    assert (before, after) == (RAVI, SITI)


def test_handover_repeated_in_autumn_is_first_occurrence() -> None:
    """01:30 comes on 25 October at 00:30 UTC and again at 01:30 UTC."""
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    before, at, again = (on_call(NIGHTLY, (), first + span) for span in (-MINUTE, timedelta(0), timedelta(hours=1)))
    assert before != at
    assert at == again


ZONES = [ZoneInfo(name) for name in ("Asia/Kuala_Lumpur", "Europe/London", "Australia/Lord_Howe", "America/St_Johns")]
CREW = [Contact(key=f"p{n}", name=f"Orang {n}", language=Language.MALAY, addresses=()) for n in range(4)]
#: Seconds in the years around now, which include clock changes.
moments = st.datetimes(
    min_value=datetime(2026, 1, 2),  # noqa: DTZ001
    max_value=datetime(2028, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
layers = st.builds(
    lambda crew, turn: Layer(people=tuple(crew), starts_on=date(2026, 1, 1), shift_days=turn),
    st.lists(st.sampled_from(CREW), min_size=1, max_size=4, unique_by=lambda c: c.key),
    st.integers(1, 30),
)


@st.composite
def covered(draw: st.DrawFn) -> Rota:
    """Return a rota with a person on call at every moment from 2 January 2026."""
    first, second = draw(layers), draw(layers)
    by_days = (replace(first, days=Days.WORKDAYS), replace(second, days=Days.REST))
    return Rota(
        name="r",
        zone=draw(st.sampled_from(ZONES)),
        handover=draw(st.times().map(lambda at: at.replace(second=0, microsecond=0))),
        calendar=Calendar(state=draw(st.sampled_from(State))),
        layers=draw(st.sampled_from([(first,), by_days, (by_days[1], first)])),
    )


@given(covered(), moments)
def test_covered_rota_has_person_on_call_at_any_moment(rota: Rota, moment: datetime) -> None:
    assert on_call(rota, (), moment) is not None
    assert gaps(rota, (), moment) == ()


@given(covered(), moments)
def test_moment_belongs_to_one_duty_day(rota: Rota, moment: datetime) -> None:
    day = rota.day(moment)
    assert rota.duty_start(day) <= moment < rota.duty_start(day + timedelta(days=1))


@given(covered(), st.integers(0, 800))
def test_duty_days_are_ordered(rota: Rota, number: int) -> None:
    day = date(2026, 1, 1) + timedelta(days=number)
    assert rota.duty_start(day) < rota.duty_start(day + timedelta(days=1))


@given(covered(), moments)
def test_handovers_advance_and_name_next_person(rota: Rota, moment: datetime) -> None:
    for _ in range(3):
        coming = next_handover(rota, (), moment)
        if coming is None:
            return
        assert coming.at > moment
        assert coming.to == on_call(rota, (), coming.at) != on_call(rota, (), moment)
        # Nothing changes before the handover.
        assert on_call(rota, (), coming.at - timedelta(seconds=1)) == on_call(rota, (), moment)
        moment = coming.at


@given(covered(), moments, st.timedeltas(min_value=MINUTE, max_value=timedelta(days=20)), moments)
def test_override_replaces_planned_person_only_while_it_lasts(
    rota: Rota, begins: datetime, span: timedelta, moment: datetime
) -> None:
    active = Override(
        id=1, rota="r", contact=MEI, starts_at=begins, ends_at=begins + span, by="x", made_at=begins - GAP_HORIZON
    )
    inside = begins <= moment < begins + span
    assert on_call(rota, [active], moment) == (MEI if inside else on_call(rota, (), moment))
    assert on_call(rota, [active], begins) == MEI
    assert on_call(rota, [active], begins + span) == on_call(rota, (), begins + span)


@given(covered(), moments, st.timedeltas(min_value=MINUTE, max_value=timedelta(days=20)), moments)
def test_on_call_periods_are_contiguous_and_match_on_call(
    rota: Rota, begins: datetime, span: timedelta, first: datetime
) -> None:
    active = Override(
        id=1, rota="r", contact=MEI, starts_at=begins, ends_at=begins + span, by="x", made_at=begins - GAP_HORIZON
    )
    last = first + timedelta(days=14)
    found = on_call_periods(rota, [active], first, last)
    assert found[0].starts_at <= first
    assert found[-1].ends_at >= last
    for before, after in pairwise(found):
        assert before.ends_at == after.starts_at
        assert before.person != after.person
    for each in found:
        assert on_call(rota, [active], each.starts_at) == each.person
        assert on_call(rota, [active], each.ends_at - timedelta(microseconds=1)) == each.person


def test_on_call_period_start_is_independent_of_query_time() -> None:
    alone = replace(WEEKLY, layers=(Layer(people=(SITI,), starts_on=date(2026, 1, 1)),))
    for rota, begins in ((WEEKLY, "2026-11-23 08:00"), (alone, "2026-11-01 08:00")):
        for day in (24, 25, 29):
            first = local(f"2026-11-{day} 14:15")
            assert on_call_periods(rota, (), first, first + GAP_HORIZON)[0].starts_at == local(begins)


def test_on_call_period_without_person_is_included() -> None:
    first = local("2026-11-27 12:00")
    found = on_call_periods(WORKDAYS_ONLY, (), first, first + timedelta(days=2))
    assert [(each.person and each.person.key, each.ends_at) for each in found] == [
        ("siti", local("2026-11-28 08:00")),
        (None, local("2026-11-30 08:00")),
    ]


def test_affected_contacts_are_new_person_and_those_relieved_from_now() -> None:
    def keys(override_: Override, now: str, *others: Override) -> list[str]:
        return [each.key for each in affected_contacts(WEEKLY, override_, others, local(now))]

    # Siti's week, then Ravi's.
    over_both = override(MEI, "2026-11-27 18:00", "2026-11-30 18:00", number=2)
    assert keys(over_both, "2026-11-26 12:00", over_both) == ["mei", "siti", "ravi"]
    # Shifts in the past do not count.
    assert keys(over_both, "2026-11-30 12:00", over_both) == ["mei", "ravi"]
    # The person of an earlier override is relieved, too.
    before = override(RAVI, "2026-11-27 08:00", "2026-11-29 08:00")
    assert keys(override(SITI, "2026-11-27 18:00", "2026-11-28 08:00", number=2), "2026-11-26 12:00", before) == [
        "siti",
        "ravi",
    ]
    # The end belongs to the next person, and a gap relieves nobody.
    assert keys(override(MEI, "2026-11-28 08:00", "2026-11-30 08:00"), "2026-11-26 12:00") == ["mei", "siti"]
    gap = override(MEI, "2026-11-28 09:00", "2026-11-29 09:00", rota=WORKDAYS_ONLY)
    assert [each.key for each in affected_contacts(WORKDAYS_ONLY, gap, [], local("2026-11-26 12:00"))] == ["mei"]
