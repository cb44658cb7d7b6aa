"""Fuzz targets of the portal, the control socket, webhooks, and names on pages and paper."""

from __future__ import annotations

import asyncio
import json
import re
from functools import cache
from html.parser import HTMLParser
from typing import Any

import httpx

from alerts.documents.printable import printable
from alerts.gateways.tray import _slug
from alerts.inbound.alertmanager import WebhookRejectedError, read_webhook
from alerts.model.alert import KnownAlert, apply_alert
from monitor.web.api.alertmanager import MAX_WEBHOOK
from monitor.web.command.control import control
from monitor.web.letters import letter_commands
from monitor.web.portal import portal
from tests.fuzz.target import TURN, Target
from tests.unit.alerts.inbound.test_alertmanager import ALERT
from tests.unit.alerts.inbound.test_alertmanager import octets as webhook_octets
from tests.unit.alerts.people import T0
from tests.unit.monitor.web.fake_service import TOKEN, Service

_HOSTS = ("localhost",)


def _command(octets: bytes) -> None:
    """A request is executed or refused without a server error, and its recorded name is printable."""
    asyncio.run(_send_command(octets))


@cache
def _applications() -> tuple[Service, tuple[Any, Any]]:
    """Return a service and its applications, cached because making them takes longest."""
    service = Service()
    return service, (portal(service, _HOSTS, service), control(service, letter_commands(service)))


async def _send_command(octets: bytes) -> None:
    path, _, body = octets.partition(TURN)
    number = "".join(f"%{octet:02X}" for octet in path[:200]) or "x"
    service, apps = _applications()
    service.commands.clear()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
    paths = (
        (f"/api/v1/incidents/{number}/acknowledge", f"/letters/{number}/posted", "/letters/7/printed"),
        (
            f"/incidents/{number}/acknowledge",
            f"/incidents/{number}/false-alarm",
            f"/notifications/{number}/posted",
            "/reload",
        ),
    )
    for app, each in zip(apps, paths, strict=True):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as web:
            for path_of_command in each:
                answer = await web.post(path_of_command, content=body)
                assert answer.status_code < 500
    assert all(by.isprintable() and len(by) <= 150 for _, by in service.commands)


class _Tags(HTMLParser):
    """Collects the elements of a page."""

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
def _expected_tags(words: str) -> tuple[str, ...]:
    return tuple(_tags(words))


def _page(octets: bytes) -> None:
    """A page has the same elements for each name of an agency and each response of a server."""
    words = octets.decode("utf-8", "replace")
    # Without a response there is no element for it.
    assert tuple(_tags(words)) == _expected_tags("x" if words else "")


def _paper(octets: bytes) -> None:
    """Each name can be printed and be part of a file name."""
    text = octets.decode("utf-8", "replace")
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    slug = _slug(text)
    assert slug
    assert slug.isascii()
    assert len(slug) <= 100
    assert not set(slug) & set("/\\.\0 ")


def _webhook(octets: bytes) -> None:
    """A webhook is parsed, or refused with a short reason; only letters and digits are notified."""
    try:
        webhook = read_webhook(octets, T0)
    except WebhookRejectedError as refused:
        assert str(refused).isprintable()
        assert len(str(refused)) < 400
        return
    known: KnownAlert | None = None
    for alert in webhook.alerts:
        _, known = apply_alert(alert, known, T0)
        assert _NOTIFIED.fullmatch(alert.subject)
        assert all(text.isprintable() and len(text) <= 1000 for text in alert.audit_details().values())


_NOTIFIED = re.compile(r"[A-Za-z0-9._ ()-]{0,57}", re.ASCII)


def _alerts(size: int) -> bytes:
    one = json.dumps(ALERT).encode()
    return b'{"version": "4", "alerts": [' + b", ".join([one] * (size // (len(one) + 2) or 1)) + b"]}"


TARGETS = (
    Target(
        name="webhook",
        run=_webhook,
        seeds={
            "an alert that fires": webhook_octets(),
            "one that is over": webhook_octets(
                alerts=[{**ALERT, "status": "resolved", "endsAt": "2026-11-24T06:20:00Z"}]
            ),
            "name with placeholders and markup": webhook_octets(
                alerts=[{**ALERT, "labels": {"alertname": "{number} [a|b] <b>&\x1b[2J\u202e\0", "instance": "(x)"}}]
            ),
            "start before the first time": webhook_octets(alerts=[{**ALERT, "startsAt": "0001-01-01T00:00:00+08:00"}]),
            "other form": b'{"text": "Cakera penuh"}',
            "half a character": b'{"version": "4", "groupKey": "\\ud800", "alerts": []}',
            "nested without end": b'{"version": "4", "alerts": ' + b"[" * 20_000,
            "not UTF-8": b'{"version": "4", "alerts": ["\xff"]}',
        },
        growing={
            "alerts": _alerts,
            "one long name": lambda size: webhook_octets(
                alerts=[{**ALERT, "labels": {"alertname": "a b" * (size // 3)}}]
            ),
            "labels without number": lambda size: webhook_octets(
                alerts=[{**ALERT, "labels": {f"l{n}": "x" for n in range(size // 14)}}]
            ),
            "nested": lambda size: b'{"version": "4", "alerts": ' + b"[" * size,
        },
        largest=MAX_WEBHOOK,
    ),
    Target(
        name="command",
        run=_command,
        seeds={
            "an acknowledgement": b"JCM-07" + TURN + b'{"by": "siti"}',
            "a correction": b"JCM-07" + TURN + b'{"by": "siti", "reason": "salah"}',
            "a number of 5,000 digits": b"9" * 199 + TURN + b'{"by": ' + b"9" * 5000 + b"}",
            "a name of half a character": b"1" + TURN + b'{"by": "\\ud800", "reason": "\\ud800"}',
            "name with control characters": b"1" + TURN + b'{"by": "\\u001b[2J", "reason": "\\u202e"}',
            "a NUL": b"\0" + TURN + b'{"by": "\\u0000"}',
            "no finite number": b"-1" + TURN + b'{"by": NaN, "reason": 1e309}',
            "nested without end": b"../x" + TURN + b'{"by":' * 20_000,
            "a list": b"x" + TURN + b"[]",
            "a clerk's form": b"7" + TURN + b"by=Kerani+Contoh",
            "a form of a thousand fields": b"7" + TURN + b"by=a&" * 800,
            "form with control characters": b"7" + TURN + b"by=%1b%5b2J&by=%00",
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
            "path traversal": b"../../etc/passwd\0",
            "letters of all kinds": "Ñandú \u202egnirahasia \ufdfa \U0001f600 a\u0300\u0301".encode(),
            "markup": b'#import "x.typ" $x$ *a* <label> @ref',
        },
        growing={"marks": lambda size: "a\u0301\u0323".encode() * (size // 5)},
    ),
)
