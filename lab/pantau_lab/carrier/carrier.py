"""Processing of messages and calls by the simulated carrier: statuses, callbacks, and delivery to phones."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

from pantau_lab.background_tasks import BackgroundTasks
from pantau_lab.carrier.callback import CallbackClient, StatusReports
from pantau_lab.carrier.content import objection
from pantau_lab.carrier.phone import Call, Phone, PhoneBehaviour, Sms
from pantau_lab.carrier.speech import Conversation
from pantau_lab.provider_fault import CallbackFault, ReplyFault, SubmissionFault


def _nothing(*_: object) -> None:
    pass


def _real_time() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class Carrier:
    """Account at a simulated carrier. All phones are objects in this process."""

    account_sid: str = "AC" + "5" * 32
    auth_token: str = "token-olok-olok-pembawa"  # noqa: S105 - of a fictional carrier
    #: The account's own numbers, which are valid in `From`.
    senders: set[str] = field(default_factory=lambda: {"+60300000100"})
    phones: dict[str, Phone] = field(default_factory=dict)
    #: Clock. A test with a controlled clock sets it here, too.
    now: Callable[[], datetime] = _real_time
    #: Real time between two statuses.
    step: timedelta = timedelta()
    #: Called with the phone and the text of each delivered SMS.
    on_sms: Callable[[Phone, str], None] = _nothing
    #: Called at the end of a telephone call with the phone, the transcript (a line a sentence) and the keys pressed.
    on_call: Callable[[Phone, str, str], None] = _nothing
    #: Called when the carrier has accepted a submission and not yet responded. Tests then kill the customer's process.
    on_taken: Callable[[Sms | Call], None] = _nothing
    #: Faults of the next submissions, one each.
    faults: deque[SubmissionFault] = field(default_factory=deque)
    callback_fault: CallbackFault = CallbackFault.NONE
    #: URL to which SMS to the account's numbers are posted; empty: the customer polls for them.
    incoming_url: str = ""
    messages: list[Sms] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    #: SMS that people have sent to the account's numbers.
    received: list[Sms] = field(default_factory=list)
    _held: list[Sms] = field(default_factory=list)
    #: Failed callbacks to the customer, and exceptions of the carrier.
    errors: list[str] = field(default_factory=list)
    _under_way: BackgroundTasks = field(init=False)

    def __post_init__(self) -> None:
        """Share `errors` with the background tasks."""
        self._under_way = BackgroundTasks(errors=self.errors)

    def phone(self, number: str, **how: Any) -> Phone:
        """Add a phone and return it."""
        self.phones[number] = phone = Phone(number=number, **how)
        return phone

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Process submissions during the block, which is the lifespan of the app."""
        async with self._under_way.open(timeout=15):
            yield

    async def settled(self) -> None:
        """Wait until all messages and calls are processed."""
        await self._under_way.settled()

    def unexpected(self) -> list[str]:
        """Return the messages and calls that no test expected or whose number is unknown, and the errors."""
        things: list[Sms | Call] = [*self.messages, *self.calls]
        strays = [f"{thing.to}: nobody's number" for thing in things if thing.to not in self.phones]
        return [line for phone in self.phones.values() for line in phone.unexpected()] + strays + self.errors

    async def take_message(self, sms: Sms) -> None:
        self.messages.append(sms)
        self.on_taken(sms)
        await self._start(self._deliver(sms))

    async def take_call(self, call: Call) -> None:
        self.calls.append(call)
        self.on_taken(call)
        await self._start(self._ring(call))

    async def send_reply(self, phone: Phone, text: str, fault: ReplyFault = ReplyFault.NONE) -> None:
        """Send an SMS from *phone* to the customer, and wait for the response unless *fault* holds the SMS."""
        now = self.now()
        sms = Sms(
            sid=new_sid("SM"),
            # Any of the account's numbers, but always the same one.
            to=min(self.senders),
            sender=phone.number,
            body=text,
            created_at=now,
            callback="",
            validity=0,
            segments=1,
            status="received",
            sent_at=now,
            direction="inbound",
        )
        if fault is ReplyFault.HELD:
            self._held.append(sms)
            return
        await self._receive(sms)
        if fault is ReplyFault.TWICE:
            await self._post(sms)

    async def let_through(self, *, newest_first: bool = False) -> None:
        """Deliver the held SMS, late and optionally in the wrong order."""
        held, self._held = self._held, []
        for sms in reversed(held) if newest_first else held:
            await self._receive(sms)

    async def _receive(self, sms: Sms) -> None:
        self.received.append(sms)
        await self._post(sms)

    async def _post(self, sms: Sms) -> None:
        """Post an SMS to the customer, and send each `Message` of the TwiML response to its sender."""
        if not self.incoming_url:
            return
        params = {"MessageSid": sms.sid, "SmsSid": sms.sid, "AccountSid": self.account_sid, "ApiVersion": "2010-04-01"}
        params |= {"From": sms.sender, "To": sms.to, "Body": sms.body, "NumMedia": "0", "NumSegments": "1"}
        response = await self._callback_client().post(self.incoming_url, params)
        if response is None or "xml" not in response.headers.get("content-type", ""):
            return
        for message in ET.fromstring(response.text).iter("Message"):  # noqa: S314 - written by the gateway under test
            text, now = message.text or "", self.now()
            reply = Sms(
                sid=new_sid("SM"),
                to=sms.sender,
                sender=sms.to,
                body=text,
                created_at=now,
                callback="",
                validity=14400,
                segments=1,
            )
            await self.take_message(reply)

    async def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* in the background; with `BEFORE_ANSWER` finish it before the response to the submission."""
        await self._under_way.begin(work, and_wait=self.callback_fault is CallbackFault.BEFORE_ANSWER)

    def _reports(self, url: str) -> StatusReports:
        return StatusReports(client=self._callback_client(), url=url, fault=self.callback_fault)

    def _callback_client(self) -> CallbackClient:
        return CallbackClient(client=self._under_way.client, auth_token=self.auth_token, errors=self.errors)

    async def _deliver(self, sms: Sms) -> None:
        reports, phone = self._reports(sms.callback), self.phones.get(sms.to)
        code = _undelivered(sms, phone)
        for status in ("sent", "delivered" if code is None else "undelivered"):
            await asyncio.sleep(self.step.total_seconds())
            sms.status = status
            if status == "sent":
                sms.sent_at = self.now()
            else:
                sms.error_code = code
                if code is None and phone is not None:
                    phone.receive(sms)
                    self.on_sms(phone, sms.body)
            await reports.tell(
                {"MessageSid": sms.sid, "SmsSid": sms.sid, "MessageStatus": status, "SmsStatus": status}
                | {"To": sms.to, "From": sms.sender, "AccountSid": self.account_sid, "ApiVersion": "2010-04-01"}
                | ({"ErrorCode": str(code)} if status == "undelivered" else {})
            )
        await reports.finish()

    async def _ring(self, call: Call) -> None:
        reports, phone, sequence_numbers = self._reports(call.callback), self.phones.get(call.to), iter(range(100))
        params = {"CallSid": call.sid, "AccountSid": self.account_sid, "From": call.caller, "To": call.to}
        params |= {"ApiVersion": "2010-04-01", "Direction": "outbound-api"}

        async def tell(event: str, status: str, **more: str) -> None:
            sequence = str(next(sequence_numbers))
            if event in call.callback_events:
                await reports.tell({**params, "CallStatus": status, "SequenceNumber": sequence, **more})

        await tell("initiated", "initiated")
        await asyncio.sleep(self.step.total_seconds())
        call.status = "ringing"
        await tell("ringing", "ringing")
        # An extension is behind a switchboard, which has several lines.
        is_free = phone is None or not phone.active_calls or bool(phone.extension)
        if phone is not None and is_free:
            phone.active_calls.append(call)
        final = await self._outcome(call, phone) if is_free else "busy"
        if final == "completed" and phone is not None:
            call.status, call.started_at = "in-progress", self.now()
            await tell("answered", "in-progress")
            await Conversation(call=call, phone=phone, client=self._callback_client(), params=params).hold()
        call.status = final
        call.ended_at = self.now()
        if phone is not None:
            if is_free:
                phone.active_calls.remove(call)
            phone.rang(call)
            self.on_call(phone, call.text, call.keys)
        # A sentence counts as a second.
        more = {"CallDuration": str(len(call.spoken))} if call.status == "completed" else {}
        if call.sip_code is not None:
            more["SipResponseCode"] = str(call.sip_code)
        await tell("completed", call.status, **more)
        await reports.finish()

    async def _outcome(self, call: Call, phone: Phone | None) -> str:
        """Ring the phone, and return the final status of the call."""
        if phone is None or phone.behaviour is PhoneBehaviour.OFF:
            call.sip_code = 404 if phone is None else 480
            return "failed"
        await asyncio.sleep((self.step + phone.answers_after).total_seconds())
        return {PhoneBehaviour.BUSY: "busy", PhoneBehaviour.NO_ANSWER: "no-answer"}.get(phone.behaviour, "completed")


def _undelivered(sms: Sms, phone: Phone | None) -> int | None:
    """Return the error code if the SMS does not arrive, else `None`."""
    if phone is None:
        return 30005
    if phone.behaviour is PhoneBehaviour.OFF:
        return 30003
    return 30007 if objection(sms.to, sms.body) else None


def new_sid(prefix: str) -> str:
    return prefix + uuid.uuid4().hex
