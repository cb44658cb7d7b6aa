"""A clerk who posts the letters in the tray after a while, as a person would, and records it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from monitor.unix import reachable

#: From the letter in the tray to the letter box. A letter taken back before needs no recovery letter.
POSTS_AFTER = timedelta(seconds=40)
_NAME = "Kerani Contoh"


async def post_letters(control: Path, url: str, now: datetime) -> None:
    """Record every letter that has lain in the tray long enough as posted; the service at *url* lists them."""
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        notices: list[Mapping[str, Any]] = (await client.get(f"{url}/api/v1/notices")).json()
    for notice in notices:
        lies_there = notice["channel"] == "letter" and notice["state"] == "sent"
        if lies_there and now - datetime.fromisoformat(notice["created_at"]) > POSTS_AFTER:
            await asyncio.to_thread(_record, control, notice["id"])


def _record(control: Path, notice: int) -> None:
    with reachable(control) as name, httpx.Client(transport=httpx.HTTPTransport(uds=name), timeout=5) as client:
        client.post(f"http://pantau/notices/{notice}/dispatched", json={"by": _NAME})
