"""SMS through Twilio (Messages resource of the 2010-04-01 API)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, model_validator
from twilio.twiml.messaging_response import MessagingResponse

from alerts.gateways.twilio.api import Twilio, TwilioSettings, meaning_of_failure, sid_in
from alerts.model.channel import Channel
from alerts.model.gateway import (
    CallbackEvent,
    CallbackHandler,
    CallbackRejectedError,
    CallbackRequest,
    CallbackResponse,
    DeliveryError,
    DeliveryReport,
    GatewayContext,
    GatewayKind,
    InboundSms,
    SendRequest,
    SmsContent,
    SubmissionNotFound,
    SubmissionState,
)
from alerts.provider import InboxPoll

#: Status values of the Message resource. A Malaysian carrier may drop an SMS silently after "sent", so only "delivered"
#: and "read" count as delivered.
_PROGRESS = {
    "queued": SubmissionState.ACCEPTED,
    "accepted": SubmissionState.ACCEPTED,
    "scheduled": SubmissionState.ACCEPTED,
    "sending": SubmissionState.ACCEPTED,
    "sent": SubmissionState.SENT,
    "partially_delivered": SubmissionState.SENT,
    "delivered": SubmissionState.DELIVERED,
    "read": SubmissionState.DELIVERED,
    "undelivered": SubmissionState.FAILED,
    "failed": SubmissionState.FAILED,
    "canceled": SubmissionState.FAILED,
}


#: A number, a short code, or a sender name, which contains a letter.
_SENDER = re.compile(r"\+[1-9]\d{6,14}|\d{4,6}|(?=.*[A-Za-z])[A-Za-z0-9 ]{2,11}")


def _check_sender(text: str) -> str:
    if not _SENDER.fullmatch(text):
        raise ValueError(
            "is not a sender; write instead: +60312345678, a short code (4 to 6 digits) or a name (2 to 11 letters and "
            "digits)"
        )
    return text


class Replies(StrEnum):
    """How replies to SMS are received."""

    #: Not at all. Malaysian carriers replace the sender by a shared short code, and a reply to that is lost.
    OFF = "off"
    #: Twilio posts each reply to `<public_url>/callbacks/<gateway>/sms`, which is set on the number in its console.
    WEBHOOK = "webhook"
    #: Twilio is polled, because it cannot reach this service.
    POLL = "poll"


class TwilioSmsSettings(TwilioSettings):
    #: A number or short code of the account, or a sender name. More than six digits without "+" are rejected.
    from_number: Annotated[str, AfterValidator(_check_sender)]
    #: Values other than OFF require a number that telephones display and can reply to; ask the provider.
    replies: Replies = Replies.OFF

    @model_validator(mode="after")
    def _check_replies(self) -> Self:
        if self.replies is not Replies.OFF and not self.from_number.removeprefix("+").isdigit():
            raise ValueError("replies: nobody can answer a sender name; write off, or a number under from_number")
        return self


class TwilioSms:
    """Gateway that submits each SMS once. Twilio has no idempotency key, so `find` recognises an SMS by its text."""

    def __init__(self, settings: TwilioSmsSettings, context: GatewayContext) -> None:
        self._from = settings.from_number
        self._callback_base = context.callback_base
        self._replies = settings.replies
        self._twilio = Twilio(settings)
        self._inbox_poll = InboxPoll()

    async def send(self, request: SendRequest) -> DeliveryReport:
        form = {
            "To": request.address,
            "From": self._from,
            "Body": request.content_as(SmsContent).text,
            # An SMS that arrives after its expiry would alarm people without a reason.
            "ValidityPeriod": str(_validity_seconds(request)),
            # Twilio's protection against SMS pumping would treat a burst of equal texts as fraud.
            "RiskCheck": "disable",
            # The text is GSM-7 already. `find` needs it unchanged.
            "SmartEncoded": "false",
        }
        if self._callback_base:
            # The URL contains the reference of the attempt. So the callback can be attributed to the attempt even if
            # Twilio's answer to this POST, which contains Twilio's id, is lost.
            form["StatusCallback"] = f"{self._callback_base}/status/{request.reference}"
        return _report(await self._twilio.create("Messages", form))

    async def find(self, request: SendRequest) -> DeliveryReport | SubmissionNotFound:
        text = request.content_as(SmsContent).text
        for message in await self._twilio.created_for(request, "Messages"):
            if message.get("body") == text:
                return _report(message)
        return SubmissionNotFound(certain=False)

    async def check(self, request: SendRequest, provider_id: str) -> DeliveryReport:  # noqa: ARG002 - queried by Twilio's id
        return _report(await self._twilio.read(f"Messages/{provider_id}"))

    async def verify(self) -> None:
        await self._twilio.verify("Messages")

    async def handle_callback(self, callback: CallbackRequest, handler: CallbackHandler) -> CallbackResponse:
        self._twilio.authenticate(callback)
        match callback.path.split("/"):
            case ["status", reference]:
                sid, status = sid_in(callback, "MessageSid"), callback.field("MessageStatus")
            case ["sms"]:
                return await self._receive_reply(callback, handler)
            case _:
                raise CallbackRejectedError(404, "no such callback")
        if status not in _PROGRESS:
            raise CallbackRejectedError(400, "not a status of a sent message")
        report = _report({"sid": sid, "status": status, "error_code": callback.field("ErrorCode")})
        await handler.record(CallbackEvent(reference=reference, event_id=f"{sid}/{status}", report=report))
        return CallbackResponse()

    async def _receive_reply(self, callback: CallbackRequest, handler: CallbackHandler) -> CallbackResponse:
        sid, sender = sid_in(callback, "MessageSid"), callback.field("From")
        if not sender or callback.field("To") != self._from:
            raise CallbackRejectedError(400, "not an SMS to our number")
        answer = await handler.receive(_inbound_sms(sid, sender, callback.field("Body")))
        return CallbackResponse(status=200, body=_answer_document(answer), media_type="text/xml")

    @property
    def receives_replies(self) -> bool:
        reachable = self._callback_base is not None
        return self._replies is Replies.POLL or (self._replies is Replies.WEBHOOK and reachable)

    async def collect(self, since: datetime, handler: CallbackHandler) -> None:
        if self._replies is not Replies.POLL:
            return
        received = await self._twilio.received_sms(self._from, since)
        messages = [
            _inbound_sms(str(item["sid"]), str(item.get("from")), str(item.get("body") or "")) for item in received
        ]
        for sender, answer in await self._inbox_poll.pass_on(messages, handler):
            await self._send_answer(sender, answer)

    async def _send_answer(self, number: str, answer: SmsContent) -> None:
        """Send the answer to a reply once, without retries: the reply has its effect, and two copies would confuse."""
        form = {"To": number, "From": self._from, "Body": answer.text, "ValidityPeriod": "600"}
        with contextlib.suppress(DeliveryError):
            await self._twilio.create("Messages", form | {"RiskCheck": "disable", "SmartEncoded": "false"})

    async def close(self) -> None:
        await self._twilio.close()


def _answer_document(answer: SmsContent | None) -> str:
    """Return the TwiML document by which Twilio sends *answer*; `None`: Twilio sends nothing."""
    response = MessagingResponse()
    if answer is not None:
        response.message(answer.text)
    return str(response)


def _inbound_sms(sid: str, sender: str, text: str) -> InboundSms:
    return InboundSms(sender=sender, text=text, event_id=f"{sid}/received")


def _validity_seconds(request: SendRequest) -> int:
    """Return ValidityPeriod in seconds; Twilio accepts 1 to 36000.

    It is computed without this machine's clock, which may differ from the clock that set the times of *request*.
    """
    return max(1, min(int((request.expires_at - request.created_at).total_seconds()), 36000))


def _report(message: Mapping[str, Any]) -> DeliveryReport:
    # An unknown status counts as accepted, because the message has a sid.
    progress = _PROGRESS.get(str(message.get("status")), SubmissionState.ACCEPTED)
    if progress is not SubmissionState.FAILED:
        return DeliveryReport(progress=progress, provider_id=str(message["sid"]))
    meaning = meaning_of_failure(message.get("error_code"))
    return DeliveryReport(
        progress=progress,
        provider_id=str(message["sid"]),
        error=meaning.error,
        code=meaning.code or str(message.get("status")),
        detail=meaning.detail,
    )


GATEWAY = GatewayKind(name="twilio_sms", channel=Channel.SMS, config=TwilioSmsSettings, build=TwilioSms)
