"""One call of a gateway, made after the transaction that decided it, and its result as the changed attempt.

A call is a request to a gateway, not a telephone call. An attempt is the sending of a notification by one gateway. It
is stored before the gateway is called. Its state is UNKNOWN while queries shall find out whether the message was sent,
NOT_FOUND if unreliable queries did not find the message, and NEVER_SENT if a query proved that it was not sent.
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
    """Kind of a gateway call. The values are part of audit entries and never change."""

    SEND = "send"
    #: Query whether the gateway received the message, because the result of sending is unknown.
    FIND = "ask"
    #: Query the delivery status of an accepted message.
    CHECK = "check"
    #: Withdraw an accepted message, such as a letter in the tray (the directory from which a clerk posts letters).
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayCall:
    """A decided gateway call. Its attempt is stored already."""

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
    """Result of a call."""

    #: The attempt after the call.
    attempt: Attempt
    #: Whether the gateway works; `None`: the result does not show it.
    gateway_up: bool | None
    #: Hash of the sent content, for the audit log; "": nothing was sent.
    sha256: str = ""

    def is_new(self, call: GatewayCall) -> bool:
        """Whether the result changes more of the attempt of *call* than the time of the next query.

        Only a status query may have no new result: a letter is still in the tray, or a receipt is still missing.
        """
        return call.kind is not CallKind.CHECK or replace(self.attempt, query_at=call.attempt.query_at) != call.attempt


async def make_call(
    call: GatewayCall, configured: ConfiguredGateway, composer: Composer, policy: DeliveryPolicy, clock: Clock
) -> CallResult:
    """Make the call and interpret the result. A bug in a gateway is logged and counts as an unknown result."""
    try:
        request = await _build_request(call, composer, clock.now())
    # The cause is a bug or an error in an edited text. Nothing was sent, and another channel may work.
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
    """Call the gateway within `DeliveryPolicy.deadline`, and interpret its answer or error."""
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
    """Return the SHA-256 of an SMS text, of a PDF file, or of a telephone call's headlines and blocks, one per line.

    Texts are encoded in UTF-8.
    """
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
    # A status query needs no content (see `SendRequest.content`). A fax or letter is rendered only to be sent: in a
    # mass outage hundreds of letters are in the tray, and the status of each is queried every minute.
    has_content = call.kind is CallKind.SEND or (call.kind is CallKind.FIND and channel not in ON_PAPER)
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


#: Answer of a gateway: a report for SEND and CHECK, a report or "not found" for FIND, and for WITHDRAW whether the
#: message was withdrawn.
_GatewayAnswer = DeliveryReport | SubmissionNotFound | bool


async def _call_gateway(call: GatewayCall, configured: ConfiguredGateway, request: SendRequest) -> _GatewayAnswer:
    match call.kind:
        case CallKind.SEND:
            return await configured.gateway.send(request)
        case CallKind.FIND:
            return await configured.gateway.find(request)
        case CallKind.CHECK:
            return await configured.gateway.check(request, call.attempt.provider_id or "")
        case CallKind.WITHDRAW:
            gateway: object = configured.gateway
            return isinstance(gateway, SupportsWithdrawal) and await gateway.withdraw(
                request, call.attempt.provider_id or ""
            )


def _apply_answer(call: GatewayCall, answer: _GatewayAnswer, policy: DeliveryPolicy, now: datetime) -> CallResult:
    """Return the result for an answer of the gateway, which therefore works."""
    attempt = call.attempt
    match answer:
        case DeliveryReport():
            is_last_query = attempt.queries >= len(policy.query_delays)
            attempt = apply_report(call.delivery, attempt, answer, policy, now)
            if call.kind is CallKind.FIND and attempt.state is AttemptState.UNKNOWN:
                attempt = _unknown_or_not_found(attempt, policy, now, is_last_query=is_last_query)
        case SubmissionNotFound(certain=True):
            # The message was never sent: retry at once after the delivery's first attempt, later after the usual
            # interval.
            retry_time = now if attempt.n == 1 else retry_at(call.delivery, attempt.gateway, policy, now, None)
            attempt = replace(attempt, state=AttemptState.NEVER_SENT, query_at=retry_time, ended_at=now)
        case SubmissionNotFound():
            # The provider's search may lag behind, so that the answer counts only when it is repeated.
            attempt = _unknown_or_not_found(attempt, policy, now, is_last_query=attempt.queries > 1)
        case True:
            attempt = replace(attempt, state=AttemptState.WITHDRAWN, ended_at=now)
        case False:
            # The letter is no longer in the tray, and counts as posted.
            attempt = replace(attempt, state=AttemptState.SENT)
    return CallResult(attempt=attempt, gateway_up=True)


def apply_report(
    delivery: Delivery, attempt: Attempt, report: DeliveryReport, policy: DeliveryPolicy, now: datetime
) -> Attempt:
    """Return the attempt after a report that came as a response, a callback or the result of a query."""
    state = AttemptState(report.progress)
    if report.progress is SubmissionState.FAILED and report.error is ErrorClass.UNKNOWN:
        state = AttemptState.UNKNOWN
    channel = delivery.address.channel
    query_at = now + policy.check_interval[channel]
    ended_at = None if state in SUBMITTED and state is not AttemptState.DELIVERED else now
    if report.in_call:
        # The report comes from a key press during the telephone call, which has not ended.
        ended_at = attempt.ended_at
    if channel is Channel.LETTER and state is AttemptState.SENT:
        # A posted letter has no further status.
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
    if call.kind is CallKind.FIND:
        attempt = _unknown_or_not_found(attempt, policy, now, is_last_query=attempt.queries >= len(policy.query_delays))
    elif call.kind is CallKind.WITHDRAW:
        query_at = now + policy.check_interval[call.address.channel]
        attempt = replace(attempt, error=error.error, code=error.code, detail=error.detail, query_at=query_at)
    elif call.kind is CallKind.CHECK:
        # The status is unchanged, and the time of the next query was set when the call was decided.
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
    """Return the audit entry of an attempt's state after *action*: the kind of a call, or "reported" (a callback)."""
    return AuditEntry(
        at=now,
        actor=gateway,
        event=f"{action}: {attempt.state}",
        incident_id=notification.incident_id,
        notification_id=notification.id,
        detail={"reference": attempt.reference, "code": attempt.code, "why": attempt.detail},
    )
