"""Who outside is told again that an outage lasts, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.decide.announcement import Announce, announce
from alerts.decide.escalation import StartStep, escalate
from alerts.decide.followup import CHANGE_DELAY, MIN_INTERVAL, FollowUp, follow_up, latest_notification, next_enclosure
from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.delivery import AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.event import Release, Resolve
from alerts.model.incident import Incident, apply
from alerts.model.notification import IncidentType, Purpose
from tests.unit.alerts.people import (
    BRIEF,
    LETTER,
    MINISTRY,
    MINUTE,
    SECOND,
    T0,
    attempt,
    incident,
    tried,
    trigger,
    written,
)

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
OFFICE = OfficeHours(calendar=Calendar(), zone=MALAYSIA)
TOLD = replace(BRIEF, announcement=replace(BRIEF.announcement, updates=OFFICE))
SMS, VOICE = (Address(channel=channel, number="+60100000103") for channel in (Channel.SMS, Channel.VOICE))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MALAYSIA)


def of(*addresses: Address, matter: IncidentType = IncidentType.BOTH, released_at: datetime = T0) -> Incident:
    plan = replace(TOLD.announcement, recipients=(replace(MINISTRY, addresses=addresses or MINISTRY.addresses),))
    opened = incident(matter, brief=replace(TOLD, announcement=plan))
    return apply(opened, Release(incident_id=1, at=released_at, by="Siti Contoh"))


def outage(of_it: Incident, state: AttemptState = AttemptState.SENT, told_at: datetime = T0) -> list[Notification]:
    """Return what was told first, on all channels, and how far it came."""
    decision = announce(of_it, (), told_at)
    assert isinstance(decision, Announce)
    return [arrived(draft, number, state, told_at) for number, draft in enumerate(decision.drafts, 1)]


def arrived(draft: NotificationDraft, number: int, state: AttemptState, told_at: datetime) -> Notification:
    got = AttemptState.DELIVERED if (draft.addresses[0].channel, state) == (Channel.FAX, AttemptState.SENT) else state
    shown = {AttemptState.DELIVERED: NotificationState.DELIVERED, AttemptState.FAILED: NotificationState.FAILED}
    notice = replace(written(draft, number, shown.get(got, NotificationState.SENT)), created_at=told_at)
    return tried(notice, replace(attempt(got, number), ended_at=told_at))


def drafts(of_it: Incident, notices: Sequence[Notification], now: datetime) -> list[tuple[str, Channel]]:
    decided = follow_up(of_it, notices, now)
    assert len({draft.key for draft in decided.drafts}) == len(decided.drafts)
    return [(draft.purpose, draft.addresses[0].channel) for draft in decided.drafts]


@pytest.mark.parametrize(
    ("told", "due"),
    [
        # Tuesday morning and afternoon: on Wednesday, when the office opens.
        ("2026-11-24 09:00", "2026-11-25 08:00"),
        ("2026-11-24 16:59", "2026-11-25 08:00"),
        # In the evening: a night later, and not a few hours.
        ("2026-11-24 22:30", "2026-11-25 10:30"),
        # In the small hours: on the next day, and not on this one again.
        ("2026-11-25 03:00", "2026-11-26 08:00"),
        # So late that the twelve hours end after the office: never.
        ("2026-11-25 00:00", "2026-11-26 08:00"),
        # Over a weekend, and over Christmas on a Friday.
        ("2026-11-27 10:00", "2026-11-30 08:00"),
        ("2026-12-24 10:00", "2026-12-28 08:00"),
    ],
)
def test_whoever_was_told_is_told_again_on_another_working_day(told: str, due: str) -> None:
    started = of(released_at=at(told))
    notices = outage(started, told_at=at(told))

    before = follow_up(started, notices, at(due) - timedelta(seconds=1))
    assert before == FollowUp((), at(due))
    assert drafts(started, notices, at(due)) == [("update", "fax"), ("update", "letter")]


@pytest.mark.parametrize("state", [s for s in AttemptState if s not in {AttemptState.SENT, AttemptState.DELIVERED}])
def test_what_is_not_known_to_have_arrived_is_not_followed_up(state: AttemptState) -> None:
    assert follow_up(of(), outage(of(), state), T0 + timedelta(days=9)) == FollowUp()


def test_what_was_withdrawn_told_nobody_anything() -> None:
    page, *_ = outage(of())

    assert latest_notification([page, replace(page, id=9, state=NotificationState.WITHDRAWN, deliveries=())]) == page


def test_that_one_office_was_told_says_nothing_of_another() -> None:
    other = replace(MINISTRY, key="jabatan")
    plan = replace(TOLD.announcement, recipients=(MINISTRY, other))
    both = replace(of(), policy=replace(TOLD, announcement=plan))
    reached = outage(of())
    missed = [replace(n, id=n.id + 2, person=other.key) for n in outage(of(), AttemptState.FAILED)]

    told_again = follow_up(both, [*reached, *missed], T0 + timedelta(days=9)).drafts
    assert [draft.person for draft in told_again] == [MINISTRY.key] * 2


def test_nobody_is_told_again_of_what_is_not_released_not_announced_over_or_not_wanted() -> None:
    notices, later = outage(of()), T0 + timedelta(days=9)
    assert len(follow_up(of(), notices, later).drafts) == 2
    unwanted = replace(TOLD, announcement=replace(TOLD.announcement, updates=None))
    for quiet in (
        replace(of(), released_at=None),
        replace(of(), type=IncidentType.DEGRADED),
        apply(of(), Resolve(dedup_key="JCM", at=later, ended_at=later)),
        replace(of(), policy=unwanted),
    ):
        assert follow_up(quiet, notices, later) == FollowUp()


@pytest.mark.parametrize(
    ("addresses", "told_again"),
    [
        ((SMS, VOICE), [Channel.SMS]),
        ((VOICE,), []),
        ((SMS, LETTER), [Channel.LETTER]),
    ],
)
def test_it_goes_on_paper_else_by_sms_and_never_by_a_call(
    addresses: tuple[Address, ...], told_again: list[Channel]
) -> None:
    started = of(*addresses)
    told = drafts(started, outage(started), at("2026-11-25 08:00"))
    assert [channel for _, channel in told] == told_again


def test_a_page_that_waits_holds_back_the_next_one_on_its_channel_only() -> None:
    notices, day = outage(of()), at("2026-11-25 08:00")
    second = follow_up(of(), notices, day).drafts
    fax, letter = (arrived(draft, 3 + n, AttemptState.SENT, day) for n, draft in enumerate(second))
    lying = replace(letter, deliveries=tried(written(second[1], 4), attempt(AttemptState.ACCEPTED)).deliveries)
    third = follow_up(of(), [*notices, fax, lying], at("2026-11-26 08:00")).drafts
    assert [(d.addresses[0].channel, d.facts.enclosure, d.facts.cited) for d in third] == [(Channel.FAX, 3, 2)]
    # Posted on Thursday at noon.
    posted = arrived(second[1], 4, AttemptState.SENT, at("2026-11-26 12:00"))
    followed = follow_up(of(), [*notices, fax, posted], at("2026-11-27 08:00")).drafts
    assert [(d.facts.enclosure, d.facts.cited) for d in followed] == [(3, 2), (3, 2)]


def test_a_page_that_was_posted_late_is_followed_by_none_on_the_same_day() -> None:
    fax, letter = outage(of())
    posted = at("2026-11-25 12:00")
    letter = replace(
        letter,
        deliveries=tried(
            replace(letter, deliveries=()), replace(attempt(AttemptState.SENT), ended_at=posted)
        ).deliveries,
    )
    assert drafts(of(), [fax, letter], posted + MINUTE) == [("update", "fax")]
    assert drafts(of(), [fax, letter], at("2026-11-26 08:00")) == [("update", "fax"), ("update", "letter")]


def test_one_that_failed_is_not_cited_and_the_next_day_has_another() -> None:
    notices, day = outage(of()), at("2026-11-25 08:00")
    failed = arrived(follow_up(of(), notices, day).drafts[0], 3, AttemptState.FAILED, day + timedelta(hours=12))
    fax = follow_up(of(), [*notices, failed], at("2026-11-26 08:00")).drafts[0]
    assert fax.addresses[0].channel is Channel.FAX
    assert (fax.facts.enclosure, fax.facts.cited, fax.facts.first_notified_at) == (3, 1, T0)


@given(
    began=st.integers(0, 330 * 24 * 60).map(
        lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    steps=st.lists(st.timedeltas(timedelta(minutes=1), timedelta(days=2)), max_size=40),
)
def test_however_it_is_looked_at_an_office_hears_once_a_working_day_at_most(
    began: datetime, steps: list[timedelta]
) -> None:
    started = of(released_at=began)
    notices, now = outage(started, told_at=began), began
    for step in steps:
        now += step
        decided = follow_up(started, notices, now)
        assert decided.then is None or decided.then > now
        notices += [arrived(d, len(notices) + n, AttemptState.SENT, now) for n, d in enumerate(decided.drafts, 1)]
        assert follow_up(started, notices, now).drafts == ()
    for channel in (Channel.FAX, Channel.LETTER):
        told = [n for n in notices if n.channel is channel]
        days: list[date] = [n.created_at.astimezone(MALAYSIA).date() for n in told]
        assert len(set(days)) == len(days)
        assert all(later.created_at - before.created_at >= MIN_INTERVAL for before, later in pairwise(told))
        assert all(OFFICE.is_open(n.created_at) for n in told if n.purpose is Purpose.UPDATE)
        assert [n.facts.enclosure for n in told] == list(range(1, len(told) + 1))


# -- something else is wrong by now ----------------------------------------------------------------------------------


def changed(of_it: Incident, matter: IncidentType, when: datetime) -> Incident:
    return apply(of_it, replace(trigger(matter, when), policy=of_it.policy))


def staff(of_it: Incident) -> list[Notification]:
    """Return that Siti was told of the outage."""
    step = escalate(of_it, (), T0)
    assert isinstance(step, StartStep)
    return [
        tried(written(draft, 90, NotificationState.DELIVERED), attempt(AttemptState.DELIVERED)) for draft in step.drafts
    ]


@pytest.mark.parametrize(
    ("matter", "now", "told"),
    [
        (IncidentType.RECEIVING, IncidentType.RECEIVING, ["siti", "kementerian", "kementerian"]),
        (IncidentType.SENDING, IncidentType.SENDING, ["siti", "kementerian", "kementerian"]),
        (IncidentType.DEGRADED, IncidentType.DEGRADED, ["siti"]),
        (IncidentType.BOTH, None, []),
    ],
)
def test_what_is_another_is_told_to_whoever_was_told(
    matter: IncidentType, now: IncidentType | None, told: list[str]
) -> None:
    other = changed(of(), matter, T0 + MINUTE)
    notices = [*staff(of()), *outage(of())]
    decided = follow_up(other, notices, T0 + 31 * MINUTE)
    assert [draft.person for draft in decided.drafts] == told
    assert all(draft.expires_at > T0 + 31 * MINUTE for draft in decided.drafts)
    assert {(draft.facts.previous_type, draft.facts.type) for draft in decided.drafts} == (
        {(IncidentType.BOTH, now)} if now else set()
    )
    said = [written(draft, 100 + n) for n, draft in enumerate(decided.drafts)]
    assert follow_up(other, [*notices, *said], T0 + 40 * MINUTE).drafts == ()


def test_it_has_to_last_before_anybody_hears_so() -> None:
    other = changed(of(), IncidentType.RECEIVING, T0 + MINUTE)
    notices = [*staff(of()), *outage(of())]
    assert follow_up(other, notices, T0 + MINUTE + CHANGE_DELAY - SECOND) == FollowUp((), T0 + MINUTE + CHANGE_DELAY)
    assert [d.person for d in follow_up(other, notices, T0 + MINUTE + CHANGE_DELAY).drafts] == ["siti"]
    back = changed(other, IncidentType.BOTH, T0 + 30 * MINUTE)
    assert follow_up(back, notices, T0 + 90 * MINUTE).drafts == ()


def test_of_what_flaps_nobody_hears_what_it_is_now() -> None:
    other = replace(changed(of(), IncidentType.RECEIVING, T0 + MINUTE), flapping=True)
    assert follow_up(other, [*staff(of()), *outage(of())], T0 + timedelta(hours=2)).drafts == ()


def test_on_the_day_a_change_waits_until_it_has_lasted_and_is_one_page() -> None:
    day = at("2026-11-25 08:00")
    other = changed(of(), IncidentType.RECEIVING, day - MINUTE)
    assert follow_up(other, outage(of()), day).drafts == ()
    decided = follow_up(other, outage(of()), day + 29 * MINUTE).drafts
    assert [(d.facts.previous_type, d.addresses[0].channel) for d in decided] == [
        (IncidentType.BOTH, c) for c in (Channel.FAX, Channel.LETTER)
    ]


def test_those_who_were_told_by_telephone_alone_hear_of_a_change_by_telephone() -> None:
    started = of(SMS, VOICE)
    other = changed(started, IncidentType.SENDING, T0)
    assert {channel for _, channel in drafts(other, outage(started), T0 + 30 * MINUTE)} == {Channel.SMS, Channel.VOICE}


def test_an_office_s_pages_are_not_counted_with_what_staff_of_the_same_name_were_told() -> None:
    pages = outage(of())
    ours = [replace(n, person=MINISTRY.key) for n in staff(of())]
    assert next_enclosure(of(), [*pages, *ours], MINISTRY.key) == next_enclosure(of(), pages, MINISTRY.key) == 2
    assert next_enclosure(of(), ours, MINISTRY.key) == 1
    assert follow_up(of(SMS), ours, T0 + timedelta(days=9)) == FollowUp(), "nor do those tell them anything"


def test_a_page_that_was_sent_before_pages_were_counted_is_the_first() -> None:
    uncounted = [replace(n, facts=replace(n.facts, enclosure=0)) for n in outage(of())]
    assert next_enclosure(of(), uncounted, MINISTRY.key) == 2
    told_again = follow_up(of(), uncounted, at("2026-11-25 08:00")).drafts
    assert {(draft.facts.enclosure, draft.facts.cited) for draft in told_again} == {(2, 1)}


def test_pages_go_on_behind_those_that_an_older_copy_of_the_store_did_not_know() -> None:
    restored = replace(of(), skipped_pages=3)
    assert next_enclosure(restored, outage(of()), MINISTRY.key) == 4
    assert next_enclosure(restored, [], MINISTRY.key) == 4
