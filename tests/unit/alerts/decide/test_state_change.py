"""Consequences of acknowledgement, recovery and correction for the notifications of an incident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from unittest.mock import ANY

import pytest

from alerts.decide.announcement import Announce, announce
from alerts.decide.escalation import StartStep, escalate
from alerts.decide.state_change import (
    ASSIGNEE_UPDATE_PERIOD,
    Abandon,
    Cancel,
    Consequence,
    Notify,
    WithdrawLetter,
    consequences,
)
from alerts.model.channel import Channel
from alerts.model.delivery import SETTLED, AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.event import AUTOMATIC, Acknowledge, Close, MarkFalseAlarm, Release, Resolve, Trigger
from alerts.model.gateway import ErrorClass
from alerts.model.incident import Incident, IncidentState, Position, apply
from alerts.model.notification import IncidentType, Plan, Purpose
from tests.unit.alerts.people import (
    FAX,
    LETTER,
    MINUTE,
    SMS_RAVI,
    SMS_SITI,
    SNAPSHOT,
    T0,
    VOICE_RAVI,
    attempt,
    incident,
    tried,
    trigger,
    written,
)

NOW = T0 + 40 * MINUTE
ACKNOWLEDGE = Acknowledge(incident_id=1, at=NOW, by="Siti Contoh")
RESOLVE = Resolve(dedup_key="JCM", at=NOW, ended_at=NOW - MINUTE)
RELEASED = apply(incident(), Release(incident_id=1, at=T0, by="Siti Contoh"))
ACKNOWLEDGED, OVER = apply(RELEASED, ACKNOWLEDGE), apply(RELEASED, RESOLVE)

STATES = [None, *AttemptState]
UNSENT_STATES = {None, AttemptState.FAILED, AttemptState.NEVER_SENT}
SENT_STATES = {AttemptState.ACCEPTED, AttemptState.SENT, AttemptState.DELIVERED}


def staff_draft(step: int = 0) -> NotificationDraft:
    at = replace(incident(), position=replace(incident().position, step=step - 1))
    decision = escalate(at, [], T0 + 5 * MINUTE)
    assert isinstance(decision, StartStep)
    return decision.drafts[-1]


def page_draft(channel: Channel) -> NotificationDraft:
    decision = announce(RELEASED, (), T0)
    assert isinstance(decision, Announce)
    return next(d for d in decision.drafts if d.addresses[0].channel is channel)


STAFF, PAGES = staff_draft(), {c: page_draft(c) for c in (Channel.FAX, Channel.LETTER)}


def notice(
    draft: NotificationDraft,
    state: AttemptState | None,
    shown: NotificationState = NotificationState.PENDING,
    number: int = 1,
) -> Notification:
    return tried(written(draft, number, shown), *([] if state is None else [attempt(state, query_at=T0)]))


def consequences_of(of: Incident, *notices: Notification, now: datetime = NOW) -> list[Consequence]:
    return list(consequences(of, notices, now))


def new_drafts(conclusions: Sequence[Consequence]) -> list[NotificationDraft]:
    return [c.draft for c in conclusions if isinstance(c, Notify)]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("shown", NotificationState)
@pytest.mark.parametrize("draft", [STAFF, *PAGES.values()], ids=["sms", "fax", "letter"])
def test_unacknowledged_open_incident_has_no_consequences(
    draft: NotificationDraft, state: AttemptState | None, shown: NotificationState
) -> None:
    assert consequences_of(RELEASED, notice(draft, state, shown)) == []


@pytest.mark.parametrize("state", STATES)
def test_acknowledgement_cancels_unsent_staff_notifications(state: AttemptState | None) -> None:
    of = notice(STAFF, state)

    expected: dict[AttemptState | None, list[Consequence]] = {s: [Cancel(of)] for s in UNSENT_STATES}
    # It may have been sent, so that it is not repeated to a person who has acknowledged.
    expected[AttemptState.NOT_FOUND] = [Abandon(of)]
    assert consequences_of(ACKNOWLEDGED, of) == expected.get(state, [])


def page_for(purpose: Purpose) -> NotificationDraft:
    page = PAGES[Channel.FAX]
    return replace(page, facts=replace(page.facts, purpose=purpose))


def test_update_is_cancelled_once_incident_is_over() -> None:
    of = notice(page_for(Purpose.UPDATE), None)

    assert consequences_of(ACKNOWLEDGED, of) == []
    assert consequences_of(OVER, of) == [Cancel(of)]


@pytest.mark.parametrize("purpose", [Purpose.RECOVERY, Purpose.CLOSED])
def test_recovery_is_cancelled_once_incident_is_false_alarm(purpose: Purpose) -> None:
    of = notice(page_for(purpose), None)

    assert consequences_of(OVER, of) == []
    assert consequences_of(replace(OVER, false_alarm_at=NOW), of) == [Cancel(of)]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("draft", PAGES.values(), ids=PAGES)
def test_acknowledgement_does_not_affect_announcement(draft: NotificationDraft, state: AttemptState | None) -> None:
    assert consequences_of(ACKNOWLEDGED, notice(draft, state)) == []


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("draft", [STAFF, *PAGES.values()], ids=["sms", "fax", "letter"])
def test_recovery_is_sent_to_those_notified_or_possibly_notified(
    draft: NotificationDraft, state: AttemptState | None
) -> None:
    of = notice(draft, state)
    conclusions = consequences_of(OVER, of)

    if state in UNSENT_STATES:
        assert conclusions[0] == Cancel(of)
        assert [d.facts.is_belated for d in new_drafts(conclusions)] == [True] * (draft is STAFF)
    elif state is AttemptState.NOT_FOUND:
        assert conclusions[0] == Abandon(of)
        assert len(new_drafts(conclusions)) == 1
    elif state in {AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.WITHDRAWN}:
        # In progress: its result decides whether a recovery is due.
        assert conclusions == []
    elif draft is PAGES[Channel.LETTER] and state is AttemptState.ACCEPTED:
        assert conclusions == [WithdrawLetter(of, of.deliveries[0].attempts[0])]
    else:
        assert state in SENT_STATES
        assert len(new_drafts(conclusions)) == len(conclusions) == 1


@pytest.mark.parametrize("shown", sorted(SETTLED))
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("draft", [STAFF, *PAGES.values()], ids=["sms", "fax", "letter"])
def test_settled_notification_is_neither_cancelled_nor_withdrawn(
    draft: NotificationDraft, state: AttemptState | None, shown: NotificationState
) -> None:
    conclusions = consequences_of(OVER, notice(draft, state, shown))

    notified = state in SENT_STATES | {AttemptState.UNKNOWN, AttemptState.NOT_FOUND}
    # Never sent: the person is informed afterwards, unless the notification was withdrawn.
    belated = draft is STAFF and state in UNSENT_STATES and shown is not NotificationState.WITHDRAWN
    assert len(new_drafts(conclusions)) == len(conclusions) == (notified or belated)


def belated(*notices: Notification, of: Incident = OVER) -> list[str]:
    return [d.person for d in new_drafts(consequences_of(of, *notices)) if d.facts.is_belated]


def test_outage_over_before_any_notification_is_reported_once_per_person() -> None:
    again = replace(STAFF, round=1)
    ravi = staff_draft(step=1)

    assert belated(notice(STAFF, None), notice(again, None), notice(ravi, AttemptState.FAILED)) == ["siti", "ravi"]


@pytest.mark.parametrize(
    "state", [*sorted(SENT_STATES), AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.NOT_FOUND]
)
def test_belated_notification_not_sent_when_staff_may_have_been_notified(state: AttemptState) -> None:
    assert belated(notice(STAFF, state, number=1), notice(staff_draft(step=1), None, number=2)) == []


def test_belated_notification_not_sent_when_acknowledged_or_false_alarm() -> None:
    of = notice(STAFF, None)
    assert belated(of, of=apply(ACKNOWLEDGED, RESOLVE)) == []
    assert belated(of, of=replace(OVER, false_alarm_at=NOW)) == []
    assert new_drafts(consequences_of(replace(OVER, false_alarm_at=NOW), of)) == []


def test_belated_notification_not_sent_for_unreached_incident() -> None:
    unreached = replace(STAFF, facts=replace(STAFF.facts, type=IncidentType.UNREACHED))
    assert belated(notice(unreached, None)) == []


def test_withdrawn_letter_is_not_followed_by_recovery_letter() -> None:
    assert (
        consequences_of(OVER, notice(PAGES[Channel.LETTER], AttemptState.WITHDRAWN, NotificationState.WITHDRAWN)) == []
    )


def test_letter_of_unknown_state_is_followed_by_recovery_letter() -> None:
    notified = new_drafts(
        consequences_of(OVER, notice(PAGES[Channel.LETTER], AttemptState.NOT_FOUND, NotificationState.UNKNOWN))
    )

    assert [(d.addresses, d.purpose) for d in notified] == [((LETTER,), Purpose.RECOVERY)]


def test_failed_letter_withdrawal_is_retried_after_pause() -> None:
    refused = replace(attempt(AttemptState.ACCEPTED, query_at=NOW + MINUTE), error=ErrorClass.CONFIGURATION)
    of = tried(written(PAGES[Channel.LETTER]), refused)

    assert consequences_of(OVER, of) == []
    assert consequences_of(OVER, of, now=NOW + MINUTE) == [WithdrawLetter(of, refused)]
    # A withdrawal without an earlier attempt is made at once.
    queued = replace(refused, error=None)
    assert consequences_of(OVER, tried(written(PAGES[Channel.LETTER]), queued)) == [WithdrawLetter(ANY, queued)]


def test_recovery_sent_when_first_attempt_not_found_and_second_failed() -> None:
    of = tried(written(STAFF), attempt(AttemptState.NOT_FOUND), attempt(AttemptState.FAILED, 2))

    assert consequences_of(OVER, of)[0] == Abandon(of)
    assert len(new_drafts(consequences_of(OVER, of))) == 1


def test_first_attempt_sent_after_all_is_not_cancelled_and_gets_recovery() -> None:
    of = tried(written(STAFF), attempt(AttemptState.SENT), attempt(AttemptState.FAILED, 2))

    assert consequences_of(ACKNOWLEDGED, of) == []
    assert len(new_drafts(consequences_of(OVER, of))) == len(consequences_of(OVER, of)) == 1


def test_staff_called_about_outage_get_recovery_by_sms() -> None:
    by_voice = staff_draft(step=1)
    assert by_voice.addresses == (VOICE_RAVI,)

    notified = new_drafts(consequences_of(OVER, notice(by_voice, AttemptState.DELIVERED, NotificationState.DELIVERED)))

    assert [d.addresses for d in notified] == [(SMS_RAVI, VOICE_RAVI)], "a call only if no SMS gets there"
    assert all(d.expires_at > NOW for d in notified)


def test_staff_without_mobile_get_recovery_by_voice() -> None:
    desk = replace(SNAPSHOT.escalation.steps[1].contacts[1], addresses=(VOICE_RAVI,))
    step = replace(SNAPSHOT.escalation.steps[1], contacts=(desk,))
    snapshot = replace(SNAPSHOT, escalation=replace(SNAPSHOT.escalation, steps=(step,)))

    notified = new_drafts(
        consequences_of(replace(OVER, policy=snapshot), notice(staff_draft(step=1), AttemptState.DELIVERED))
    )

    assert [d.addresses for d in notified] == [(VOICE_RAVI,)]


def test_person_notified_repeatedly_gets_one_recovery() -> None:
    later = replace(STAFF, round=1)
    notified = new_drafts(
        consequences_of(
            OVER,
            notice(STAFF, AttemptState.DELIVERED, NotificationState.DELIVERED, 1),
            notice(later, AttemptState.SENT, NotificationState.SENT, 2),
        )
    )

    assert [d.addresses for d in notified] == [(SMS_SITI,)]


def test_recipients_get_recovery_on_each_channel_used() -> None:
    notified = new_drafts(
        consequences_of(
            OVER,
            notice(PAGES[Channel.FAX], AttemptState.DELIVERED, NotificationState.DELIVERED, 1),
            notice(PAGES[Channel.LETTER], AttemptState.SENT, NotificationState.SENT, 2),
        )
    )

    assert [d.addresses for d in notified] == [(FAX,), (LETTER,)]
    assert {d.plan for d in notified} == {Plan.ANNOUNCEMENT}
    assert all(d.addressee == SNAPSHOT.announcement.recipients[0].addressee for d in notified)


def test_recovery_states_first_notification_and_end() -> None:
    (draft,) = new_drafts(consequences_of(OVER, notice(PAGES[Channel.FAX], AttemptState.DELIVERED)))

    assert draft.facts.first_notified_at == T0
    assert draft.facts.ended_at == NOW - MINUTE
    assert draft.facts.notified_at == NOW


@pytest.mark.parametrize(
    ("channel", "state", "cited"),
    [
        (Channel.FAX, AttemptState.DELIVERED, True),
        # The fax machine may be busy until the notification expires.
        (Channel.FAX, AttemptState.ACCEPTED, False),
        (Channel.FAX, AttemptState.SENT, False),
        (Channel.FAX, AttemptState.NOT_FOUND, False),
        # A posted letter has no further receipt.
        (Channel.LETTER, AttemptState.SENT, True),
        (Channel.LETTER, AttemptState.NOT_FOUND, False),
    ],
)
def test_recovery_does_not_cite_notification_without_confirmed_arrival(
    channel: Channel, state: AttemptState, *, cited: bool
) -> None:
    (draft,) = new_drafts(consequences_of(OVER, notice(PAGES[channel], state)))
    assert (draft.facts.first_notified_at is not None) is cited


def test_recovery_keys_are_deterministic_and_differ_by_person_and_channel() -> None:
    notices = [
        notice(STAFF, AttemptState.SENT, NotificationState.SENT, 1),
        notice(staff_draft(step=1), AttemptState.SENT, NotificationState.SENT, 2),
        notice(PAGES[Channel.FAX], AttemptState.SENT, NotificationState.SENT, 3),
        notice(PAGES[Channel.LETTER], AttemptState.SENT, NotificationState.SENT, 4),
    ]
    once = [d.key for d in new_drafts(consequences_of(OVER, *notices))]
    again = [d.key for d in new_drafts(consequences_of(OVER, *notices, now=NOW + 7 * MINUTE))]

    assert once == again
    assert len(set(once)) == 4
    assert not set(once) & {n.key for n in notices}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("of", [ACKNOWLEDGED, OVER], ids=["acknowledged", "over"])
def test_recovery_notification_has_no_consequences(of: Incident, state: AttemptState | None) -> None:
    (recovery,) = new_drafts(consequences_of(OVER, notice(PAGES[Channel.FAX], AttemptState.SENT)))

    assert consequences_of(of, notice(recovery, state)) == []


def test_acknowledged_slowness_becoming_outage_has_no_consequences() -> None:
    slow = apply(incident(IncidentType.DEGRADED), ACKNOWLEDGE)
    worse: Trigger = trigger(IncidentType.BOTH, NOW)

    assert apply(slow, worse).state is IncidentState.TRIGGERED
    assert consequences_of(apply(slow, worse), notice(STAFF, None)) == []


CORRECTED = apply(RELEASED, MarkFalseAlarm(incident_id=1, at=NOW, by="Siti Contoh", reason="silap"))
REMINDED = replace(ACKNOWLEDGED, reminded_at=NOW)


@pytest.mark.parametrize(
    ("purpose", "cancelled"),
    [
        # Incident open, acknowledged, reminded, resolved, corrected.
        (Purpose.OUTAGE, (False, True, True, True, True)),
        (Purpose.UPDATE, (False, False, False, True, True)),
        (Purpose.TAKEN, (False, False, False, True, True)),
        (Purpose.REMINDER, (False, True, False, True, True)),
        (Purpose.RELEASE, (True, True, True, True, True)),
        (Purpose.RECOVERY, (False, False, False, False, True)),
        (Purpose.CLOSED, (False, False, False, False, True)),
        (Purpose.CORRECTION, (False, False, False, False, False)),
        (Purpose.DRILL, (False, False, False, False, False)),
    ],
)
def test_unsent_staff_notification_is_cancelled_once_useless(purpose: Purpose, cancelled: tuple[bool, ...]) -> None:
    of = notice(replace(STAFF, facts=replace(STAFF.facts, purpose=purpose)), None)
    states = (RELEASED, ACKNOWLEDGED, REMINDED, OVER, CORRECTED)
    assert tuple(Cancel(of) in consequences_of(each, of) for each in states) == cancelled
    offered = Acknowledge(incident_id=1, at=NOW, by="Siti Contoh")
    for unreleased in (incident(), apply(incident(), offered)):
        assert purpose is not Purpose.RELEASE or consequences_of(unreleased, of) == []


@pytest.mark.parametrize("recovered", [True, False])
@pytest.mark.parametrize("by", ["Siti Contoh", AUTOMATIC])
def test_closure_without_recovery_is_sent_to_staff_and_states_closing_person(by: str, *, recovered: bool) -> None:
    closed = apply(RELEASED, Close(incident_id=1, at=NOW, by=by, reason="pindah", recovered=recovered))
    notified = new_drafts(
        consequences_of(closed, notice(STAFF, AttemptState.SENT), notice(PAGES[Channel.FAX], AttemptState.SENT))
    )
    if recovered:
        assert [(d.purpose, d.facts.by) for d in notified] == [(Purpose.RECOVERY, "")] * 2
    else:
        assert [(d.purpose, d.facts.by) for d in notified] == [(Purpose.CLOSED, "" if by == AUTOMATIC else by)]


def test_contact_without_address_gets_no_belated_notification() -> None:
    assert belated(written(replace(STAFF, person="lain", addresses=()))) == []


# -- assignee updates ------------------------------------------------------------------------------------------------

TO_BOTH = replace(
    SNAPSHOT, escalation=replace(SNAPSHOT.escalation, steps=(replace(SNAPSHOT.escalation.steps[1], after=T0 - T0),))
)


def both_notified(state: AttemptState = AttemptState.DELIVERED) -> list[Notification]:
    decision = escalate(incident(snapshot=TO_BOTH), [], T0)
    assert isinstance(decision, StartStep)
    return [notice(d, state, NotificationState.DELIVERED, n) for n, d in enumerate(decision.drafts, 1)]


def acknowledged(by: str) -> Incident:
    return apply(incident(snapshot=TO_BOTH), replace(ACKNOWLEDGE, by=by))


@pytest.mark.parametrize(
    ("by", "notified"),
    [("Siti Contoh", ["ravi"]), ("ravi", ["siti"]), ("Siti Contoh (konsol-noc)", ["ravi"]), ("NOC", ["siti", "ravi"])],
)
def test_assignee_update_is_sent_to_others_notified(by: str, notified: list[str]) -> None:
    drafts = new_drafts(consequences_of(acknowledged(by), *both_notified()))
    assert [draft.person for draft in drafts] == notified
    assert {(d.purpose, d.facts.by, d.addresses[0].channel) for d in drafts} == {(Purpose.TAKEN, by, Channel.SMS)}
    assert len({draft.key for draft in drafts}) == len(notified)
    assert all(draft.expires_at > NOW for draft in drafts)


def test_assignee_update_not_sent_to_unnotified_or_when_outdated() -> None:
    assert new_drafts(consequences_of(acknowledged("NOC"), *both_notified(AttemptState.FAILED))) == []
    assert new_drafts(consequences_of(acknowledged("NOC"), *both_notified(), now=NOW + ASSIGNEE_UPDATE_PERIOD)) == []
    # A person notified before the last restart gets none.
    for restarts, count in ((0, 2), (1, 2), (2, 0)):
        later = replace(acknowledged("NOC"), position=Position(restarts=restarts, since=T0))
        assert len(new_drafts(consequences_of(later, *both_notified()))) == count


def test_assignee_update_is_sent_to_person_informed_by_handover() -> None:
    (first, _) = both_notified()
    handover = replace(first, purpose=Purpose.UPDATE, facts=replace(first.facts, purpose=Purpose.UPDATE))
    assert [draft.person for draft in new_drafts(consequences_of(acknowledged("NOC"), handover))] == [first.person]


def test_assignee_update_is_never_sent_by_call() -> None:
    of = acknowledged("NOC")
    desk = replace(TO_BOTH.escalation.steps[0].contacts[1], addresses=(VOICE_RAVI,))
    step = replace(TO_BOTH.escalation.steps[0], contacts=(TO_BOTH.escalation.steps[0].contacts[0], desk))
    snapshot = replace(TO_BOTH, escalation=replace(TO_BOTH.escalation, steps=(step,)))
    drafts = new_drafts(consequences_of(replace(of, policy=snapshot), *both_notified()))
    assert [(draft.person, draft.addresses) for draft in drafts] == [("siti", (SMS_SITI,))]


def test_assignee_update_is_cancelled_when_resolved() -> None:
    (draft, _) = new_drafts(consequences_of(acknowledged("NOC"), *both_notified()))
    waiting = written(draft, 9)
    assert consequences_of(acknowledged("NOC"), waiting) == []
    assert consequences_of(apply(acknowledged("NOC"), RESOLVE), waiting) == [Cancel(waiting)]


@pytest.mark.parametrize(
    ("state", "recovery", "correction"),
    [
        (AttemptState.DELIVERED, (3, 2, NOW - MINUTE), (3, 1, T0)),
        # The second page is not known to have arrived, so that the first is cited.
        (AttemptState.FAILED, (3, 1, T0), (3, 1, T0)),
    ],
)
def test_recovery_cites_last_delivered_page_and_correction_cites_first(
    state: AttemptState, recovery: tuple[int, int, datetime], correction: tuple[int, int, datetime]
) -> None:
    first = notice(PAGES[Channel.FAX], AttemptState.DELIVERED, NotificationState.DELIVERED)
    followed = PAGES[Channel.FAX]
    facts = replace(followed.facts, purpose=Purpose.UPDATE, notified_at=NOW - MINUTE, enclosure=2)
    shown = NotificationState.DELIVERED if state is AttemptState.DELIVERED else NotificationState.FAILED
    second = notice(replace(followed, facts=facts), state, shown, number=2)
    corrected = apply(RELEASED, MarkFalseAlarm(incident_id=1, at=NOW, by="Siti Contoh", reason="silap"))
    for over, expected in ((OVER, recovery), (corrected, correction)):
        (draft,) = new_drafts(consequences_of(over, first, second))
        assert (draft.facts.enclosure, draft.facts.cited, draft.facts.first_notified_at) == expected


def test_recovery_cites_page_without_enclosure_number_as_first() -> None:
    page = PAGES[Channel.FAX]
    uncounted = replace(page, facts=replace(page.facts, enclosure=0))
    (draft,) = new_drafts(consequences_of(OVER, notice(uncounted, AttemptState.DELIVERED, NotificationState.DELIVERED)))
    assert (draft.facts.enclosure, draft.facts.cited) == (2, 1)
