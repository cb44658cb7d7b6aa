"""One call of a gateway, after the transaction that decided it, and its result as the changed attempt.

An attempt is the sending of a notification by one gateway, stored before the call.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import structlog

from alerts.decide.gateway.next_action import DeliveryPolicy, retry_at
from alerts.engine.composer import Composer
from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.contact import Address
from alerts.model.delivery import SUBMITTED, Attempt, AttemptState, Delivery, Notification
from alerts.model.gateway import (
    Content,
    DeliveryError,
    DeliveryReport,
    ErrorClass,
    PageContent,
    SendRequest,
    SmsContent,
    SubmissionNotFound,
    SubmissionState,
    SupportsWithdrawal,
    VoiceContent,
)
from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry

log = structlog.get_logger()


class CallKind(StrEnum):
    """Kind of a gateway call."""

    SEND = "send"
    #: Query whether the gateway has the message: the result of sending is unknown.
    ASK = "ask"
    #: Query the delivery status of an accepted message.
    CHECK = "check"
    #: Withdraw an accepted message, such as a letter in the tray.
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayCall:
    """A call to make, whose attempt is stored already."""

    kind: CallKind
    notification: Notification
    attempt: Attempt

    @property
    def delivery(self) -> Delivery:
        """The delivery of the attempt."""
        return self.notification.find_delivery(self.attempt)

    @property
    def address(self) -> Address:
        """The address of the delivery."""
        return self.delivery.address


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """The attempt after a call, and the gateway's health (`None`: unknown)."""

    attempt: Attempt
    gateway_up: bool | None
    #: Hash of the sent content, for the audit log. "" if nothing was sent.
    sha256: str = ""

    def is_new(self, call: GatewayCall) -> bool:
        """Whether the result differs from what was known when *call* was decided, except for the next query's time.

        The result is not new if a letter is still in the tray, or a receipt is still missing.
        """
        return call.kind is not CallKind.CHECK or replace(self.attempt, query_at=call.attempt.query_at) != call.attempt


async def make_call(
    call: GatewayCall, configured: ConfiguredGateway, composer: Composer, policy: DeliveryPolicy, clock: Clock
) -> CallResult:
    """Make the call and interpret the result. A bug in a gateway is logged and counts as an unknown result."""
    try:
        request = await _build_request(call, composer, clock.now())
    # A bug, or an error in an edited text. Nothing was sent, and another channel may work.
    except Exception:
        log.exception("notification text could not be rendered", reference=call.attempt.reference)
        error = DeliveryError(ErrorClass.PERMANENT, "its text could not be rendered; see the log")
        return _apply_error(call, error, policy, clock.now())
    result = await _execute(call, configured, request, policy, clock)
    sent_content = request.content if call.kind is CallKind.SEND else None
    return result if sent_content is None else replace(result, sha256=content_digest(sent_content))


async def _execute(
    call: GatewayCall, configured: ConfiguredGateway, request: SendRequest, policy: DeliveryPolicy, clock: Clock
) -> CallResult:
    try:
        async with asyncio.timeout(policy.deadline.total_seconds()):
            answer = await _call_gateway(call, configured, request)
    except DeliveryError as error:
        return _apply_error(call, error, policy, clock.now())
    except TimeoutError:
        return _apply_error(
            call, DeliveryError(ErrorClass.UNKNOWN, "the call did not end in time"), policy, clock.now()
        )
    # A bug in a gateway must not stop other deliveries, and may occur after the message was sent.
    except Exception:
        log.exception("gateway failed unexpectedly", gateway=configured.name, reference=call.attempt.reference)
        bug = DeliveryError(ErrorClass.UNKNOWN, "the gateway's code failed; see the log")
        return _apply_error(call, bug, policy, clock.now())
    return _apply_answer(call, answer, policy, clock.now())


def content_digest(content: Content) -> str:
    """Return the SHA-256 of a text in UTF-8, of a PDF, or of a call's headlines and blocks in UTF-8, one per line."""
    match content:
        case SmsContent(text=text):
            octets = text.encode()
        case VoiceContent(scripts=scripts):
            octets = "\n".join(text for script in scripts for text in (script.headline, *script.blocks)).encode()
        case PageContent(pdf=pdf):
            octets = pdf
    return hashlib.sha256(octets).hexdigest()


async def _build_request(call: GatewayCall, composer: Composer, now: datetime) -> SendRequest:
    channel = call.address.channel
    # `SendRequest.content` says which calls need it. Pages are rendered for sending only: in a mass outage hundreds of
    # letters are in the tray, each queried every minute.
    has_content = call.kind is CallKind.SEND or (call.kind is CallKind.ASK and channel not in ON_PAPER)
    return SendRequest(
        reference=call.attempt.reference,
        address=call.address.number,
        extension=call.address.extension,
        content=await composer.compose(call.notification, channel, response=call.attempt.response)
        if has_content
        else None,
        expires_at=call.notification.expires_at,
        created_at=call.attempt.started_at,
        queried_at=now,
    )


#: Result of a gateway: a report for SEND and CHECK, also "not found" for ASK, and success or failure for WITHDRAW.
_GatewayAnswer = DeliveryReport | SubmissionNotFound | bool


