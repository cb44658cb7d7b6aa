"""Follow-ups to recipients: repeated notices and changes of type."""

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
    LETTER,
    MINISTRY,
    MINUTE,
    SECOND,
    SNAPSHOT,
    T0,
    attempt,
    incident,
    tried,
    trigger,
    written,
)

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")
OFFICE = OfficeHours(calendar=Calendar(), zone=MALAYSIA)
WITH_UPDATES = replace(SNAPSHOT, announcement=replace(SNAPSHOT.announcement, updates=OFFICE))
SMS, VOICE = (Address(channel=channel, number="+60100000103") for channel in (Channel.SMS, Channel.VOICE))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MALAYSIA)


def released_incident(
    *addresses: Address, incident_type: IncidentType = IncidentType.BOTH, released_at: datetime = T0
) -> Incident:
    plan = replace(
        WITH_UPDATES.announcement, recipients=(replace(MINISTRY, addresses=addresses or MINISTRY.addresses),)
    )
    opened = incident(incident_type, snapshot=replace(WITH_UPDATES, announcement=plan))
    return apply(opened, Release(incident_id=1, at=released_at, by="Siti Contoh"))


def outage(
    current: Incident, state: AttemptState = AttemptState.SENT, notified_at: datetime = T0
) -> list[Notification]:
    """Return the first notices on all channels, in this state."""
    decision = announce(current, (), notified_at)
    assert isinstance(decision, Announce)
    return [arrived(draft, number, state, notified_at) for number, draft in enumerate(decision.drafts, 1)]


def arrived(draft: NotificationDraft, number: int, state: AttemptState, notified_at: datetime) -> Notification:
    got = AttemptState.DELIVERED if (draft.addresses[0].channel, state) == (Channel.FAX, AttemptState.SENT) else state
    shown = {AttemptState.DELIVERED: NotificationState.DELIVERED, AttemptState.FAILED: NotificationState.FAILED}
    notice = replace(written(draft, number, shown.get(got, NotificationState.SENT)), created_at=notified_at)
    return tried(notice, replace(attempt(got, number), ended_at=notified_at))


def drafts(current: Incident, notices: Sequence[Notification], now: datetime) -> list[tuple[str, Channel]]:
    decided = follow_up(current, notices, now)
    assert len({draft.key for draft in decided.drafts}) == len(decided.drafts)
    return [(draft.purpose, draft.addresses[0].channel) for draft in decided.drafts]


@pytest.mark.parametrize(
    ("notified", "due"),
    [
        # Notified on Tuesday in office hours: due on Wednesday at opening time.
        ("2026-11-24 09:00", "2026-11-25 08:00"),
        ("2026-11-24 16:59", "2026-11-25 08:00"),
        # Notified in the evening: due after twelve hours.
        ("2026-11-24 22:30", "2026-11-25 10:30"),
        # Notified in the early morning: due on the next day.
        ("2026-11-25 03:00", "2026-11-26 08:00"),
        # Twelve hours would end after closing time: due on the next day.
        ("2026-11-25 00:00", "2026-11-26 08:00"),
        # Across a weekend, and across Christmas on a Friday.
        ("2026-11-27 10:00", "2026-11-30 08:00"),
        ("2026-12-24 10:00", "2026-12-28 08:00"),
    ],
)
def test_follow_up_is_due_on_next_working_day(notified: str, due: str) -> None:
    started = released_incident(released_at=at(notified))
    notices = outage(started, notified_at=at(notified))

    before = follow_up(started, notices, at(due) - timedelta(seconds=1))
    assert before == FollowUp((), at(due))
    assert drafts(started, notices, at(due)) == [("update", "fax"), ("update", "letter")]


@pytest.mark.parametrize("state", [s for s in AttemptState if s not in {AttemptState.SENT, AttemptState.DELIVERED}])
def test_notification_not_known_to_be_delivered_is_not_followed_up(state: AttemptState) -> None:
    assert follow_up(released_incident(), outage(released_incident(), state), T0 + timedelta(days=9)) == FollowUp()


def test_withdrawn_notification_is_not_latest() -> None:
    page, *_ = outage(released_incident())

    assert latest_notification([page, replace(page, id=9, state=NotificationState.WITHDRAWN, deliveries=())]) == page


def test_follow_up_depends_on_notification_of_same_office() -> None:
    other = replace(MINISTRY, key="jabatan")
    plan = replace(WITH_UPDATES.announcement, recipients=(MINISTRY, other))
    both = replace(released_incident(), policy=replace(WITH_UPDATES, announcement=plan))
    reached = outage(released_incident())
    missed = [replace(n, id=n.id + 2, person=other.key) for n in outage(released_incident(), AttemptState.FAILED)]

    followed_up = follow_up(both, [*reached, *missed], T0 + timedelta(days=9)).drafts
    assert [draft.person for draft in followed_up] == [MINISTRY.key] * 2


