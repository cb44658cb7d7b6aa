"""Next action for a notification, as tables."""

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
    DeliveryPolicy,
    FallBack,
    Finish,
    NextAction,
    QueryReceipt,
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
TWO_GATEWAYS = dict.fromkeys(Channel, ("first", "second"))
ONE_GATEWAY = dict.fromkeys(Channel, ("first",))
ADDRESSES = {Channel.SMS: SMS_SITI, Channel.VOICE: VOICE_SITI, Channel.FAX: FAX, Channel.LETTER: LETTER}


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


def action(
    of: Notification, now: datetime = T0, gateways: Mapping[Channel, Sequence[str]] = TWO_GATEWAYS
) -> NextAction:
    return next_action(of, gateways, POLICY, now)


def failed(error: ErrorClass, n: int = 1, query_at: datetime = T0, gateway: str = "first") -> Attempt:
    return replace(attempt(AttemptState.FAILED, n, query_at, error), gateway=gateway)


@pytest.mark.parametrize("channel", Channel)
def test_lease_exceeds_deadline_for_paper_only(channel: Channel) -> None:
    assert (POLICY.lease_for(channel) > POLICY.deadline) is (channel in ON_PAPER)


def test_query_delays_start_at_zero_and_increase() -> None:
    assert POLICY.query_delays[0] == timedelta(0)
    assert list(POLICY.query_delays) == sorted(set(POLICY.query_delays))


def test_new_notification_uses_first_address_and_preferred_gateway() -> None:
    fresh = notice(SMS_SITI, VOICE_SITI)

    assert action(fresh) == FallBack(SMS_SITI)
    assert action(tried(fresh)) == Try("first")


def test_channel_without_gateway_is_skipped() -> None:
    assert action(tried(notice(SMS_SITI, VOICE_SITI)), gateways={Channel.VOICE: ("first",)}) == FallBack(VOICE_SITI)
    assert action(tried(notice(SMS_SITI)), gateways={}) == Finish(NotificationState.FAILED)


def test_notification_expired_before_first_attempt_fails() -> None:
    assert action(tried(notice(SMS_SITI, VOICE_SITI)), EXPIRES) == Finish(NotificationState.FAILED)


#: The first due action, with two gateways and no further address.
EXPECTED: dict[AttemptState, NextAction] = {
    AttemptState.CALLING: Reconcile(attempt(AttemptState.CALLING)),
    AttemptState.UNKNOWN: Reconcile(attempt(AttemptState.UNKNOWN)),
    AttemptState.NOT_FOUND: Try("second"),
    AttemptState.NEVER_SENT: Try("first"),
    AttemptState.ACCEPTED: QueryReceipt(attempt(AttemptState.ACCEPTED)),
    AttemptState.SENT: QueryReceipt(attempt(AttemptState.SENT)),
    AttemptState.DELIVERED: Finish(NotificationState.DELIVERED),
    AttemptState.FAILED: Try("second"),
    AttemptState.WITHDRAWN: Finish(NotificationState.WITHDRAWN),
}


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("state", AttemptState)
def test_next_action_for_each_attempt_state(state: AttemptState, channel: Channel) -> None:
    expected = EXPECTED[state]
    if state is AttemptState.NOT_FOUND and channel in ON_PAPER:
        expected = Finish(NotificationState.UNKNOWN)

    assert action(tried(notice(ADDRESSES[channel]), attempt(state))) == expected


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("state", AttemptState)
@pytest.mark.parametrize("error", [None, *ErrorClass])
@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=30)])
def test_nothing_is_sent_after_expiry(
    channel: Channel, state: AttemptState, error: ErrorClass | None, late: timedelta
) -> None:
    decided = action(tried(notice(ADDRESSES[channel]), attempt(state, error=error)), EXPIRES + late)

    assert isinstance(decided, Reconcile | QueryReceipt | Wait | Finish)
    if state in {AttemptState.FAILED, AttemptState.NEVER_SENT}:
        assert decided == Finish(NotificationState.FAILED)


@pytest.mark.parametrize("state", [AttemptState.CALLING, AttemptState.UNKNOWN])
@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("seconds", [0, 1, 29, 30, 10_000])
def test_unconfirmed_attempt_is_reconciled_before_any_resend(
    state: AttemptState, channel: Channel, seconds: int
) -> None:
    calling = attempt(state, query_at=T0 + 30 * SECOND)
    decided = action(tried(notice(ADDRESSES[channel], SMS_SITI), calling), T0 + seconds * SECOND)

    assert decided == (Wait(T0 + 30 * SECOND) if seconds < 30 else Reconcile(calling))


