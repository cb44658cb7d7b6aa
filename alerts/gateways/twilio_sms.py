"""SMS through Twilio (Messages resource of the 2010-04-01 API)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import StringConstraints

from alerts.channel import Channel
from alerts.gateway import (
    Absent,
    Answer,
    Desk,
    GatewayKind,
    Heard,
    Incoming,
    Order,
    Progress,
    Refused,
    Report,
    SmsContent,
    Surroundings,
)
from alerts.twilio_api import Twilio, TwilioSettings, count, failure, field

#: Statuses of the Message resource. A Malaysian carrier blocks silently after "sent" (malaysia.md 3.2), so only
#: "delivered" counts as delivered.
_PROGRESS = {
    "queued": Progress.ACCEPTED,
    "accepted": Progress.ACCEPTED,
    "scheduled": Progress.ACCEPTED,
    "sending": Progress.ACCEPTED,
    "sent": Progress.SENT,
    "partially_delivered": Progress.SENT,
    "delivered": Progress.DELIVERED,
    "read": Progress.DELIVERED,
    "undelivered": Progress.FAILED,
    "failed": Progress.FAILED,
    "canceled": Progress.FAILED,
}


class TwilioSmsSettings(TwilioSettings):
    #: A number or short code of the account, or a sender name.
    from_number: Annotated[str, StringConstraints(pattern=r"^(\+[1-9]\d{6,14}|\d{4,6}|[A-Za-z0-9 ]{2,11})$")]


class TwilioSms:
    """Sends one text a call. Twilio has no idempotency key; the notice number in the text identifies it."""

    def __init__(self, settings: TwilioSmsSettings, surroundings: Surroundings) -> None:
        self._from = settings.from_number
        self._callback_base = surroundings.callback_base
        self._twilio = Twilio(settings)

    async def send(self, order: Order) -> Report:
        form = {
            "To": order.address,
            "From": self._from,
            "Body": _text(order),
            # A notice that reaches the phone after its use only frightens.
            "ValidityPeriod": str(_validity(order, datetime.now(UTC))),
            # Twilio's guard against SMS pumping takes a burst of equal texts for fraud.
            "RiskCheck": "disable",
            # The text is GSM-7 already; changed, it could not be found again by its exact words.
            "SmartEncoded": "false",
        }
        if self._callback_base:
            # Our reference and not Twilio's id: the callback counts even when the answer to this POST is lost.
            form["StatusCallback"] = f"{self._callback_base}/status/{order.reference}"
        return _report(await self._twilio.create("Messages", form))

    async def find(self, order: Order) -> Report | Absent:
        text = _text(order)
        for message in await self._twilio.sent_to(order.address, "Messages", order.created_at):
            if message.get("body") == text:
                return _report(message)
        return Absent(certain=False)

    async def check(self, order: Order, provider_id: str) -> Report:  # noqa: ARG002 - Twilio asks by its own id
        return _report(await self._twilio.read(f"Messages/{provider_id}"))

    async def withdraw(self, order: Order, provider_id: str) -> bool:  # noqa: ARG002 - see below
        """Return False: Twilio takes back only scheduled messages."""
        return False

    async def hear(self, incoming: Incoming, desk: Desk) -> Answer:
        self._twilio.authenticate(incoming)
        match incoming.path.split("/"):
            case ["status", reference]:
                sid, status = field(incoming, "MessageSid"), field(incoming, "MessageStatus")
            case _:
                raise Refused(404, "no such callback")
        if status not in _PROGRESS:
            raise Refused(400, "not a status of a sent message")
        report = _report({"sid": sid, "status": status, "error_code": field(incoming, "ErrorCode")})
        await desk.record(Heard(reference=reference, event_id=f"{sid}/{status}", report=report))
        return Answer()

    async def close(self) -> None:
        await self._twilio.close()


def _text(order: Order) -> str:
    if not isinstance(order.content, SmsContent):
        raise TypeError(f"an SMS gateway cannot carry {type(order.content).__name__}")
    return order.content.text


def _validity(order: Order, now: datetime) -> int:
    """Return ValidityPeriod in seconds; Twilio takes 1 to 36000."""
    return max(1, min(int((order.expires_at - now).total_seconds()), 36000))


def _report(message: Mapping[str, Any]) -> Report:
    # A status that Twilio invents later is at least accepted: it answered with a sid.
    progress = _PROGRESS.get(str(message.get("status")), Progress.ACCEPTED)
    sid, units = str(message["sid"]), count(message.get("num_segments"))
    if progress is not Progress.FAILED:
        return Report(progress=progress, provider_id=sid, units=units)
    verdict = failure(message.get("error_code"))
    return Report(
        progress=progress,
        provider_id=sid,
        error=verdict.error,
        code=verdict.code or str(message.get("status")),
        detail=verdict.detail,
        units=units,
    )


GATEWAY = GatewayKind(name="twilio_sms", channel=Channel.SMS, config=TwilioSmsSettings, build=TwilioSms)