def test_no_follow_up_when_unreleased_degraded_resolved_or_disabled() -> None:
    notices, later = outage(released_incident()), T0 + timedelta(days=9)
    assert len(follow_up(released_incident(), notices, later).drafts) == 2
    unwanted = replace(WITH_UPDATES, announcement=replace(WITH_UPDATES.announcement, updates=None))
    for quiet in (
        replace(released_incident(), released_at=None),
        replace(released_incident(), type=IncidentType.DEGRADED),
        apply(released_incident(), Resolve(dedup_key="JCM", at=later, ended_at=later)),
        replace(released_incident(), policy=unwanted),
    ):
        assert follow_up(quiet, notices, later) == FollowUp()


@pytest.mark.parametrize(
    ("addresses", "followed_up"),
    [
        ((SMS, VOICE), [Channel.SMS]),
        ((VOICE,), []),
        ((SMS, LETTER), [Channel.LETTER]),
    ],
)
def test_follow_up_uses_paper_else_sms_never_call(addresses: tuple[Address, ...], followed_up: list[Channel]) -> None:
    started = released_incident(*addresses)
    notified = drafts(started, outage(started), at("2026-11-25 08:00"))
    assert [channel for _, channel in notified] == followed_up


def test_pending_page_delays_next_page_on_same_channel_only() -> None:
    notices, day = outage(released_incident()), at("2026-11-25 08:00")
    second = follow_up(released_incident(), notices, day).drafts
    fax, letter = (arrived(draft, 3 + n, AttemptState.SENT, day) for n, draft in enumerate(second))
    queued = replace(letter, deliveries=tried(written(second[1], 4), attempt(AttemptState.ACCEPTED)).deliveries)
    third = follow_up(released_incident(), [*notices, fax, queued], at("2026-11-26 08:00")).drafts
    assert [(d.addresses[0].channel, d.facts.enclosure, d.facts.cited) for d in third] == [(Channel.FAX, 3, 2)]
    # Posted on Thursday at noon.
    posted = arrived(second[1], 4, AttemptState.SENT, at("2026-11-26 12:00"))
    followed = follow_up(released_incident(), [*notices, fax, posted], at("2026-11-27 08:00")).drafts
    assert [(d.facts.enclosure, d.facts.cited) for d in followed] == [(3, 2), (3, 2)]


def test_page_posted_late_is_not_followed_up_on_same_day() -> None:
    fax, letter = outage(released_incident())
    posted = at("2026-11-25 12:00")
    letter = replace(
        letter,
        deliveries=tried(
            replace(letter, deliveries=()), replace(attempt(AttemptState.SENT), ended_at=posted)
        ).deliveries,
    )
    assert drafts(released_incident(), [fax, letter], posted + MINUTE) == [("update", "fax")]
    assert drafts(released_incident(), [fax, letter], at("2026-11-26 08:00")) == [
        ("update", "fax"),
        ("update", "letter"),
    ]


def test_failed_page_is_not_cited_and_next_day_has_new_page() -> None:
    notices, day = outage(released_incident()), at("2026-11-25 08:00")
    failed = arrived(
        follow_up(released_incident(), notices, day).drafts[0], 3, AttemptState.FAILED, day + timedelta(hours=12)
    )
    fax = follow_up(released_incident(), [*notices, failed], at("2026-11-26 08:00")).drafts[0]
    assert fax.addresses[0].channel is Channel.FAX
    assert (fax.facts.enclosure, fax.facts.cited, fax.facts.first_notified_at) == (3, 1, T0)


