"""Two fictional SMS providers of common kinds, with which tests exercise the gateway `http_sms`.

SMS Awan accepts GET requests and answers with a line of text ("code=0,id=91"). SMS Suria accepts JSON with a bearer token
and posts signed callbacks. Both accept every telephone number.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pantau_lab.provider_fault import SubmissionFault, apply_fault

#: SMS Awan's error code by the reason for the refusal; "new": an error that no gateway configuration knows.
AWAN_CODES = {
    "credentials": "1",
    "balance": "2",
    "number": "3",
    "temporary": "4",
    "sender": "5",
    "text": "6",
    "duplicate": "7",
    "account": "8",
    "new": "99",
}
#: SMS Suria's HTTP status and error code by the reason for the refusal (the keys of `AWAN_CODES`).
SURIA_CODES = {
    "credentials": (401, "E401"),
    "balance": (402, "E402"),
    "number": (422, "E-NUM"),
    "temporary": (429, "E429"),
    "sender": (403, "E-FROM"),
    "text": (422, "E-TXT"),
    "duplicate": (409, "E-DUP"),
    "account": (400, "E-ACC"),
    "new": (200, "E-NEW"),
}


@dataclass(slots=True, kw_only=True)
class Message:
    """Accepted SMS."""

    id: str
    to: str
    text: str
    #: The customer's reference.
    reference: str
    #: URL for delivery reports; "": none are posted.
    callback: str = ""
    #: State in the provider's own code; "Q": queued.
    state: str = "Q"


@dataclass(slots=True, kw_only=True)
class Aggregator:
    """Account at one provider."""

    user: str = "jcontoh"
    secret: str
    #: Secret that signs the callbacks, or that each callback contains.
    callback_secret: str = ""
    messages: list[Message] = field(default_factory=list)
    #: SMS from people, as (id, number, text).
    received: list[tuple[str, str, str]] = field(default_factory=list)
    faults: deque[SubmissionFault] = field(default_factory=deque)
    #: Reasons to refuse the next submissions, one each.
    refusals: deque[str] = field(default_factory=deque)
    #: HTTP statuses of the customer's responses to callbacks.
    callback_statuses: list[int] = field(default_factory=list)

    def refusal_reason(self, number: str, text: str, reference: str) -> str:
        """Return the reason to refuse a submission, as in `AWAN_CODES`, or ""."""
        if self.refusals:
            return self.refusals.popleft()
        if not number.removeprefix("+").isdecimal():
            return "number"
        if "RM0" not in text:
            return "text"
        return "duplicate" if any(message.reference == reference for message in self.messages) else ""

    def take(self, number: str, text: str, reference: str, callback: str = "") -> Message:
        """Accept an SMS."""
        id_ = str(91 + len(self.messages))
        message = Message(id=id_, to=number, text=text, reference=reference, callback=callback)
        self.messages.append(message)
        return message

    def find(self, reference: str) -> Message | None:
        """Return the SMS with the customer's reference."""
        return next((message for message in self.messages if message.reference == reference), None)

    def receive(self, number: str, text: str) -> str:
        """Record an SMS from a person to the customer's number; return its id."""
        self.received.append((f"mo{len(self.received) + 1}", number, text))
        return self.received[-1][0]

    async def send_callback(self, method: str, url: str, **content: Any) -> int:
        """Send a callback with the request arguments *content* of httpx; return the HTTP status of the response."""
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            response = await client.request(method, url, **content)
        self.callback_statuses.append(response.status_code)
        return response.status_code


def awan(account: Aggregator) -> Starlette:
    """Return the ASGI app of SMS Awan: GET, and a line of text.

    A refusal has status 200, too. SMS Awan adds the prefix RM0 itself.
    """

    def line(code: str, **more: str) -> Response:
        return PlainTextResponse(",".join([f"code={code}", *(f"{name}={value}" for name, value in more.items())]))

    async def send(request: Request) -> Response:
        asked = request.query_params
        if (asked.get("un"), asked.get("pw")) != (account.user, account.secret):
            return line(AWAN_CODES["credentials"])
        number, text, reference = asked.get("to", ""), f"RM0 {asked.get('msg', '')}", asked.get("ref", "")
        if reason := account.refusal_reason(number, text, reference):
            return line(AWAN_CODES[reason])

        async def take() -> Response:
            return line("0", id=account.take(number, text, reference).id)

        if account.faults:
            return await apply_fault(
                account.faults.popleft(), request, accept=take, error=lambda status: Response(status_code=status)
            )
        return await take()

    async def report(request: Request) -> Response:
        found = account.find(request.query_params.get("ref", ""))
        return line("0", state=found.state, id=found.id) if found else line("0", state="N")

    async def inbox(_: Request) -> Response:
        return JSONResponse([{"mid": id_, "msisdn": number, "msg": text} for id_, number, text in account.received])

    return Starlette(routes=[Route("/send", send), Route("/report", report), Route("/inbox", inbox)])


def suria(account: Aggregator) -> Starlette:
    """Return the ASGI app of SMS Suria: JSON, a bearer token, and HTTP statuses."""

    def error(status: int, code: str = "") -> Response:
        body: Mapping[str, Any] = {"error": {"code": code, "message": "see the manual"}} if code else {}
        return JSONResponse(body, status_code=status)

    def unauthorized(request: Request) -> Response | None:
        if request.headers.get("authorization") != f"Bearer {account.secret}":
            return error(*SURIA_CODES["credentials"])
        return None

    async def send(request: Request) -> Response:
        if (refusal := unauthorized(request)) is not None:
            return refusal
        asked = await request.json()
        number, text, reference = asked["recipients"][0], asked["content"], asked["client_ref"]
        if not isinstance(asked["ttl"], int):
            return error(400, "E-TTL")
        if reason := account.refusal_reason(number, text, reference):
            return error(*SURIA_CODES[reason])

        async def take() -> Response:
            message = account.take(number, text, reference, asked.get("notify", ""))
            return JSONResponse({"data": [{"message_id": message.id}]}, status_code=202)

        if account.faults:
            return await apply_fault(account.faults.popleft(), request, accept=take, error=error)
        return await take()

    async def message(request: Request) -> Response:
        if (refusal := unauthorized(request)) is not None:
            return refusal
        found = account.find(request.query_params.get("client_ref", ""))
        if found is None:
            return JSONResponse({"data": [{"status": "NONE"}]})
        return JSONResponse({"data": [{"message_id": found.id, "status": found.state}]})

    async def inbox(request: Request) -> Response:
        if (refusal := unauthorized(request)) is not None:
            return refusal
        items = [{"id": id_, "from": number.removeprefix("+"), "body": text} for id_, number, text in account.received]
        return JSONResponse({"messages": items})

    return Starlette(
        routes=[
            Route("/v2/messages", send, methods=["POST"]),
            Route("/v2/messages", message, methods=["GET"]),
            Route("/v2/inbox", inbox, methods=["GET"]),
        ]
    )


def signed(secret: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the httpx arguments of a callback with SMS Suria's signature: HMAC-SHA256 of the body, in base64."""
    body = json.dumps(values).encode()
    signature = base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()
    return {"content": body, "headers": {"Content-Type": "application/json", "X-Suria-Signature": signature}}
