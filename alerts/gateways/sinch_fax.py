"""Fax through Sinch Fax v3 (developers.sinch.com/docs/fax, successor of Phaxio)."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from email import message_from_bytes
from email.message import Message
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from alerts.model.channel import Channel
from alerts.model.gateway import (
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
    PageContent,
    SendRequest,
    SubmissionNotFound,
    SubmissionState,
)
from alerts.provider import DEADLINE_SECONDS, E164, Deadline, JsonApi, ProviderUrl, is_id, read_json

#: Status of a fax in Sinch's API, and the state of the submission that it means.
_PROGRESS = {
    "QUEUED": SubmissionState.ACCEPTED,
    "IN_PROGRESS": SubmissionState.SENT,
    "COMPLETED": SubmissionState.DELIVERED,
    "FAILURE": SubmissionState.FAILED,
}

#: Meaning of an errorType whose code is not in `_ERROR_CODES`. A document that cannot be converted is not sent again,
#: because the conversion would fail again.
_ERROR_TYPES = {
    "DOCUMENT_CONVERSION_ERROR": ErrorClass.PERMANENT,
    "CALL_ERROR": ErrorClass.TRANSIENT,
    "FAX_ERROR": ErrorClass.TRANSIENT,
    "LINE_ERROR": ErrorClass.TRANSIENT,
    "GENERAL_ERROR": ErrorClass.TRANSIENT,
    "FATAL_ERROR": ErrorClass.PERMANENT,
}

#: Meaning of an error, by errorType and errorCode.
_ERROR_CODES = {
    ("CALL_ERROR", 32): ErrorClass.PERMANENT,  # number not operational
    ("CALL_ERROR", 34): ErrorClass.PERMANENT,  # number not operational
    ("CALL_ERROR", 49): ErrorClass.PERMANENT,  # number not active
    ("FAX_ERROR", 31): ErrorClass.PERMANENT,  # incompatible machine
    ("FAX_ERROR", 68): ErrorClass.PERMANENT,  # incompatible machine
    ("FAX_ERROR", 46): ErrorClass.CONFIGURATION,  # no funds
    ("FAX_ERROR", 133): ErrorClass.CONFIGURATION,  # not permitted for this account
}

#: Name of the label (a key-value pair of a fax) that holds the reference of the attempt.
_LABEL = "pantau"
#: A larger number is not a valid page count.
_MAX_PAGES = 10_000
_MAX_CODE_LENGTH = 50
#: User name in the callback URL; the password is `callback_secret`.
_CALLBACK_USER = "pantau"


class SinchFaxSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    project_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
    key_id: str
    key_secret: SecretStr
    from_number: E164
    #: "https://apse1.fax.api.sinch.com" keeps the pages in South-East Asia.
    base_url: ProviderUrl = "https://fax.api.sinch.com"
    #: Password in the callback URL, because Sinch does not sign callbacks. `None`: no callbacks; the status is queried.
    callback_secret: Annotated[SecretStr, Field(min_length=16)] | None = None
    #: Number of redials by Sinch for each attempt, in addition to Pantau's own retries
    #: (`alerts.decide.gateway.next_action`), which stop when the incident ends. A redial after a half-received fax
    #: prints the pages twice.
    provider_retries: Annotated[int, Field(ge=0, le=2)] = 0
    proxy: SecretStr | None = None
    #: Deadline of a request. A request contains the document, so a slow line needs a longer one.
    deadline_seconds: Deadline = DEADLINE_SECONDS


class SinchFax:
    """Gateway that sends one document per call.

    Each attempt (one request to send) has a reference, which Sinch stores as a label of the fax.
    """

    def __init__(self, settings: SinchFaxSettings, context: GatewayContext) -> None:
        self._from = settings.from_number
        self._retries = settings.provider_retries
        self._faxes = f"{settings.base_url}/v3/projects/{settings.project_id}/faxes"
        self._provider = JsonApi(
            user=settings.key_id,
            password=settings.key_secret,
            proxy=settings.proxy,
            deadline=settings.deadline_seconds,
            read_error=lambda _body: None,  # The HTTP status decides.
        )
        secret = settings.callback_secret
        self._callback_base = context.callback_base if secret else None
        self._callback_login = f"{_CALLBACK_USER}:{secret.get_secret_value()}" if secret else ""

    async def send(self, request: SendRequest) -> DeliveryReport:
        content = request.content_as(PageContent)
        fax: dict[str, Any] = {
            "to": request.address,
            "from": self._from,
            "files": [{"file": base64.b64encode(content.pdf).decode(), "fileType": "PDF"}],
            "labels": {_LABEL: request.reference},
            "headerPageNumbers": True,
            "headerTimeZone": "Asia/Kuala_Lumpur",
            # The pages are black text on white. Half-tones would blur the text and take longer to transmit.
            "resolution": "FINE",
            "imageConversionMethod": "MONOCHROME",
            "maxRetries": self._retries,
        }
        if content.sender:
            fax["headerText"] = content.sender
        if self._callback_base:
            fax["callbackUrl"] = _add_login(f"{self._callback_base}/done/{request.reference}", self._callback_login)
            fax["callbackUrlContentType"] = "application/json"
        return _report(await self._provider.submit(self._faxes, json=fax), ErrorClass.UNKNOWN)

    async def find(self, request: SendRequest) -> DeliveryReport | SubmissionNotFound:
        # The query filters by number, and the label is compared here. The syntax of Sinch's label filter is not
        # documented. With a wrong filter, the fax would not be found and would be sent twice.
        for fax in await self._list_faxes({"to": request.address, "direction": "OUTBOUND", "pageSize": "1000"}):
            if isinstance(fax, dict) and _reference_of(fax) == request.reference:
                return _report(fax, ErrorClass.TRANSIENT)
        return SubmissionNotFound(certain=False)

    async def check(self, request: SendRequest, provider_id: str) -> DeliveryReport:  # noqa: ARG002 - queried by Sinch's id
        return _report(await self._provider.query(f"{self._faxes}/{provider_id}"), ErrorClass.TRANSIENT)

    async def verify(self) -> None:
        await self._list_faxes({"pageSize": "1"})

    async def handle_callback(self, callback: CallbackRequest, handler: CallbackHandler) -> CallbackResponse:
        self._authenticate(callback)
        match callback.path.split("/"):
            case ["done", reference]:
                pass
            case _:
                raise CallbackRejectedError(404, "no such callback")
        event = _read_event(callback)
        fax = event.get("fax")
        if (
            event.get("event") != "FAX_COMPLETED"
            or not isinstance(fax, dict)
            or str(fax.get("status")) not in _PROGRESS
        ):
            raise CallbackRejectedError(400, "not a completed fax")
        if _reference_of(fax) not in {None, reference}:
            raise CallbackRejectedError(400, "the label belongs to another fax")
        try:
            report = _report(fax, ErrorClass.UNKNOWN)
        except DeliveryError:
            raise CallbackRejectedError(400, "a fax without an id") from None
        event_id = f"{report.provider_id}/{fax['status']}"
        await handler.record(CallbackEvent(reference=reference, event_id=event_id, report=report))
        # Sinch repeats a callback up to 16 times unless the status is 200.
        return CallbackResponse(status=200)

    async def close(self) -> None:
        await self._provider.close()

    async def _list_faxes(self, params: Mapping[str, str]) -> Sequence[Any]:
        faxes = (await self._provider.query(self._faxes, params=params)).get("faxes")
        if not isinstance(faxes, list):
            raise DeliveryError(ErrorClass.TRANSIENT, "the list was not understood")
        return faxes

    def _authenticate(self, callback: CallbackRequest) -> None:
        credentials = callback.header("authorization")
        expected = "Basic " + base64.b64encode(self._callback_login.encode()).decode()
        if not self._callback_login or not hmac.compare_digest(credentials.encode(), expected.encode()):
            raise CallbackRejectedError(403, "the callback's password is missing or wrong")


def _add_login(url: str, login: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))


def _read_event(callback: CallbackRequest) -> Mapping[str, Any]:
    """Read a callback, which is JSON (as requested) or a multipart form (Sinch's default)."""
    content_type = callback.header("content-type")
    try:
        if content_type.lower().startswith("multipart/"):
            parts = _read_multipart(content_type, callback.body)
            event = {"event": parts.get("event", "").strip('"'), "fax": read_json(parts.get("fax", "").encode())}
        else:
            event = read_json(callback.body)
    except (ValueError, RecursionError):
        raise CallbackRejectedError(400, "not JSON") from None
    if not isinstance(event, dict):
        raise CallbackRejectedError(400, "not an event")
    return event


def _read_multipart(content_type: str, body: bytes) -> Mapping[str, str]:
    """Return the fields of a multipart form (RFC 7578) by name, without the attached fax document."""
    message = message_from_bytes(b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n" + body)
    parts = message.get_payload() if message.is_multipart() else ()
    return {
        str(part.get_param("name", header="content-disposition")): bytes(part.get_payload(decode=True) or b"").decode()
        for part in parts
        if isinstance(part, Message) and not part.is_multipart() and part.get_filename() is None
    }


def _reference_of(fax: Mapping[str, Any]) -> str | None:
    """Return the reference in the label of a fax; `None` if the fax has no such label."""
    labels = fax.get("labels")
    label = labels.get(_LABEL) if isinstance(labels, dict) else None
    return None if label is None else str(label)


def _report(fax: Mapping[str, Any], ambiguous: ErrorClass) -> DeliveryReport:
    """Return the state of a fax. Raise `DeliveryError` with the class *ambiguous* if the fax has no id.

    After a submission this class is UNKNOWN, because Sinch may have accepted the fax.
    """
    if not is_id(fax.get("id")):
        raise DeliveryError(ambiguous, "an answer without an id")
    # An unknown status counts as accepted, because the fax has an id.
    progress = _PROGRESS.get(str(fax.get("status")), SubmissionState.ACCEPTED)
    if progress is not SubmissionState.FAILED:
        return DeliveryReport(progress=progress, provider_id=str(fax["id"]))
    sent, pages = fax.get("pagesSentSuccessfully"), fax.get("numberOfPages")
    has_page_counts = all(type(number) is int and 0 <= number <= _MAX_PAGES for number in (sent, pages))
    error_type, code = str(fax.get("errorType") or "")[:_MAX_CODE_LENGTH], fax.get("errorCode")
    return DeliveryReport(
        progress=progress,
        provider_id=str(fax["id"]),
        error=_error_class(error_type, code),
        code=f"{error_type}/{code}"[:_MAX_CODE_LENGTH],
        detail=f"{sent} of {pages} pages" if sent and has_page_counts else "",
    )


def _error_class(error_type: str, code: object) -> ErrorClass:
    if isinstance(code, int) and (error_type, code) in _ERROR_CODES:
        return _ERROR_CODES[error_type, code]
    return _ERROR_TYPES.get(error_type, ErrorClass.TRANSIENT)


GATEWAY = GatewayKind(name="sinch_fax", channel=Channel.FAX, config=SinchFaxSettings, build=SinchFax)
