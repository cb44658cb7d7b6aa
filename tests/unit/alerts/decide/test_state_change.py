"""What an acknowledgement and a recovery mean for the notices of an incident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from unittest.mock import ANY

import pytest

from alerts.decide.announcement import Announce, announce
from alerts.decide.escalation import StartStep, escalate
from alerts.decide.state_change import (
    ASSIGNEE_NEWS_PERIOD,
    Abandon,
    Cancel,
    Conclusion,
    Notify,
    WithdrawLetter,
    conclude,
)
from alerts.model.channel import Channel
from alerts.model.delivery import SETTLED, AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.event import AUTOMATIC, Acknowledge, Close, MarkFalseAlarm, Release, Resolve, Trigger
from alerts.model.gateway import ErrorClass
from alerts.model.incident import Incident, IncidentState, Position, apply
from alerts.model.notification import IncidentType, Plan, Purpose
from tests.unit.alerts.people import (
    BRIEF,
    FAX,
    LETTER,
    MINUTE,
    SMS_RAVI,
    SMS_SITI,
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
NOT_LEFT = {None, AttemptState.FAILED, AttemptState.NEVER_SENT}
LEFT = {AttemptState.ACCEPTED, AttemptState.SENT, AttemptState.DELIVERED}


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


def concluded(of: Incident, *notices: Notification, now: datetime = NOW) -> list[Conclusion]:
    return list(conclude(of, notices, now))


def recoveries(conclusions: Sequence[Conclusion]) -> list[NotificationDraft]:
    return [c.draft for c in conclusions if isinstance(c, Notify)]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("shown", NotificationState)
@pytest.mark.parametrize("draft", [STAFF, *PAGES.values()], ids=["sms", "fax", "letter"])
def test_nothing_is_owed_while_nobody_has_acknowledged_and_it_goes_on(
    draft: NotificationDraft, state: AttemptState | None, shown: NotificationState
) -> None:
    assert concluded(RELEASED, notice(draft, state, shown)) == []


@pytest.mark.parametrize("state", STATES)
def test_an_acknowledgement_cancels_what_has_not_left_for_staff(state: AttemptState | None) -> None:
    of = notice(STAFF, state)

    expected: dict[AttemptState | None, list[Conclusion]] = {s: [Cancel(of)] for s in NOT_LEFT}
    # It may have been sent, so it is not sent again to somebody who has acknowledged.
    expected[AttemptState.NOT_FOUND] = [Abandon(of)]
    assert concluded(ACKNOWLEDGED, of) == expected.get(state, [])


def page_for(purpose: Purpose) -> NotificationDraft:
    page = PAGES[Channel.FAX]
    return replace(page, facts=replace(page.facts, purpose=purpose))


def test_that_it_goes_on_is_told_to_nobody_any_more_once_it_is_over() -> None:
    of = notice(page_for(Purpose.UPDATE), None)

    assert concluded(ACKNOWLEDGED, of) == []
    assert concluded(OVER, of) == [Cancel(of)]


@pytest.mark.parametrize("purpose", [Purpose.RECOVERY, Purpose.CLOSED])
def test_that_it_works_again_is_told_to_nobody_any_more_once_it_was_no_outage(purpose: Purpose) -> None:
    of = notice(page_for(purpose), None)

    assert concluded(OVER, of) == []
    assert concluded(replace(OVER, false_alarm_at=NOW), of) == [Cancel(of)]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("draft", PAGES.values(), ids=PAGES)
def test_an_acknowledgement_changes_nothing_for_people_outside(
    draft: NotificationDraft, state: AttemptState | None
) -> None:
    assert concluded(ACKNOWLEDGED, notice(draft, state)) == []


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("draft", [STAFF, *PAGES.values()], ids=["sms", "fax", "letter"])
def test_recovery_is_told_to_those_who_were_told_or_may_have_been(
    draft: NotificationDraft, state: AttemptState | None
) -> None:
    of = notice(draft, state)
    conclusions = concluded(OVER, of)

    if state in NOT_LEFT:
        assert conclusions[0] == Cancel(of)
        assert [d.facts.is_belated for d in recoveries(conclusions)] == [True] * (draft is STAFF)
    elif state is AttemptState.NOT_FOUND:
        assert conclusions[0] == Abandon(of)
        assert len(recoveries(conclusions)) == 1
    elif state in {AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.WITHDRAWN}:
        # Under way: what becomes of it decides whether a recovery is owed.
        assert conclusions == []
    elif draft is PAGES[Channel.LETTER] and state is AttemptState.ACCEPTED:
        assert conclusions == [WithdrawLetter(of, of.deliveries[0].attempts[0])]
    else:
        assert state in LEFT
        assert len(recoveries(conclusions)) == len(conclusions) == 1


@pytest.mark.parametrize("shown", sorted(SETTLED))
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("draft", [STAFF, *PAGES.values()], ids=["sms", "fax", "letter"])
def test_a_settled_notice_is_neither_cancelled_nor_taken_back(
    draft: NotificationDraft, state: AttemptState | None, shown: NotificationState
) -> None:
    conclusions = concluded(OVER, notice(draft, state, shown))

    told = state in LEFT | {AttemptState.UNKNOWN, AttemptState.NOT_FOUND}
    # Nothing of it has left: they hear that it was, unless somebody has withdrawn it.
    belated = draft is STAFF and state in NOT_LEFT and shown is not NotificationState.WITHDRAWN
    assert len(recoveries(conclusions)) == len(conclusions) == (told or belated)


def belated(*notices: Notification, of: Incident = OVER) -> list[str]:
    return [d.person for d in recoveries(concluded(of, *notices)) if d.facts.is_belated]


def test_what_was_over_before_anybody_was_told_is_told_once_to_each_who_was_to_be() -> None:
    again = replace(STAFF, round=1)
    ravi = staff_draft(step=1)

    assert belated(notice(STAFF, None), notice(again, None), notice(ravi, AttemptState.FAILED)) == ["siti", "ravi"]


@pytest.mark.parametrize("state", [*sorted(LEFT), AttemptState.CALLING, AttemptState.UNKNOWN, AttemptState.NOT_FOUND])
def test_when_one_of_the_staff_may_have_heard_nobody_is_told_afterwards(state: AttemptState) -> None:
    assert belated(notice(STAFF, state, number=1), notice(staff_draft(step=1), None, number=2)) == []


def test_what_was_taken_on_or_was_a_false_alarm_is_not_told_afterwards() -> None:
    of = notice(STAFF, None)
    assert belated(of, of=apply(ACKNOWLEDGED, RESOLVE)) == []
    assert belated(of, of=replace(OVER, false_alarm_at=NOW)) == []
    assert recoveries(concluded(replace(OVER, false_alarm_at=NOW), of)) == []


def test_that_nobody_was_reached_is_no_news_when_it_is_over() -> None:
    unreached = replace(STAFF, facts=replace(STAFF.facts, type=IncidentType.UNREACHED))
    assert belated(notice(unreached, None)) == []


def test_a_letter_that_was_taken_back_needs_no_recovery_letter() -> None:
    assert concluded(OVER, notice(PAGES[Channel.LETTER], AttemptState.WITHDRAWN, NotificationState.WITHDRAWN)) == []


def test_a_letter_of_unknown_fate_is_followed_by_a_recovery_letter() -> None:
    told = recoveries(concluded(OVER, notice(PAGES[Channel.LETTER], AttemptState.NOT_FOUND, NotificationState.UNKNOWN)))

    assert [(d.addresses, d.purpose) for d in told] == [((LETTER,), Purpose.RECOVERY)]


def test_a_letter_that_could_not_be_taken_back_is_tried_again_after_a_pause() -> None:
    refused = replace(attempt(AttemptState.ACCEPTED, query_at=NOW + MINUTE), error=ErrorClass.CONFIGURATION)
    of = tried(written(PAGES[Channel.LETTER]), refused)

    assert concluded(OVER, of) == []
    assert concluded(OVER, of, now=NOW + MINUTE) == [WithdrawLetter(of, refused)]
    # One that was not tried yet is taken back before a clerk has it.
    lies = replace(refused, error=None)
    assert concluded(OVER, tried(written(PAGES[Channel.LETTER]), lies)) == [WithdrawLetter(ANY, lies)]


def test_a_person_who_may_have_got_a_first_try_is_told_of_the_recovery_though_the_second_failed() -> None:
    of = tried(written(STAFF), attempt(AttemptState.NOT_FOUND), attempt(AttemptState.FAILED, 2))

    assert concluded(OVER, of)[0] == Abandon(of)
    assert len(recoveries(concluded(OVER, of))) == 1


def test_a_first_try_that_left_after_all_is_neither_cancelled_nor_forgotten() -> None:
    of = tried(written(STAFF), attempt(AttemptState.SENT), attempt(AttemptState.FAILED, 2))

    assert concluded(ACKNOWLEDGED, of) == []
    assert len(recoveries(concluded(OVER, of))) == len(concluded(OVER, of)) == 1


def test_staff_hear_of_the_recovery_by_sms_even_if_they_were_called() -> None:
    by_voice = staff_draft(step=1)
    assert by_voice.addresses == (VOICE_RAVI,)

    told = recoveries(concluded(OVER, notice(by_voice, AttemptState.DELIVERED, NotificationState.DELIVERED)))

    assert [d.addresses for d in told] == [(SMS_RAVI, VOICE_RAVI)], "a call only if no SMS gets there"
    assert all(d.expires_at > NOW for d in told)


def test_staff_without_a_mobile_hear_of_it_as_they_heard_of_the_outage() -> None:
    desk = replace(BRIEF.escalation.steps[1].contacts[1], addresses=(VOICE_RAVI,))
    step = replace(BRIEF.escalation.steps[1], contacts=(desk,))
    brief = replace(BRIEF, escalation=replace(BRIEF.escalation, steps=(step,)))

    told = recoveries(concluded(replace(OVER, policy=brief), notice(staff_draft(step=1), AttemptState.DELIVERED)))

    assert [d.addresses for d in told] == [(VOICE_RAVI,)]


def test_a_person_told_five_times_is_told_of_the_recovery_once() -> None:
    later = replace(STAFF, round=1)
    told = recoveries(
        concluded(
            OVER,
            notice(STAFF, AttemptState.DELIVERED, NotificationState.DELIVERED, 1),
            notice(later, AttemptState.SENT, NotificationState.SENT, 2),
        )
    )

    assert [d.addresses for d in told] == [(SMS_SITI,)]


def test_recipients_are_told_on_each_channel_they_were_told_on() -> None:
    told = recoveries(
        concluded(
            OVER,
            notice(PAGES[Channel.FAX], AttemptState.DELIVERED, NotificationState.DELIVERED, 1),
            notice(PAGES[Channel.LETTER], AttemptState.SENT, NotificationState.SENT, 2),
        )
    )

    assert [d.addresses for d in told] == [(FAX,), (LETTER,)]
    assert {d.plan for d in told} == {Plan.ANNOUNCEMENT}
    assert all(d.addressee == BRIEF.announcement.recipients[0].addressee for d in told)


def test_a_recovery_refers_to_the_first_notice_and_tells_when_it_ended() -> None:
    (draft,) = recoveries(concluded(OVER, notice(PAGES[Channel.FAX], AttemptState.DELIVERED)))

    assert draft.facts.first_notified_at == T0
    assert draft.facts.ended_at == NOW - MINUTE
    assert draft.facts.notified_at == NOW


@pytest.mark.parametrize(
    ("channel", "state", "cited"),
    [
        (Channel.FAX, AttemptState.DELIVERED, True),
        # Its machine may be busy for as long as it is tried.
        (Channel.FAX, AttemptState.ACCEPTED, False),
        (Channel.FAX, AttemptState.SENT, False),
        (Channel.FAX, AttemptState.NOT_FOUND, False),
        # Posted: more will never be known of a letter.
        (Channel.LETTER, AttemptState.SENT, True),
        (Channel.LETTER, AttemptState.NOT_FOUND, False),
    ],
)
def test_a_recovery_cites_no_notice_that_may_not_have_arrived(
    channel: Channel, state: AttemptState, *, cited: bool
) -> None:
    (draft,) = recoveries(concluded(OVER, notice(PAGES[channel], state)))
    assert (draft.facts.first_notified_at is not None) is cited


def test_keys_do_not_change_between_askings_and_differ_between_people_and_channels() -> None:
    notices = [
        notice(STAFF, AttemptState.SENT, NotificationState.SENT, 1),
        notice(staff_draft(step=1), AttemptState.SENT, NotificationState.SENT, 2),
        notice(PAGES[Channel.FAX], AttemptState.SENT, NotificationState.SENT, 3),
        notice(PAGES[Channel.LETTER], AttemptState.SENT, NotificationState.SENT, 4),
    ]
    once = [d.key for d in recoveries(concluded(OVER, *notices))]
    again = [d.key for d in recoveries(concluded(OVER, *notices, now=NOW + 7 * MINUTE))]

    assert once == again
    assert len(set(once)) == 4
    assert not set(once) & {n.key for n in notices}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("of", [ACKNOWLEDGED, OVER], ids=["acknowledged", "over"])
def test_a_recovery_is_itself_never_concluded(of: Incident, state: AttemptState | None) -> None:
    (recovery,) = recoveries(concluded(OVER, notice(PAGES[Channel.FAX], AttemptState.SENT)))

    assert concluded(of, notice(recovery, state)) == []


def test_an_outage_that_began_as_acknowledged_slowness_concludes_nothing_while_it_is_told_anew() -> None:
    slow = apply(incident(IncidentType.DEGRADED), ACKNOWLEDGE)
    worse: Trigger = trigger(IncidentType.BOTH, NOW)

    assert apply(slow, worse).state is IncidentState.TRIGGERED
    assert concluded(apply(slow, worse), notice(STAFF, None)) == []


CORRECTED = apply(RELEASED, MarkFalseAlarm(incident_id=1, at=NOW, by="Siti Contoh", reason="silap"))
REMINDED = replace(ACKNOWLEDGED, reminded_at=NOW)


@pytest.mark.parametrize(
    ("purpose", "needless"),
    [
        # Of what goes on: before anybody has it, once somebody has, once they were asked whether they still do; and after.
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
def test_what_has_not_left_for_staff_is_withdrawn_as_soon_as_it_is_of_no_use(
    purpose: Purpose, needless: tuple[bool, ...]
) -> None:
    of = notice(replace(STAFF, facts=replace(STAFF.facts, purpose=purpose)), None)
    states = (RELEASED, ACKNOWLEDGED, REMINDED, OVER, CORRECTED)
    assert tuple(Cancel(of) in concluded(each, of) for each in states) == needless
    offered = Acknowledge(incident_id=1, at=NOW, by="Siti Contoh")
    for unreleased in (incident(), apply(incident(), offered)):
        assert purpose is not Purpose.RELEASE or concluded(unreleased, of) == []


@pytest.mark.parametrize("recovered", [True, False])
@pytest.mark.parametrize("by", ["Siti Contoh", AUTOMATIC])
def test_who_has_closed_it_is_told_where_nobody_says_that_mail_works_again(by: str, *, recovered: bool) -> None:
    closed = apply(RELEASED, Close(incident_id=1, at=NOW, by=by, reason="pindah", recovered=recovered))
    told = recoveries(
        concluded(closed, notice(STAFF, AttemptState.SENT), notice(PAGES[Channel.FAX], AttemptState.SENT))
    )
    if recovered:
        assert [(d.purpose, d.facts.by) for d in told] == [(Purpose.RECOVERY, "")] * 2
    else:
        assert [(d.purpose, d.facts.by) for d in told] == [(Purpose.CLOSED, "" if by == AUTOMATIC else by)]


def test_who_cannot_be_reached_anywhere_is_not_told_that_it_was() -> None:
    assert belated(written(replace(STAFF, person="lain", addresses=()))) == []


# -- who has it ------------------------------------------------------------------------------------------------------

TO_BOTH = replace(
    BRIEF, escalation=replace(BRIEF.escalation, steps=(replace(BRIEF.escalation.steps[1], after=T0 - T0),))
)


def both_told(state: AttemptState = AttemptState.DELIVERED) -> list[Notification]:
    decision = escalate(incident(brief=TO_BOTH), [], T0)
    assert isinstance(decision, StartStep)
    return [notice(d, state, NotificationState.DELIVERED, n) for n, d in enumerate(decision.drafts, 1)]


def taken(by: str) -> Incident:
    return apply(incident(brief=TO_BOTH), replace(ACKNOWLEDGE, by=by))


@pytest.mark.parametrize(
    ("by", "told"),
    [("Siti Contoh", ["ravi"]), ("ravi", ["siti"]), ("Siti Contoh (konsol-noc)", ["ravi"]), ("NOC", ["siti", "ravi"])],
)
def test_who_was_told_hears_who_has_it_and_who_has_it_does_not(by: str, told: list[str]) -> None:
    drafts = recoveries(concluded(taken(by), *both_told()))
    assert [draft.person for draft in drafts] == told
    assert {(d.purpose, d.facts.by, d.addresses[0].channel) for d in drafts} == {(Purpose.TAKEN, by, Channel.SMS)}
    assert len({draft.key for draft in drafts}) == len(told)
    assert all(draft.expires_at > NOW for draft in drafts)


def test_who_was_not_told_does_not_hear_who_has_it_nor_once_it_is_no_news() -> None:
    assert recoveries(concluded(taken("NOC"), *both_told(AttemptState.FAILED))) == []
    assert recoveries(concluded(taken("NOC"), *both_told(), now=NOW + ASSIGNEE_NEWS_PERIOD)) == []
    # Nor who was told before the last of them had it.
    for wave, hear in ((0, 2), (1, 2), (2, 0)):
        later = replace(taken("NOC"), position=Position(restarts=wave, since=T0))
        assert len(recoveries(concluded(later, *both_told()))) == hear


def test_who_came_on_duty_since_hears_who_has_it_too() -> None:
    (first, _) = both_told()
    handover = replace(first, purpose=Purpose.UPDATE, facts=replace(first.facts, purpose=Purpose.UPDATE))
    assert [draft.person for draft in recoveries(concluded(taken("NOC"), handover))] == [first.person]


def test_nobody_is_rung_to_hear_who_has_it() -> None:
    of = taken("NOC")
    desk = replace(TO_BOTH.escalation.steps[0].contacts[1], addresses=(VOICE_RAVI,))
    step = replace(TO_BOTH.escalation.steps[0], contacts=(TO_BOTH.escalation.steps[0].contacts[0], desk))
    brief = replace(TO_BOTH, escalation=replace(TO_BOTH.escalation, steps=(step,)))
    drafts = recoveries(concluded(replace(of, policy=brief), *both_told()))
    assert [(draft.person, draft.addresses) for draft in drafts] == [("siti", (SMS_SITI,))]


def test_that_somebody_has_it_is_not_told_once_nobody_has_or_it_is_over() -> None:
    (draft, _) = recoveries(concluded(taken("NOC"), *both_told()))
    waiting = written(draft, 9)
    assert concluded(taken("NOC"), waiting) == []
    assert concluded(apply(taken("NOC"), RESOLVE), waiting) == [Cancel(waiting)]


@pytest.mark.parametrize(
    ("state", "recovery", "correction"),
    [
        (AttemptState.DELIVERED, (3, 2, NOW - MINUTE), (3, 1, T0)),
        # It is not known to have arrived: the first is what they have at hand.
        (AttemptState.FAILED, (3, 1, T0), (3, 1, T0)),
    ],
)
def test_a_recovery_cites_the_last_page_that_arrived_and_a_correction_the_first(
    state: AttemptState, recovery: tuple[int, int, datetime], correction: tuple[int, int, datetime]
) -> None:
    first = notice(PAGES[Channel.FAX], AttemptState.DELIVERED, NotificationState.DELIVERED)
    followed = PAGES[Channel.FAX]
    facts = replace(followed.facts, purpose=Purpose.UPDATE, notified_at=NOW - MINUTE, enclosure=2)
    shown = NotificationState.DELIVERED if state is AttemptState.DELIVERED else NotificationState.FAILED
    second = notice(replace(followed, facts=facts), state, shown, number=2)
    corrected = apply(RELEASED, MarkFalseAlarm(incident_id=1, at=NOW, by="Siti Contoh", reason="silap"))
    for over, expected in ((OVER, recovery), (corrected, correction)):
        (draft,) = recoveries(concluded(over, first, second))
        assert (draft.facts.enclosure, draft.facts.cited, draft.facts.first_notified_at) == expected


def test_a_recovery_cites_a_page_from_before_pages_were_counted_as_the_first() -> None:
    page = PAGES[Channel.FAX]
    uncounted = replace(page, facts=replace(page.facts, enclosure=0))
    (draft,) = recoveries(concluded(OVER, notice(uncounted, AttemptState.DELIVERED, NotificationState.DELIVERED)))
    assert (draft.facts.enclosure, draft.facts.cited) == (2, 1)
