"""Requests to an ASGI application without a client, and how long they block the event loop."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The response of an application."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    #: The longest time that the loop was blocked, in seconds of the process's CPU time.
    step: float


@contextmanager
def without_collector() -> Iterator[None]:
    """Disable the garbage collector while measuring: its time grows with the number of tests before."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def measure(app: Any, method: str, path: str, body: bytes = b"", *, longest: float, **headers: str) -> Answer:
    """Send one request as `ask` does; repeat it twice if a step is longer than *longest*.

    On a busy machine the loop may wait for a processor while a thread runs, and the thread's time counts. What blocks
    the loop blocks it each time.
    """
    answer = await ask(app, method, path, body, **headers)
    for _ in range(2):
        if answer.step < longest:
            break
        again = await ask(app, method, path, body, **headers)
        answer = replace(answer, step=min(answer.step, again.step))
    return answer


async def ask(app: Any, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """Send one request to *app*; an underscore in the name of a header is a hyphen.

    The process's CPU time also counts while a thread holds the interpreter's lock, as a regular expression does. It
    does not count other processes.
    """
    path, _, query = path.partition("?")
    sent = {"host": "localhost", "accept": "text/html", **headers, "content_length": str(len(body))}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }
    # In parts, as a server passes a body.
    parts = [body[at : at + 65536] for at in range(0, len(body), 65536)] or [b""]
    start: dict[str, Any] = {}
    received: list[bytes] = []
    longest = 0.0

    async def receive() -> Mapping[str, object]:
        await asyncio.sleep(0)
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            received.append(message.get("body", b""))

    async def turn() -> None:
        nonlocal longest
        while True:
            before = time.process_time()
            await asyncio.sleep(0)
            longest = max(longest, time.process_time() - before)

    turning = asyncio.create_task(turn())
    await asyncio.sleep(0)
    try:
        await asyncio.create_task(app(scope, receive, send))
    except Exception:
        # The application has already sent 500, and re-raises for the server's log.
        if start.get("status") != 500:
            raise
    # Include the last step.
    await asyncio.sleep(0)
    turning.cancel()
    named = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return Answer(status=int(start["status"]), headers=named, body=b"".join(received), step=longest)
