"""What to do next about a notice on its way, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from alerts.decide.announcement import expiry
from alerts.decide.escalation import build_facts
from alerts.decide.gateway.next_action import (
    AskForReceipt,
    DeliveryPolicy,
    FallBack,
    Finish,
    NextAction,
    Reconcile,
    Try,
    Wait,
    decisive_attempt,
    needs_call_instead,
    next_action,
    retry_at,
    unsettled_state,
)
from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address
from alerts.model.delivery import Attempt, AttemptState, Delivery, Notification, NotificationDraft, NotificationState
from alerts.model.gateway import NO_KEY, ErrorClass
from alerts.model.notification import Language, Plan, Purpose
from tests.unit.alerts.people import (
    FAX,
    LETTER,
    MINUTE,
    SECOND,
    SMS_RAVI,
    SMS_SITI,
    T0,
    VOICE_SITI,
    attempt,
    incident,
    tried,
    written,
)

POLICY = DeliveryPolicy()
EXPIRES = T0 + 30 * MINUTE
TWO_LINES = dict.fromkeys(Channel, ("first", "second"))
ONE_LINE = dict.fromkeys(Channel, ("first",))
ON = {Channel.SMS: SMS_SITI, Channel.VOICE: VOICE_SITI, Channel.FAX: FAX, Channel.LETTER: LETTER}


def notice(*addresses: Address) -> Notification:
    draft = NotificationDraft(
        incident_id=1,
        person="siti",
        language=Language.MALAY,
        facts=build_facts(incident(), Plan.ESCALATION, Purpose.OUTAGE, T0),
        expires_at=EXPIRES,
        addresses=addresses,
    )
    return written(draft)


def move(of: Notification, now: datetime = T0, gateways: Mapping[Channel, Sequence[str]] = TWO_LINES) -> NextAction:
    return next_action(of, gateways, POLICY, now)


def failed(error: ErrorClass, n: int = 1, query_at: datetime = T0, gateway: str = "first") -> Attempt:
    return replace(attempt(AttemptState.FAILED, n, query_at, error), gateway=gateway)


@pytest.mark.parametrize("channel", Channel)
def test_a_page_is_not_asked_about_while_the_call_that_sends_it_may_still_go_on(channel: Channel) -> None:
    assert (POLICY.lease_for(channel) > POLICY.deadline) is (channel in ON_PAPER)


def test_what_may_have_been_sent_is_asked_about_at_once_and_then_ever_more_seldom() -> None:
    assert POLICY.query_delays[0] == timedelta(0)
    assert list(POLICY.query_delays) == sorted(set(POLICY.query_delays))


def test_a_new_notice_goes_to_its_first_address_and_there_to_the_best_gateway() -> None:
    fresh = notice(SMS_SITI, VOICE_SITI)

    assert move(fresh) == FallBack(SMS_SITI)
    assert move(tried(fresh)) == Try("first")


def test_a_channel_without_a_gateway_is_passed_over() -> None:
    assert move(tried(notice(SMS_SITI, VOICE_SITI)), gateways={Channel.VOICE: ("first",)}) == FallBack(VOICE_SITI)
    assert move(tried(notice(SMS_SITI)), gateways={}) == Finish(NotificationState.FAILED)


def test_what_has_expired_before_its_first_attempt_is_not_tried() -> None:
    assert move(tried(notice(SMS_SITI, VOICE_SITI)), EXPIRES) == Finish(NotificationState.FAILED)


#: What may follow at the first moment at which anything is due, with two gateways and no further address.
EXPECTED: dict[AttemptState, NextAction] = {
    AttemptState.CALLING: Reconcile(attempt(AttemptState.CALLING)),
    AttemptState.UNKNOWN: Reconcile(attempt(AttemptState.UNKNOWN)),
    AttemptState.NOT_FOUND: Try("second"),
    AttemptState.NEVER_SENT: Try("first"),
    AttemptState.ACCEPTED: AskForReceipt(attempt(AttemptState.ACCEPTED)),
    AttemptState.SENT: AskForReceipt(attempt(AttemptState.SENT)),
    AttemptState.DELIVERED: Finish(NotificationState.DELIVERED),
    AttemptState.FAILED: Try("second"),
    AttemptState.WITHDRAWN: Finish(NotificationState.WITHDRAWN),
}


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("state", AttemptState)
def test_what_follows_each_state_of_an_attempt(state: AttemptState, channel: Channel) -> None:
    expected = EXPECTED[state]
    if state is AttemptState.NOT_FOUND and channel in ON_PAPER:
        expected = Finish(NotificationState.UNKNOWN)

    assert move(tried(notice(ON[channel]), attempt(state))) == expected


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("state", AttemptState)
@pytest.mark.parametrize("error", [None, *ErrorClass])
@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=30)])
def test_nothing_is_sent_after_its_expiry_whatever_happened_before(
    channel: Channel, state: AttemptState, error: ErrorClass | None, late: timedelta
) -> None:
    decided = move(tried(notice(ON[channel]), attempt(state, error=error)), EXPIRES + late)

    assert isinstance(decided, Reconcile | AskForReceipt | Wait | Finish)
    if state in {AttemptState.FAILED, AttemptState.NEVER_SENT}:
        assert decided == Finish(NotificationState.FAILED)


@pytest.mark.parametrize("state", [AttemptState.CALLING, AttemptState.UNKNOWN])
@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("seconds", [0, 1, 29, 30, 10_000])
def test_what_may_have_been_sent_is_asked_about_and_never_sent_again_unasked(
    state: AttemptState, channel: Channel, seconds: int
) -> None:
    calling = attempt(state, query_at=T0 + 30 * SECOND)
    decided = move(tried(notice(ON[channel], SMS_SITI), calling), T0 + seconds * SECOND)

    assert decided == (Wait(T0 + 30 * SECOND) if seconds < 30 else Reconcile(calling))


@pytest.mark.parametrize("channel", [Channel.SMS, Channel.VOICE])
def test_without_a_trace_an_sms_or_a_call_is_repeated_once_and_then_another_address_is_used(channel: Channel) -> None:
    once = tried(notice(ON[channel], FAX), attempt(AttemptState.NOT_FOUND))
    twice = tried(notice(ON[channel], FAX), attempt(AttemptState.NOT_FOUND), attempt(AttemptState.NOT_FOUND, 2))

    assert move(once) == Try("second")
    assert move(once, gateways=ONE_LINE) == Try("first")
    assert move(twice) == FallBack(FAX)
    assert move(once, EXPIRES) == Finish(NotificationState.FAILED)
    # It is the one that left no trace which is passed over, and not the one that refused before.
    refused = failed(ErrorClass.CONFIGURATION)
    by_the_second = replace(attempt(AttemptState.NOT_FOUND, 2), gateway="second")
    assert move(tried(notice(ON[channel], FAX), refused, by_the_second)) == Try("first")


@pytest.mark.parametrize("channel", sorted(ON_PAPER))
def test_without_a_trace_a_page_is_laid_before_a_person_and_not_sent_elsewhere_either(channel: Channel) -> None:
    lost = tried(notice(ON[channel], SMS_SITI), attempt(AttemptState.NOT_FOUND))

    assert move(lost) == Finish(NotificationState.UNKNOWN)
    assert move(lost, T0 + timedelta(days=30)) == Finish(NotificationState.UNKNOWN)


@pytest.mark.parametrize("channel", Channel)
def test_passing_errors_are_retried_a_bounded_number_of_times_on_each_gateway_then_the_next_address(
    channel: Channel,
) -> None:
    of, attempts, seen = notice(ON[channel], SMS_RAVI), list[Attempt](), list[str]()
    while isinstance(decided := move(tried(of, *attempts)), Try):
        seen.append(decided.gateway)
        attempts.append(failed(ErrorClass.TRANSIENT, len(seen), gateway=decided.gateway))

    times = len(POLICY.retry_after[channel]) + 1
    assert seen == ["first"] * times + ["second"] * times
    assert decided == FallBack(SMS_RAVI)


@pytest.mark.parametrize("channel", Channel)
def test_what_certainly_was_never_sent_is_tried_again_but_not_for_ever(channel: Channel) -> None:
    of, attempts = notice(ON[channel]), list[Attempt]()
    while isinstance(decided := move(tried(of, *attempts)), Try):
        never = attempt(AttemptState.NEVER_SENT, len(attempts) + 1, error=ErrorClass.UNKNOWN)
        attempts.append(replace(never, gateway=decided.gateway))
        assert len(attempts) < 20

    assert decided == Finish(NotificationState.FAILED)
    assert {a.gateway for a in attempts} == {"first", "second"}


def test_a_retry_waits_for_its_time() -> None:
    busy = tried(notice(FAX), failed(ErrorClass.TRANSIENT, query_at=T0 + 3 * MINUTE))

    assert move(busy, T0 + 2 * MINUTE) == Wait(T0 + 3 * MINUTE)
    assert move(busy, T0 + 3 * MINUTE) == Try("first")


def test_a_provider_that_wants_a_longer_pause_than_the_notice_lives_makes_way_for_another() -> None:
    told_to_wait = tried(notice(SMS_SITI, VOICE_SITI), failed(ErrorClass.TRANSIENT, query_at=EXPIRES))

    assert move(told_to_wait) == Try("second")
    assert move(told_to_wait, gateways=ONE_LINE) == FallBack(VOICE_SITI)


def test_a_gateway_that_is_not_usable_makes_way_at_once_and_is_not_tried_again() -> None:
    of = notice(SMS_SITI, VOICE_SITI)
    one = tried(of, failed(ErrorClass.CONFIGURATION, query_at=T0 + 9 * MINUTE))
    both = tried(of, failed(ErrorClass.CONFIGURATION), failed(ErrorClass.CONFIGURATION, 2, gateway="second"))

    assert move(one) == Try("second")
    assert move(both) == FallBack(VOICE_SITI)


def test_an_address_that_will_not_work_is_given_up_whatever_other_gateways_there_are() -> None:
    assert move(tried(notice(SMS_SITI, VOICE_SITI), failed(ErrorClass.PERMANENT))) == FallBack(VOICE_SITI)
    assert move(tried(notice(SMS_SITI), failed(ErrorClass.PERMANENT))) == Finish(NotificationState.FAILED)


def test_an_address_that_is_listed_twice_is_tried_once() -> None:
    twice = notice(SMS_SITI, SMS_SITI, VOICE_SITI)

    assert move(tried(twice, failed(ErrorClass.PERMANENT))) == FallBack(VOICE_SITI)
    assert move(tried(notice(SMS_SITI, SMS_SITI), failed(ErrorClass.PERMANENT))) == Finish(NotificationState.FAILED)


@pytest.mark.parametrize("state", [AttemptState.NEVER_SENT, AttemptState.FAILED, AttemptState.NOT_FOUND])
def test_a_gateway_that_was_taken_out_of_the_configuration_is_not_used(state: AttemptState) -> None:
    of = tried(notice(SMS_SITI, VOICE_SITI), attempt(state, error=ErrorClass.TRANSIENT))

    assert move(of, gateways={Channel.SMS: ("second",)}) == Try("second")
    assert move(of, gateways={Channel.VOICE: ("third",)}) == FallBack(VOICE_SITI)


@pytest.mark.parametrize("state", [AttemptState.ACCEPTED, AttemptState.SENT])
@pytest.mark.parametrize("channel", Channel)
def test_an_overdue_receipt_is_asked_for_until_the_message_is_of_no_more_use(
    channel: Channel, state: AttemptState
) -> None:
    accepted = attempt(state, query_at=T0 + MINUTE)
    of = tried(notice(ON[channel]), accepted)
    in_the_tray = channel is Channel.LETTER and state is AttemptState.ACCEPTED

    assert move(of) == Wait(T0 + MINUTE)
    assert move(of, T0 + MINUTE) == AskForReceipt(accepted)
    assert move(of, EXPIRES + timedelta(days=365)) == (AskForReceipt(accepted) if in_the_tray else Wait(None))


@pytest.mark.parametrize("late", [AttemptState.ACCEPTED, AttemptState.SENT, AttemptState.DELIVERED])
@pytest.mark.parametrize("then", [AttemptState.FAILED, AttemptState.NEVER_SENT, AttemptState.NOT_FOUND])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_first_attempt_that_turns_out_to_have_left_after_all_ends_the_trying(
    late: AttemptState, then: AttemptState, *, elsewhere: bool
) -> None:
    first, second = attempt(late), attempt(then, 2, error=ErrorClass.TRANSIENT)
    of = notice(SMS_SITI, VOICE_SITI, FAX)
    known = tried(tried(of, first), second) if elsewhere else tried(of, first, second)

    expected = Finish(NotificationState.DELIVERED) if late is AttemptState.DELIVERED else AskForReceipt(first)
    assert decisive_attempt(known) == first
    assert move(known) == expected
    assert move(tried(tried(of, first))) == expected, "though the next address was to be tried"
    assert unsettled_state(known) is NotificationState.SENT


def test_a_later_attempt_on_its_way_is_asked_about_though_the_first_has_left() -> None:
    second = attempt(AttemptState.UNKNOWN, 2)

    assert move(tried(notice(SMS_SITI), attempt(AttemptState.SENT), second)) == Reconcile(second)


def test_retries_come_later_and_later_and_never_sooner_than_the_provider_asks() -> None:
    def wait(*earlier: Attempt, asked: timedelta | None = None) -> timedelta:
        delivery = tried(notice(FAX), *earlier).deliveries[0]
        return retry_at(delivery, "first", POLICY, T0, asked) - T0

    failures = [failed(ErrorClass.TRANSIENT, n) for n in range(1, 9)]
    assert [wait(*failures[:n]) / MINUTE for n in range(9)] == [3, 3, 5, 10, 20, 40, 60, 60, 60]
    # What left no trace is not known to have failed.
    assert wait(failures[0], attempt(AttemptState.NOT_FOUND, 2)) == wait(failures[0]) < wait(*failures[:2])
    assert wait(asked=timedelta(minutes=20)) == 20 * MINUTE
    assert wait(asked=timedelta(seconds=1)) == 3 * MINUTE
    assert wait(*(replace(f, gateway="second") for f in failures)) == 3 * MINUTE


@pytest.mark.parametrize("state", AttemptState)
def test_a_notice_shows_as_sent_when_its_attempt_has_left(state: AttemptState) -> None:
    shown = unsettled_state(tried(notice(SMS_SITI), attempt(state)))

    left = state in {AttemptState.ACCEPTED, AttemptState.SENT, AttemptState.DELIVERED}
    assert shown is (NotificationState.SENT if left else NotificationState.PENDING)


# -- office hours: T0 is a quarter past two in the afternoon of a Tuesday in Malaysia -------------------------------

HOURS = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
DESK = Address(channel=Channel.VOICE, number="+60300000102", extension="W102#", hours=HOURS)
OFFICE_FAX = replace(FAX, hours=HOURS)
EVENING, MORNING = T0 + timedelta(hours=3), T0 + timedelta(hours=17, minutes=45)
PASSING = failed(ErrorClass.TRANSIENT)


def late(of: Notification) -> Notification:
    """Return the notice as if it had been decided on in the evening."""
    return replace(of, created_at=EVENING, expires_at=EVENING + 30 * MINUTE)


def outside(address: Address, now: datetime) -> Notification:
    return replace(notice(address), plan=Plan.ANNOUNCEMENT, expires_at=expiry(address, now))


def test_staff_are_called_at_their_desk_in_office_hours_and_elsewhere_outside_of_them() -> None:
    assert move(notice(DESK, VOICE_SITI)) == FallBack(DESK)
    assert move(late(notice(DESK, VOICE_SITI)), EVENING) == FallBack(VOICE_SITI)


def test_the_desk_is_rung_all_the_same_when_nothing_else_is_left() -> None:
    only = late(notice(DESK))
    assert move(only, EVENING) == FallBack(DESK)
    assert move(tried(only), EVENING) == Try("first")

    exhausted = late(notice(VOICE_SITI, DESK))
    assert move(tried(exhausted, failed(ErrorClass.PERMANENT)), EVENING) == FallBack(DESK)


def test_where_a_notice_went_is_known_without_the_hours_of_that_address() -> None:
    """The store keeps the hours with the notice and not with each delivery."""
    plain = Delivery(id=1, address=replace(DESK, hours=None), attempts=(failed(ErrorClass.PERMANENT),))
    assert move(replace(notice(DESK, VOICE_SITI), deliveries=(plain,))) == FallBack(VOICE_SITI)


def test_a_fax_to_an_office_outside_waits_until_it_opens() -> None:
    at_night = outside(OFFICE_FAX, EVENING)
    assert move(at_night, EVENING) == FallBack(OFFICE_FAX)
    assert move(tried(at_night), EVENING) == Wait(MORNING)
    assert move(tried(at_night), MORNING) == Try("first")
    # Nobody has to be there, and it is not said that somebody must.
    assert move(tried(outside(FAX, EVENING)), EVENING) == Try("first")


def test_an_office_that_is_closed_for_months_is_not_waited_for() -> None:
    """As in 2020, when holidays were gazetted for all offices; and a wait until now would never end."""
    first = T0.date()
    closed = replace(HOURS, calendar=Calendar(holidays=tuple(first + timedelta(days=n) for n in range(90))))
    address = replace(FAX, hours=closed)
    assert move(tried(outside(address, T0)), T0 + MINUTE) == Try("first")


def test_a_busy_fax_machine_is_not_dialled_again_after_the_office_has_closed() -> None:
    busy = tried(outside(OFFICE_FAX, T0), PASSING)
    assert move(busy, T0) == Try("first")
    assert move(busy, EVENING) == Wait(MORNING)
    assert move(busy, MORNING) == Try("first")


def test_what_may_have_been_sent_is_asked_about_at_any_hour() -> None:
    unsure = tried(outside(OFFICE_FAX, T0), attempt(AttemptState.UNKNOWN))
    assert isinstance(move(unsure, EVENING), Reconcile)


# -- redialled -------------------------------------------------------------------------------------------------------


def dialled(address: Address, error: ErrorClass, lines: Mapping[Channel, Sequence[str]] = ONE_LINE) -> list[datetime]:
    """Return when an address outside is tried that answers *error* each time, until its notice has failed."""
    of, now, attempts, times = outside(address, T0), T0, list[Attempt](), list[datetime]()
    while (decided := move(tried(of, *attempts), now, lines)) != Finish(NotificationState.FAILED):
        match decided:
            case Wait(until=datetime() as until):
                assert until > now
                now = until
            case Try(gateway=gateway):
                times.append(now)
                again = retry_at(tried(of, *attempts).deliveries[0], gateway, POLICY, now, None)
                attempts.append(failed(error, len(times), again, gateway))
            case other:
                raise AssertionError(other)
    return times


def minutes(times: Sequence[datetime]) -> list[int]:
    return [(at - T0) // MINUTE for at in times]


def test_next_move_fax_outside_busy_is_redialled_at_widening_intervals_until_it_expires() -> None:
    always = minutes(dialled(FAX, ErrorClass.TRANSIENT))
    assert always[:8] == [0, 3, 6, 11, 21, 41, 81, 141]
    gaps = [later - earlier for earlier, later in pairwise(always)]
    assert gaps == sorted(gaps)
    assert always[-1] * MINUTE < expiry(FAX, T0) - T0 <= (always[-1] + 60) * MINUTE


def test_next_move_fax_outside_busy_is_redialled_in_office_hours_only() -> None:
    times = dialled(OFFICE_FAX, ErrorClass.TRANSIENT)
    assert all(HOURS.is_open(at) for at in times)
    assert {at.date() for at in times} == {T0.date(), MORNING.date()}, "until the office closes on the next workday"
    assert len(times) > 10


@pytest.mark.parametrize("error", [ErrorClass.TRANSIENT, ErrorClass.CONFIGURATION])
def test_next_move_letter_whose_tray_is_away_is_laid_when_it_is_back(error: ErrorClass) -> None:
    times = dialled(LETTER, error)
    assert times[-1] + timedelta(hours=1) >= expiry(LETTER, T0)
    assert all(later - earlier <= timedelta(hours=1) for earlier, later in pairwise(times))


def test_next_move_fax_outside_has_its_attempts_on_each_gateway_before_it_is_redialled() -> None:
    of, attempts = outside(FAX, T0), list[Attempt]()
    for n in range(10):
        attempts.append(failed(ErrorClass.TRANSIENT, n + 1, gateway="first" if n < 5 else "second"))
    assert move(tried(of, *attempts[:5])) == Try("second")
    assert move(tried(of, *attempts)) == Try("first")


def test_next_move_fax_that_can_never_arrive_is_not_redialled() -> None:
    of = outside(FAX, T0)
    assert move(tried(of, failed(ErrorClass.PERMANENT))) == Finish(NotificationState.FAILED)
    assert move(tried(of, failed(ErrorClass.TRANSIENT)), gateways={}) == Finish(NotificationState.FAILED)
    # A page to staff makes way for the next step.
    to_staff, busy = notice(FAX), [failed(ErrorClass.TRANSIENT, n) for n in range(1, 6)]
    assert move(tried(to_staff, *busy), gateways=ONE_LINE) == Finish(NotificationState.FAILED)


# -- rung once -------------------------------------------------------------------------------------------------------

ONCE = replace(VOICE_SITI, once=True)
IN_VAIN = replace(PASSING, provider_id="CA1", code="no-answer", query_at=T0 + MINUTE)


def test_a_number_that_is_rung_once_gives_way_to_the_next_when_nobody_took_the_call() -> None:
    assert move(tried(notice(ONCE, DESK), IN_VAIN)) == FallBack(DESK)
    assert move(tried(notice(ONCE), IN_VAIN)) == Finish(NotificationState.FAILED)
    # Others are rung again by the table.
    assert move(tried(notice(VOICE_SITI, DESK), IN_VAIN)) == Wait(T0 + MINUTE)


def test_that_one_number_is_rung_once_says_nothing_of_the_next() -> None:
    assert move(tried(tried(notice(ONCE, DESK), IN_VAIN), IN_VAIN)) == Wait(T0 + MINUTE)
    assert move(tried(tried(notice(DESK, ONCE), IN_VAIN), IN_VAIN)) == Finish(NotificationState.FAILED)


def test_a_call_that_was_not_made_does_not_count_as_the_one() -> None:
    """The gateway was too busy to take it (429), or is certain that it never had it."""
    refused = replace(IN_VAIN, provider_id=None)
    never = replace(IN_VAIN, state=AttemptState.NEVER_SENT)
    assert move(tried(notice(ONCE, DESK), refused)) == Wait(T0 + MINUTE)
    assert move(tried(notice(ONCE, DESK), never), T0 + MINUTE) == Try("first")


def about(purpose: Purpose, address: Address) -> Notification:
    return replace(notice(address), purpose=purpose)


@pytest.mark.parametrize("purpose", Purpose)
def test_call_without_a_key_is_repeated_unless_it_told_the_end(purpose: Purpose) -> None:
    unkeyed = replace(failed(ErrorClass.TRANSIENT), code=NO_KEY, provider_id="CA1")
    of = tried(about(purpose, VOICE_SITI), unkeyed)
    is_over = purpose in {Purpose.RECOVERY, Purpose.CLOSED, Purpose.CORRECTION}
    assert move(of) == (Finish(NotificationState.FAILED) if is_over else Try("first"))


@pytest.mark.parametrize(
    ("address", "code", "purpose", "wanted"),
    [
        (SMS_SITI, "STOP", Purpose.OUTAGE, True),
        (SMS_SITI, "21610", Purpose.RECOVERY, True),
        # That somebody else has it rings nobody.
        (SMS_SITI, "STOP", Purpose.TAKEN, False),
        (SMS_SITI, "21211", Purpose.OUTAGE, False),
        (VOICE_SITI, "STOP", Purpose.OUTAGE, False),
    ],
)
def test_call_instead_of_an_sms_is_wanted_after_stop(
    address: Address, code: str, purpose: Purpose, *, wanted: bool
) -> None:
    of = tried(about(purpose, address), replace(failed(ErrorClass.PERMANENT), code=code))
    assert needs_call_instead(of, T0) is wanted
    assert not needs_call_instead(of, EXPIRES)


def test_call_instead_of_an_sms_to_somebody_outside_is_not_wanted() -> None:
    assert not needs_call_instead(tried(outside(SMS_SITI, T0), replace(failed(ErrorClass.PERMANENT), code="STOP")), T0)
