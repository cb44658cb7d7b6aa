"""Clerk of the demo, who posts letters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, HTTPException

from monitor.web.serving import open_unix, serve
from pantau_lab.clerk import PRINTS_AFTER, post_letters

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)


async def test_post_letters_records_letters_older_than_printing_delay(tmp_path: Path) -> None:
    app, recorded = FastAPI(), list[str]()

    @app.get("/letters")
    async def letters() -> list[dict[str, object]]:
        queued_at = [NOW - PRINTS_AFTER - timedelta(seconds=1), NOW]
        return [{"id": number, "queued_at": at.isoformat(), "step": "queued"} for number, at in enumerate(queued_at)]

    @app.post("/notifications/{notification}/{action}")
    async def record(notification: int, action: str) -> None:
        recorded.append(f"{notification} {action}")

    async with serve(app, open_unix(tmp_path / "c.sock")):
        await post_letters(tmp_path / "c.sock", NOW)
    assert recorded == ["0 printed"]


async def test_post_letters_without_store_raises_http_error(tmp_path: Path) -> None:
    app = FastAPI()

    @app.get("/letters")
    async def letters() -> None:
        raise HTTPException(503, "the store is away")

    async with serve(app, open_unix(tmp_path / "c.sock")):
        with pytest.raises(httpx.HTTPError):
            await post_letters(tmp_path / "c.sock", NOW)
