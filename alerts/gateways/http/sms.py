"""SMS gateway for any provider that the configuration describes: docs/how-to/operator/sms-providers.md."""

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
from alerts.gateways.http.reading import at, below, classify, credentials, fill, pick, report
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
from alerts.provider import ErrorMeaning, HttpClient, InboxPoll, ProviderResponse, is_id, read_json, refusal

_PREFIX = "RM0 "
_E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)
_MALAYSIA = "+60"
#: A reply to a person expires after this.
_ANSWER_FOR = timedelta(minutes=10)


class HttpSms:
    """Sends one SMS per call and never resends. The status is queried by our reference."""

    def __init__(self, settings: HttpSmsSettings, surroundings: GatewayContext) -> None:
        self._settings = settings
        self._callback_base = surroundings.callback_base
        self._credentials = credentials(settings)
        self._client = HttpClient(proxy=settings.proxy, deadline=settings.deadline_seconds)
        self._polled = InboxPoll()

    async def send(self, order: SendRequest) -> DeliveryReport:
        validity = order.expires_at - order.created_at
        id_ = await self._submit(order.address, order.carried(SmsContent).text, order.reference, validity)
        return DeliveryReport(progress=SubmissionState.ACCEPTED, provider_id=id_)

    async def find(self, order: SendRequest) -> DeliveryReport | SubmissionNotFound:
        receipts = self._settings.receipts
        if receipts is None or "reference" not in receipts.uses:
            return SubmissionNotFound(
                certain=False
            )  # The provider does not return our reference, so the status cannot be queried.
        return await self._ask(receipts, order, "") or SubmissionNotFound(certain=False)

    async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
        receipts = self._settings.receipts
        if receipts is None:
            # The status cannot be queried. The message was accepted; a callback may still report more.
            return DeliveryReport(progress=SubmissionState.ACCEPTED, provider_id=provider_id)
        known = await self._ask(receipts, order, provider_id)
        if known is None:
            raise DeliveryError(ErrorClass.TRANSIENT, "the provider has no such message")
        return known

    async def hear(self, incoming: CallbackRequest, desk: CallbackHandler) -> CallbackResponse:
        callback = self._settings.callback
        if callback is None:
            raise CallbackRejectedError(404, "no such callback")
        brought = _Brought(incoming, callback)
        brought.authenticate()
        match incoming.path.split("/"):
            case ["status", *reference] if callback.state is not None and len(reference) <= 1:
                await self._hear_states(brought, callback, desk, next(iter(reference), ""))
            case ["sms"] if callback.reply is not None:
                await self._hear_people(brought, callback.reply, desk)
            case _:
                raise CallbackRejectedError(404, "no such callback")
        return CallbackResponse(status=200)

    @property
    def hears_people(self) -> bool:
        callback = self._settings.callback
        brought = callback is not None and callback.reply is not None and self._callback_base is not None
        return brought or self._settings.inbox is not None

    async def collect(self, since: datetime, desk: CallbackHandler) -> None:  # noqa: ARG002 - what was heard is known by its id
        inbox = self._settings.inbox
        if inbox is None:
            return
        received = await self._exchange(inbox, self._credentials, ErrorClass.TRANSIENT)
        try:
            listed = below(read_json(received.body), inbox.list) if received.is_success else None
        except ValueError:
            listed = None
        if not isinstance(listed, list):
            raise refusal(received, None, ErrorClass.TRANSIENT)
        paths = (inbox.sender, inbox.text, inbox.id)
        said = [one for item in listed if (one := _said(*(at(item, path) or "" for path in paths))) is not None]
        for sender, answer in await self._polled.hand_in(said, desk):
            await self._answer(sender, answer)

    async def close(self) -> None:
        await self._client.close()

    async def _submit(self, address: str, text: str, reference: str, validity: timedelta) -> str:
        """Submit one SMS once. Return its id. Raise `DeliveryError`."""
        if self._settings.adds_prefix:
            text = text.removeprefix(_PREFIX)
        values = self._credentials | _number(address, self._settings) | _spans(validity)
        values |= {"text": text, "reference": reference, "callback": self._callback(reference)}
        received = await self._exchange(self._settings, values, ErrorClass.UNKNOWN)
        match classify(self._settings.answer, is_success=received.is_success, body=received.body):
            case str(id_):
                return id_ or reference
            case ErrorMeaning() as verdict:
                raise refusal(received, verdict, ErrorClass.UNKNOWN)
            case _:
                raise refusal(received, None, ErrorClass.UNKNOWN)

    async def _ask(self, receipts: Receipts, order: SendRequest, provider_id: str) -> DeliveryReport | None:
        """Query the status of a message; `None` if the provider has none."""
        answer = self._settings.answer
        number = _number(order.address, receipts)
        values = self._credentials | number | {"reference": order.reference, "id": provider_id}
        received = await self._exchange(receipts, values, ErrorClass.TRANSIENT)
        state = pick(receipts.state, receipts.format, received.body)
        known = state is not None and (received.is_success or state in self._settings.states)
        if state is None or not known:
            raise refusal(received, None, ErrorClass.TRANSIENT)
        how = receipts.id or (answer.id if answer.format is receipts.format else None)
        id_ = pick(how, receipts.format, received.body) or ""
        return report(state, self._settings.states, provider_id or (id_ if is_id(id_) else order.reference))

    async def _exchange(self, request: Request, values: Mapping[str, str], ambiguous: ErrorClass) -> ProviderResponse:
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

    def _callback(self, reference: str) -> str:
        """Return the URL for status callbacks, or ""."""
        callback = self._settings.callback
        if self._callback_base is None or callback is None or callback.state is None:
            return ""
        url = f"{self._callback_base}/status/{reference}"
        if callback.secret_field is None or callback.secret is None:
            return url
        return f"{url}?{quote(callback.secret_field)}={quote(callback.secret.get_secret_value(), safe='')}"

    async def _hear_states(self, brought: _Brought, callback: Callback, desk: CallbackHandler, reference: str) -> None:
        refused: CallbackRejectedError | None = None
        for state, named, id_ in brought.events(callback.state, callback.reference, callback.id):
            if callback.signature_header is None:
                # A signature does not cover the URL, so its reference could be replaced.
                named = named or reference  # noqa: PLW2901 - of this event
            try:
                await self._hear_state(state, named, id_, desk, reference)
            except CallbackRejectedError as error:
                # An invalid event must not lose the events after it.
                refused = error
        if refused is not None:
            raise refused

    async def _hear_state(self, state: str, named: str, id_: str, desk: CallbackHandler, reference: str) -> None:
        if not is_id(state) or not is_id(named) or reference not in {"", named}:
            raise CallbackRejectedError(400, "not a state of a sent message")
        if not {state, OTHERWISE} & set(self._settings.states):
            raise CallbackRejectedError(400, "a state that the table does not have")
        told = report(state, self._settings.states, id_ if is_id(id_) else named)
        if told is not None:
            await desk.record(CallbackEvent(reference=named, event_id=f"{told.provider_id}/{state}", report=told))

    async def _hear_people(self, brought: _Brought, reply: ResponseFields, desk: CallbackHandler) -> None:
        received = [_said(*values) for values in brought.events(reply.sender, reply.text, reply.id)]
        # Store all SMS before the first reply is sent: a reply may take as long as the deadline.
        owed = [(said.sender, await desk.receive(said)) for said in received if said is not None]
        for sender, answer in owed:
            if answer is not None:
                await self._answer(sender, answer)
        if None in received:
            raise CallbackRejectedError(400, "not an SMS with a number and an id")

    async def _answer(self, number: str, answer: SmsContent) -> None:
        """Send a reply once: what it confirms is stored, and a second SMS would only confuse."""
        reference = f"a{secrets.token_hex(8)}"
        with contextlib.suppress(DeliveryError):
            await self._submit(number, answer.text, reference, _ANSWER_FOR)