@pytest.mark.parametrize("channel", [Channel.SMS, Channel.VOICE])
def test_sms_or_call_not_found_is_repeated_once_then_falls_back(channel: Channel) -> None:
    once = tried(notice(ADDRESSES[channel], FAX), attempt(AttemptState.NOT_FOUND))
    twice = tried(notice(ADDRESSES[channel], FAX), attempt(AttemptState.NOT_FOUND), attempt(AttemptState.NOT_FOUND, 2))

    assert action(once) == Try("second")
    assert action(once, gateways=ONE_GATEWAY) == Try("first")
    assert action(twice) == FallBack(FAX)
    assert action(once, EXPIRES) == Finish(NotificationState.FAILED)
    # The gateway of the attempt that was not found is skipped, not the one that refused before.
    refused = failed(ErrorClass.CONFIGURATION)
    by_the_second = replace(attempt(AttemptState.NOT_FOUND, 2), gateway="second")
    assert action(tried(notice(ADDRESSES[channel], FAX), refused, by_the_second)) == Try("first")


@pytest.mark.parametrize("channel", sorted(ON_PAPER))
def test_page_not_found_finishes_unknown_without_fallback(channel: Channel) -> None:
    lost = tried(notice(ADDRESSES[channel], SMS_SITI), attempt(AttemptState.NOT_FOUND))

    assert action(lost) == Finish(NotificationState.UNKNOWN)
    assert action(lost, T0 + timedelta(days=30)) == Finish(NotificationState.UNKNOWN)


@pytest.mark.parametrize("channel", Channel)
def test_transient_errors_are_retried_per_gateway_then_fall_back(
    channel: Channel,
) -> None:
    of, attempts, seen = notice(ADDRESSES[channel], SMS_RAVI), list[Attempt](), list[str]()
    while isinstance(decided := action(tried(of, *attempts)), Try):
        seen.append(decided.gateway)
        attempts.append(failed(ErrorClass.TRANSIENT, len(seen), gateway=decided.gateway))

    times = len(POLICY.retry_after[channel]) + 1
    assert seen == ["first"] * times + ["second"] * times
    assert decided == FallBack(SMS_RAVI)


@pytest.mark.parametrize("channel", Channel)
def test_attempts_never_sent_are_retried_a_limited_number_of_times(channel: Channel) -> None:
    of, attempts = notice(ADDRESSES[channel]), list[Attempt]()
    while isinstance(decided := action(tried(of, *attempts)), Try):
        never = attempt(AttemptState.NEVER_SENT, len(attempts) + 1, error=ErrorClass.UNKNOWN)
        attempts.append(replace(never, gateway=decided.gateway))
        assert len(attempts) < 20

    assert decided == Finish(NotificationState.FAILED)
    assert {a.gateway for a in attempts} == {"first", "second"}


def test_retry_waits_until_its_time() -> None:
    busy = tried(notice(FAX), failed(ErrorClass.TRANSIENT, query_at=T0 + 3 * MINUTE))

    assert action(busy, T0 + 2 * MINUTE) == Wait(T0 + 3 * MINUTE)
    assert action(busy, T0 + 3 * MINUTE) == Try("first")


def test_retry_pause_beyond_expiry_uses_other_gateway() -> None:
    rate_limited = tried(notice(SMS_SITI, VOICE_SITI), failed(ErrorClass.TRANSIENT, query_at=EXPIRES))

    assert action(rate_limited) == Try("second")
    assert action(rate_limited, gateways=ONE_GATEWAY) == FallBack(VOICE_SITI)


def test_misconfigured_gateway_is_replaced_at_once_and_not_retried() -> None:
    of = notice(SMS_SITI, VOICE_SITI)
    one = tried(of, failed(ErrorClass.CONFIGURATION, query_at=T0 + 9 * MINUTE))
    both = tried(of, failed(ErrorClass.CONFIGURATION), failed(ErrorClass.CONFIGURATION, 2, gateway="second"))

    assert action(one) == Try("second")
    assert action(both) == FallBack(VOICE_SITI)


def test_permanent_failure_abandons_address_on_all_gateways() -> None:
    assert action(tried(notice(SMS_SITI, VOICE_SITI), failed(ErrorClass.PERMANENT))) == FallBack(VOICE_SITI)
    assert action(tried(notice(SMS_SITI), failed(ErrorClass.PERMANENT))) == Finish(NotificationState.FAILED)


