"""Calls through Twilio (Calls resource of the 2010-04-01 API), acknowledged by a key.

A completed call proves only that the line was answered, perhaps by voicemail. A call in which nobody presses a key
counts as failed. Only key 1 acknowledges, and "thank you" is spoken after the acknowledgement is stored. Key 4
escalates to the next staff member. Key 5 starts the release of an announcement: a person approves, with a PIN, that
the agency's recipients are notified.

*reference*: of an attempt (one request to send). *index*: of the script (the text in one language) that is spoken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from alerts.gateways.twilio import twiml
from alerts.gateways.twilio.api import Twilio, TwilioSettings, parse_count, sid_in
from alerts.model.channel import Channel
from alerts.model.gateway import (
    MAX_CALL_DURATION,
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

ACKNOWLEDGE, REPEAT, OTHER_LANGUAGE, ESCALATE, RELEASE = "1", "2", "3", "4", "5"

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

#: Number of times that a menu is repeated without a key before the call ends.
MAX_SILENT_REPEATS = 2

#: Maximum time between the end of the POST's deadline and the creation of the call that the POST asked for. Twilio
#: stores neither our reference nor the text with a call, so a call is found by its number and time. A call that is
#: created later belongs to another attempt.
_CREATED_AFTER_DEADLINE = timedelta(seconds=20)

_TWIML = "text/xml"

_DEFAULT_VOICES = {"ms-MY": "Google.ms-MY-Wavenet-A", "en-GB": "Google.en-GB-Wavenet-A"}


def _with_default_voices(voices: Mapping[str, str]) -> Mapping[str, str]:
    """Return *voices*, completed by the default voices of the languages that it lacks.

    Raise `ValueError` for a voice that does not speak its language.
    """
    for language, voice in voices.items():
        # Twilio aborts a call with a voice of another language. Only Google's voice names contain the language.
        if voice.startswith("Google.") and not voice.startswith(f"Google.{language}-"):
            raise ValueError(f"{voice} does not speak {language}; write one whose name begins with Google.{language}-")
    return {**_DEFAULT_VOICES, **voices}


def _with_short_pauses(extension: str) -> str:
    """Return the extension with each pause of one second ("W") as two of half a second ("w").

    Twilio documents "W" on some pages only.
    """
    return extension.replace("W", "ww")


class TwilioVoiceSettings(TwilioSettings):
    #: Shown to staff: publish it to them. Malaysian caller ids are not supported for calls into Malaysia.
    from_number: E164
    #: Most voicemail systems answer later than 25 s.
    ring_seconds: Annotated[int, Field(ge=5, le=600)] = 25
    gather_timeout_seconds: Annotated[int, Field(ge=1, le=60)] = 8
    #: Twilio voice by BCP 47 language; a language that is not listed has its default voice.
    voices: Annotated[
        Mapping[str, Annotated[str, StringConstraints(min_length=1)]], AfterValidator(_with_default_voices)
    ] = _DEFAULT_VOICES


class TwilioVoice:
    """Gateway that places calls, speaks scripts (texts, one per language) and receives keys.

    Without a callback URL the gateway cannot receive keys, and only speaks.
    """

    def __init__(self, settings: TwilioVoiceSettings, context: GatewayContext) -> None:
        self._from = settings.from_number
        self._ring_seconds = settings.ring_seconds
        self._voices = twiml.Voices(names=settings.voices, gather_timeout_seconds=settings.gather_timeout_seconds)
        self._callback_base = context.callback_base
        self._created_within = timedelta(seconds=settings.deadline_seconds) + _CREATED_AFTER_DEADLINE
        self._twilio = Twilio(settings)

    async def send(self, request: SendRequest) -> DeliveryReport:
        form: dict[str, str | Sequence[str]] = {
            "To": request.address,
            "From": self._from,
            "Timeout": str(self._ring_seconds),
            # A switchboard may keep a call open.
            "TimeLimit": str(max(60, int(MAX_CALL_DURATION.total_seconds()) - self._ring_seconds)),
        }
        if request.extension:
            form["SendDigits"] = _with_short_pauses(request.extension)
        form |= self._speech_parameters(request)
        return self._read_call(await self._twilio.create("Calls", form))

    async def find(self, request: SendRequest) -> DeliveryReport | SubmissionNotFound:
        for call in await self._twilio.created_for(request, "Calls", self._created_within):
            if call.get("from") == self._from:
                return self._read_call(call)
        return SubmissionNotFound(certain=False)

    async def check(self, request: SendRequest, provider_id: str) -> DeliveryReport:  # noqa: ARG002 - queried by Twilio's id
        return self._read_call(await self._twilio.read(f"Calls/{provider_id}"))

    async def verify(self) -> None:
        await self._twilio.verify("Calls")

    async def handle_callback(self, callback: CallbackRequest, handler: CallbackHandler) -> CallbackResponse:
        self._twilio.authenticate(callback)
        match callback.path.split("/"):
            case ["status", reference]:
                return await self._status(reference, callback, handler)
            case ["speak", reference]:
                return await self._speak(reference, handler, index=0, silent_count=0)
            case ["key", reference, index, silent_count] if _is_digit(index) and _is_digit(silent_count):
                return await self._handle_key(
                    reference, callback, handler, index=int(index), silent_count=int(silent_count)
                )
            case ["pin", reference, index] if _is_digit(index):
                return await self._pin(reference, callback, handler, int(index))
            case ["confirm", reference, index] if _is_digit(index):
                return await self._confirm(reference, callback, handler, int(index))
            case _:
                raise CallbackRejectedError(404, "no such callback")

    async def close(self) -> None:
        await self._twilio.close()

    def _speech_parameters(self, request: SendRequest) -> Mapping[str, str | Sequence[str]]:
        scripts = request.content_as(VoiceContent).scripts
        if self._callback_base is None:
            document = twiml.speak_without_menu(scripts, self._voices)
            if document is None:
                raise DeliveryError(ErrorClass.PERMANENT, "the script is too long to be spoken without a callback")
            return {"Twiml": document}
        speak = f"{self._callback_base}/speak/{request.reference}"
        document = self._menu(request.reference, scripts, index=0, silent_count=0)
        return {
            # A document that is too long for the request is fetched by Twilio when the call is answered.
            **({"Twiml": document} if len(document) <= twiml.MAX_INLINE else {"Url": speak}),
            # After an error of this service the person hears the menu again, not "an application error has occurred".
            "FallbackUrl": speak,
            "StatusCallback": f"{self._callback_base}/status/{request.reference}",
            "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
        }

    def _menu(self, reference: str, scripts: Sequence[Script], *, index: int, silent_count: int) -> str:
        """Return the document for the script at *index*; *silent_count*: repetitions without a key so far."""
        index %= len(scripts)
        return twiml.menu(
            scripts, index, self._voices, action=f"{self._callback_base}/key/{reference}/{index}/{silent_count}"
        )

    async def _status(self, reference: str, callback: CallbackRequest, handler: CallbackHandler) -> CallbackResponse:
        sid, status = sid_in(callback, "CallSid"), callback.field("CallStatus")
        if status not in PROGRESS:
            raise CallbackRejectedError(400, "not a status of a call")
        report = self._read_call({"sid": sid, "status": status, "sip": callback.field("SipResponseCode")})
        # The sequence number identifies a status callback; without a valid number, the status identifies it.
        sequence = parse_count(callback.field("SequenceNumber"))
        event_id = f"{sid}/{status if sequence is None else sequence}"
        await handler.record(CallbackEvent(reference=reference, event_id=event_id, report=report))
        return CallbackResponse()

    async def _speak(
        self, reference: str, handler: CallbackHandler, *, index: int, silent_count: int
    ) -> CallbackResponse:
        scripts = await _scripts(reference, handler)
        if scripts is None:
            return _twiml_response(twiml.hang_up())
        return _twiml_response(self._menu(reference, scripts, index=index, silent_count=silent_count))

    async def _handle_key(
        self, reference: str, callback: CallbackRequest, handler: CallbackHandler, *, index: int, silent_count: int
    ) -> CallbackResponse:
        key = callback.field("Digits")
        if key == ACKNOWLEDGE:
            return await self._acknowledge(reference, callback, handler, index)
        if key:
            await _record_person(reference, callback, handler)
        script = await _script_at(reference, handler, index)
        match key:
            # `Script.escalated` is spoken after the escalation; it is "" if the call does not offer key 4.
            case key if key == ESCALATE and script and script.escalated:
                return await self._acknowledge(reference, callback, handler, index, escalates=True)
            case key if key == RELEASE and script and script.may_release:
                return await self._speak_release_prompt(
                    reference, await handler.begin_release(reference), handler, index
                )
            case key if key == REPEAT:
                return await self._speak(reference, handler, index=index, silent_count=0)
            case key if key == OTHER_LANGUAGE:
                return await self._speak(reference, handler, index=index + 1, silent_count=0)
            case _ if silent_count < MAX_SILENT_REPEATS:
                return await self._speak(reference, handler, index=index, silent_count=silent_count + 1)
            case _:
                return _twiml_response(
                    twiml.farewell(script.goodbye, script.language, self._voices) if script else twiml.hang_up()
                )

    async def _acknowledge(
        self,
        reference: str,
        callback: CallbackRequest,
        handler: CallbackHandler,
        index: int,
        *,
        escalates: bool = False,
    ) -> CallbackResponse:
        """Record that the person acknowledges or, if *escalates*, escalates. Speak the result."""
        sid = sid_in(callback, "CallSid")
        event = CallbackEvent(
            reference=reference,
            event_id=f"{sid}/key/{ESCALATE if escalates else ACKNOWLEDGE}",
            # `in_call`: the call goes on, and its end is reported separately.
            report=DeliveryReport(progress=SubmissionState.DELIVERED, provider_id=sid, in_call=True),
            acknowledged=not escalates,
            escalated=escalates,
        )
        # The acknowledgement is stored before it is confirmed, so that nobody relies on an acknowledgement that was
        # lost.
        result = await handler.record(event)
        script = await _script_at(reference, handler, index)
        if script is None:
            return _twiml_response(twiml.hang_up())
        texts = dict.fromkeys((AckResult.TAKEN, AckResult.PROLONGED, AckResult.AGAIN), script.thanks)
        texts[AckResult.ALREADY] = script.already
        texts[AckResult.ESCALATED] = script.escalated
        texts[AckResult.NOBODY_LEFT] = script.nobody_left or script.escalated
        texts[AckResult.WORSE] = script.worse or script.thanks
        text = texts.get(result, script.over or script.goodbye)
        return _twiml_response(twiml.farewell(text, script.language, self._voices))

    def _read_call(self, call: Mapping[str, Any]) -> DeliveryReport:
        return _report(call, accepts_keys=self._callback_base is not None)

    async def _pin(
        self, reference: str, callback: CallbackRequest, handler: CallbackHandler, index: int
    ) -> CallbackResponse:
        pin = callback.field("Digits")
        # Without input the PIN is not verified, so a person who hangs up is not locked out for a wrong PIN.
        prompt = await (handler.verify_pin(reference, pin) if pin else handler.begin_release(reference))
        return await self._speak_release_prompt(reference, prompt, handler, index, has_input=bool(pin))

    async def _confirm(
        self, reference: str, callback: CallbackRequest, handler: CallbackHandler, index: int
    ) -> CallbackResponse:
        if callback.field("Digits") == ACKNOWLEDGE:
            return await self._speak_release_prompt(reference, await handler.release(reference), handler, index)
        prompt = await handler.begin_release(reference)
        return await self._speak_release_prompt(reference, prompt, handler, index, has_input=False)

    async def _speak_release_prompt(
        self, reference: str, prompt: ReleasePrompt, handler: CallbackHandler, index: int, *, has_input: bool = True
    ) -> CallbackResponse:
        """Speak the next step of a release, and wait for input if the step needs any.

        *has_input*: the person has pressed the expected keys. Otherwise, the prompt may have a text that ends the call.
        """
        script = await _script_at(reference, handler, index)
        if script is None:
            return _twiml_response(twiml.hang_up())
        if not has_input and prompt.fallback_texts:
            return _twiml_response(
                twiml.farewell(prompt.fallback_texts[script.language], script.language, self._voices)
            )
        text = prompt.texts[script.language]
        step = {ReleaseStage.PIN: "pin", ReleaseStage.CONFIRM: "confirm"}.get(prompt.stage)
        if step is None:
            return _twiml_response(twiml.farewell(text, script.language, self._voices))
        action = f"{self._callback_base}/{step}/{reference}/{index}"
        document = twiml.question(
            text, script.language, self._voices, action=action, all_digits=prompt.stage is ReleaseStage.PIN
        )
        return _twiml_response(document)


def _report(call: Mapping[str, Any], *, accepts_keys: bool) -> DeliveryReport:
    """Return the state of *call*, which is Twilio's answer to a request, a callback, or an item of a list.

    *accepts_keys*: the call can receive keys. If so, a completed call counts as failed.
    """
    report = _read_status(call)
    if report.progress is not SubmissionState.DELIVERED or not accepts_keys:
        # A call that cannot receive keys counts as delivered when it was answered.
        return report
    return replace(
        report,
        progress=SubmissionState.FAILED,
        error=ErrorClass.TRANSIENT,
        code=NO_KEY,
        detail="answered, and no key was pressed: perhaps by a voicemail",
    )


def _read_status(call: Mapping[str, Any]) -> DeliveryReport:
    # An unknown status counts as accepted, because the call has a sid.
    status = str(call.get("status"))
    progress = PROGRESS.get(status, SubmissionState.ACCEPTED)
    has_failed = progress is SubmissionState.FAILED
    return DeliveryReport(
        progress=progress,
        provider_id=str(call["sid"]),
        # A call to an invalid number is retried, too: Twilio reports "failed" both for it and for temporary failures.
        error=ErrorClass.TRANSIENT if has_failed else None,
        code=status if has_failed else "",
        detail=f"SIP {call['sip']}" if has_failed and call.get("sip") else "",
    )


async def _record_person(reference: str, callback: CallbackRequest, handler: CallbackHandler) -> None:
    """Record that a person answered the call. The pressed key proves it, because voicemail presses no keys."""
    sid = sid_in(callback, "CallSid")
    report = DeliveryReport(progress=SubmissionState.DELIVERED, provider_id=sid, in_call=True)
    await handler.record(CallbackEvent(reference=reference, event_id=f"{sid}/key", report=report))


async def _script_at(reference: str, handler: CallbackHandler, index: int) -> Script | None:
    scripts = await _scripts(reference, handler)
    return None if scripts is None else scripts[index % len(scripts)]


async def _scripts(reference: str, handler: CallbackHandler) -> Sequence[Script] | None:
    """Return the scripts of a call; `None` for an unknown attempt.

    Raise `CallbackRejectedError` if the attempt is not a call.
    """
    content = await handler.content(reference)
    if content is None:
        return None
    if not isinstance(content, VoiceContent):
        raise CallbackRejectedError(404, "not a call of ours")
    return content.scripts


def _twiml_response(document: str) -> CallbackResponse:
    return CallbackResponse(status=200, body=document, media_type=_TWIML)


def _is_digit(text: str) -> bool:
    return len(text) == 1 and text in "0123456789"


GATEWAY = GatewayKind(name="twilio_voice", channel=Channel.VOICE, config=TwilioVoiceSettings, build=TwilioVoice)
