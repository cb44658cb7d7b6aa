"""Webhook for the Alertmanager of the NOC (network operations centre). Alerts become incidents in Pantau.

Alertmanager authenticates by a token.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import ClientDisconnect

from alerts.inbound.alertmanager import WebhookRejectedError, webhook_schema
from alerts.model.alert import AlertEffect
from monitor.service.alertmanager.intake import RETRY_AFTER, IntakeFullError
from monitor.service.alertmanager.receiver import AlertReceiver
from monitor.web.access.access_control import PublicRoute
from monitor.web.form import read_body
from monitor.web.problem import problems

#: Maximum size of a request in octets: about eight thousand alerts. Alertmanager itself sends requests of any size.
MAX_WEBHOOK = 8 * 1024 * 1024

#: Error statuses, for the OpenAPI schema.
_ERROR_STATUSES = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

_Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def alertmanager_webhook(receiver: AlertReceiver) -> APIRouter:
    """Build the webhook's router.

    The webhook responds with 2xx if the alerts are stored, and with 429, 500 or 503 if Alertmanager shall send the
    request again. After another error status, Alertmanager shall not send it again.
    """
    router = APIRouter(prefix="/api/v1", tags=["commands"])

    def rejection(status: int, reason: str, **headers: str) -> HTTPException:
        """Record a rejected request, and return the error to raise."""
        receiver.record_rejection(status, reason)
        return HTTPException(status, reason, headers=headers)

    async def check_token(bearer: _Bearer) -> None:
        """Raise `HTTPException` for a missing or invalid token, before the body is read."""
        # `admits` returns `None` if no Alertmanager is configured.
        is_valid_token = receiver.admits(bearer.credentials if bearer else "")
        if is_valid_token is None:
            raise rejection(
                HTTPStatus.FORBIDDEN, "no Alertmanager is configured: alertmanager.receive in the settings file"
            )
        if not is_valid_token:
            reason = (
                "not the token of alertmanager.receive; authorization: {credentials_file: ...} in http_config sends it"
            )
            raise rejection(HTTPStatus.UNAUTHORIZED, reason, **{"WWW-Authenticate": "Bearer"})

    async def read_webhook(request: Request, length: int) -> bytes:
        """Return the body. *length*: declared length in octets. Raise `HTTPException` if the body is too large."""
        if length <= MAX_WEBHOOK and (body := await read_body(request, MAX_WEBHOOK)) is not None:
            return body
        reason = f"a webhook has at most {MAX_WEBHOOK} octets; group alerts by more labels, or set max_alerts"
        raise rejection(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)

    @router.post(
        "/alertmanager",
        summary="Receive an Alertmanager webhook, version 4; needs the token of `alertmanager.receive`",
        dependencies=[Depends(PublicRoute("checks its own token")), Depends(check_token)],
        responses=problems(*_ERROR_STATUSES),
        # The route reads the body itself, so that it can reject a body that is too large before parsing.
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": webhook_schema()}}}
        },
    )
    async def receive(request: Request) -> dict[AlertEffect, int]:
        """Return the number of alerts by their effect on incidents."""
        # Reserve memory for the body. If the client declares no length, reserve the maximum.
        length = int(request.headers.get("content-length", MAX_WEBHOOK))
        try:
            with receiver.reserve(length):
                return dict(await receiver.process(await read_webhook(request, length)))
        except IntakeFullError:
            reason = (
                "more webhooks arrive than can be stored; Alertmanager sends this group again after its group_interval"
            )
            raise rejection(HTTPStatus.TOO_MANY_REQUESTS, reason, **{"Retry-After": f"{RETRY_AFTER.seconds}"}) from None
        except WebhookRejectedError as error:
            raise rejection(HTTPStatus.BAD_REQUEST, str(error)) from None
        except ClientDisconnect:
            raise HTTPException(HTTPStatus.BAD_REQUEST) from None  # Nobody receives this response.

    return router