def test_address_listed_twice_is_tried_once() -> None:
    twice = notice(SMS_SITI, SMS_SITI, VOICE_SITI)

    assert action(tried(twice, failed(ErrorClass.PERMANENT))) == FallBack(VOICE_SITI)
    assert action(tried(notice(SMS_SITI, SMS_SITI), failed(ErrorClass.PERMANENT))) == Finish(NotificationState.FAILED)


@pytest.mark.parametrize("state", [AttemptState.NEVER_SENT, AttemptState.FAILED, AttemptState.NOT_FOUND])
def test_gateway_removed_from_configuration_is_not_used(state: AttemptState) -> None:
    of = tried(notice(SMS_SITI, VOICE_SITI), attempt(state, error=ErrorClass.TRANSIENT))

    assert action(of, gateways={Channel.SMS: ("second",)}) == Try("second")
    assert action(of, gateways={Channel.VOICE: ("third",)}) == FallBack(VOICE_SITI)


@pytest.mark.parametrize("state", [AttemptState.ACCEPTED, AttemptState.SENT])
@pytest.mark.parametrize("channel", Channel)
def test_overdue_receipt_is_queried_until_expiry(channel: Channel, state: AttemptState) -> None:
    accepted = attempt(state, query_at=T0 + MINUTE)
    of = tried(notice(ADDRESSES[channel]), accepted)
    in_the_tray = channel is Channel.LETTER and state is AttemptState.ACCEPTED

    assert action(of) == Wait(T0 + MINUTE)
    assert action(of, T0 + MINUTE) == QueryReceipt(accepted)
    assert action(of, EXPIRES + timedelta(days=365)) == (QueryReceipt(accepted) if in_the_tray else Wait(None))


@pytest.mark.parametrize("late", [AttemptState.ACCEPTED, AttemptState.SENT, AttemptState.DELIVERED])
@pytest.mark.parametrize("then", [AttemptState.FAILED, AttemptState.NEVER_SENT, AttemptState.NOT_FOUND])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_first_attempt_found_sent_ends_further_attempts(
    late: AttemptState, then: AttemptState, *, elsewhere: bool
) -> None:
    first, second = attempt(late), attempt(then, 2, error=ErrorClass.TRANSIENT)
    of = notice(SMS_SITI, VOICE_SITI, FAX)
    known = tried(tried(of, first), second) if elsewhere else tried(of, first, second)

    expected = Finish(NotificationState.DELIVERED) if late is AttemptState.DELIVERED else QueryReceipt(first)
    assert decisive_attempt(known) == first
    assert action(known) == expected
    assert action(tried(tried(of, first))) == expected, "though the next address was to be tried"
    assert unsettled_state(known) is NotificationState.SENT


def test_later_unconfirmed_attempt_is_reconciled_though_first_was_sent() -> None:
    second = attempt(AttemptState.UNKNOWN, 2)

    assert action(tried(notice(SMS_SITI), attempt(AttemptState.SENT), second)) == Reconcile(second)


def test_retry_delay_grows_and_respects_provider_retry_after() -> None:
    def wait(*earlier: Attempt, asked: timedelta | None = None) -> timedelta:
        delivery = tried(notice(FAX), *earlier).deliveries[0]
        return retry_at(delivery, "first", POLICY, T0, asked) - T0

    failures = [failed(ErrorClass.TRANSIENT, n) for n in range(1, 9)]
    assert [wait(*failures[:n]) / MINUTE for n in range(9)] == [3, 3, 5, 10, 20, 40, 60, 60, 60]
    # An attempt that was not found is not known to have failed.
    assert wait(failures[0], attempt(AttemptState.NOT_FOUND, 2)) == wait(failures[0]) < wait(*failures[:2])
    assert wait(asked=timedelta(minutes=20)) == 20 * MINUTE
    assert wait(asked=timedelta(seconds=1)) == 3 * MINUTE
    assert wait(*(replace(f, gateway="second") for f in failures)) == 3 * MINUTE


@pytest.mark.parametrize("state", AttemptState)
def test_notification_state_is_sent_once_attempt_has_left(state: AttemptState) -> None:
    shown = unsettled_state(tried(notice(SMS_SITI), attempt(state)))

    left = state in {AttemptState.ACCEPTED, AttemptState.SENT, AttemptState.DELIVERED}
    assert shown is (NotificationState.SENT if left else NotificationState.PENDING)


# -- office hours: T0 is Tuesday, 14.15 in Malaysia -----------------------------------------------------------------

HOURS = OfficeHours(calendar=Calendar(), zone=ZoneInfo("Asia/Kuala_Lumpur"))
DESK = Address(channel=Channel.VOICE, number="+60300000102", extension="W102#", hours=HOURS)
OFFICE_FAX = replace(FAX, hours=HOURS)
EVENING, MORNING = T0 + timedelta(hours=3), T0 + timedelta(hours=17, minutes=45)
PASSING = failed(ErrorClass.TRANSIENT)


