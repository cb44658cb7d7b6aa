"""Simulated clerk, who records letters in the tray (the directory of letters to post) as printed and posted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from monitor.runtime.unix_socket import short_socket_path
from pantau_lab.world import CLERK

#: Time from the queueing of a letter to its printing and its posting. A letter that is withdrawn before its posting
#: needs no recovery letter.
PRINTS_AFTER = timedelta(seconds=20)
POSTS_AFTER = timedelta(seconds=40)


async def post_letters(control: Path, now: datetime) -> None:
    """Record as printed or posted each letter that has been in the tray for the time above.

    *control*: the control socket. Raise `httpx.HTTPError` or `OSError` if the service or its database is unavailable.
    """
    await asyncio.to_thread(_process_letters, control, now)


def _process_letters(control: Path, now: datetime) -> None:
    with short_socket_path(control) as name, httpx.Client(transport=httpx.HTTPTransport(uds=name), timeout=5) as client:
        letters: Sequence[Mapping[str, Any]] = client.get("http://pantau/letters").raise_for_status().json()
        for letter in letters:
            time_in_tray = now - datetime.fromisoformat(letter["queued_at"])
            for step, after, action in (("queued", PRINTS_AFTER, "printed"), ("printed", POSTS_AFTER, "posted")):
                if letter["step"] == step and time_in_tray > after:
                    client.post(f"http://pantau/notifications/{letter['id']}/{action}", json={"by": CLERK})