class _Brought:
    """A callback: its fields and its proof."""

    def __init__(self, incoming: CallbackRequest, callback: Callback) -> None:
        self._incoming = incoming
        self._callback = callback
        self._query = dict(parse_qsl(urlsplit(incoming.url).query, keep_blank_values=True))
        self._document: Any = None

    @property
    def document(self) -> Any:
        """The fields. Read only after authentication. Raise `CallbackRejectedError`."""
        if self._document is None:
            self._document = self._read()
        return self._document

    def events(self, *names: str | None) -> Sequence[Sequence[str]]:
        """Return the named fields of each event, "" for missing ones. Raise `CallbackRejectedError`."""
        is_json = self._callback.format is Method.JSON
        paths = [split_list(name) if name is not None and is_json else (None, name) for name in names]
        listed = next((each for each, _ in paths if each is not None), None)
        items = [self.document] if listed is None else below(self.document, listed)
        if not isinstance(items, list):
            raise CallbackRejectedError(400, "no list where the description of the callback has one")
        return [["" if path is None else at(item, path) or "" for _, path in paths] for item in items]

    def authenticate(self) -> None:
        """Raise `CallbackRejectedError` unless every configured proof is valid."""
        callback = self._callback
        if callback.addresses and not self._comes_from(callback.addresses):
            raise CallbackRejectedError(403, "from an address that is not the provider's")
        if callback.secret is None:
            return
        secret = callback.secret.get_secret_value().encode()
        if callback.signature_header is not None:
            digest = hmac.digest(secret, self._incoming.body, "sha256")
            if not hmac.compare_digest(_octets(self._incoming.header(callback.signature_header)), digest):
                raise CallbackRejectedError(403, "the signature is missing or wrong")
            return
        given = (
            self._incoming.header(callback.secret_header)
            if callback.secret_header is not None
            else self._query.get(callback.secret_field or "", "") or self._incoming.field(callback.secret_field or "")
        )
        if not hmac.compare_digest(given.encode(), secret):
            raise CallbackRejectedError(403, "the callback's secret is missing or wrong")

    def _read(self) -> Any:
        if self._callback.format is not Method.JSON:
            form = {name: next(iter(values), "") for name, values in self._incoming.form.items()}
            # A signature covers the body only; the query could be anybody's.
            return form if self._callback.signature_header is not None else self._query | form
        try:
            return read_json(self._incoming.body)
        except ValueError:
            raise CallbackRejectedError(400, "not JSON") from None

    def _comes_from(self, networks: tuple[str, ...]) -> bool:
        try:
            peer = ipaddress.ip_address(self._incoming.peer)
        except ValueError:
            return False
        return any(peer in ipaddress.ip_network(network) for network in networks)