async def _call_gateway(call: GatewayCall, configured: ConfiguredGateway, request: SendRequest) -> _GatewayAnswer:
    match call.kind:
        case CallKind.SEND:
            return await configured.gateway.send(request)
        case CallKind.ASK:
            return await configured.gateway.find(request)
        case CallKind.CHECK:
            return await configured.gateway.check(request, call.attempt.provider_id or "")
        case CallKind.WITHDRAW:
            gateway: object = configured.gateway
            return isinstance(gateway, SupportsWithdrawal) and await gateway.withdraw(
                request, call.attempt.provider_id or ""
            )


def _apply_answer(call: GatewayCall, answer: _GatewayAnswer, policy: DeliveryPolicy, now: datetime) -> CallResult:
    attempt = call.attempt
    match answer:
        case DeliveryReport():
            is_last_query = attempt.queries >= len(policy.query_delays)
            attempt = apply_report(call.delivery, attempt, answer, policy, now)
            if call.kind is CallKind.ASK and attempt.state is AttemptState.UNKNOWN:
                attempt = _unknown_or_not_found(attempt, policy, now, is_last_query=is_last_query)
        case SubmissionNotFound(certain=True):
            # The first attempt is repeated at once, later ones after the usual interval.
            retry_time = now if attempt.n == 1 else retry_at(call.delivery, attempt.gateway, policy, now, None)
            attempt = replace(attempt, state=AttemptState.NEVER_SENT, query_at=retry_time, ended_at=now)
        case SubmissionNotFound():
            # The provider's search may lag behind: only the second answer of this kind counts.
            attempt = _unknown_or_not_found(attempt, policy, now, is_last_query=attempt.queries > 1)
        case True:
            attempt = replace(attempt, state=AttemptState.WITHDRAWN, ended_at=now)
        case False:
            attempt = replace(attempt, state=AttemptState.SENT)
    return CallResult(attempt=attempt, gateway_up=True)


def apply_report(
    delivery: Delivery, attempt: Attempt, report: DeliveryReport, policy: DeliveryPolicy, now: datetime
) -> Attempt:
    """Return the attempt after a report from a result, a callback or a query."""
    state = AttemptState(report.progress)
    if report.progress is SubmissionState.FAILED and report.error is ErrorClass.UNKNOWN:
        state = AttemptState.UNKNOWN
    channel = delivery.address.channel
    query_at = now + policy.check_interval[channel]
    ended_at = None if state in SUBMITTED and state is not AttemptState.DELIVERED else now
    if report.in_call:
        ended_at = attempt.ended_at
    if channel is Channel.LETTER and state is AttemptState.SENT:
        # The letter is posted, and no further status follows.
        ended_at = attempt.ended_at or now
    if state is AttemptState.FAILED:
        query_at = retry_at(delivery, attempt.gateway, policy, now, None)
    return replace(
        attempt,
        state=state,
        provider_id=report.provider_id or attempt.provider_id,
        error=report.error if state in {AttemptState.FAILED, AttemptState.UNKNOWN} else None,
        code=report.code,
        detail=report.detail,
        query_at=query_at,
        ended_at=ended_at,
    )


def _apply_error(call: GatewayCall, error: DeliveryError, policy: DeliveryPolicy, now: datetime) -> CallResult:
    """Return the result for an error. Only an error of SEND means that the message failed."""
    attempt = call.attempt
    if call.kind is CallKind.ASK:
        attempt = _unknown_or_not_found(attempt, policy, now, is_last_query=attempt.queries >= len(policy.query_delays))
    elif call.kind is CallKind.WITHDRAW:
        query_at = now + policy.check_interval[call.address.channel]
        attempt = replace(attempt, error=error.error, code=error.code, detail=error.detail, query_at=query_at)
    elif call.kind is CallKind.CHECK:
        # The next query was planned when the call was decided.
        pass
    elif error.error is ErrorClass.UNKNOWN:
        attempt = replace(
            attempt, state=AttemptState.UNKNOWN, error=error.error, code=error.code, detail=error.detail, query_at=now
        )
    else:
        attempt = replace(
            attempt,
            state=AttemptState.FAILED,
            error=error.error,
            code=error.code,
            detail=error.detail,
            query_at=retry_at(call.delivery, attempt.gateway, policy, now, error.retry_after),
            ended_at=now,
        )
    # A rejected address says nothing about the health of the gateway.
    return CallResult(attempt=attempt, gateway_up=None if error.error is ErrorClass.PERMANENT else False)


def _unknown_or_not_found(attempt: Attempt, policy: DeliveryPolicy, now: datetime, *, is_last_query: bool) -> Attempt:
    """Return the attempt after a query without a clear result: `NOT_FOUND` after the last query, else `UNKNOWN`."""
    if is_last_query:
        return replace(attempt, state=AttemptState.NOT_FOUND, query_at=now, ended_at=now)
    wait = policy.query_delays[min(attempt.queries, len(policy.query_delays) - 1)]
    return replace(attempt, state=AttemptState.UNKNOWN, query_at=now + wait)


def attempt_audit_entry(
    gateway: str, notification: Notification, attempt: Attempt, action: str, now: datetime
) -> AuditEntry:
    """Return the audit entry of an attempt's state after *action*: the kind of a call, or "reported" by a callback."""
    return AuditEntry(
        at=now,
        actor=gateway,
        event=f"{action}: {attempt.state}",
        incident_id=notification.incident_id,
        notification_id=notification.id,
        detail={"reference": attempt.reference, "code": attempt.code, "why": attempt.detail},
    )
