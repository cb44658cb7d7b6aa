"""Sample history of the demo."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from alerts.model.incident import OUTAGES
from monitor.model.day import MINUTES, MinuteState, day_of, minute_of, time_of
from pantau_lab.seed.sample_history import DAYS, QUIET_PERIOD, sample_history
from pantau_lab.world import AGENCIES

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
#: More than a year, so that every day has been followed by each kind of month.
MOMENTS = [NOW + timedelta(days=number, minutes=7 * number) for number in range(370)]
JCM = AGENCIES[0].code


def test_past_is_same_for_same_day_only() -> None:
    assert sample_history(NOW) == sample_history(NOW)
    assert sample_history(NOW).outages == sample_history(NOW + timedelta(hours=2)).outages
    assert sample_history(NOW).outages != sample_history(NOW + timedelta(days=1)).outages


@pytest.mark.parametrize("now", MOMENTS[::37])
def test_past_has_ninety_days_and_today_until_now(now: datetime) -> None:
    timelines = sample_history(now).timelines
    for agency in AGENCIES:
        days = sorted(on for code, on in timelines if code == agency.code)
        assert (len(days), days[-1]) == (DAYS, day_of(now))
        assert all((other - one).days == 1 for one, other in pairwise(days))
        last = timelines[agency.code, days[-1]].last_marked()
        assert last is not None
        assert last[1] < minute_of(now)


def test_past_is_mostly_up_with_some_gaps() -> None:
    past = sample_history(NOW)
    today = day_of(NOW)
    for agency in AGENCIES:
        counted = dict.fromkeys(MinuteState, 0)
        for (code, on), sheet in past.timelines.items():
            if code == agency.code and on != today:
                for state, minutes in sheet.counts().items():
                    counted[state] += minutes
        down = counted[MinuteState.NO_MAIL] + counted[MinuteState.NO_SENDING] + counted[MinuteState.NO_RECEIVING]
        assert 0 < down < MINUTES / 2, agency.code
        assert 0 < counted[MinuteState.NO_DATA] < MINUTES / 4, agency.code
        assert counted[MinuteState.DEGRADED], agency.code
        assert counted[MinuteState.MAINTENANCE], agency.code


def test_past_days_agree_with_outages() -> None:
    past = sample_history(NOW)
    states = {"both": "no_mail", "sending": "no_sending", "receiving": "no_receiving"}
    for outage in past.outages:
        sheet = past.timelines[outage.agency, day_of(outage.began_at)]
        middle = minute_of(outage.began_at) + 1
        [state] = [state for state, begin, end in sheet.runs() if begin <= middle < end]
        assert state == states[outage.type]


@pytest.mark.parametrize("first", range(7))
def test_past_is_closed_and_last_month_had_outage(first: int) -> None:
    for now in MOMENTS[first::7]:
        _check_history(now)


def _check_history(now: datetime) -> None:
    outages = sample_history(now).outages
    assert max(each.ended_at for each in outages) + timedelta(hours=1) < now - QUIET_PERIOD
    assert all(
        each.began_at < each.detected_at < min(each.acknowledged_at, each.ended_at) and each.ended_at > each.began_at
        for each in outages
    )
    last = (day_of(now).replace(day=1) - timedelta(days=1)).replace(day=1)
    ends = time_of(last, 0) + timedelta(days=calendar.monthrange(last.year, last.month)[1])
    assert [o for o in outages if o.agency == JCM and o.type in OUTAGES and time_of(last, 0) <= o.began_at < ends]
    for agency in AGENCIES:
        theirs = [each for each in outages if each.agency == agency.code]
        assert all(one.ended_at < other.began_at for one, other in pairwise(theirs))
