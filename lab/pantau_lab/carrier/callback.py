"""Signed callbacks in Twilio's format, and their faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from twilio.request_validator import RequestValidator

from pantau_lab.provider_fault import CallbackFault


@dataclass(slots=True, kw_only=True)
class CallbackClient:
    """Client of the customer's callback URLs. It records each failure in `errors`, which the carrier shares."""

    client: httpx.AsyncClient
    auth_token: str
    errors: list[str]

    async def post(self, url: str, params: Mapping[str, str]) -> httpx.Response | None:
        """Post *params*, and return a 2xx response; otherwise record the error and return `None`."""
        signature = RequestValidator(self.auth_token).compute_signature(url, dict(params))
        try:
            response = await self.client.post(url, data=dict(params), headers={"X-Twilio-Signature": signature})
        except httpx.HTTPError as error:
            self.errors.append(f"{url}: {type(error).__name__}")
            return None
        if not response.is_success:
            self.errors.append(f"{url}: HTTP {response.status_code}")
            return None
        if response.status_code == 200 and not response.content and "content-type" not in response.headers:
            # Twilio shows this as a 502 in the customer's log.
            self.errors.append(f"{url}: 200 with neither body nor Content-Type")
        return response


@dataclass(slots=True, kw_only=True)
class StatusReports:
    """Sender of the status callbacks of one message or call, with *fault*.

    `BEFORE_ANSWER` has no effect here: the carrier implements it.
    """

    client: CallbackClient
    url: str
    fault: CallbackFault
    #: Parameters of callbacks that `finish` posts, if the fault is `REVERSED`.
    _waiting: list[Mapping[str, str]] = field(default_factory=list)

    async def tell(self, params: Mapping[str, str]) -> None:
        if not self.url or self.fault is CallbackFault.NEVER:
            return
        if self.fault is CallbackFault.REVERSED:
            self._waiting.append(params)
            return
        await self.client.post(self.url, params)
        if self.fault is CallbackFault.TWICE:
            await self.client.post(self.url, params)

    async def finish(self) -> None:
        """Post the waiting callbacks, the last one first."""
        for params in reversed(self._waiting):
            await self.client.post(self.url, params)
        self._waiting.clear()
