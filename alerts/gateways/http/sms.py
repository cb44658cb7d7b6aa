"""SMS gateway for any provider whose HTTP interface the configuration describes (a profile).

How to write a profile: docs/how-to/operator/sms-providers.md.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import ipaddress
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from alerts.gateways.http.profile import (
    OTHERWISE,
    Callback,
    HttpSmsSettings,
    Method,
    Receipts,
    Request,
    ResponseFields,
    split_list,
)
from alerts.gateways.http.reading import classify, credentials, fill, node_at, report, select, value_at
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
    InboundSms,
    SendRequest,
    SmsContent,
    SubmissionNotFound,
    SubmissionState,
)
from alerts.provider import ErrorMeaning, HttpClient, InboxPoll, ProviderResponse, is_id, read_json, rejection_error

#: Start of each SMS that is free for its recipient.
_FREE_PREFIX = "RM0 "
_E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)
_MALAYSIA = "+60"
#: Validity of the answer to a person's reply.
_ANSWER_VALIDITY = timedelta(minutes=10)


class HttpSms:
    """Gateway that submits each SMS once.

    Each attempt (one request to send) has a reference. Where the provider accepts it, the reference finds the SMS again
    in status queries and callbacks; otherwise the provider's id does.
    """

    def __init__(self, settings: HttpSmsSettings, context: GatewayContext) -> None:
        self._settings = settings
        self._callback_base = context.callback_base
        self._credentials = credentials(settings)
        self._client = HttpClient(proxy=settings.proxy, deadline=settings.deadline_seconds)
        self._inbox_poll = InboxPoll()

    async def send(self, request: SendRequest) -> DeliveryReport:
        validity = request.expires_at - request.created_at
        id_ = await self._submit(request.address, request.content_as(SmsContent).text, request.reference, validity)
        return DeliveryReport(progress=SubmissionState.ACCEPTED, provider_id=id_)

    async def find(self, request: SendRequest) -> DeliveryReport | SubmissionNotFound:
        receipts = self._settings.receipts
        if receipts is None or "reference" not in receipts.placeholders:
            # Without the reference in the query, the message cannot be found.
            return SubmissionNotFound(certain=False)
        return await self._query_status(receipts, request, "") or SubmissionNotFound(certain=False)

    async def check(self, request: SendRequest, provider_id: str) -> DeliveryReport:
        receipts = self._settings.receipts
        if receipts is None:
            # The status cannot be queried, but a callback may report it.
            return DeliveryReport(progress=SubmissionState.ACCEPTED, provider_id=provider_id)
        status = await self._query_status(receipts, request, provider_id)
        if status is None:
            raise DeliveryError(ErrorClass.TRANSIENT, "the provider has no such message")
        return status

    async def handle_callback(self, callback_request: CallbackRequest, handler: CallbackHandler) -> CallbackResponse:
        callback = self._settings.callback
        if callback is None:
            raise CallbackRejectedError(404, "no such callback")
        received = _ReceivedCallback(callback_request, callback)
        received.authenticate()
        match callback_request.path.split("/"):
            case ["status", *reference] if callback.state is not None and len(reference) <= 1:
                await self._record_states(received, callback, handler, next(iter(reference), ""))
            case ["sms"] if callback.reply is not None:
                await self._receive_replies(received, callback.reply, handler)
            case _:
                raise CallbackRejectedError(404, "no such callback")
        return CallbackResponse(status=200)

    @property
    def receives_replies(self) -> bool:
        callback = self._settings.callback
        has_callback = callback is not None and callback.reply is not None and self._callback_base is not None
        return has_callback or self._settings.inbox is not None

    async def collect(self, since: datetime, handler: CallbackHandler) -> None:  # noqa: ARG002 - duplicates are detected by their id
        inbox = self._settings.inbox
        if inbox is None:
            return
        received = await self._exchange(inbox, self._credentials, ErrorClass.TRANSIENT)
        try:
            listed = node_at(read_json(received.body), inbox.list) if received.is_success else None
        except ValueError:
            listed = None
        if not isinstance(listed, list):
            raise rejection_error(received, None, ErrorClass.TRANSIENT)
        paths = (inbox.sender, inbox.text, inbox.id)
        candidates = (_inbound_sms(*(value_at(item, path) or "" for path in paths)) for item in listed)
        messages = [sms for sms in candidates if sms is not None]
        for sender, answer in await self._inbox_poll.pass_on(messages, handler):
            await self._send_answer(sender, answer)

    async def close(self) -> None:
        await self._client.close()

    async def _submit(self, address: str, text: str, reference: str, validity: timedelta) -> str:
        """Submit one SMS once. Return the provider's id; without one, *reference*. Raise `DeliveryError`."""
        if self._settings.adds_prefix:
            text = text.removeprefix(_FREE_PREFIX)
        values = self._credentials | _number_formats(address, self._settings) | _validity_values(validity)
        values |= {"text": text, "reference": reference, "callback": self._callback_url(reference)}
        received = await self._exchange(self._settings, values, ErrorClass.UNKNOWN)
        match classify(self._settings.answer, is_success=received.is_success, body=received.body):
            case str(id_):
                return id_ or reference
            case ErrorMeaning() as verdict:
                raise rejection_error(received, verdict, ErrorClass.UNKNOWN)
            case _:
                raise rejection_error(received, None, ErrorClass.UNKNOWN)

    async def _query_status(self, receipts: Receipts, request: SendRequest, provider_id: str) -> DeliveryReport | None:
        """Return the status of a message from the provider; `None` if the provider does not know the message."""
        answer = self._settings.answer
        number = _number_formats(request.address, receipts)
        values = self._credentials | number | {"reference": request.reference, "id": provider_id}
        received = await self._exchange(receipts, values, ErrorClass.TRANSIENT)
        state = select(receipts.state, receipts.format, received.body)
        is_known = state is not None and (received.is_success or state in self._settings.states)
        if state is None or not is_known:
            raise rejection_error(received, None, ErrorClass.TRANSIENT)
        selector = receipts.id or (answer.id if answer.format is receipts.format else None)
        id_ = select(selector, receipts.format, received.body) or ""
        return report(state, self._settings.states, provider_id or (id_ if is_id(id_) else request.reference))

    async def _exchange(self, request: Request, values: Mapping[str, str], ambiguous: ErrorClass) -> ProviderResponse:
        """Make *request*, with its placeholders replaced by *values* or, for other names, by an empty value.

        Raise `DeliveryError` without a complete response; *ambiguous*: its class if the request may have had an effect.
        """
        blank = dict.fromkeys(("to", "to_digits", "to_local", "text", "reference", "id", "callback"), "")
        values = {**blank, "seconds": "0", "minutes": "0", **values}
        fields = fill(request.fields, values)
        url = fill(request.url, {name: quote(value, safe="") for name, value in values.items()})
        headers = fill(request.headers, values)
        if request.method is Method.JSON:
            return await self._client.exchange("POST", url, ambiguous=ambiguous, headers=headers, json=fields)
        plain = {name: str(value) for name, value in fields.items()}
        if request.method is Method.FORM:
            return await self._client.exchange("POST", url, ambiguous=ambiguous, headers=headers, form=plain)
        return await self._client.exchange("GET", url, ambiguous=ambiguous, headers=headers, params=plain)

    def _callback_url(self, reference: str) -> str:
        """Return the URL for status callbacks; "" if no callbacks are configured."""
        callback = self._settings.callback
        if self._callback_base is None or callback is None or callback.state is None:
            return ""
        url = f"{self._callback_base}/status/{reference}"
        if callback.secret_field is None or callback.secret is None:
            return url
        return f"{url}?{quote(callback.secret_field)}={quote(callback.secret.get_secret_value(), safe='')}"

    async def _record_states(
        self, received: _ReceivedCallback, callback: Callback, handler: CallbackHandler, url_reference: str
    ) -> None:
        """Record the state of each event in a callback; *url_reference*: the reference in its URL, "" if none.

        Raise the `CallbackRejectedError` of an invalid event after all valid events are recorded.
        """
        rejection: CallbackRejectedError | None = None
        for state, event_reference, id_ in received.events(callback.state, callback.reference, callback.id):
            if callback.signature_header is None:
                # With a signature, the URL's reference is not used: a signature does not cover the URL, so anybody
                # could replace the reference in it.
                event_reference = event_reference or url_reference  # noqa: PLW2901 - reference of this event
            try:
                await self._record_state(state, event_reference, id_, handler, url_reference)
            except CallbackRejectedError as error:
                rejection = error
        if rejection is not None:
            raise rejection

    async def _record_state(
        self, state: str, event_reference: str, id_: str, handler: CallbackHandler, url_reference: str
    ) -> None:
        if not is_id(state) or not is_id(event_reference) or url_reference not in {"", event_reference}:
            raise CallbackRejectedError(400, "not a state of a sent message")
        if not {state, OTHERWISE} & set(self._settings.states):
            raise CallbackRejectedError(400, "a state that the profile does not list")
        report_ = report(state, self._settings.states, id_ if is_id(id_) else event_reference)
        if report_ is not None:
            await handler.record(
                CallbackEvent(reference=event_reference, event_id=f"{report_.provider_id}/{state}", report=report_)
            )

    async def _receive_replies(
        self, callback: _ReceivedCallback, fields: ResponseFields, handler: CallbackHandler
    ) -> None:
        """Receive people's replies to SMS, and answer them."""
        messages = [_inbound_sms(*values) for values in callback.events(fields.sender, fields.text, fields.id)]
        # All SMS are stored before the first answer is sent, because sending an answer may take until the deadline.
        answers = [(sms.sender, await handler.receive(sms)) for sms in messages if sms is not None]
        for sender, answer in answers:
            if answer is not None:
                await self._send_answer(sender, answer)
        if None in messages:
            raise CallbackRejectedError(400, "not an SMS with a number and an id")

    async def _send_answer(self, number: str, answer: SmsContent) -> None:
        """Send the answer to a reply once, without retries: the reply has its effect, and two copies would confuse."""
        reference = f"a{secrets.token_hex(8)}"
        with contextlib.suppress(DeliveryError):
            await self._submit(number, answer.text, reference, _ANSWER_VALIDITY)


