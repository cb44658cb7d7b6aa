"""HTTP API of the simulated carrier: Twilio's Messages and Calls resources of 2010-04-01, as documented."""

from __future__ import annotations

import base64
import hmac
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pantau_lab.carrier.carrier import Carrier, new_sid
from pantau_lab.carrier.parameter import (
    CREATE_CALL,
    CREATE_MESSAGE,
    LIST_CALLS,
    LIST_MESSAGES,
    Parameters,
    refused,
    unknown,
)
from pantau_lab.carrier.phone import Call, Sms
from pantau_lab.carrier.resource import call_json, sms_json, within
from pantau_lab.provider_fault import apply_fault

#: HTTP status and message by Twilio's error code.
_ERRORS = {
    20001: (400, "Parameter {parameter} is not valid"),
    20003: (401, "Authenticate"),
    20404: (404, "The requested resource was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "An internal server error has occurred"),
    21205: (400, "Url is not a valid URL"),
    21206: (400, "SendDigits is not valid"),
    21210: (400, "The source phone number provided is not yet verified for your account"),
    21211: (400, "The 'To' number {to} is not a valid phone number."),
    21212: (400, "The 'From' number is not a valid phone number, shortcode, or alphanumeric sender ID."),
    21602: (400, "Message body is required."),
    21606: (400, "The From phone number is not a valid, SMS-capable number for your account ({to})."),
    21609: (400, "The StatusCallback URL is not a valid URL."),
    21610: (400, "Attempt to send to unsubscribed recipient {to}"),
    21614: (400, "'To' number {to} is not a valid mobile number"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit."),
}


class _Error(Exception):
    def __init__(self, code: int, to: str = "", parameter: str = "") -> None:
        super().__init__(str(code))
        self.code = code
        self.to = to
        self.parameter = parameter


def app(carrier: Carrier) -> Starlette:
    """Return the ASGI app of *carrier*; its lifespan is the carrier's."""
    root = "/2010-04-01/Accounts/{account}"
    api = _Api(carrier)
    routes = [
        Route(f"{root}/Messages.json", api.messages, methods=["GET", "POST"]),
        Route(f"{root}/Messages/{{sid}}.json", api.message, methods=["GET"]),
        Route(f"{root}/Calls.json", api.calls, methods=["GET", "POST"]),
        Route(f"{root}/Calls/{{sid}}.json", api.call, methods=["GET"]),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        async with carrier.open():
            yield

    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={_Error: _answer_error})


class _Api:
    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    async def messages(self, request: Request) -> Response:
        self._authorize(request)
        if request.method == "GET":
            both = sorted((*self._carrier.messages, *self._carrier.received), key=lambda sms: sms.created_at)
            self._check(request.query_params.multi_items(), LIST_MESSAGES)
            return self._list(request, "Messages", [sms_json(self._carrier, sms) for sms in both])
        return await self._submit(request, self._take_message)

    async def message(self, request: Request) -> Response:
        self._authorize(request)
        for sms in self._carrier.messages:
            if sms.sid == request.path_params["sid"]:
                return JSONResponse(sms_json(self._carrier, sms))
        raise _Error(20404)

    async def calls(self, request: Request) -> Response:
        self._authorize(request)
        if request.method == "GET":
            self._check(request.query_params.multi_items(), LIST_CALLS)
            return self._list(request, "Calls", [call_json(self._carrier, call) for call in self._carrier.calls])
        return await self._submit(request, self._take_call)

    async def call(self, request: Request) -> Response:
        self._authorize(request)
        call = next((call for call in self._carrier.calls if call.sid == request.path_params["sid"]), None)
        if call is None:
            raise _Error(20404)
        return JSONResponse(call_json(self._carrier, call))

    def _authorize(self, request: Request) -> None:
        login = f"{self._carrier.account_sid}:{self._carrier.auth_token}".encode()
        expected = "Basic " + base64.b64encode(login).decode()
        if not hmac.compare_digest(request.headers.get("Authorization", ""), expected):
            raise _Error(20003)
        if request.path_params["account"] != self._carrier.account_sid:
            raise _Error(20404)

    def _check(self, given: Sequence[tuple[str, str]], parameters: Parameters) -> None:
        """Raise `_Error` for parameters that Twilio refuses, and record the parameters that Twilio would ignore."""
        self._carrier.errors.extend(f"{name}: no parameter that is known here" for name in unknown(given, parameters))
        for code, name in refused(given, parameters):
            raise _Error(code, dict(given).get("To", ""), name)

    async def _submit(self, request: Request, take: Callable[[FormData], Awaitable[Mapping[str, Any]]]) -> Response:
        form = await request.form()

        async def accept() -> Response:
            return JSONResponse(await take(form), status_code=201)

        if self._carrier.faults:
            fault = self._carrier.faults.popleft()
            return await apply_fault(fault, request, accept=accept, error=_fault_answer)
        return await accept()

    async def _take_message(self, form: FormData) -> Mapping[str, Any]:
        to, sender, body = (_text(form, name) for name in ("To", "From", "Body"))
        phone = self._carrier.phones.get(to)
        if not body:
            raise _Error(21602)
        self._check(_form_items(form), CREATE_MESSAGE)
        checks = (
            (21606, sender not in self._carrier.senders),
            (21614, phone is not None and phone.landline),
            (21610, phone is not None and phone.stopped),
        )
        _refuse(checks, to)
        sms = Sms(
            sid=new_sid("SM"),
            to=to,
            sender=sender,
            body=body,
            created_at=self._carrier.now(),
            callback=_text(form, "StatusCallback"),
            validity=int(_text(form, "ValidityPeriod") or 36000),
            segments=_segments(body),
        )
        answer = sms_json(self._carrier, sms)
        await self._carrier.take_message(sms)
        return answer

    async def _take_call(self, form: FormData) -> Mapping[str, Any]:
        to, twiml, url = (_text(form, name) for name in ("To", "Twiml", "Url"))
        self._check(_form_items(form), CREATE_CALL)
        checks = (
            (21210, _text(form, "From") not in self._carrier.senders),
            (21205, not twiml and not url),
        )
        _refuse(checks, to)
        call = Call(
            sid=new_sid("CA"),
            to=to,
            caller=_text(form, "From"),
            created_at=self._carrier.now(),
            # "If both are given, Twiml is ignored."
            twiml="" if url else twiml,
            url=url,
            fallback_url=_text(form, "FallbackUrl"),
            callback=_text(form, "StatusCallback"),
            callback_events=tuple(str(event) for event in form.getlist("StatusCallbackEvent")) or ("completed",),
            extension=_text(form, "SendDigits"),
        )
        answer = call_json(self._carrier, call)
        await self._carrier.take_call(call)
        return answer

    def _list(self, request: Request, resource: str, items: Sequence[Mapping[str, Any]]) -> Response:
        query, date_parameter = request.query_params, {"Messages": "DateSent", "Calls": "StartTime"}[resource]
        date_field = {"Messages": "date_sent", "Calls": "start_time"}[resource]
        found = [
            item
            for item in reversed(items)
            if query.get("To") in {None, item["to"]}
            and query.get("From") in {None, item["from"]}
            and query.get("Status") in {None, item["status"]}
            and within(item[date_field], *(query.get(f"{date_parameter}{sign}") for sign in ("", "<", ">")))
        ]
        size, page = min(int(query.get("PageSize", "50")), 1000), int(query.get("Page", "0"))
        more = len(found) > (page + 1) * size
        uri = request.url.path
        return JSONResponse(
            {
                resource.lower(): found[page * size : (page + 1) * size],
                "page": page,
                "page_size": size,
                "uri": uri,
                "next_page_uri": f"{uri}?Page={page + 1}&PageSize={size}" if more else None,
            }
        )


def _text(form: FormData, name: str) -> str:
    """Return the value of a form field, or ""."""
    return str(form.get(name) or "")


def _form_items(form: FormData) -> Sequence[tuple[str, str]]:
    return [(name, str(value)) for name, value in form.multi_items()]


def _segments(text: str) -> int:
    # Characters of a single SMS and of a part: GSM 7-bit (here: ASCII) or UCS-2.
    single, part = (160, 153) if text.isascii() else (70, 67)
    return 1 if len(text) <= single else math.ceil(len(text) / part)


def _refuse(checks: Sequence[tuple[int, bool]], to: str) -> None:
    """Raise `_Error` with the code of the first check that is true."""
    for code, is_wrong in checks:
        if is_wrong:
            raise _Error(code, to)


def _answer_error(_: Request, error: Exception) -> Response:
    return (
        _error_answer(error.code, error.to, error.parameter) if isinstance(error, _Error) else Response(status_code=500)
    )


def _fault_answer(status: int) -> Response:
    return _error_answer({429: 20429, 500: 20500}[status], "")


def _error_answer(code: int, to: str, parameter: str = "") -> Response:
    status, message = _ERRORS[code]
    more_info = f"https://www.twilio.com/docs/errors/{code}"
    body = {
        "code": code,
        "message": message.format(to=to, parameter=parameter),
        "more_info": more_info,
        "status": status,
    }
    return JSONResponse(body, status_code=status)
