"""Webhook of the NOC's Alertmanager, with its own token."""

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

#: Some eight thousand alerts. Alertmanager itself has no limit.
LARGEST_WEBHOOK = 8 * 1024 * 1024

_REFUSALS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

_Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def alertmanager(receiver: AlertReceiver) -> APIRouter:
    """Build the webhook's router.

    It returns 2xx if the alerts are stored, and 429, 503 or 500 if Alertmanager shall repeat the request; no other
    response has these codes.
    """
    router = APIRouter(prefix="/api/v1", tags=["commands"])

    def refuse(status: int, why: str, **headers: str) -> HTTPException:
        receiver.refuse(status, why)
        return HTTPException(status, why, headers=headers)

    async def admitted(bearer: _Bearer) -> None:
        """Check the token before the body is read."""
        is_admitted = receiver.admits(bearer.credentials if bearer else "")
        if is_admitted is None:
            raise refuse(
                HTTPStatus.FORBIDDEN, "no Alertmanager is configured: alertmanager.receive in the settings file"
            )
        if not is_admitted:
            why = (
                "not the token of alertmanager.receive; authorization: {credentials_file: ...} in http_config sends it"
            )
            raise refuse(HTTPStatus.UNAUTHORIZED, why, **{"WWW-Authenticate": "Bearer"})

    async def whole(request: Request, length: int) -> bytes:
        if length <= LARGEST_WEBHOOK and (body := await read_body(request, LARGEST_WEBHOOK)) is not None:
            return body
        why = f"a webhook has at most {LARGEST_WEBHOOK} octets; group alerts by more labels, or set max_alerts"
        raise refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)

    @router.post(
        "/alertmanager",
        summary="Receive an Alertmanager webhook, version 4; needs the token of `alertmanager.receive`",
        dependencies=[Depends(PublicRoute("has a token of its own")), Depends(admitted)],
        responses=problems(*_REFUSALS),
        # The route reads the body itself, because an oversized one must be rejected before parsing.
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": webhook_schema()}}}
        },
    )
    async def take(request: Request) -> dict[AlertEffect, int]:
        # A body without a length counts as the largest.
        length = int(request.headers.get("content-length", LARGEST_WEBHOOK))
        try:
            with receiver.place(length):
                return dict(await receiver.take(await whole(request, length)))
        except IntakeFullError:
            why = "more webhooks come than are stored; Alertmanager brings this group again after its group_interval"
            raise refuse(HTTPStatus.TOO_MANY_REQUESTS, why, **{"Retry-After": f"{RETRY_AFTER.seconds}"}) from None
        except WebhookRejectedError as refused:
            raise refuse(HTTPStatus.BAD_REQUEST, str(refused)) from None
        except ClientDisconnect:
            raise HTTPException(HTTPStatus.BAD_REQUEST) from None  # The client has disconnected.

    return router