class _ReceivedCallback:
    """A provider's callback, with access to its fields and its authentication."""

    def __init__(self, callback_request: CallbackRequest, callback: Callback) -> None:
        self._request = callback_request
        self._profile = callback
        self._query = dict(parse_qsl(urlsplit(callback_request.url).query, keep_blank_values=True))
        self._document: Any = None

    @property
    def document(self) -> Any:
        """The callback's fields: form and query, or the JSON body. Call `authenticate` before reading it.

        Raise `CallbackRejectedError` if the body is not JSON and should be.
        """
        if self._document is None:
            self._document = self._read()
        return self._document

    def events(self, *names: str | None) -> Sequence[Sequence[str]]:
        """Return the named fields of each event, with "" for missing fields.

        Raise `CallbackRejectedError` if the callback has no list where the configured paths lead through a list.
        """
        is_json = self._profile.format is Method.JSON
        paths = [split_list(name) if name is not None and is_json else (None, name) for name in names]
        list_path = next((path for path, _ in paths if path is not None), None)
        items = [self.document] if list_path is None else node_at(self.document, list_path)
        if not isinstance(items, list):
            raise CallbackRejectedError(400, "no list where the profile's callback has one")
        return [["" if path is None else value_at(item, path) or "" for _, path in paths] for item in items]

    def authenticate(self) -> None:
        """Raise `CallbackRejectedError` unless every configured proof is valid."""
        callback = self._profile
        if callback.addresses and not self._is_from(callback.addresses):
            raise CallbackRejectedError(403, "from an address that is not the provider's")
        if callback.secret is None:
            return
        secret = callback.secret.get_secret_value().encode()
        if callback.signature_header is not None:
            digest = hmac.digest(secret, self._request.body, "sha256")
            if not hmac.compare_digest(_decode_signature(self._request.header(callback.signature_header)), digest):
                raise CallbackRejectedError(403, "the signature is missing or wrong")
            return
        presented = (
            self._request.header(callback.secret_header)
            if callback.secret_header is not None
            else self._query.get(callback.secret_field or "", "") or self._request.field(callback.secret_field or "")
        )
        if not hmac.compare_digest(presented.encode(), secret):
            raise CallbackRejectedError(403, "the callback's secret is missing or wrong")

    def _read(self) -> Any:
        if self._profile.format is not Method.JSON:
            form = {name: next(iter(values), "") for name, values in self._request.form.items()}
            # With a signature, only the body is authenticated: the query is ignored.
            return form if self._profile.signature_header is not None else self._query | form
        try:
            return read_json(self._request.body)
        except ValueError:
            raise CallbackRejectedError(400, "not JSON") from None

    def _is_from(self, networks: tuple[str, ...]) -> bool:
        try:
            peer = ipaddress.ip_address(self._request.peer)
        except ValueError:
            return False
        return any(peer in ipaddress.ip_network(network) for network in networks)


