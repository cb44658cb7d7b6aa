"""Gateway calls, made after the transaction, and the interpretation of their results.

`make_call` does the I/O and returns the changed attempt; it decides nothing else.
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
from alerts.model.delivery import LEFT, Attempt, AttemptState, Delivery, Notification
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
    #: Query whether the gateway has the message.
    ASK = "ask"
    #: Query the status of the message.
    CHECK = "check"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayCall:
    """A call to make. Its attempt is stored already."""

    kind: CallKind
    notice: Notification
    attempt: Attempt

    @property
    def delivery(self) -> Delivery:
        """The delivery of the attempt."""
        return self.notice.delivery_of(self.attempt)

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

    def is_news(self, call: GatewayCall) -> bool:
        """Whether the result contains anything new since *call* was decided.

        A letter that is still in the tray, or a receipt that is still missing, is not new; the next query stays as
        planned.
        """
        return call.kind is not CallKind.CHECK or replace(self.attempt, query_at=call.attempt.query_at) != call.attempt


async def make_call(
    call: GatewayCall, line: ConfiguredGateway, composer: Composer, policy: DeliveryPolicy, clock: Clock
) -> CallResult:
    """Make the call and interpret the result. A bug in a gateway is logged and counts as an unknown result."""
    try:
        order = await _order(call, composer, clock.now())
    # A bug, or an edited wording. Nothing was sent, and another channel may work.
    except Exception:
        log.exception("notification text could not be rendered", reference=call.attempt.reference)
        speechless = DeliveryError(ErrorClass.PERMANENT, "it could not be put into words; see the log")
        return _refused(call, speechless, policy, clock.now())
    outcome = await _carry_out(call, line, order, policy, clock)
    handed_over = order.content if call.kind is CallKind.SEND else None
    return outcome if handed_over is None else replace(outcome, sha256=content_digest(handed_over))


async def _carry_out(
    call: GatewayCall, line: ConfiguredGateway, order: SendRequest, policy: DeliveryPolicy, clock: Clock
) -> CallResult:
    try:
        async with asyncio.timeout(policy.deadline.total_seconds()):
            answer = await _call(call, line, order)
    except DeliveryError as error:
        return _refused(call, error, policy, clock.now())
    except TimeoutError:
        return _refused(call, DeliveryError(ErrorClass.UNKNOWN, "it did not come back"), policy, clock.now())
    # A bug in a gateway must not stop other deliveries, and may occur after the message was sent.
    except Exception:
        log.exception("gateway failed unexpectedly", gateway=line.name, reference=call.attempt.reference)
        bug = DeliveryError(ErrorClass.UNKNOWN, "the gateway's code failed; see the log")
        return _refused(call, bug, policy, clock.now())
    return _answered(call, answer, policy, clock.now())


def content_digest(content: Content) -> str:
    """Return the SHA-256 of a text in UTF-8, of a PDF, or of a call's headlines and blocks in UTF-8, one per line."""
    match content:
        case SmsContent(text=text):
            octets = text.encode()
        case VoiceContent(scripts=scripts):
            octets = "\n".join(said for script in scripts for said in (script.headline, *script.blocks)).encode()
        case PageContent(pdf=pdf):
            octets = pdf
    return hashlib.sha256(octets).hexdigest()


async def _order(call: GatewayCall, composer: Composer, now: datetime) -> SendRequest:
    channel = call.address.channel
    # See `SendRequest.content`. In a mass outage hundreds of letters are in the tray, each queried every minute.
    has_content = call.kind is CallKind.SEND or (call.kind is CallKind.ASK and channel not in ON_PAPER)
    return SendRequest(
        reference=call.attempt.reference,
        address=call.address.number,
        extension=call.address.extension,
        content=await composer.compose(call.notice, channel, response=call.attempt.response) if has_content else None,
        expires_at=call.notice.expires_at,
        created_at=call.attempt.started_at,
        asked_at=now,
    )


#: Result of a gateway: a report for SEND and CHECK, also "not found" for ASK, and success or failure for WITHDRAW.
_Answer = DeliveryReport | SubmissionNotFound | bool