def _octets(signature: str) -> bytes:
    """Return the octets of a header in hex or base64, with or without the prefix "sha256="; empty when it is neither."""
    text = signature.strip().removeprefix("sha256=")
    for decode in (bytes.fromhex, lambda each: base64.b64decode(each, validate=True)):
        with contextlib.suppress(ValueError, binascii.Error):
            if len(octets := decode(text)) == hashlib.sha256().digest_size:
                return octets
    return b""


def _number(address: str, request: Request) -> dict[str, str]:
    """Return a number in the formats that providers require. Raise `DeliveryError` when it has no such format."""
    malaysian = address.startswith(_MALAYSIA)
    if "to_local" in request.uses and not malaysian:
        raise DeliveryError(ErrorClass.PERMANENT, "not a Malaysian number")
    local = f"0{address.removeprefix(_MALAYSIA)}" if malaysian else ""
    return {"to": address, "to_digits": address.removeprefix("+"), "to_local": local}


def _spans(validity: timedelta) -> dict[str, str]:
    seconds = max(1, int(validity.total_seconds()))
    return {"seconds": str(seconds), "minutes": str(math.ceil(seconds / 60))}


def _said(sender: str, text: str, id_: str) -> InboundSms | None:
    """Return a person's SMS, or `None` without a number or an id."""
    number = _e164(sender)
    return (
        None if number is None or not is_id(id_) else InboundSms(sender=number, text=text, event_id=f"{id_}/received")
    )


def _e164(written: str) -> str | None:
    """Return a number in E.164, from any notation of Malaysian providers; `None` if it is none."""
    digits = re.sub(r"[\s()-]", "", written)
    for before, after in (("+", "+"), ("00", "+"), ("0", _MALAYSIA), ("", "+")):
        if digits.startswith(before):
            number = after + digits.removeprefix(before)
            return number if _E164.fullmatch(number) else None
    raise AssertionError(written)


GATEWAY = GatewayKind(name="http_sms", channel=Channel.SMS, config=HttpSmsSettings, build=HttpSms)
