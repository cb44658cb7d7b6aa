"""Result of each gateway call."""

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


class FailingComposer:
    async def compose(self, notification: Notification, channel: Channel, *, response: str = "") -> Content:
        raise KeyError(f"no words for {notification.person} on {channel}")


Answer = DeliveryReport | SubmissionNotFound | Exception | bool | None


@dataclass
class ScriptedGateway:
    """Gateway with one scripted answer. `None` never answers."""

    answer: Answer
    requests: list[SendRequest] = field(default_factory=list)

    async def send(self, request: SendRequest) -> DeliveryReport:
        answer = await self._answer(request)
        assert isinstance(answer, DeliveryReport)
        return answer

    async def find(self, request: SendRequest) -> DeliveryReport | SubmissionNotFound:
        answer = await self._answer(request)
        assert isinstance(answer, DeliveryReport | SubmissionNotFound)
        return answer

    async def check(self, request: SendRequest, provider_id: str) -> DeliveryReport:
        answer = await self._answer(request)
        assert isinstance(answer, DeliveryReport)
        return answer

    async def withdraw(self, request: SendRequest, provider_id: str) -> bool:
        answer = await self._answer(request)
        assert isinstance(answer, bool)
        return answer

    async def handle_callback(self, request: CallbackRequest, handler: CallbackHandler) -> CallbackResponse:
        raise CallbackRejectedError(404, "no callbacks")

    async def close(self) -> None:
        pass

    async def _answer(self, request: SendRequest) -> Answer:
        self.requests.append(request)
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
    answer: Answer,
    at: Attempt | None = None,
    address: Address = SMS_SITI,
    policy: DeliveryPolicy = POLICY,
) -> CallResult:
    at = at or attempt(AttemptState.CALLING)
    configured = ConfiguredGateway(name="first", channel=address.channel, gateway=ScriptedGateway(answer))
    return await make_call(call(kind, at, address), configured, Composer(), policy, Clock())


async def test_send_passes_reference_address_and_content() -> None:
    gateway = ScriptedGateway(DeliveryReport(progress=SubmissionState.ACCEPTED))
    configured = ConfiguredGateway(name="first", channel=Channel.SMS, gateway=gateway)

    await make_call(call(CallKind.SEND, attempt(AttemptState.CALLING)), configured, Composer(), POLICY, Clock())

    (request,) = gateway.requests
    assert (request.reference, request.address, request.extension) == ("p1-1", SMS_SITI.number, "")
    assert request.content == SmsContent(text="JCM-01 by sms")
    assert (request.created_at, request.expires_at) == (T0, T0 + 30 * MINUTE)


@pytest.mark.parametrize("kind", [CallKind.SEND, CallKind.FIND, CallKind.CHECK])
@pytest.mark.parametrize("progress", [SubmissionState.ACCEPTED, SubmissionState.SENT, SubmissionState.DELIVERED])
async def test_progress_report_is_adopted(kind: CallKind, progress: SubmissionState) -> None:
    after = await outcome(kind, DeliveryReport(progress=progress, provider_id="SM1"))

    assert after.attempt.state is AttemptState(progress)
    assert after.attempt.provider_id == "SM1"
    assert after.attempt.query_at == NOW + 30 * SECOND
    assert after.attempt.ended_at == (NOW if progress is SubmissionState.DELIVERED else None)
    assert after.gateway_up is True


@pytest.mark.parametrize("kind", [CallKind.SEND, CallKind.FIND, CallKind.CHECK])
@pytest.mark.parametrize("error", [ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.CONFIGURATION])
async def test_failure_report_keeps_gateway_up(kind: CallKind, error: ErrorClass) -> None:
    after = await outcome(
        kind, DeliveryReport(progress=SubmissionState.FAILED, error=error, code="busy", detail="line busy")
    )

    assert after.attempt.state is AttemptState.FAILED
    assert (after.attempt.error, after.attempt.code, after.attempt.detail) == (error, "busy", "line busy")
    assert after.attempt.query_at == NOW + 15 * SECOND
    assert after.attempt.ended_at == NOW
    assert after.gateway_up is True


async def test_report_without_provider_id_keeps_known_id() -> None:
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
async def test_send_error_class_determines_attempt_state(
    error: ErrorClass, state: AttemptState, *, up: bool | None
) -> None:
    after = await outcome(CallKind.SEND, DeliveryError(error, "refused", code="21211"))

    assert after.attempt.state is state
    assert (after.attempt.error, after.attempt.code, after.attempt.detail) == (error, "21211", "refused")
    assert after.gateway_up is up


async def test_unknown_send_error_is_queried_at_once() -> None:
    after = await outcome(CallKind.SEND, DeliveryError(ErrorClass.UNKNOWN, "no answer in time"))

    assert after.attempt.query_at == NOW
    assert after.attempt.ended_at is None


async def test_send_error_with_retry_after_delays_next_attempt() -> None:
    error = DeliveryError(ErrorClass.TRANSIENT, "too many requests", retry_after=timedelta(minutes=4))

    assert (await outcome(CallKind.SEND, error)).attempt.query_at == NOW + 4 * MINUTE


