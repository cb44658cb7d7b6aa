"""Result of a release, sent to the releasing person, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from alerts.decide.announcement import Announce, announce
from alerts.decide.release_result import release_result, releasing_contact
from alerts.decide.state_change import Notify, consequences
from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.delivery import AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.event import AUTOMATIC, Release, Resolve
from alerts.model.incident import Incident, apply
from alerts.model.notification import Purpose
from alerts.model.policy_snapshot import AnnouncementPlan
from tests.unit.alerts.people import (
    FAX,
    LETTER,
    MINISTRY,
    MINUTE,
    SECOND,
    SITI,
    SNAPSHOT,
    T0,
    attempt,
    incident,
    tried,
    written,
)

OFFICE = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
#: T0 is Tuesday, 14.15. This is the end of the next workday.
DUE = T0 + timedelta(hours=26, minutes=45)
OTHER_FAX = Address(channel=Channel.FAX, number="+60300000333")
JKR = replace(
    MINISTRY, key="jkr", addressee=replace(MINISTRY.addressee, organisation="JKR Contoh"), addresses=(OTHER_FAX,)
)
PLAN = replace(SNAPSHOT, announcement=AnnouncementPlan(recipients=(MINISTRY, JKR), updates=OFFICE))


def released(by: str = "Siti Contoh") -> tuple[Incident, Notification, Notification, Notification]:
    """Return a released incident with its two faxes and its letter, all unsent."""
    after = apply(incident(snapshot=PLAN), Release(incident_id=1, at=T0, by=by))
    decided = announce(after, (), T0)
    assert isinstance(decided, Announce)
    by_channel = {(d.person, d.addresses[0]): written(d, n) for n, d in enumerate(decided.drafts, 1)}
    return after, by_channel["kementerian", FAX], by_channel["jkr", OTHER_FAX], by_channel["kementerian", LETTER]


def arrived(notice: Notification) -> Notification:
    return replace(tried(notice, attempt(AttemptState.DELIVERED)), state=NotificationState.DELIVERED)


def failed(notice: Notification) -> Notification:
    return replace(tried(notice, attempt(AttemptState.FAILED)), state=NotificationState.FAILED)


def queued(letter: Notification) -> Notification:
    return replace(tried(letter, attempt(AttemptState.ACCEPTED)), state=NotificationState.SENT)


def posted(letter: Notification) -> Notification:
    return replace(tried(letter, attempt(AttemptState.SENT)), state=NotificationState.SENT)


def results(
    of: Incident, notices: Sequence[Notification], now: datetime = T0 + MINUTE
) -> list[tuple[int, tuple[str, ...], int]]:
    """Return each result: notices that arrived, recipients not reached, letters not posted."""
    return [(d.facts.arrived, d.facts.undelivered, d.facts.unposted) for d in release_result(of, notices, now).drafts]


def test_release_result_waits_until_every_notification_is_settled() -> None:
    of, fax, other, letter = released()
    assert results(of, [fax, other, queued(letter)]) == []
    assert results(of, [arrived(fax), other, queued(letter)]) == []
    assert results(of, [arrived(fax), failed(other), queued(letter)]) == [(1, ("JKR Contoh (no. 0333)",), 0)]
    assert results(of, [arrived(fax), arrived(other), queued(letter)]) == [(2, (), 0)]
    # A notification without a receipt is awaited until it expires.
    sent = replace(tried(other, attempt(AttemptState.SENT)), state=NotificationState.SENT)
    assert release_result(of, [arrived(fax), sent], T0 + MINUTE).next_at == other.expires_at
    assert results(of, [arrived(fax), sent], other.expires_at) == [(1, ("JKR Contoh (no. 0333)",), 0)]


def test_release_result_unknown_state_is_left_to_person_for_one_workday() -> None:
    of, fax, other, _ = released()
    unknown = replace(tried(other, attempt(AttemptState.NOT_FOUND)), state=NotificationState.UNKNOWN)
    assert results(of, [arrived(fax), unknown], DUE - SECOND) == []
    assert results(of, [arrived(fax), unknown], DUE) == [(1, ("JKR Contoh (no. 0333)",), 0)]


def test_release_result_after_recovery_is_sent_only_for_failures() -> None:
    of, fax, other, _ = released()
    over = apply(of, Resolve(dedup_key="JCM", at=T0 + MINUTE, ended_at=T0 + MINUTE))
    assert results(over, [arrived(fax), arrived(other)]) == []
    assert results(over, [arrived(fax), failed(other)]) == [(1, ("JKR Contoh (no. 0333)",), 0)]


def test_release_result_ignores_withdrawn_notifications() -> None:
    of, fax, other, letter = released()
    gone = [replace(n, state=NotificationState.WITHDRAWN) for n in (fax, other, letter)]
    assert results(of, gone, DUE) == []
    assert results(of, [arrived(fax), *gone[1:]], DUE) == [(1, (), 0)]


def test_release_result_reports_letters_unposted_after_one_workday() -> None:
    of, fax, other, letter = released()
    both = [arrived(fax), arrived(other)]
    assert release_result(of, [*both, queued(letter)], T0 + MINUTE).next_at == DUE
    assert results(of, [*both, queued(letter)], DUE - SECOND) == [(2, (), 0)]
    assert results(of, [*both, queued(letter)], DUE) == [(2, (), 0), (0, (), 1)]
    assert results(of, [*both, letter], DUE) == [(2, (), 0), (0, (), 1)], "not even in its tray"
    assert results(of, [*both, posted(letter)], DUE) == [(2, (), 0)]


def drafts(of: Incident, notices: Sequence[Notification], now: datetime) -> tuple[NotificationDraft, ...]:
    return release_result(of, notices, now).drafts


def test_release_result_keys_are_deterministic() -> None:
    of, fax, other, letter = released()
    notices = [arrived(fax), failed(other), queued(letter)]
    first, later = drafts(of, notices, DUE), drafts(of, notices, DUE + timedelta(days=2))
    assert [d.key for d in first] == [d.key for d in later]
    assert len({d.key for d in first}) == 2
    assert {d.purpose for d in first} == {Purpose.RESULT}
    assert {d.person for d in first} == {"siti"}


def test_release_result_of_recovery_is_sent_only_for_failures() -> None:
    of, fax, other, letter = released()
    before = [arrived(fax), arrived(other), posted(letter)]
    over = apply(of, Resolve(dedup_key="JCM", at=T0 + 60 * MINUTE, ended_at=T0 + 59 * MINUTE))
    after = [
        written(each.draft, 9) for each in consequences(over, before, T0 + 60 * MINUTE) if isinstance(each, Notify)
    ]
    faxes = [n for n in after if n.channel is Channel.FAX]
    late = T0 + 90 * MINUTE
    assert results(over, [*before, *map(arrived, faxes)], late) == []
    assert results(over, [*before, failed(faxes[0]), arrived(faxes[1])], late) == [
        (1, ("Kementerian Contoh (no. 0201)",), 0)
    ]


@pytest.mark.parametrize(("by", "who"), [("Siti Contoh", SITI), ("siti", SITI), (AUTOMATIC, None), ("Portal", None)])
def test_releasing_contact_is_staff_member_with_telephone(by: str, who: object) -> None:
    of, fax, other, letter = released(by)
    assert releasing_contact(of) == who
    assert bool(results(of, [arrived(fax), failed(other), letter])) is (who is not None)
