"""Test doubles of the service's callback listener and callback handler, to test a gateway without the service."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from alerts.model.gateway import (
    AckResult,
    CallbackEvent,
    CallbackRejectedError,
    CallbackRequest,
    Content,
    Gateway,
    InboundSms,
    ReleasePrompt,
    ReleaseStage,
    SmsContent,
)


@dataclass(slots=True, kw_only=True)
class RecordingCallbackHandler:
    """Callback handler in memory, which records each event once."""

    #: Content of the notification by the attempt's reference.
    contents: dict[str, Content] = field(default_factory=dict)
    events: list[CallbackEvent] = field(default_factory=list)
    #: Ids of events that were received again.
    repeated: list[str] = field(default_factory=list)
    #: Whether somebody has acknowledged the incident.
    acknowledged: bool = False
    #: Whether the person who presses the key has acknowledged the incident before.
    theirs: bool = False
    #: Whether the incident has ended, so that it cannot be acknowledged.
    over: bool = False
    #: SMS from people, and the text of the reply to each; "": no reply.
    received: list[InboundSms] = field(default_factory=list)
    reply: str = ""
    #: PIN that releases an announcement, number of wrong PINs, and references of the calls that released one.
    pin: str = "280146"
    wrong_pins: int = 0
    released: list[str] = field(default_factory=list)
    #: Exception that `record` and `receive` raise, as if the database were unavailable; `None`: they work.
    broken: Exception | None = None

    async def record(self, event: CallbackEvent) -> AckResult:
        if self.broken is not None:
            raise self.broken
        if event.reference not in self.contents:
            return AckResult.OVER
        if any(earlier.event_id == event.event_id for earlier in self.events):
            self.repeated.append(event.event_id)
        else:
            self.events.append(event)
        if not (event.acknowledged or event.escalated):
            return AckResult.NONE
        if self.over:
            return AckResult.OVER
        if event.escalated:
            return AckResult.ESCALATED
        taken, self.acknowledged = not self.acknowledged, True
        return AckResult.TAKEN if taken else AckResult.AGAIN if self.theirs else AckResult.ALREADY

    async def content(self, reference: str) -> Content | None:
        return self.contents.get(reference)

    async def receive(self, sms: InboundSms) -> SmsContent | None:
        if self.broken is not None:
            raise self.broken
        if any(earlier.event_id == sms.event_id for earlier in self.received):
            self.repeated.append(sms.event_id)
            return None
        self.received.append(sms)
        return SmsContent(text=self.reply) if self.reply else None

    async def begin_release(self, reference: str) -> ReleasePrompt:
        return self._release(ReleaseStage.PIN if reference in self.contents else ReleaseStage.END, "masukkan PIN")

    async def verify_pin(self, reference: str, pin: str) -> ReleasePrompt:  # noqa: ARG002 - every call has this PIN
        if pin == self.pin:
            return self._release(ReleaseStage.CONFIRM, "akan dihantar kepada dua penerima")
        self.wrong_pins += 1
        return self._release(ReleaseStage.PIN if self.wrong_pins < 3 else ReleaseStage.END, "PIN salah")

    async def release(self, reference: str) -> ReleasePrompt:
        self.released.append(reference)
        return self._release(ReleaseStage.END, "telah dikeluarkan")

    def _release(self, stage: ReleaseStage, words: str) -> ReleasePrompt:
        texts = {language: f"{language}: {words}" for language in ("ms-MY", "en-GB")}
        fallback_texts = {language: f"{language}: tidak dikeluarkan" for language in texts}
        return ReleasePrompt(stage=stage, texts=texts, fallback_texts=fallback_texts)


@dataclass(slots=True, kw_only=True)
class CallbackListener:
    """HTTP listener that passes requests below `/<name>/` to the gateway of that name."""

    handler: RecordingCallbackHandler
    gateways: dict[str, Gateway] = field(default_factory=dict)
    #: Base URL that the providers call. The test sets it once the listener is served.
    public_base: str = ""
    refusals: list[CallbackRejectedError] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{name}/{path:path}", self._handle, methods=["POST", "GET"])])

    async def _handle(self, request: Request) -> Response:
        gateway = self.gateways.get(request.path_params["name"])
        if gateway is None:
            return Response(status_code=404)
        body = await request.body()
        form: dict[str, list[str]] = {}
        # Like the service's own listener: only the gateway parses other content types.
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            for key, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
                form.setdefault(key, []).append(value)
        query = f"?{request.url.query}" if request.url.query else ""
        incoming = CallbackRequest(
            path=request.path_params["path"],
            url=f"{self.public_base}{request.url.path}{query}",
            form=form,
            headers=dict(request.headers),
            body=body,
            peer=request.client.host if request.client else "",
        )
        try:
            answer = await gateway.handle_callback(incoming, self.handler)
        except CallbackRejectedError as refused:
            self.refusals.append(refused)
            return Response(status_code=refused.status)
        return Response(answer.body or None, status_code=answer.status, media_type=answer.media_type or None)
