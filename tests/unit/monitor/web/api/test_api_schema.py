"""Conformance to the OpenAPI schema: allowed requests get the described responses, all others are refused.

Schemathesis generates requests from the schema. They go to a portal without users, and to one with a token that permits
everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from monitor.web.portal import portal
from monitor.web.serving import open_port, serve
from tests.unit.monitor.web.api.test_alertmanager import ReceiverEnv
from tests.unit.monitor.web.fake_service import LETTERS, TOKEN, Service
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal


@pytest.fixture(scope="module")
def schemathesis() -> ModuleType:
    """Return schemathesis. Its import takes half a second, and every process imports this file."""
    return import_module("schemathesis")


def call_operation(operation: Any, examples: int, token: str, before: Callable[[], None] = lambda: None) -> None:
    """Send *examples* requests to an operation, and call *before* each."""
    # Only the service knows whether a text is a valid cursor, number or agency.
    unknown = [import_module("schemathesis").checks.CHECKS.get_one("positive_data_acceptance")]

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy())
    def answered(case: Any) -> None:
        before()
        case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, excluded_checks=unknown)

    answered()


def test_portal_without_users_matches_schema(schemathesis: ModuleType, subtests: pytest.Subtests) -> None:
    service = Service(tray_letters=LETTERS)
    app = portal(service, ["testserver"], service, alert_receiver=ReceiverEnv().receiver())
    operations = [found.ok() for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        with subtests.test(operation.label):
            call_operation(operation, 12, TOKEN)


#: After an hour a wrong token is the first failure again, so no request is throttled.
LATER = timedelta(hours=1)


@contextmanager
def served(directory: Path) -> Iterator[tuple[PortalEnv, str, str]]:
    """Serve a portal with users; yield it, its address and a token that permits everything."""
    found: Queue[tuple[PortalEnv, str, str]] = Queue()

    async def live() -> None:
        async with open_portal(directory, Service(codes=("JCM", "MDC"), tray_letters=LETTERS)) as opened:
            roles = ("duty", "noc", "clerk", "officer", "admin")
            made = await opened.tokens.create("konsol", roles, timedelta(days=365), by="Ujian")
            face = open_port("127.0.0.1", 0)
            async with serve(opened.app, face):
                found.put((opened, f"http://localhost:{face.getsockname()[1]}", made.secret.text))
                await asyncio.to_thread(over.wait)

    over = Event()
    thread = Thread(target=lambda: asyncio.run(live()))
    thread.start()
    try:
        yield found.get(timeout=60)
    finally:
        over.set()
        thread.join(timeout=60)


def test_portal_with_token_matches_schema(tmp_path: Path, schemathesis: ModuleType) -> None:
    with served(tmp_path) as (opened, address, token):
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        asked = [each for each in operations if each.path.startswith("/api/v1")]
        assert len(asked) > 20
        for operation in asked:
            call_operation(operation, 8, token, lambda: opened.clock.move(LATER))