def late(of: Notification) -> Notification:
    """Return the notification as if created in the evening."""
    return replace(of, created_at=EVENING, expires_at=EVENING + 30 * MINUTE)


def outside(address: Address, now: datetime) -> Notification:
    return replace(notice(address), plan=Plan.ANNOUNCEMENT, expires_at=expiry(address, now))


def test_staff_desk_is_called_in_office_hours_only() -> None:
    assert action(notice(DESK, VOICE_SITI)) == FallBack(DESK)
    assert action(late(notice(DESK, VOICE_SITI)), EVENING) == FallBack(VOICE_SITI)


def test_staff_desk_is_called_out_of_hours_when_no_other_address_is_left() -> None:
    only = late(notice(DESK))
    assert action(only, EVENING) == FallBack(DESK)
    assert action(tried(only), EVENING) == Try("first")

    exhausted = late(notice(VOICE_SITI, DESK))
    assert action(tried(exhausted, failed(ErrorClass.PERMANENT)), EVENING) == FallBack(DESK)


def test_delivery_address_without_hours_matches_notification_address() -> None:
    """The store keeps office hours with the notification, not with each delivery."""
    plain = Delivery(id=1, address=replace(DESK, hours=None), attempts=(failed(ErrorClass.PERMANENT),))
    assert action(replace(notice(DESK, VOICE_SITI), deliveries=(plain,))) == FallBack(VOICE_SITI)


def test_fax_to_closed_office_waits_until_opening() -> None:
    at_night = outside(OFFICE_FAX, EVENING)
    assert action(at_night, EVENING) == FallBack(OFFICE_FAX)
    assert action(tried(at_night), EVENING) == Wait(MORNING)
    assert action(tried(at_night), MORNING) == Try("first")
    # A fax machine without stated hours needs nobody present.
    assert action(tried(outside(FAX, EVENING)), EVENING) == Try("first")


def test_office_closed_for_months_is_not_waited_for() -> None:
    """Holidays were gazetted for all offices in 2020. A wait until now would never end."""
    first = T0.date()
    closed = replace(HOURS, calendar=Calendar(holidays=tuple(first + timedelta(days=n) for n in range(90))))
    address = replace(FAX, hours=closed)
    assert action(tried(outside(address, T0)), T0 + MINUTE) == Try("first")


def test_busy_fax_is_not_redialled_while_office_is_closed() -> None:
    busy = tried(outside(OFFICE_FAX, T0), PASSING)
    assert action(busy, T0) == Try("first")
    assert action(busy, EVENING) == Wait(MORNING)
    assert action(busy, MORNING) == Try("first")


def test_unconfirmed_attempt_is_reconciled_outside_office_hours() -> None:
    unsure = tried(outside(OFFICE_FAX, T0), attempt(AttemptState.UNKNOWN))
    assert isinstance(action(unsure, EVENING), Reconcile)


# -- redialling ------------------------------------------------------------------------------------------------------


def attempt_times(
    address: Address, error: ErrorClass, gateways: Mapping[Channel, Sequence[str]] = ONE_GATEWAY
) -> list[datetime]:
    """Return the times of all attempts at a recipient's address that always fails with *error*."""
    of, now, attempts, times = outside(address, T0), T0, list[Attempt](), list[datetime]()
    while (decided := action(tried(of, *attempts), now, gateways)) != Finish(NotificationState.FAILED):
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


def test_busy_recipient_fax_is_redialled_at_widening_intervals_until_expiry() -> None:
    always = minutes(attempt_times(FAX, ErrorClass.TRANSIENT))
    assert always[:8] == [0, 3, 6, 11, 21, 41, 81, 141]
    gaps = [later - earlier for earlier, later in pairwise(always)]
    assert gaps == sorted(gaps)
    assert always[-1] * MINUTE < expiry(FAX, T0) - T0 <= (always[-1] + 60) * MINUTE


def test_busy_recipient_fax_is_redialled_in_office_hours_only() -> None:
    times = attempt_times(OFFICE_FAX, ErrorClass.TRANSIENT)
    assert all(HOURS.is_open(at) for at in times)
    assert {at.date() for at in times} == {T0.date(), MORNING.date()}, "until the office closes on the next workday"
    assert len(times) > 10


