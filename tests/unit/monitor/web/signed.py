"""A portal in which people sign in, over a store of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from alerts.record.store import Entry
from monitor.access.code import CodeWay
from monitor.service.access.administration import Administration
from monitor.service.access.authenticator import LONGEST, Authenticator
from monitor.service.access.secret import SessionKey
from monitor.service.access.tokens import ProgramTokens
from monitor.store.backend.database import Database
from monitor.store.upkeep.tokens import TokenRecords
from monitor.store.upkeep.users import Users, WebSession
from monitor.web.access.gate import Gate
from monitor.web.access.tokens import token_pages
from monitor.web.access.users import user_pages
from monitor.web.portal import portal
from tests.unit.alerts.people import T0
from tests.unit.monitor.web.source import Service

PASSWORD = "kerusi rotan di beranda hujan"
OURS = {"Sec-Fetch-Site": "same-origin"}


class Clock:
    """Stands, unless it is moved."""

    def __init__(self) -> None:
        self.at = T0

    def now(self) -> datetime:
        return self.at

    def move(self, by: timedelta) -> None:
        self.at += by


@dataclass
class House:
    """The portal, and what stands behind its gate."""

    app: FastAPI
    users: Users
    authenticator: Authenticator
    administration: Administration
    tokens: ProgramTokens
    clock: Clock
    database: Database
    stack: AsyncExitStack

    def browser(self, **headers: str) -> httpx.AsyncClient:
        """Open a browser that keeps its cookies."""
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers={**OURS, **headers})

    async def invite(self, name: str, *roles: str, way: CodeWay = CodeWay.LETTER) -> str:
        """Make a user, and return the code by which the password is chosen."""
        await self.administration.add(name, f"{name.capitalize()} Contoh", roles, by="Ujian")
        return (await self.administration.invite(name, way, by="Ujian")).code

    async def admitted(self, name: str, *roles: str) -> httpx.AsyncClient:
        """Make a user, and return a browser in which they are signed in already."""
        user = await self.administration.add(name, f"{name.capitalize()} Contoh", roles, by="Ujian")
        key, now = SessionKey.new(), self.clock.now()
        session = WebSession(
            digest=key.digest, user=user, begun_at=now, seen_at=now, ends_at=now + LONGEST, address="127.0.0.1"
        )
        await self.users.begin(session, Entry(at=now, actor=user.by, event="signed in"))
        browser = await self.stack.enter_async_context(self.browser())
        browser.cookies.set("pantau", key.text, domain="localhost.local")
        return browser

    async def program(self, *roles: str, name: str = "konsol", **headers: str) -> httpx.AsyncClient:
        """Make a token, and return a program that shows it."""
        made = await self.tokens.make(name, roles, timedelta(days=90), by="Ujian")
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        shown = {"Authorization": f"Bearer {made.secret.text}", **headers}
        return await self.stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=shown)
        )

    async def signed_in(self, name: str, *roles: str) -> httpx.AsyncClient:
        """Make a user, and return a browser in which they are signed in."""
        code = await self.invite(name, *roles)
        browser = await self.stack.enter_async_context(self.browser())
        answer = await browser.post("/welcome", data={"name": name, "code": code, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return browser


@asynccontextmanager
async def house(directory: Path, service: Any = None, *, secure: bool = False) -> AsyncIterator[House]:
    """Open the portal of *service*."""
    clock, codes = Clock(), ("JCM", "MDC")
    service = service or Service(codes=codes)
    async with Database.open(directory) as database, AsyncExitStack() as stack:
        users = Users(database)
        authenticator = Authenticator(users, clock, agencies=lambda: codes)
        administration = Administration(users, clock, agencies=lambda: codes, changed=authenticator.forget)
        tokens = ProgramTokens(TokenRecords(database), clock, agencies=lambda: codes)
        gate = Gate(authenticator, tokens, is_secure=secure)
        pages = [partial(user_pages, administration), partial(token_pages, tokens)]
        app = portal(service, ["localhost"], service, gate=gate, pages=pages)
        yield House(
            app=app,
            users=users,
            authenticator=authenticator,
            administration=administration,
            tokens=tokens,
            clock=clock,
            database=database,
            stack=stack,
        )
