"""Take pictures of the portal as people of each role meet it: `python -m tests.browser.pictures DIRECTORY [NAME ...]`.

Look at them. Those that documents show are in docs/pictures, and docs/status-page.png is one; a picture has few colours,
so that it is small.
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
from tests.browser.guest import NARROW, WIDE, Door
from tests.browser.running_site import JCM, MDC, ROTA, RunningSite, running_site
from tests.real.visitor import opened_browser

#: Of a long page so many pixels.
_TALLEST: Final = 1400


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A page, who looks at it, and on what."""

    name: str
    path: str
    who: str = ""
    screen: dict[str, int]
    language: PageLanguage = PageLanguage.MALAY
    scheme: Literal["light", "dark"] = "light"
    #: What is unfolded.
    unfold: str = ""


_WALL: Final = {"width": 1920, "height": 1080}
#: With one agency down.
_CALM: Final = (
    Picture(name="sign-in", path="/sign-in", screen=NARROW),
    Picture(name="status-page", path="/", who="noc", screen=WIDE),
    Picture(name="wall", path="/?wallboard=1", who="noc", screen=_WALL, scheme="dark"),
    Picture(name="agency", path=f"/agencies/{JCM.code}", who="ali", screen=WIDE),
    Picture(
        name="settings", path=f"/agencies/{JCM.code}/settings", who="ali", screen=WIDE, unfold="edit.maintenance_add"
    ),
    Picture(name="rota", path=f"/rotas/{JCM.code}/{ROTA}", who="ali", screen=NARROW),
    Picture(name="account", path="/account", who="siti", screen=NARROW),
    Picture(name="users", path="/users", who="pentadbir", screen=WIDE),
)


def _busy(number: str) -> Sequence[Picture]:
    """Return what is taken when there is something to do; *number*: of an incident that waits for its release."""
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
        Picture(name="journal", path="/audit", who="noc", screen=WIDE, language=PageLanguage.ENGLISH),
    )


async def shoot(directory: Path, names: Sequence[str]) -> None:
    """Write the pictures that are called so, or all."""
    with TemporaryDirectory() as place:
        async with running_site(Path(place)) as site, opened_browser() as browser, AsyncExitStack() as stack:
            door = Door(site, browser, [], stack)
            blank = await browser.new_page()

            async def take(each: Picture) -> None:
                if names and each.name not in names:
                    return
                guest = await door.admit(each.who, language=each.language, screen=each.screen, scheme=each.scheme)
                await guest.go(each.path)
                if each.unfold:
                    await guest.unfold(each.unfold)
                tall = await guest.page.evaluate("document.documentElement.scrollHeight")
                height = min(tall, _TALLEST) if each.screen == NARROW else each.screen["height"]
                clip: Any = {"x": 0, "y": 0, "width": each.screen["width"], "height": height}
                taken = await guest.page.screenshot(clip=clip, full_page=True)
                file = directory / f"{each.name}.png"
                file.write_bytes(await few_colours(blank, taken))
                print(file, tall, file.stat().st_size, flush=True)  # noqa: T201 - a tool

            await site.outage()
            for agency in (JCM, MDC):
                await site.proven(agency.code)
            await site.own_health_known()
            for each in _CALM:
                await take(each)
            for each in _busy(await _something_to_do(site, door)):
                await take(each)


async def _something_to_do(site: RunningSite, door: Door) -> str:
    """Let there be letters for the clerk, and an outage that waits for its release; return the number of that."""
    await site.released(MDC.code)
    siti = await door.admit("siti")
    said = {"agency": JCM.code, "matter": "both", "why": "Tiga pengguna menelefon"}
    form: dict[str, str | float | bool] = {**said}
    await siti.context.request.post(f"{site.url}/tasks/declare", form=form, headers={"Origin": site.url})
    found = await site.ask(f"/incidents?agency={JCM.code}")
    return next(str(each["number"]) for each in found if each["state"] != "resolved")


async def few_colours(page: Page, png: bytes) -> bytes:
    """Return a picture with 32 colours, as PNG; *page* reckons."""
    found = await page.evaluate(_FEW_COLOURS, b64encode(png).decode())
    width, height, colours = found["width"], found["height"], bytes(found["colours"])
    dots = b64decode(found["dots"])
    lines = b"".join(b"\0" + dots[at : at + width] for at in range(0, len(dots), width))
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", head), (b"PLTE", colours), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


#: The 32 colours that are most of it; every other one is drawn as the nearest of them.
_FEW_COLOURS: Final = """async (png) => {
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
    asyncio.run(shoot(Path(sys.argv[1]), sys.argv[2:]))
