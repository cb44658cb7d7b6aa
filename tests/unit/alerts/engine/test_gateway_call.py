"""How each answer of a gateway is written down."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import cast

import pytest

from alerts.decide.escalation import build_facts
from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.engine.gateway_call import CallKind, CallResult, GatewayCall, make_call
from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.delivery import Attempt, AttemptState, Notification, NotificationDraft
from alerts.model.gateway import (
    CallbackHandler,
    CallbackRejectedError,
    CallbackRequest,
    CallbackResponse,
    Content,
    DeliveryError,
    DeliveryReport,
    ErrorClass,
    Gateway,
    SendRequest,
    SmsContent,
    SubmissionNotFound,
    SubmissionState,
)
from alerts.model.notification import Language, Plan, Purpose
from tests.unit.alerts.people import LETTER, MINUTE, SECOND, SMS_SITI, T0, attempt, incident, tried, written

POLICY = DeliveryPolicy()
NOW = T0 + 10 * SECOND


class Clock:
    def now(self) -> datetime:
        return NOW


class Composer:
    async def compose(self, notification: Notification, channel: Channel, *, response: str = "") -> Content:
        return SmsContent(text=f"{notification.facts.number} by {channel}")


class SpeechlessComposer:
    async def compose(self, notification: Notification, channel: Channel, *, response: str = "") -> Content:
        raise KeyError(f"no words for {notification.person} on {channel}")


InboundSms = DeliveryReport | SubmissionNotFound | Exception | bool | None


@dataclass
class Scripted:
    """A gateway that answers every question with the same thing; `None`: never."""

    answer: InboundSms
    orders: list[SendRequest] = field(default_factory=list)

    async def send(self, order: SendRequest) -> DeliveryReport:
        answer = await self._answer(order)
        assert isinstance(answer, DeliveryReport)
        return answer

    async def find(self, order: SendRequest) -> DeliveryReport | SubmissionNotFound:
        answer = await self._answer(order)
        assert isinstance(answer, DeliveryReport | SubmissionNotFound)
        return answer

    async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
        answer = await self._answer(order)
        assert isinstance(answer, DeliveryReport)
        return answer

    async def withdraw(self, order: SendRequest, provider_id: str) -> bool:
        answer = await self._answer(order)
        assert isinstance(answer, bool)
        return answer

    async def handle_callback(self, incoming: CallbackRequest, desk: CallbackHandler) -> CallbackResponse:
        raise CallbackRejectedError(404, "no callbacks")

    async def close(self) -> None:
        pass

    async def _answer(self, order: SendRequest) -> InboundSms:
        self.orders.append(order)
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def call(kind: CallKind, at: Attempt, address: Address = SMS_SITI) -> GatewayCall:
    draft = NotificationDraft(
        incident_id=1,
        person="siti",
        language=Language.MALAY,
        facts=build_facts(incident(), Plan.ESCALATION, Purpose.OUTAGE, T0),
        expires_at=T0 + 30 * MINUTE,
        addresses=(address,),
    )
    return GatewayCall(kind=kind, notification=tried(written(draft), at), attempt=at)


async def outcome(
    kind: CallKind,
    answer: InboundSms,
    at: Attempt | None = None,
    address: Address = SMS_SITI,
    policy: DeliveryPolicy = POLICY,
) -> CallResult:
    at = at or attempt(AttemptState.CALLING)
    line = ConfiguredGateway(name="first", channel=address.channel, gateway=Scripted(answer))
    return await make_call(call(kind, at, address), line, Composer(), policy, Clock())


async def test_the_gateway_gets_our_reference_the_address_and_the_words() -> None:
    gateway = Scripted(DeliveryReport(progress=SubmissionState.ACCEPTED))
    line = ConfiguredGateway(name="first", channel=Channel.SMS, gateway=gateway)

    await make_call(call(CallKind.SEND, attempt(AttemptState.CALLING)), line, Composer(), POLICY, Clock())

    (order,) = gateway.orders
    assert (order.reference, order.address, order.extension) == ("p1-1", SMS_SITI.number, "")
    assert order.content == SmsContent(text="JCM-01 by sms")
    assert (order.created_at, order.expires_at) == (T0, T0 + 30 * MINUTE)


@pytest.mark.parametrize("kind", [CallKind.SEND, CallKind.ASK, CallKind.CHECK])
@pytest.mark.parametrize("progress", [SubmissionState.ACCEPTED, SubmissionState.SENT, SubmissionState.DELIVERED])
async def test_a_report_of_progress_is_taken_over(kind: CallKind, progress: SubmissionState) -> None:
    after = await outcome(kind, DeliveryReport(progress=progress, provider_id="SM1"))

    assert after.attempt.state is AttemptState(progress)
    assert after.attempt.provider_id == "SM1"
    assert after.attempt.query_at == NOW + 30 * SECOND
    assert after.attempt.ended_at == (NOW if progress is SubmissionState.DELIVERED else None)
    assert after.gateway_up is True


@pytest.mark.parametrize("kind", [CallKind.SEND, CallKind.ASK, CallKind.CHECK])
@pytest.mark.parametrize("error", [ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.CONFIGURATION])
async def test_a_report_of_failure_says_nothing_against_the_gateway(kind: CallKind, error: ErrorClass) -> None:
    after = await outcome(
        kind, DeliveryReport(progress=SubmissionState.FAILED, error=error, code="busy", detail="line busy")
    )

    assert after.attempt.state is AttemptState.FAILED
    assert (after.attempt.error, after.attempt.code, after.attempt.detail) == (error, "busy", "line busy")
    assert after.attempt.query_at == NOW + 15 * SECOND
    assert after.attempt.ended_at == NOW
    assert after.gateway_up is True


async def test_a_report_without_a_provider_id_keeps_the_one_that_is_known() -> None:
    known = replace(attempt(AttemptState.ACCEPTED), provider_id="SM1")

    assert (
        await outcome(CallKind.CHECK, DeliveryReport(progress=SubmissionState.SENT), known)
    ).attempt.provider_id == "SM1"


@pytest.mark.parametrize(
    ("error", "state", "up"),
    [
        (ErrorClass.TRANSIENT, AttemptState.FAILED, False),
        (ErrorClass.PERMANENT, AttemptState.FAILED, None),
        (ErrorClass.CONFIGURATION, AttemptState.FAILED, False),
        (ErrorClass.UNKNOWN, AttemptState.UNKNOWN, False),
    ],
)
async def test_an_error_of_sending_decides_the_attempt(
    error: ErrorClass, state: AttemptState, *, up: bool | None
) -> None:
    after = await outcome(CallKind.SEND, DeliveryError(error, "refused", code="21211"))

    assert after.attempt.state is state
    assert (after.attempt.error, after.attempt.code, after.attempt.detail) == (error, "21211", "refused")
    assert after.gateway_up is up


async def test_what_may_have_been_sent_is_asked_about_at_once() -> None:
    after = await outcome(CallKind.SEND, DeliveryError(ErrorClass.UNKNOWN, "no answer in time"))

    assert after.attempt.query_at == NOW
    assert after.attempt.ended_at is None


async def test_a_provider_that_asks_for_a_pause_gets_it() -> None:
    error = DeliveryError(ErrorClass.TRANSIENT, "too many requests", retry_after=timedelta(minutes=4))

    assert (await outcome(CallKind.SEND, error)).attempt.query_at == NOW + 4 * MINUTE


async def test_a_bug_of_a_gateway_may_have_struck_after_the_message_left() -> None:
    after = await outcome(CallKind.SEND, ZeroDivisionError("a bug"))

    assert after.attempt.state is AttemptState.UNKNOWN
    assert after.attempt.query_at == NOW
    assert after.gateway_up is False
    assert "a bug" not in after.attempt.detail


async def test_a_gateway_that_never_comes_back_is_left_and_asked_about() -> None:
    impatient = DeliveryPolicy(deadline=timedelta(milliseconds=10))

    after = await outcome(CallKind.SEND, None, policy=impatient)

    assert after.attempt.state is AttemptState.UNKNOWN
    assert after.gateway_up is False


async def test_cancellation_passes_through() -> None:
    calling = asyncio.create_task(outcome(CallKind.SEND, None))
    await asyncio.sleep(0)
    calling.cancel()

    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_what_cannot_be_put_into_words_was_certainly_not_sent_and_says_nothing_of_the_gateway() -> None:
    gateway = Scripted(DeliveryReport(progress=SubmissionState.ACCEPTED))
    line = ConfiguredGateway(name="first", channel=Channel.SMS, gateway=gateway)

    after = await make_call(
        call(CallKind.SEND, attempt(AttemptState.CALLING)), line, SpeechlessComposer(), POLICY, Clock()
    )

    assert gateway.orders == []
    assert after.attempt.state is AttemptState.FAILED
    assert after.attempt.error is ErrorClass.PERMANENT
    assert after.gateway_up is None


def asked(times: int) -> Attempt:
    return replace(attempt(AttemptState.UNKNOWN), queries=times)


async def test_a_certain_no_means_that_it_was_never_sent() -> None:
    after = await outcome(CallKind.ASK, SubmissionNotFound(certain=True), asked(1))

    assert (after.attempt.state, after.attempt.query_at) == (AttemptState.NEVER_SENT, NOW)
    assert after.gateway_up is True


async def test_what_is_never_sent_again_and_again_is_tried_later_and_later() -> None:
    second = replace(asked(1), id=2, n=2)
    of = call(CallKind.ASK, second)
    of = replace(
        of, notification=tried(replace(of.notification, deliveries=()), attempt(AttemptState.NEVER_SENT), second)
    )

    after = await make_call(
        of,
        ConfiguredGateway(name="first", channel=Channel.SMS, gateway=Scripted(SubmissionNotFound(certain=True))),
        Composer(),
        POLICY,
        Clock(),
    )

    assert after.attempt.query_at > NOW


async def test_an_uncertain_no_counts_only_when_it_is_said_twice() -> None:
    once = await outcome(CallKind.ASK, SubmissionNotFound(certain=False), asked(1))
    twice = await outcome(CallKind.ASK, SubmissionNotFound(certain=False), asked(2))

    assert (once.attempt.state, once.attempt.query_at) == (AttemptState.UNKNOWN, NOW + 5 * SECOND)
    assert (twice.attempt.state, twice.attempt.ended_at) == (AttemptState.NOT_FOUND, NOW)


@pytest.mark.parametrize(
    "answer",
    [
        DeliveryError(ErrorClass.TRANSIENT, "not reached"),
        DeliveryError(ErrorClass.PERMANENT, "no such thing"),
        DeliveryError(ErrorClass.CONFIGURATION, "credentials refused"),
        DeliveryError(ErrorClass.UNKNOWN, "no answer"),
        ZeroDivisionError("a bug"),
        DeliveryReport(progress=SubmissionState.FAILED, error=ErrorClass.UNKNOWN),
    ],
    ids=lambda a: type(a).__name__ + str(getattr(a, "error", "")),
)
async def test_a_question_without_an_answer_leaves_the_fate_open_and_is_not_repeated_for_ever(
    answer: DeliveryReport | Exception,
) -> None:
    most = len(POLICY.query_delays)
    states = [(await outcome(CallKind.ASK, answer, asked(n))).attempt.state for n in range(1, most + 1)]

    assert states == [AttemptState.UNKNOWN] * (most - 1) + [AttemptState.NOT_FOUND]


@pytest.mark.parametrize("kind", [CallKind.ASK, CallKind.CHECK, CallKind.WITHDRAW])
@pytest.mark.parametrize("error", ErrorClass)
async def test_only_an_error_of_sending_can_say_that_it_failed(kind: CallKind, error: ErrorClass) -> None:
    state = AttemptState.UNKNOWN if kind is CallKind.ASK else AttemptState.ACCEPTED
    at = replace(attempt(state), queries=1)

    assert (await outcome(kind, DeliveryError(error, "refused"), at)).attempt.state is state


async def test_a_letter_that_was_taken_back_is_withdrawn_and_one_that_was_gone_has_been_sent() -> None:
    lying = attempt(AttemptState.ACCEPTED)

    taken = await outcome(CallKind.WITHDRAW, True, lying, LETTER)
    gone = await outcome(CallKind.WITHDRAW, False, lying, LETTER)

    assert (taken.attempt.state, taken.attempt.ended_at) == (AttemptState.WITHDRAWN, NOW)
    assert (gone.attempt.state, gone.attempt.ended_at) == (AttemptState.SENT, None)


async def test_what_its_gateway_cannot_give_back_has_been_sent() -> None:
    line = ConfiguredGateway(name="first", channel=Channel.LETTER, gateway=cast(Gateway, object()))
    lying = call(CallKind.WITHDRAW, attempt(AttemptState.ACCEPTED), LETTER)
    assert (await make_call(lying, line, Composer(), POLICY, Clock())).attempt.state is AttemptState.SENT


async def test_a_tray_that_cannot_be_reached_is_asked_to_give_the_letter_back_after_a_pause() -> None:
    error = DeliveryError(ErrorClass.CONFIGURATION, "Stale file handle")

    after = await outcome(CallKind.WITHDRAW, error, attempt(AttemptState.ACCEPTED), LETTER)

    assert after.attempt.error is ErrorClass.CONFIGURATION
    assert after.attempt.query_at == NOW + MINUTE