def _decode_signature(signature: str) -> bytes:
    """Return the octets of a signature in hex or base64, with or without the prefix "sha256="; empty if invalid."""
    text = signature.strip().removeprefix("sha256=")
    for decode in (bytes.fromhex, lambda encoded: base64.b64decode(encoded, validate=True)):
        with contextlib.suppress(ValueError, binascii.Error):
            if len(octets := decode(text)) == hashlib.sha256().digest_size:
                return octets
    return b""


def _number_formats(address: str, request: Request) -> dict[str, str]:
    """Return a number in the formats that providers require.

    Raise `DeliveryError` if *request* uses the local format and the number is not Malaysian.
    """
    malaysian = address.startswith(_MALAYSIA)
    if "to_local" in request.placeholders and not malaysian:
        raise DeliveryError(ErrorClass.PERMANENT, "not a Malaysian number")
    local = f"0{address.removeprefix(_MALAYSIA)}" if malaysian else ""
    return {"to": address, "to_digits": address.removeprefix("+"), "to_local": local}


def _validity_values(validity: timedelta) -> dict[str, str]:
    seconds = max(1, int(validity.total_seconds()))
    return {"seconds": str(seconds), "minutes": str(math.ceil(seconds / 60))}


def _inbound_sms(sender: str, text: str, id_: str) -> InboundSms | None:
    """Return a person's SMS; `None` if *sender* is no number or *id_* is no valid id."""
    number = _e164(sender)
    return (
        None if number is None or not is_id(id_) else InboundSms(sender=number, text=text, event_id=f"{id_}/received")
    )


def _e164(text: str) -> str | None:
    """Convert a number in any notation of Malaysian providers to E.164. Return `None` if *text* is no number."""
    digits = re.sub(r"[\s()-]", "", text)
    for prefix, international in (("+", "+"), ("00", "+"), ("0", _MALAYSIA), ("", "+")):
        if digits.startswith(prefix):
            number = international + digits.removeprefix(prefix)
            return number if _E164.fullmatch(number) else None
    raise AssertionError(text)


GATEWAY = GatewayKind(name="http_sms", channel=Channel.SMS, config=HttpSmsSettings, build=HttpSms)
