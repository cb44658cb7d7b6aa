"""Take pictures of the status page, to be looked at: `python -m tests.shots DIRECTORY [PART OF A NAME ...]`.

In each width, in light and dark, for few and for many agencies, in every weather of `tests/unit/monitor/web/country.py`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from monitor.web.portal import portal
from monitor.web.serving import listener_url, open_port, serve
from tests.real.visitor import opened_browser
from tests.unit.monitor.web.country import MultiSiteDemo, Weather

#: By name: the address, and the window.
_WINDOWS = {
    "1400": ("/", {"width": 1400, "height": 900}),
    "400": ("/", {"width": 400, "height": 800}),
    "wall": ("/?wallboard=1", {"width": 1920, "height": 1080}),
}
_SIZES = (3, 300, 1000)
#: Of a long page so many pixels.
_TALLEST = 2700


async def shoot(directory: Path, parts: Sequence[str]) -> None:
    """Write a picture of each page whose name has all *parts* in it."""
    async with opened_browser() as browser:
        for weather, size in product(Weather, _SIZES):
            listener = open_port("127.0.0.1", 0)
            async with serve(portal(MultiSiteDemo(size=size, weather=weather), ["127.0.0.1"]), listener):
                for (window, (path, viewport)), scheme in product(_WINDOWS.items(), ("light", "dark")):
                    name = f"{weather}-{size}-{window}-{scheme}"
                    if all(part in f"-{name}-" for part in parts):
                        how: dict[str, Any] = {"viewport": viewport, "color_scheme": scheme}
                        page = await browser.new_page(**how)
                        await page.goto(listener_url(listener) + path)
                        await page.wait_for_selector("#asof:not([hidden])")
                        tall = await page.evaluate("document.documentElement.scrollHeight")
                        clip = {"x": 0, "y": 0, "width": viewport["width"], "height": min(tall, _TALLEST)}
                        shot: dict[str, Any] = {"clip": clip, "full_page": True}
                        await page.screenshot(path=directory / f"{name}.png", **shot)
                        await page.close()
                        print(name, tall, flush=True)  # noqa: T201 - a tool


if __name__ == "__main__":
    asyncio.run(shoot(Path(sys.argv[1]), sys.argv[2:]))