async def test_gateway_exception_on_send_sets_attempt_unknown() -> None:
    after = await outcome(CallKind.SEND, ZeroDivisionError("a bug"))

    assert after.attempt.state is AttemptState.UNKNOWN
    assert after.attempt.query_at == NOW
    assert after.gateway_up is False
    assert "a bug" not in after.attempt.detail


async def test_gateway_timeout_sets_attempt_unknown() -> None:
    impatient = DeliveryPolicy(deadline=timedelta(milliseconds=10))

    after = await outcome(CallKind.SEND, None, policy=impatient)

    assert after.attempt.state is AttemptState.UNKNOWN
    assert after.gateway_up is False


async def test_cancellation_propagates() -> None:
    calling = asyncio.create_task(outcome(CallKind.SEND, None))
    await asyncio.sleep(0)
    calling.cancel()

    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_compose_error_fails_attempt_without_calling_gateway() -> None:
    gateway = ScriptedGateway(DeliveryReport(progress=SubmissionState.ACCEPTED))
    configured = ConfiguredGateway(name="first", channel=Channel.SMS, gateway=gateway)

    after = await make_call(
        call(CallKind.SEND, attempt(AttemptState.CALLING)), configured, FailingComposer(), POLICY, Clock()
    )

    assert gateway.requests == []
    assert after.attempt.state is AttemptState.FAILED
    assert after.attempt.error is ErrorClass.PERMANENT
    assert after.gateway_up is None


def queried(times: int) -> Attempt:
    return replace(attempt(AttemptState.UNKNOWN), queries=times)


async def test_find_certain_not_found_sets_never_sent() -> None:
    after = await outcome(CallKind.FIND, SubmissionNotFound(certain=True), queried(1))

    assert (after.attempt.state, after.attempt.query_at) == (AttemptState.NEVER_SENT, NOW)
    assert after.gateway_up is True


async def test_find_repeated_never_sent_delays_next_attempt() -> None:
    second = replace(queried(1), id=2, n=2)
    of = call(CallKind.FIND, second)
    of = replace(
        of, notification=tried(replace(of.notification, deliveries=()), attempt(AttemptState.NEVER_SENT), second)
    )

    after = await make_call(
        of,
        ConfiguredGateway(name="first", channel=Channel.SMS, gateway=ScriptedGateway(SubmissionNotFound(certain=True))),
        Composer(),
        POLICY,
        Clock(),
    )

    assert after.attempt.query_at > NOW


async def test_find_uncertain_not_found_counts_only_when_repeated() -> None:
    once = await outcome(CallKind.FIND, SubmissionNotFound(certain=False), queried(1))
    twice = await outcome(CallKind.FIND, SubmissionNotFound(certain=False), queried(2))

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
async def test_find_without_answer_stays_unknown_then_not_found(
    answer: DeliveryReport | Exception,
) -> None:
    most = len(POLICY.query_delays)
    states = [(await outcome(CallKind.FIND, answer, queried(n))).attempt.state for n in range(1, most + 1)]

    assert states == [AttemptState.UNKNOWN] * (most - 1) + [AttemptState.NOT_FOUND]


@pytest.mark.parametrize("kind", [CallKind.FIND, CallKind.CHECK, CallKind.WITHDRAW])
@pytest.mark.parametrize("error", ErrorClass)
async def test_only_send_error_can_fail_attempt(kind: CallKind, error: ErrorClass) -> None:
    state = AttemptState.UNKNOWN if kind is CallKind.FIND else AttemptState.ACCEPTED
    at = replace(attempt(state), queries=1)

    assert (await outcome(kind, DeliveryError(error, "refused"), at)).attempt.state is state


async def test_withdraw_returned_letter_is_withdrawn_and_missing_letter_is_sent() -> None:
    queued = attempt(AttemptState.ACCEPTED)

    taken = await outcome(CallKind.WITHDRAW, True, queued, LETTER)
    gone = await outcome(CallKind.WITHDRAW, False, queued, LETTER)

    assert (taken.attempt.state, taken.attempt.ended_at) == (AttemptState.WITHDRAWN, NOW)
    assert (gone.attempt.state, gone.attempt.ended_at) == (AttemptState.SENT, None)


async def test_withdraw_unsupported_by_gateway_sets_sent() -> None:
    configured = ConfiguredGateway(name="first", channel=Channel.LETTER, gateway=cast(Gateway, object()))
    queued = call(CallKind.WITHDRAW, attempt(AttemptState.ACCEPTED), LETTER)
    assert (await make_call(queued, configured, Composer(), POLICY, Clock())).attempt.state is AttemptState.SENT


async def test_withdraw_with_unavailable_tray_is_retried_after_pause() -> None:
    error = DeliveryError(ErrorClass.CONFIGURATION, "Stale file handle")

    after = await outcome(CallKind.WITHDRAW, error, attempt(AttemptState.ACCEPTED), LETTER)

    assert after.attempt.error is ErrorClass.CONFIGURATION
    assert after.attempt.query_at == NOW + MINUTE
