"""Access of `pantau apply` and `pantau export` to the store (the database) while no service is running."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from alerts.persistence.clock import SystemClock
from alerts.persistence.store import StoreUnavailable
from monitor.cli.configured import read_store_server
from monitor.cli.service import fail
from monitor.model.document import DocumentVersion
from monitor.service.errors import OperationRejectedError
from monitor.service.portal.documents import DocumentWriter
from monitor.store.admin.documents import Documents, read_documents
from monitor.store.admin.unopened import StoreUnreadableError
from monitor.store.backend.database import Database, StoreInUseError, StoreUnusableError
from monitor.store.schema.migrations import StoreBlockedError, StoreTooNewError
from monitor.web.command.documents import ApplyRequest, apply_documents


def write_documents(config: Path, state: Path, body: Mapping[str, Any]) -> Any:
    """Execute `POST /documents` as the service does, but without a reload; end the command on failure."""
    name = f"apply@{socket.gethostname()}/{os.getpid()}"

    async def write_all() -> Any:
        async with Database.open(state, read_store_server(config), name=name) as database:
            writer = DocumentWriter(config, os.environ, Documents(database), SystemClock())
            return (await apply_documents(writer, ApplyRequest.model_validate(body))).model_dump(mode="json")

    try:
        return asyncio.run(write_all())
    except (
        StoreInUseError,
        StoreUnusableError,
        StoreTooNewError,
        StoreBlockedError,
        StoreUnavailable,
        OperationRejectedError,
    ) as error:
        fail(str(error))


def stored_documents(config: Path, state: Path) -> Sequence[Mapping[str, Any]]:
    """Return the response of `GET /documents` without a service; end the command if the store is unreadable."""
    try:
        versions = read_documents(state, read_store_server(config))
    except StoreUnreadableError as error:
        fail(str(error))
    json_values: Sequence[Mapping[str, Any]] = TypeAdapter(list[DocumentVersion]).dump_python(
        [*versions.values()], mode="json"
    )
    return json_values
