"""Every question and order that the schema allows is answered as the schema says, and every other is refused.

The questions are made up, by what the schema says of parameters and bodies and by what it does not. They are asked of a portal
without users, and of one in which a program shows a token that permits everything.
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
from tests.unit.monitor.web.api.test_alertmanager import Door
from tests.unit.monitor.web.signed import House, house
from tests.unit.monitor.web.source import LETTERS, TOKEN, Service


@pytest.fixture(scope="module")
def from_schema() -> ModuleType:
    """Return what makes questions up. To read it takes half a second, and each process reads this file."""
    return import_module("schemathesis")


def ask(operation: Any, examples: int, token: str, before: Callable[[], None] = lambda: None) -> None:
    """Ask so many times, and do something *before* each."""
    # Of a text that may be a cursor, a number or an agency, only the service knows whether it is one.
    unknown = [import_module("schemathesis").checks.CHECKS.get_one("positive_data_acceptance")]

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy())
    def answered(case: Any) -> None:
        before()
        case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, excluded_checks=unknown)

    answered()


def test_whatever_is_asked_is_answered_as_the_schema_says(from_schema: ModuleType, subtests: pytest.Subtests) -> None:
    service = Service(in_the_tray=LETTERS)
    app = portal(service, ["testserver"], service, alert_receiver=Door().receiver())
    operations = [found.ok() for found in from_schema.openapi.from_asgi("/openapi.json", app).get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        with subtests.test(operation.label):
            ask(operation, 12, TOKEN)


#: An hour later a wrong token that it tries is the first again, and not one of many.
LATER = timedelta(hours=1)


@contextmanager
def served(directory: Path) -> Iterator[tuple[House, str, str]]:
    """Serve a portal with users over a store of its own; yield it, its address and a token that permits everything."""
    found: Queue[tuple[House, str, str]] = Queue()

    async def live() -> None:
        async with house(directory, Service(codes=("JCM", "MDC"), in_the_tray=LETTERS)) as opened:
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


def test_whatever_a_program_asks_or_orders_is_answered_as_the_schema_says(
    tmp_path: Path, from_schema: ModuleType
) -> None:
    with served(tmp_path) as (opened, address, token):
        told = from_schema.openapi.from_url(f"{address}/openapi.json")
        operations = [found.ok() for found in told.get_all_operations()]
        asked = [each for each in operations if each.path.startswith("/api/v1")]
        assert len(asked) > 20
        for operation in asked:
            ask(operation, 8, token, lambda: opened.clock.move(LATER))
