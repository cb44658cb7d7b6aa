"""Take screenshots of the portal for each role: `python -m tests.browser.screenshots DIRECTORY [NAME ...]`.

Look at them. Documents show those in docs/pictures; docs/status-page.png is one. Few colours keep the files small.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

from playwright.async_api import Page

from monitor.web.page import PageLanguage
from tests.browser.browser_session import NARROW, WIDE, BrowserSessions
from tests.browser.running_site import JCM, MDC, ROTA, RunningSite, running_site
from tests.real.playwright_browser import open_browser

#: Maximum height of a screenshot, in pixels.
_TALLEST: Final = 1400


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A page, its user, and the screen."""

    name: str
    path: str
    who: str = ""
    screen: dict[str, int]
    language: PageLanguage = PageLanguage.MALAY
    scheme: Literal["light", "dark"] = "light"
    #: Text key of the section to expand.
    expand: str = ""


_WALL: Final = {"width": 1920, "height": 1080}
#: Taken with one agency down.
_ONE_DOWN: Final = (
    Picture(name="sign-in", path="/sign-in", screen=NARROW),
    Picture(name="status-page", path="/", who="noc", screen=WIDE),
    Picture(name="wall", path="/?wallboard=1", who="noc", screen=_WALL, scheme="dark"),
    Picture(name="agency", path=f"/agencies/{JCM.code}", who="ali", screen=WIDE),
    Picture(
        name="settings", path=f"/agencies/{JCM.code}/settings", who="ali", screen=WIDE, expand="edit.maintenance_add"
    ),
    Picture(name="rota", path=f"/rotas/{JCM.code}/{ROTA}", who="ali", screen=NARROW),
    Picture(name="account", path="/account", who="siti", screen=NARROW),
    Picture(name="users", path="/users", who="pentadbir", screen=WIDE),
)


def _with_tasks(number: str) -> Sequence[Picture]:
    """Return the screenshots with pending tasks; *number*: an incident that waits for its release."""
    return (
        Picture(name="duty", path="/tasks", who="siti", screen=NARROW),
        Picture(name="incident", path=f"/incidents/{number}", who="siti", screen=NARROW),
        Picture(
            name="release",
            path=f"/incidents/{number}/release",
            who="siti",
            screen=NARROW,
            language=PageLanguage.ENGLISH,
        ),
        Picture(name="letters", path="/letters", who="kerani", screen=WIDE),
        Picture(name="audit-log", path="/audit", who="noc", screen=WIDE, language=PageLanguage.ENGLISH),
    )


async def take_all(directory: Path, names: Sequence[str]) -> None:
    """Write the screenshots with these names, or all."""
    with TemporaryDirectory() as place:
        async with running_site(Path(place)) as site, open_browser() as browser, AsyncExitStack() as stack:
            sessions = BrowserSessions(site, browser, [], stack)
            blank = await browser.new_page()

            async def take(each: Picture) -> None:
                if names and each.name not in names:
                    return
                session = await sessions.open(each.who, language=each.language, screen=each.screen, scheme=each.scheme)
                await session.go(each.path)
                if each.expand:
                    await session.expand(each.expand)
                tall = await session.page.evaluate("document.documentElement.scrollHeight")
                height = min(tall, _TALLEST) if each.screen == NARROW else each.screen["height"]
                clip: Any = {"x": 0, "y": 0, "width": each.screen["width"], "height": height}
                taken = await session.page.screenshot(clip=clip, full_page=True)
                file = directory / f"{each.name}.png"
                file.write_bytes(await reduce_colours(blank, taken))
                print(file, tall, file.stat().st_size, flush=True)  # noqa: T201 - a tool

            await site.wait_for_outage()
            for agency in (JCM, MDC):
                await site.wait_until_probed(agency.code)
            await site.wait_for_self_health()
            for each in _ONE_DOWN:
                await take(each)
            for each in _with_tasks(await _create_tasks(site, sessions)):
                await take(each)


async def _create_tasks(site: RunningSite, sessions: BrowserSessions) -> str:
    """Create letters, and an outage that waits for its release; return the number of that incident."""
    await site.release_outage(MDC.code)
    siti = await sessions.open("siti")
    fields = {"agency": JCM.code, "matter": "both", "why": "Tiga pengguna menelefon"}
    form: dict[str, str | float | bool] = {**fields}
    await siti.context.request.post(f"{site.url}/tasks/declare", form=form, headers={"Origin": site.url})
    found = await site.get(f"/incidents?agency={JCM.code}")
    return next(str(each["number"]) for each in found if each["state"] != "resolved")


async def reduce_colours(page: Page, png: bytes) -> bytes:
    """Reduce a screenshot to 32 colours, as PNG; *page* runs the script."""
    found = await page.evaluate(_REDUCE_COLOURS, b64encode(png).decode())
    width, height, colours = found["width"], found["height"], bytes(found["colours"])
    dots = b64decode(found["dots"])
    lines = b"".join(b"\0" + dots[at : at + width] for at in range(0, len(dots), width))
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", head), (b"PLTE", colours), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


#: Keeps the 32 most frequent colours; every other colour is drawn as the nearest of them.
_REDUCE_COLOURS: Final = """async (png) => {
  const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const { width, height } = image;
  const canvas = new OffscreenCanvas(width, height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const seen = new Uint32Array(canvas.getImageData(0, 0, width, height).data.buffer);
  const count = new Map();
  for (const colour of seen) count.set(colour, (count.get(colour) ?? 0) + 1);
  const kept = [...count].sort((one, other) => other[1] - one[1]).slice(0, 32).map(([colour]) => colour);
  const parts = (colour) => [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
  const far = (one, other) => parts(one).reduce((sum, part, at) => sum + (part - parts(other)[at]) ** 2, 0);
  const place = new Map(kept.map((colour, at) => [colour, at]));
  for (const colour of count.keys()) {
    if (place.has(colour)) continue;
    let best = 0;
    for (let at = 1; at < kept.length; at += 1) if (far(colour, kept[at]) < far(colour, kept[best])) best = at;
    place.set(colour, best);
  }
  const dots = Uint8Array.from(seen, (colour) => place.get(colour));
  let text = "";
  for (let at = 0; at < dots.length; at += 32768) text += String.fromCharCode(...dots.subarray(at, at + 32768));
  return { width, height, colours: kept.flatMap(parts), dots: btoa(text) };
}"""


if __name__ == "__main__":
    asyncio.run(take_all(Path(sys.argv[1]), sys.argv[2:]))
