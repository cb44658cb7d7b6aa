"""HTTP API of the simulated fax service: Sinch Fax v3, as documented (developers.sinch.com/docs/fax)."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pantau_lab.faxservice.service import Fax, FaxService, fax_json
from pantau_lab.provider_fault import apply_fault

_E164 = re.compile(r"\+[1-9]\d{6,14}")


class _Error(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def app(service: FaxService) -> Starlette:
    """Return the ASGI app of *service*; its lifespan is the service's."""
    api = _Api(service)
    root = "/v3/projects/{project}/faxes"

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        async with service.open():
            yield

    return Starlette(
        routes=[
            Route(root, api.faxes, methods=["GET", "POST"]),
            Route(f"{root}/{{id}}", api.fax, methods=["GET"]),
        ],
        lifespan=lifespan,
        exception_handlers={_Error: _answer_error},
    )


class _Api:
    def __init__(self, service: FaxService) -> None:
        self._service = service

    async def faxes(self, request: Request) -> Response:
        self._authorize(request)
        if request.method == "GET":
            return self._list(request)
        fields = await _fields(request)

        async def accept() -> Response:
            fax = _fax(fields)
            response = JSONResponse(fax_json(self._service, fax), status_code=201)
            await self._service.take(fax)
            return response

        if self._service.faults:
            fault = self._service.faults.popleft()
            return await apply_fault(
                fault, request, accept=accept, error=lambda status: _error(status, "simulated fault")
            )
        return await accept()

    async def fax(self, request: Request) -> Response:
        self._authorize(request)
        for fax in self._service.faxes:
            if fax.id == request.path_params["id"]:
                return JSONResponse(fax_json(self._service, fax))
        raise _Error(404, "Fax not found")

    def _authorize(self, request: Request) -> None:
        login = f"{self._service.key_id}:{self._service.key_secret}".encode()
        expected = "Basic " + base64.b64encode(login).decode()
        if not hmac.compare_digest(request.headers.get("Authorization", ""), expected):
            raise _Error(401, "Unauthorized")
        if request.path_params["project"] != self._service.project_id:
            raise _Error(404, "Project not found")

    def _list(self, request: Request) -> Response:
        query = request.query_params
        # Filters have the form "labels[NAME]".
        labels = {name[7:-1]: value for name, value in query.items() if re.fullmatch(r"labels\[\w+\]", name)}
        found = [
            fax_json(self._service, fax)
            for fax in reversed(self._service.faxes)
            if fax.to.startswith(query.get("to", ""))
            and query.get("status") in {None, fax.status}
            and query.get("direction") in {None, "OUTBOUND"}
            and fax.created_at.isoformat().startswith(query.get("createTime", ""))
            and labels.items() <= fax.labels.items()
        ]
        size, page = min(int(query.get("pageSize", "100")), 1000), int(query.get("page", "1"))
        return JSONResponse(
            {
                "faxes": found[(page - 1) * size : page * size],
                "pageNumber": page,
                "pageSize": size,
                "totalItems": len(found),
                "totalPages": -(-len(found) // size),
            }
        )


async def _fields(request: Request) -> Mapping[str, Any]:
    """Return the fields of a submission in JSON or as a multipart form; "pdf" is the document."""
    if "json" in request.headers.get("content-type", ""):
        try:
            fields = dict(await request.json())
            return {**fields, "pdf": base64.b64decode(fields["files"][0]["file"], validate=True)}
        except (ValueError, KeyError, IndexError, TypeError, binascii.Error):
            raise _Error(400, "The request is not valid") from None
    form = await request.form()
    upload = form.get("file")
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    fields["labels"] = json.loads(fields.get("labels", "{}"))
    return {**fields, "pdf": await upload.read() if isinstance(upload, UploadFile) else b""}


def _fax(fields: Mapping[str, Any]) -> Fax:
    to, retries = str(fields.get("to", "")), int(fields.get("maxRetries", 3))
    if not _E164.fullmatch(to):
        raise _Error(400, f"to: {to} is not a valid phone number")
    if not fields["pdf"].startswith(b"%PDF-"):
        raise _Error(400, "files: not a PDF")
    if not 0 <= retries <= 5:
        raise _Error(400, "maxRetries: must be at most 5")
    if len(str(fields.get("headerText", ""))) > 50:
        raise _Error(400, "headerText: must be at most 50 characters")
    return Fax(
        to=to,
        sender=str(fields.get("from", "")),
        pdf=fields["pdf"],
        labels=dict(fields.get("labels") or {}),
        header_text=str(fields.get("headerText", "-")),
        callback_url=str(fields.get("callbackUrl", "")),
        max_retries=retries,
    )


def _answer_error(_: Request, error: Exception) -> Response:
    return _error(error.status, error.message) if isinstance(error, _Error) else Response(status_code=500)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"code": status, "message": message, "status": str(status)}}, status_code=status)