@pytest.mark.parametrize("error", [ErrorClass.TRANSIENT, ErrorClass.CONFIGURATION])
def test_letter_with_unavailable_tray_is_queued_when_tray_returns(error: ErrorClass) -> None:
    times = attempt_times(LETTER, error)
    assert times[-1] + timedelta(hours=1) >= expiry(LETTER, T0)
    assert all(later - earlier <= timedelta(hours=1) for earlier, later in pairwise(times))


def test_recipient_fax_exhausts_gateways_before_redialling() -> None:
    of, attempts = outside(FAX, T0), list[Attempt]()
    for n in range(10):
        attempts.append(failed(ErrorClass.TRANSIENT, n + 1, gateway="first" if n < 5 else "second"))
    assert action(tried(of, *attempts[:5])) == Try("second")
    assert action(tried(of, *attempts)) == Try("first")


def test_fax_with_permanent_failure_is_not_redialled() -> None:
    of = outside(FAX, T0)
    assert action(tried(of, failed(ErrorClass.PERMANENT))) == Finish(NotificationState.FAILED)
    assert action(tried(of, failed(ErrorClass.TRANSIENT)), gateways={}) == Finish(NotificationState.FAILED)
    # A page to staff fails, so that the next step starts.
    to_staff, busy = notice(FAX), [failed(ErrorClass.TRANSIENT, n) for n in range(1, 6)]
    assert action(tried(to_staff, *busy), gateways=ONE_GATEWAY) == Finish(NotificationState.FAILED)


# -- addresses dialled once ------------------------------------------------------------------------------------------

ONCE = replace(VOICE_SITI, once=True)
IN_VAIN = replace(PASSING, provider_id="CA1", code="no-answer", query_at=T0 + MINUTE)


def test_unanswered_once_only_number_falls_back_to_next() -> None:
    assert action(tried(notice(ONCE, DESK), IN_VAIN)) == FallBack(DESK)
    assert action(tried(notice(ONCE), IN_VAIN)) == Finish(NotificationState.FAILED)
    # Other numbers are redialled as the table says.
    assert action(tried(notice(VOICE_SITI, DESK), IN_VAIN)) == Wait(T0 + MINUTE)


def test_once_only_flag_applies_to_its_own_number() -> None:
    assert action(tried(tried(notice(ONCE, DESK), IN_VAIN), IN_VAIN)) == Wait(T0 + MINUTE)
    assert action(tried(tried(notice(DESK, ONCE), IN_VAIN), IN_VAIN)) == Finish(NotificationState.FAILED)


def test_call_not_placed_does_not_count_as_once_only_call() -> None:
    """The gateway refused the call (429), or certainly never received it."""
    refused = replace(IN_VAIN, provider_id=None)
    never = replace(IN_VAIN, state=AttemptState.NEVER_SENT)
    assert action(tried(notice(ONCE, DESK), refused)) == Wait(T0 + MINUTE)
    assert action(tried(notice(ONCE, DESK), never), T0 + MINUTE) == Try("first")


def with_purpose(purpose: Purpose, address: Address) -> Notification:
    return replace(notice(address), purpose=purpose)


@pytest.mark.parametrize("purpose", Purpose)
def test_call_without_key_is_repeated_unless_it_stated_the_end(purpose: Purpose) -> None:
    unkeyed = replace(failed(ErrorClass.TRANSIENT), code=NO_KEY, provider_id="CA1")
    of = tried(with_purpose(purpose, VOICE_SITI), unkeyed)
    is_over = purpose in {Purpose.RECOVERY, Purpose.CLOSED, Purpose.CORRECTION}
    assert action(of) == (Finish(NotificationState.FAILED) if is_over else Try("first"))


@pytest.mark.parametrize(
    ("address", "code", "purpose", "expected"),
    [
        (SMS_SITI, "STOP", Purpose.OUTAGE, True),
        (SMS_SITI, "21610", Purpose.RECOVERY, True),
        # An assignee update is not sent by call.
        (SMS_SITI, "STOP", Purpose.TAKEN, False),
        (SMS_SITI, "21211", Purpose.OUTAGE, False),
        (VOICE_SITI, "STOP", Purpose.OUTAGE, False),
    ],
)
def test_call_replaces_sms_after_stop(address: Address, code: str, purpose: Purpose, *, expected: bool) -> None:
    of = tried(with_purpose(purpose, address), replace(failed(ErrorClass.PERMANENT), code=code))
    assert needs_call_instead(of, T0) is expected
    assert not needs_call_instead(of, EXPIRES)


def test_call_does_not_replace_sms_to_external_recipient() -> None:
    assert not needs_call_instead(tried(outside(SMS_SITI, T0), replace(failed(ErrorClass.PERMANENT), code="STOP")), T0)
