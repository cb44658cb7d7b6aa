"""One Pantau at work for all journeys: people of each role, agencies in the store, ninety days of history, and an outage."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from monitor.store.admin.keyring import new_key
from pantau_lab.environment import DemoEnvironment, stage
from pantau_lab.mail import Fault
from pantau_lab.seed.login import DemoLogin, demo_logins, new_password, write_private
from pantau_lab.seed.seed_store import prologue
from pantau_lab.world import AGENCIES
from tests.stories.theatre import BRISK, Theatre

JCM, MDC, UCM = AGENCIES
#: Calm enough to look at: what fails is noticed in seconds, nobody is called a second time, and a person releases. Beside a
#: browser the machine may be late: that is no outage of an agency's.
TIMING: Final = replace(
    BRISK,
    interval="20s",
    session_timeout="15s",
    arrival_timeout="25s",
    slow_threshold="25s",
    deferral_timeout="25s",
    call_after="2h",
    call_again_after="2h",
    release="manual",
    release_after="1s",
)
#: Of its rota: the first is on call in odd weeks.
ROTA: Final = "bertugas"
#: What a program may that prepares a journey, and looks at what came of it.
_ROLES: Final = ("viewer", "officer", "clerk", "noc")
_BY: Final = "Ujian"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSite:
    """The service, the fictional world that it watches, and who signs in."""

    play: Theatre
    logins: Mapping[str, DemoLogin]
    _web: httpx.AsyncClient

    @property
    def url(self) -> str:
        """The portal's address."""
        return self.play.url

    async def ask(self, path: str) -> Any:
        """Return what a program is told at *path* below /api/v1."""
        return (await self._web.get(f"/api/v1{path}")).raise_for_status().json()

    async def order(self, path: str, **said: Any) -> Any:
        """Have something done as a program does."""
        return (await self._web.post(f"/api/v1{path}", json=said)).raise_for_status().json()

    async def command(self, path: str, **word: Any) -> Any:
        """Have something done as the command line does."""
        return (await self.play.control(path, by=_BY, **word)).raise_for_status().json()

    async def outage(self) -> str:
        """Wait for the outage that goes on all the time, which probes have found; return its number."""

        async def there() -> bool:
            return bool(await open_ones())

        async def open_ones() -> list[str]:
            found = await self.ask(f"/incidents?agency={UCM.code}")
            return [each["number"] for each in found if each["state"] != "resolved"]

        await self.play.until(there, f"the outage of {UCM.code} is found")
        return (await open_ones())[0]

    async def proven(self, agency: str) -> None:
        """Wait until it is known how an agency's mail flows in each direction."""

        async def known() -> bool:
            healths = (await self.ask(f"/agencies/{agency}"))["health"].values()
            return "unknown" not in healths

        await self.play.until(known, f"the mail of {agency} is proven")

    async def own_health_known(self) -> None:
        """Wait until every part of Pantau itself is proven or known to be in trouble: up to two minutes after a start."""

        async def known() -> bool:
            return all(part["health"] != "unknown" for part in await self.ask("/self-health"))

        await self.play.until(known, "every part of Pantau itself is proven")

    async def declared(self, agency: str) -> str:
        """Declare that an agency's mail fails; return the number of the incident."""
        said = await self.order("/declarations", agency=agency, type="both", reason="Pengguna menelefon")
        return str(said["incident"]["number"])

    async def released(self, agency: str) -> str:
        """Declare it, and let the offices outside be told, which waits in the clerk's tray then; return the number."""
        number = await self.declared(agency)
        await self.order(f"/incidents/{number}/release")

        async def in_the_tray() -> bool:
            waiting = [each for each in await self.ask("/letters") if each["incident"].startswith(number)]
            return len(waiting) == len(recipients(agency))

        await self.play.until(in_the_tray, f"the letters of {number} wait")
        return number

    async def over(self, number: str) -> None:
        """Close an incident."""
        await self.order(f"/incidents/{number}/close", reason="Telah pulih", recovered=True)

    def journal(self, event: str, **detail: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Return who did something and with which details, from the store itself; *detail*: only where it is so."""
        with self._store() as store:
            rows = store.execute("SELECT actor, detail FROM audit_log WHERE event = ? ORDER BY id", (event,)).fetchall()
        found = [(actor, json.loads(kept)) for actor, kept in rows]
        return [(actor, kept) for actor, kept in found if detail.items() <= kept.items()]

    async def document(self, agency: str) -> Mapping[str, Any]:
        """Return an agency's document, as the store has it and the API reads it out."""
        read: Mapping[str, Any] = yaml.safe_load((await self._document(agency)).text)
        return read

    async def rewritten(self, agency: str, how: Callable[[str], str]) -> int:
        """Write an agency's document with another pen, a program's; return the number of the version."""
        before = await self._document(agency)
        match = {"If-Match": before.headers["etag"], "Content-Type": "application/yaml"}
        text = how(before.text)
        assert text != before.text
        path = f"/api/v1/agencies/{agency}/document"
        (await self._web.put(path, content=text, headers=match)).raise_for_status()
        return self.version(agency)

    def version(self, agency: str) -> int:
        """Return the number of the latest version of an agency's document."""
        with self._store() as store:
            query = "SELECT max(number) FROM document WHERE agency = ?"
            return int(store.execute(query, (agency,)).fetchone()[0])

    async def _document(self, agency: str) -> httpx.Response:
        return (await self._web.get(f"/api/v1/agencies/{agency}/document")).raise_for_status()

    def _store(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(f"file:{self.play.directory}/state/pantau.sqlite?mode=ro", uri=True))


def recipients(agency: str) -> Sequence[str]:
    """Return the offices that get a letter when an agency's mail fails."""
    first = {each.code: each.recipient.organisation for each in AGENCIES}[agency]
    return [first, _SECOND] if agency == MDC.code else [first]


_SECOND: Final = "Pejabat Daerah Contoh"


def _people() -> Sequence[DemoLogin]:
    """Return whom the demo has, and some whose account a journey changes, or who may little."""
    more = (
        ("mei", MDC.duty.name, f"viewer:{MDC.code}"),
        ("ravi", MDC.deputy.name, f"officer:{MDC.code}"),
        ("nur", UCM.deputy.name, f"viewer:{UCM.code}"),
        ("jok", UCM.duty.name, f"viewer:{UCM.code}"),
    )
    return [
        *demo_logins(),
        *(DemoLogin(name=name, full_name=full, role=role, password=new_password()) for name, full, role in more),
    ]


def _dress(world: DemoEnvironment) -> None:
    """Add to the demo's configuration what it has not: a rota, a second office, and a key for secrets."""
    folder = world.settings.parent
    write_private(folder / "secrets" / "kunci", new_key())
    text = world.settings.read_text()
    assert "portal: {}" in text
    world.settings.write_text(text.replace("portal: {}", "portal: {secrets_key_file: secrets/kunci}"))
    monday = (datetime.now(UTC) - timedelta(days=30)).date().isoformat()
    people = [JCM.duty.key, JCM.deputy.key]
    rota = {ROTA: {"layers": [{"every": "weekly", "from": monday, "people": people}]}}
    _change(folder / "agencies" / "jcm.yaml", lambda text: text | {"rotas": rota})
    office = {"title": "Pegawai Daerah", "organisation": _SECOND, "address": ["Kompleks Contoh", "00300 BANDAR CONTOH"]}

    def with_office(text: dict[str, Any]) -> dict[str, Any]:
        text["announcement"]["recipients"]["daerah"] = office | {"channels": ["letter"]}
        return text

    _change(folder / "agencies" / "mdc.yaml", with_office)


def _change(file: Path, how: Any) -> None:
    file.write_text(yaml.safe_dump(how(yaml.safe_load(file.read_text())), sort_keys=False, allow_unicode=True))


@asynccontextmanager
async def running_site(directory: Path) -> AsyncIterator[RunningSite]:
    """Start all of it, as whoever installs it would: files first, which the store takes in, then the store."""
    logins = _people()
    async with stage(directory, timing=TIMING, signs_in=True) as world:
        for phone in world.carrier.phones.values():
            phone.keys.clear()
        _dress(world)
        await prologue(world.settings, logins)
        await world.network.systems[UCM.code].break_(Fault.REFUSE)
        play = Theatre(world=world, directory=directory)
        await play.start()
        world.settings.write_text(world.settings.read_text().replace("agencies: agencies/", "agencies: database"))
        try:
            made = (await play.control("/reload", by=_BY)).raise_for_status().json()
            assert made["taken"], made
            order: dict[str, Any] = {"name": "ujian", "roles": [*_ROLES], "duration": "1d"}
            token = (await play.control("/tokens", by=_BY, **order)).raise_for_status().json()["secret"]
            async with play.web() as web:
                web.headers["Authorization"] = f"Bearer {token}"
                yield RunningSite(play=play, logins={each.name: each for each in logins}, _web=web)
        finally:
            await play.stop()
