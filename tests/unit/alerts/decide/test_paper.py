"""Posting deadline and handling steps of a letter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from alerts.decide.paper import Handling, ImpossibleDay, LetterStep, TrayLetter, impossible_day_reason, post_by
from alerts.hours.calendar import Calendar, State
from alerts.hours.office_hours import OfficeHours
from alerts.model.notification import Purpose

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
SECOND = timedelta(seconds=1)


def at(day: int, hour: int, minute: int = 0, *, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=MALAYSIA)


def hours(state: State = State.PUTRAJAYA, *gazetted: date) -> OfficeHours:
    return OfficeHours(
        calendar=Calendar(state=state, holidays=gazetted),
        zone=MALAYSIA,
        spans=((time(8), time(13)), (time(14), time(17))),
    )


@pytest.mark.parametrize(
    ("queued_at", "office", "until"),
    [
        pytest.param(at(24, 14, 15), hours(), at(25, 17), id="a Tuesday"),
        pytest.param(at(24, 0, 5), hours(), at(25, 17), id="at night: the day has just begun"),
        pytest.param(
            at(24, 9), replace(hours(), spans=((time(9), time(16)),)), at(25, 16), id="without a break at noon"
        ),
        pytest.param(at(27, 9), hours(), at(30, 17), id="a Friday: Monday"),
        pytest.param(at(28, 9), hours(), at(30, 17), id="a Saturday: Monday"),
        pytest.param(at(26, 9), hours(State.KELANTAN), at(29, 17), id="Thursday in Kelantan: Sunday"),
        pytest.param(at(24, 9), hours(State.PUTRAJAYA, date(2026, 11, 25)), at(26, 17), id="before a gazetted day"),
        pytest.param(at(24, 9, month=12), hours(), at(28, 17, month=12), id="before Christmas and a weekend"),
    ],
)
def test_letter_is_due_by_end_of_next_workday(queued_at: datetime, office: OfficeHours, until: datetime) -> None:
    assert post_by(queued_at, office) == until
    letter = TrayLetter(
        notification_id=1, number="JCM-01", agency="JCM", purpose=Purpose.OUTAGE, addressee=None, queued_at=queued_at
    )
    assert not letter.is_overdue(office, until - SECOND)
    assert letter.is_overdue(office, until)


def test_letter_to_office_closed_for_month_is_overdue_at_once() -> None:
    closed = tuple(date(2026, 11, 24) + timedelta(days=day) for day in range(60))
    assert post_by(at(24, 9), hours(State.PUTRAJAYA, *closed)) == at(24, 9)


@pytest.mark.parametrize(
    ("what", "step"),
    [
        ({}, LetterStep.QUEUED),
        ({"printed": True}, LetterStep.PRINTED),
        ({"printed": True, "posted": True, "is_posted": True}, LetterStep.POSTED),
        ({"is_posted": True}, LetterStep.POSTED),
        ({"printed": True, "taken_back_at": datetime(2026, 11, 24, tzinfo=UTC)}, LetterStep.TAKEN_BACK),
    ],
)
def test_letter_step_follows_from_recorded_handling(what: dict[str, object], step: LetterStep) -> None:
    handling = Handling(by="Kerani Contoh", at=at(24, 9))
    letter = TrayLetter(
        notification_id=1,
        number="JCM-01",
        agency="JCM",
        purpose=Purpose.OUTAGE,
        addressee=None,
        queued_at=at(24, 9),
        **{name: handling if value is True and name != "is_posted" else value for name, value in what.items()},  # type: ignore[arg-type]
    )
    assert letter.step is step
    assert letter.is_overdue(hours(), at(30, 9)) is (step in {LetterStep.QUEUED, LetterStep.PRINTED})


@pytest.mark.parametrize(
    ("day", "why"),
    [
        pytest.param(22, ImpossibleDay.BEFORE_QUEUED, id="the evening before, by another clock"),
        pytest.param(23, None, id="the day on which it was queued"),
        pytest.param(24, None, id="between"),
        pytest.param(25, None, id="today, which in Greenwich it is not yet"),
        pytest.param(26, ImpossibleDay.FUTURE, id="tomorrow"),
    ],
)
def test_posting_day_must_lie_between_queued_day_and_today(day: int, why: ImpossibleDay | None) -> None:
    queued_at, now = datetime(2026, 11, 22, 16, 30, tzinfo=UTC), datetime(2026, 11, 24, 16, 30, tzinfo=UTC)
    assert impossible_day_reason(date(2026, 11, day), queued_at, now, MALAYSIA) is why


def test_posting_day_is_stated_day_or_day_of_entry() -> None:
    late = datetime(2026, 11, 24, 16, 30, tzinfo=UTC)
    assert Handling(by="Kerani Contoh", at=late).action_day(MALAYSIA) == date(2026, 11, 25)
    assert Handling(by="Kerani Contoh", at=late, day=date(2026, 11, 24)).action_day(MALAYSIA) == date(2026, 11, 24)
