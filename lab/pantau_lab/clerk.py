"""A clerk who prints and posts the letters in the tray after a while, as a person would, and records it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from monitor.runtime.unix_socket import short_socket_path
from pantau_lab.world import CLERK

#: From the letter in the tray to the printer, and to the letter box. A letter taken back before needs no recovery letter.
PRINTS_AFTER = timedelta(seconds=20)
POSTS_AFTER = timedelta(seconds=40)


async def post_letters(control: Path, now: datetime) -> None:
    """Record every letter that has lain in the tray long enough as printed and posted, each once.

    Raise `httpx.HTTPError` or `OSError` when the service does not answer, or its store is away.
    """
    await asyncio.to_thread(_look_through, control, now)


def _look_through(control: Path, now: datetime) -> None:
    with short_socket_path(control) as name, httpx.Client(transport=httpx.HTTPTransport(uds=name), timeout=5) as client:
        letters: Sequence[Mapping[str, Any]] = client.get("http://pantau/letters").raise_for_status().json()
        for letter in letters:
            lain_for = now - datetime.fromisoformat(letter["queued_at"])
            for step, after, deed in (("queued", PRINTS_AFTER, "printed"), ("printed", POSTS_AFTER, "posted")):
                if letter["step"] == step and lain_for > after:
                    client.post(f"http://pantau/notifications/{letter['id']}/{deed}", json={"by": CLERK})