@given(
    began=st.integers(0, 330 * 24 * 60).map(
        lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    steps=st.lists(st.timedeltas(timedelta(minutes=1), timedelta(days=2)), max_size=40),
)
def test_follow_up_reaches_office_at_most_once_per_working_day(began: datetime, steps: list[timedelta]) -> None:
    started = released_incident(released_at=began)
    notices, now = outage(started, notified_at=began), began
    for step in steps:
        now += step
        decided = follow_up(started, notices, now)
        assert decided.next_at is None or decided.next_at > now
        notices += [arrived(d, len(notices) + n, AttemptState.SENT, now) for n, d in enumerate(decided.drafts, 1)]
        assert follow_up(started, notices, now).drafts == ()
    for channel in (Channel.FAX, Channel.LETTER):
        notified = [n for n in notices if n.channel is channel]
        days: list[date] = [n.created_at.astimezone(MALAYSIA).date() for n in notified]
        assert len(set(days)) == len(days)
        assert all(later.created_at - before.created_at >= MIN_INTERVAL for before, later in pairwise(notified))
        assert all(OFFICE.is_open(n.created_at) for n in notified if n.purpose is Purpose.UPDATE)
        assert [n.facts.enclosure for n in notified] == list(range(1, len(notified) + 1))


# -- changes of type -------------------------------------------------------------------------------------------------


def changed(current: Incident, incident_type: IncidentType, when: datetime) -> Incident:
    return apply(current, replace(trigger(incident_type, when), policy=current.policy))


def staff(current: Incident) -> list[Notification]:
    """Return the delivered notification to Siti."""
    step = escalate(current, (), T0)
    assert isinstance(step, StartStep)
    return [
        tried(written(draft, 90, NotificationState.DELIVERED), attempt(AttemptState.DELIVERED)) for draft in step.drafts
    ]


@pytest.mark.parametrize(
    ("incident_type", "now", "notified"),
    [
        (IncidentType.RECEIVING, IncidentType.RECEIVING, ["siti", "kementerian", "kementerian"]),
        (IncidentType.SENDING, IncidentType.SENDING, ["siti", "kementerian", "kementerian"]),
        (IncidentType.DEGRADED, IncidentType.DEGRADED, ["siti"]),
        (IncidentType.BOTH, None, []),
    ],
)
def test_changed_type_is_sent_to_those_notified_before(
    incident_type: IncidentType, now: IncidentType | None, notified: list[str]
) -> None:
    other = changed(released_incident(), incident_type, T0 + MINUTE)
    notices = [*staff(released_incident()), *outage(released_incident())]
    decided = follow_up(other, notices, T0 + 31 * MINUTE)
    assert [draft.person for draft in decided.drafts] == notified
    assert all(draft.expires_at > T0 + 31 * MINUTE for draft in decided.drafts)
    assert {(draft.facts.previous_type, draft.facts.type) for draft in decided.drafts} == (
        {(IncidentType.BOTH, now)} if now else set()
    )
    sent = [written(draft, 100 + n) for n, draft in enumerate(decided.drafts)]
    assert follow_up(other, [*notices, *sent], T0 + 40 * MINUTE).drafts == ()


def test_changed_type_is_sent_after_change_delay() -> None:
    other = changed(released_incident(), IncidentType.RECEIVING, T0 + MINUTE)
    notices = [*staff(released_incident()), *outage(released_incident())]
    assert follow_up(other, notices, T0 + MINUTE + CHANGE_DELAY - SECOND) == FollowUp((), T0 + MINUTE + CHANGE_DELAY)
    assert [d.person for d in follow_up(other, notices, T0 + MINUTE + CHANGE_DELAY).drafts] == ["siti"]
    back = changed(other, IncidentType.BOTH, T0 + 30 * MINUTE)
    assert follow_up(back, notices, T0 + 90 * MINUTE).drafts == ()


def test_flapping_outage_sends_no_type_change() -> None:
    other = replace(changed(released_incident(), IncidentType.RECEIVING, T0 + MINUTE), flapping=True)
    assert (
        follow_up(other, [*staff(released_incident()), *outage(released_incident())], T0 + timedelta(hours=2)).drafts
        == ()
    )


def test_change_on_follow_up_day_waits_for_delay_and_is_one_page() -> None:
    day = at("2026-11-25 08:00")
    other = changed(released_incident(), IncidentType.RECEIVING, day - MINUTE)
    assert follow_up(other, outage(released_incident()), day).drafts == ()
    decided = follow_up(other, outage(released_incident()), day + 29 * MINUTE).drafts
    assert [(d.facts.previous_type, d.addresses[0].channel) for d in decided] == [
        (IncidentType.BOTH, c) for c in (Channel.FAX, Channel.LETTER)
    ]


def test_recipients_notified_by_telephone_only_get_change_by_telephone() -> None:
    started = released_incident(SMS, VOICE)
    other = changed(started, IncidentType.SENDING, T0)
    assert {channel for _, channel in drafts(other, outage(started), T0 + 30 * MINUTE)} == {Channel.SMS, Channel.VOICE}


def test_enclosure_number_ignores_staff_notifications_of_same_key() -> None:
    pages = outage(released_incident())
    same_key = [replace(n, person=MINISTRY.key) for n in staff(released_incident())]
    assert (
        next_enclosure(released_incident(), [*pages, *same_key], MINISTRY.key)
        == next_enclosure(released_incident(), pages, MINISTRY.key)
        == 2
    )
    assert next_enclosure(released_incident(), same_key, MINISTRY.key) == 1
    assert follow_up(released_incident(SMS), same_key, T0 + timedelta(days=9)) == FollowUp(), (
        "nor do those tell them anything"
    )


def test_page_without_enclosure_number_counts_as_first() -> None:
    uncounted = [replace(n, facts=replace(n.facts, enclosure=0)) for n in outage(released_incident())]
    assert next_enclosure(released_incident(), uncounted, MINISTRY.key) == 2
    followed_up = follow_up(released_incident(), uncounted, at("2026-11-25 08:00")).drafts
    assert {(draft.facts.enclosure, draft.facts.cited) for draft in followed_up} == {(2, 1)}


def test_enclosure_number_continues_after_skipped_pages() -> None:
    restored = replace(released_incident(), skipped_pages=3)
    assert next_enclosure(restored, outage(released_incident()), MINISTRY.key) == 4
    assert next_enclosure(restored, [], MINISTRY.key) == 4
