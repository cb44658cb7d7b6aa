"""The clerk of the demo posts letters; a service that cannot say which there are ends nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, HTTPException

from monitor.web.serving import open_unix, serve
from pantau_lab.clerk import PRINTS_AFTER, post_letters

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)


async def test_post_letters_records_each_letter_that_has_lain_long_enough(tmp_path: Path) -> None:
    app, recorded = FastAPI(), list[str]()

    @app.get("/letters")
    async def letters() -> list[dict[str, object]]:
        laid = [NOW - PRINTS_AFTER - timedelta(seconds=1), NOW]
        return [{"id": number, "queued_at": at.isoformat(), "step": "queued"} for number, at in enumerate(laid)]

    @app.post("/notifications/{notice}/{deed}")
    async def record(notice: int, deed: str) -> None:
        recorded.append(f"{notice} {deed}")

    async with serve(app, open_unix(tmp_path / "c.sock")):
        await post_letters(tmp_path / "c.sock", NOW)
    assert recorded == ["0 printed"]


async def test_post_letters_while_the_store_is_away_raises_what_the_demo_expects(tmp_path: Path) -> None:
    app = FastAPI()

    @app.get("/letters")
    async def letters() -> None:
        raise HTTPException(503, "the store is away")

    async with serve(app, open_unix(tmp_path / "c.sock")):
        with pytest.raises(httpx.HTTPError):
            await post_letters(tmp_path / "c.sock", NOW)
