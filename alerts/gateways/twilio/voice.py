"""Calls through Twilio (Calls resource of the 2010-04-01 API), acknowledged by a key.

A completed call proves only that the line was answered, perhaps by voicemail: without a key it has reached nobody and
counts as failed. Only key 1 acknowledges, and "thank you" is spoken after the acknowledgement is stored. Key 4
escalates to the next staff member; key 5 starts the release of an announcement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from alerts.gateways.twilio import twiml
from alerts.gateways.twilio.api import Twilio, TwilioSettings, count, sid_in
from alerts.model.channel import Channel
from alerts.model.gateway import (
    CALL_LASTS,
    NO_KEY,
    AckResult,
    CallbackEvent,
    CallbackHandler,
    CallbackRejectedError,
    CallbackRequest,
    CallbackResponse,
    DeliveryError,
    DeliveryReport,
    ErrorClass,
    GatewayContext,
    GatewayKind,
    ReleasePrompt,
    ReleaseStage,
    Script,
    SendRequest,
    SubmissionNotFound,
    SubmissionState,
    VoiceContent,
)
from alerts.provider import E164

ACKNOWLEDGE, REPEAT, OTHER_LANGUAGE, HAND_ON, RELEASE = "1", "2", "3", "4", "5"

#: Status values of the Call resource, and "initiated", which only callbacks use.
PROGRESS = {
    "queued": SubmissionState.ACCEPTED,
    "initiated": SubmissionState.ACCEPTED,
    "ringing": SubmissionState.SENT,
    "in-progress": SubmissionState.SENT,
    "completed": SubmissionState.DELIVERED,
    "busy": SubmissionState.FAILED,
    "no-answer": SubmissionState.FAILED,
    "failed": SubmissionState.FAILED,
    "canceled": SubmissionState.FAILED,
}

#: An unanswered menu is repeated this often before the call ends.
SILENT_REPEATS = 2

#: A call has no reference of ours, and its text cannot be queried. It was created within the deadline of our POST, so a
#: later call belongs to another attempt.
_CREATED_WITHIN = timedelta(seconds=30)

_TWIML = "text/xml"

_VOICES = {"ms-MY": "Google.ms-MY-Wavenet-A", "en-GB": "Google.en-GB-Wavenet-A"}


def _speaking(voices: Mapping[str, str]) -> Mapping[str, str]:
    """Add the default voices of other languages. Raise `ValueError` for a voice of another language."""
    for language, voice in voices.items():
        # Twilio aborts the call at such a voice. Names of Amazon's voices do not contain the language.
        if voice.startswith("Google.") and not voice.startswith(f"Google.{language}-"):
            raise ValueError(f"{voice} does not speak {language}; write one whose name begins with Google.{language}-")
    return {**_VOICES, **voices}


def _digits(extension: str) -> str:
    """Write a pause of one second as two of half a second: Twilio documents "w" everywhere, and "W" on some pages only."""
    return extension.replace("W", "ww")


class TwilioVoiceSettings(TwilioSettings):
    #: Shown to staff: publish it to them. Malaysian caller ids are not supported for calls into Malaysia.
    from_number: E164
    #: 25 s end before most voicemail systems answer.
    ring_seconds: Annotated[int, Field(ge=5, le=600)] = 25
    gather_timeout_seconds: Annotated[int, Field(ge=1, le=60)] = 8
    #: BCP 47 language to Twilio voice; others keep their default.
    voices: Annotated[Mapping[str, Annotated[str, StringConstraints(min_length=1)]], AfterValidator(_speaking)] = (
        _VOICES
    )


class TwilioVoice:
    """Places calls, speaks, and takes keys. Without a callback URL it only speaks."""

    def __init__(self, settings: TwilioVoiceSettings, surroundings: GatewayContext) -> None:
        self._from = settings.from_number
        self._ring_seconds = settings.ring_seconds
        self._voices = twiml.Voices(names=settings.voices, gather_timeout_seconds=settings.gather_timeout_seconds)
        self._base = surroundings.callback_base
        self._twilio = Twilio(settings)

    async def send(self, order: SendRequest) -> DeliveryReport:
        form: dict[str, str | Sequence[str]] = {
            "To": order.address,
            "From": self._from,
            "Timeout": str(self._ring_seconds),
            # Limits every call, whatever a switchboard does.
            "TimeLimit": str(max(60, int(CALL_LASTS.total_seconds()) - self._ring_seconds)),
        }
        if order.extension:
            form["SendDigits"] = _digits(order.extension)
        form |= self._speech(order)
        return self._read(await self._twilio.create("Calls", form))

    async def find(self, order: SendRequest) -> DeliveryReport | SubmissionNotFound:
        for call in await self._twilio.sent_to(order, "Calls", _CREATED_WITHIN):
            if call.get("from") == self._from:
                return self._read(call)
        return SubmissionNotFound(certain=False)

    async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:  # noqa: ARG002 - Twilio asks by its own id
        return self._read(await self._twilio.read(f"Calls/{provider_id}"))

    async def verify(self) -> None:
        await self._twilio.verify("Calls")

    async def hear(self, incoming: CallbackRequest, desk: CallbackHandler) -> CallbackResponse:
        self._twilio.authenticate(incoming)
        match incoming.path.split("/"):
            case ["status", reference]:
                return await self._status(reference, incoming, desk)
            case ["speak", reference]:
                return await self._speak(reference, desk, index=0, silent=0)
            case ["key", reference, index, silent] if _is_digit(index) and _is_digit(silent):
                return await self._key(reference, incoming, desk, index=int(index), silent=int(silent))
            case ["pin", reference, index] if _is_digit(index):
                return await self._pin(reference, incoming, desk, int(index))
            case ["confirm", reference, index] if _is_digit(index):
                return await self._confirm(reference, incoming, desk, int(index))
            case _:
                raise CallbackRejectedError(404, "no such callback")

    async def close(self) -> None:
        await self._twilio.close()

    def _speech(self, order: SendRequest) -> Mapping[str, str | Sequence[str]]:
        scripts = order.carried(VoiceContent).scripts
        if self._base is None:
            document = twiml.recital(scripts, self._voices)
            if document is None:
                raise DeliveryError(ErrorClass.PERMANENT, "the script is too long to be spoken without a callback")
            return {"Twiml": document}
        speak = f"{self._base}/speak/{order.reference}"
        document = self._menu(order.reference, scripts, index=0, silent=0)
        return {
            # Inline if it fits: an answered call then needs no request to us before it speaks.
            **({"Twiml": document} if len(document) <= twiml.LONGEST_INLINE else {"Url": speak}),
            # After an error of ours the person hears the menu again, not "an application error has occurred".
            "FallbackUrl": speak,
            "StatusCallback": f"{self._base}/status/{order.reference}",
            "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
        }

    def _menu(self, reference: str, scripts: Sequence[Script], *, index: int, silent: int) -> str:
        index %= len(scripts)
        return twiml.menu(scripts, index, self._voices, action=f"{self._base}/key/{reference}/{index}/{silent}")

    async def _status(self, reference: str, incoming: CallbackRequest, desk: CallbackHandler) -> CallbackResponse:
        sid, status = sid_in(incoming, "CallSid"), incoming.field("CallStatus")
        if status not in PROGRESS:
            raise CallbackRejectedError(400, "not a status of a call")
        report = self._read({"sid": sid, "status": status, "sip": incoming.field("SipResponseCode")})
        # Status callbacks are ordered; a sequence number that is none cannot tell two apart.
        sequence = count(incoming.field("SequenceNumber"))
        event_id = f"{sid}/{status if sequence is None else sequence}"
        await desk.record(CallbackEvent(reference=reference, event_id=event_id, report=report))
        return CallbackResponse()

    async def _speak(self, reference: str, desk: CallbackHandler, *, index: int, silent: int) -> CallbackResponse:
        scripts = await _told(reference, desk)
        if scripts is None:
            return _answer(twiml.silence())
        return _answer(self._menu(reference, scripts, index=index, silent=silent))

    async def _key(
        self, reference: str, incoming: CallbackRequest, desk: CallbackHandler, *, index: int, silent: int
    ) -> CallbackResponse:
        key = incoming.field("Digits")
        if key == ACKNOWLEDGE:
            return await self._acknowledge(reference, incoming, desk, index)
        if key:
            await _note_person(reference, incoming, desk)
        script = await _script(reference, desk, index)
        match key:
            case key if key == HAND_ON and script and script.escalated:
                return await self._acknowledge(reference, incoming, desk, index, hands_on=True)
            case key if key == RELEASE and script and script.may_release:
                return await self._ask_release(reference, await desk.begin_release(reference), desk, index)
            case key if key == REPEAT:
                return await self._speak(reference, desk, index=index, silent=0)
            case key if key == OTHER_LANGUAGE:
                return await self._speak(reference, desk, index=index + 1, silent=0)
            case _ if silent < SILENT_REPEATS:
                return await self._speak(reference, desk, index=index, silent=silent + 1)
            case _:
                return _answer(
                    twiml.farewell(script.goodbye, script.language, self._voices) if script else twiml.silence()
                )

    async def _acknowledge(
        self, reference: str, incoming: CallbackRequest, desk: CallbackHandler, index: int, *, hands_on: bool = False
    ) -> CallbackResponse:
        """Record an answer to the call: the person acknowledges or escalates."""
        sid = sid_in(incoming, "CallSid")
        heard = CallbackEvent(
            reference=reference,
            event_id=f"{sid}/key/{HAND_ON if hands_on else ACKNOWLEDGE}",
            report=DeliveryReport(progress=SubmissionState.DELIVERED, provider_id=sid, in_call=True),
            acknowledged=not hands_on,
            escalated=hands_on,
        )
        # Store first. The spoken answer follows the stored state, so nobody relies on a lost acknowledgement.
        result = await desk.record(heard)
        script = await _script(reference, desk, index)
        if script is None:
            return _answer(twiml.silence())
        words = dict.fromkeys((AckResult.TAKEN, AckResult.PROLONGED, AckResult.AGAIN), script.thanks)
        words[AckResult.ALREADY] = script.already
        words[AckResult.ESCALATED] = script.escalated
        words[AckResult.NOBODY_LEFT] = script.nobody_left or script.escalated
        words[AckResult.WORSE] = script.worse or script.thanks
        text = words.get(result, script.over or script.goodbye)
        return _answer(twiml.farewell(text, script.language, self._voices))

    def _read(self, call: Mapping[str, Any]) -> DeliveryReport:
        return _report(call, keys=self._base is not None)

    async def _pin(
        self, reference: str, incoming: CallbackRequest, desk: CallbackHandler, index: int
    ) -> CallbackResponse:
        pin = incoming.field("Digits")
        # Silence is no wrong PIN: hanging up must not lock anybody out.
        answer = await (desk.prove_release(reference, pin) if pin else desk.begin_release(reference))
        return await self._ask_release(reference, answer, desk, index, typed=bool(pin))

    async def _confirm(
        self, reference: str, incoming: CallbackRequest, desk: CallbackHandler, index: int
    ) -> CallbackResponse:
        if incoming.field("Digits") == ACKNOWLEDGE:
            return await self._ask_release(reference, await desk.release(reference), desk, index)
        answer = await desk.begin_release(reference)
        return await self._ask_release(reference, answer, desk, index, typed=False)

    async def _ask_release(
        self, reference: str, answer: ReleasePrompt, desk: CallbackHandler, index: int, *, typed: bool = True
    ) -> CallbackResponse:
        """Speak the next step of a release and wait for input; *typed*: a key was pressed, so a person is there."""
        script = await _script(reference, desk, index)
        if script is None:
            return _answer(twiml.silence())
        if not typed and answer.otherwise:
            return _answer(twiml.farewell(answer.otherwise[script.language], script.language, self._voices))
        text = answer.words[script.language]
        step = {ReleaseStage.PIN: "pin", ReleaseStage.CONFIRM: "confirm"}.get(answer.stage)
        if step is None:
            return _answer(twiml.farewell(text, script.language, self._voices))
        action, whole = f"{self._base}/{step}/{reference}/{index}", answer.stage is ReleaseStage.PIN
        return _answer(twiml.question(text, script.language, self._voices, action=action, whole=whole))


def _report(call: Mapping[str, Any], *, keys: bool) -> DeliveryReport:
    """Read an answer, a callback or a list item. *keys*: whether keys can be received."""
    report = _whatever_it_was(call)
    if report.progress is not SubmissionState.DELIVERED or not keys:
        # Without keys, an answered call is the best possible result.
        return report
    return replace(
        report,
        progress=SubmissionState.FAILED,
        error=ErrorClass.TRANSIENT,
        code=NO_KEY,
        detail="answered, and no key was pressed: perhaps by a voicemail",
    )


def _whatever_it_was(call: Mapping[str, Any]) -> DeliveryReport:
    # An unknown status counts as accepted, because the call has a sid.
    status = str(call.get("status"))
    progress = PROGRESS.get(status, SubmissionState.ACCEPTED)
    failed = progress is SubmissionState.FAILED
    return DeliveryReport(
        progress=progress,
        provider_id=str(call["sid"]),
        # Nobody answered. An invalid number looks the same ("failed"), so no number is given up here.
        error=ErrorClass.TRANSIENT if failed else None,
        code=status if failed else "",
        detail=f"SIP {call['sip']}" if failed and call.get("sip") else "",
    )


async def _note_person(reference: str, incoming: CallbackRequest, desk: CallbackHandler) -> None:
    """Record that a person is present: voicemail presses no key."""
    sid = sid_in(incoming, "CallSid")
    report = DeliveryReport(progress=SubmissionState.DELIVERED, provider_id=sid, in_call=True)
    await desk.record(CallbackEvent(reference=reference, event_id=f"{sid}/key", report=report))


async def _script(reference: str, desk: CallbackHandler, index: int) -> Script | None:
    scripts = await _told(reference, desk)
    return None if scripts is None else scripts[index % len(scripts)]


async def _told(reference: str, desk: CallbackHandler) -> Sequence[Script] | None:
    """Return what a call speaks, or `None` without such an attempt. Raise `CallbackRejectedError` if it is no call."""
    content = await desk.content(reference)
    if content is None:
        return None
    if not isinstance(content, VoiceContent):
        raise CallbackRejectedError(404, "not a call of ours")
    return content.scripts


def _answer(document: str) -> CallbackResponse:
    return CallbackResponse(status=200, body=document, media_type=_TWIML)


def _is_digit(text: str) -> bool:
    return len(text) == 1 and text in "0123456789"


GATEWAY = GatewayKind(name="twilio_voice", channel=Channel.VOICE, config=TwilioVoiceSettings, build=TwilioVoice)
