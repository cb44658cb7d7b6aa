"""What people and programs send to the portal and the control socket, and what strangers' words look like on the page."""

from __future__ import annotations

import asyncio
from functools import cache
from html.parser import HTMLParser
from typing import Any

import httpx

from alerts.documents.printable import printable
from alerts.gateways.tray import _slug
from monitor.web.command.control import control
from monitor.web.letters import letter_orders
from monitor.web.portal import portal
from tests.fuzz.target import TURN, Target
from tests.unit.monitor.web.source import TOKEN, Service

_HOSTS = ("localhost",)


def _order(octets: bytes) -> None:
    """An order is carried out or refused; no answer is an error of ours, and what is kept of it is legible."""
    asyncio.run(_ordered(octets))


@cache
def _served() -> tuple[Service, tuple[Any, Any]]:
    """Return a service and the applications over it: making those takes longer than all that is done with them."""
    service = Service()
    return service, (portal(service, _HOSTS, service), control(service, letter_orders(service)))


async def _ordered(octets: bytes) -> None:
    path, _, body = octets.partition(TURN)
    number = "".join(f"%{octet:02X}" for octet in path[:200]) or "x"
    service, apps = _served()
    service.orders.clear()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
    paths = (
        (f"/api/v1/incidents/{number}/acknowledge", f"/letters/{number}/posted", "/letters/7/printed"),
        (
            f"/incidents/{number}/acknowledge",
            f"/incidents/{number}/correct",
            f"/notices/{number}/posted",
            "/reload",
        ),
    )
    for app, each in zip(apps, paths, strict=True):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as web:
            for order in each:
                answer = await web.post(order, content=body)
                assert answer.status_code < 500
    assert all(by.isprintable() and len(by) <= 150 for _, by in service.orders)


class _Tags(HTMLParser):
    """Counts the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)


def _tags(words: str) -> list[str]:
    async def page() -> str:
        app = portal(Service(name=words, why=words), _HOSTS)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as web:
            return (await web.get("/fragment")).text

    parser = _Tags()
    parser.feed(asyncio.run(page()))
    return parser.seen


@cache
def _usual() -> tuple[str, ...]:
    return tuple(_tags("x"))


def _page(octets: bytes) -> None:
    """Whatever an agency is called, and a server says, the page has the elements that it always has."""
    assert tuple(_tags(octets.decode("utf-8", "replace"))) == _usual()


def _paper(octets: bytes) -> None:
    """Whatever somebody is called, it can be printed, and be part of a file's name."""
    text = octets.decode("utf-8", "replace")
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    slug = _slug(text)
    assert slug
    assert slug.isascii()
    assert len(slug) <= 100
    assert not set(slug) & set("/\\.\0 ")


TARGETS = (
    Target(
        name="order",
        run=_order,
        seeds={
            "an acknowledgement": b"JCM-07" + TURN + b'{"by": "siti"}',
            "a correction": b"JCM-07" + TURN + b'{"by": "siti", "why": "salah"}',
            "a number of 5,000 digits": b"9" * 199 + TURN + b'{"by": ' + b"9" * 5000 + b"}",
            "a name of half a character": b"1" + TURN + b'{"by": "\\ud800", "why": "\\ud800"}',
            "a name that terminals obey": b"1" + TURN + b'{"by": "\\u001b[2J", "why": "\\u202e"}',
            "a NUL": b"\0" + TURN + b'{"by": "\\u0000"}',
            "no finite number": b"-1" + TURN + b'{"by": NaN, "why": 1e309}',
            "nested without end": b"../x" + TURN + b'{"by":' * 20_000,
            "a list": b"x" + TURN + b"[]",
            "a clerk's form": b"7" + TURN + b"by=Kerani+Contoh",
            "a form of a thousand fields": b"7" + TURN + b"by=a&" * 800,
            "a form that terminals obey": b"7" + TURN + b"by=%1b%5b2J&by=%00",
            "not UTF-8": b"\xff\xfe" + TURN + b'{"by": "\xff"}',
        },
        largest=32 * 1024,
    ),
    Target(
        name="page",
        run=_page,
        seeds={
            "a name": b"Jabatan Contoh Malaysia",
            "an element": b"<script>alert(1)</script>",
            "an attribute": b'" onmouseover="alert(1)',
            "a template": b"{{ 7 * 7 }}{% for x in y %}",
            "half an element": b"</td></tr></table><!--",
        },
        largest=4096,
    ),
    Target(
        name="paper",
        run=_paper,
        seeds={
            "a name": b"Siti binti Contoh",
            "a way out": b"../../etc/passwd\0",
            "letters of all kinds": "Ñandú \u202egnirahasia \ufdfa \U0001f600 a\u0300\u0301".encode(),
            "markup": b'#import "x.typ" $x$ *a* <label> @ref',
        },
        swollen={"marks": lambda size: "a\u0301\u0323".encode() * (size // 5)},
    ),
)