async def _call(call: GatewayCall, line: ConfiguredGateway, order: SendRequest) -> _Answer:
    match call.kind:
        case CallKind.SEND:
            return await line.gateway.send(order)
        case CallKind.ASK:
            return await line.gateway.find(order)
        case CallKind.CHECK:
            return await line.gateway.check(order, call.attempt.provider_id or "")
        case CallKind.WITHDRAW:
            gateway: object = line.gateway
            return isinstance(gateway, SupportsWithdrawal) and await gateway.withdraw(
                order, call.attempt.provider_id or ""
            )


def _answered(call: GatewayCall, answer: _Answer, policy: DeliveryPolicy, now: datetime) -> CallResult:
    attempt = call.attempt
    match answer:
        case DeliveryReport():
            enough = attempt.queries >= len(policy.ask_after)
            attempt = reported(call.delivery, attempt, answer, policy, now)
            if call.kind is CallKind.ASK and attempt.state is AttemptState.UNKNOWN:
                attempt = _still_unknown(attempt, policy, now, enough=enough)
        case SubmissionNotFound(certain=True):
            # The first attempt is repeated at once. One that fails repeatedly is not urgent.
            again = now if attempt.n == 1 else retry_at(call.delivery, attempt.gateway, policy, now, None)
            attempt = replace(attempt, state=AttemptState.NEVER_SENT, query_at=again, ended_at=now)
        case SubmissionNotFound():
            # A search index may lag: query once more before it counts.
            attempt = _still_unknown(attempt, policy, now, enough=attempt.queries > 1)
        case True:
            attempt = replace(attempt, state=AttemptState.WITHDRAWN, ended_at=now)
        case False:
            attempt = replace(attempt, state=AttemptState.SENT)
    return CallResult(attempt=attempt, gateway_up=True)


def reported(
    delivery: Delivery, attempt: Attempt, report: DeliveryReport, policy: DeliveryPolicy, now: datetime
) -> Attempt:
    """Return the attempt after a report from a result, a callback or a query."""
    state = AttemptState(report.progress)
    if report.progress is SubmissionState.FAILED and report.error is ErrorClass.UNKNOWN:
        state = AttemptState.UNKNOWN
    channel = delivery.address.channel
    query_at = now + policy.check_every[channel]
    ended_at = None if state in LEFT and state is not AttemptState.DELIVERED else now
    if report.in_call:
        ended_at = attempt.ended_at
    if channel is Channel.LETTER and state is AttemptState.SENT:
        # Posted: no further status follows.
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


def _refused(call: GatewayCall, error: DeliveryError, policy: DeliveryPolicy, now: datetime) -> CallResult:
    """Interpret an error. Only an error of SEND means that the message failed; others leave its status."""
    attempt = call.attempt
    if call.kind is CallKind.ASK:
        attempt = _still_unknown(attempt, policy, now, enough=attempt.queries >= len(policy.ask_after))
    elif call.kind is CallKind.WITHDRAW:
        query_at = now + policy.check_every[call.address.channel]
        attempt = replace(attempt, error=error.error, code=error.code, detail=error.detail, query_at=query_at)
    elif call.kind is CallKind.CHECK:
        # Query again later; the time was set when the call was decided.
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
    # A refused address says nothing about the gateway.
    return CallResult(attempt=attempt, gateway_up=None if error.error is ErrorClass.PERMANENT else False)


def _still_unknown(attempt: Attempt, policy: DeliveryPolicy, now: datetime, *, enough: bool) -> Attempt:
    if enough:
        return replace(attempt, state=AttemptState.NOT_FOUND, query_at=now, ended_at=now)
    wait = policy.ask_after[min(attempt.queries, len(policy.ask_after) - 1)]
    return replace(attempt, state=AttemptState.UNKNOWN, query_at=now + wait)


def told_by(gateway: str, notice: Notification, attempt: Attempt, how: str, now: datetime) -> AuditEntry:
    """Return the audit entry of a gateway's report on an attempt."""
    return AuditEntry(
        at=now,
        actor=gateway,
        event=f"{how}: {attempt.state}",
        incident_id=notice.incident_id,
        notification_id=notice.id,
        detail={"reference": attempt.reference, "code": attempt.code, "why": attempt.detail},
    )
