"""One running Pantau for all browser tests.

It has users of each role, agencies in the database, 90 days of history and an outage.
"""

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
from pantau_lab.environment import DemoEnvironment, demo_environment
from pantau_lab.mail import Fault
from pantau_lab.seed.login import DemoLogin, demo_logins, new_password, write_private
from pantau_lab.seed.seed_store import write_initial_data
from pantau_lab.world import AGENCIES
from tests.stories.running_service import FAST_TIMING, RunningService

JCM, MDC, UCM = AGENCIES
#: Failures are noticed in seconds, nobody is called a second time, and a person releases. A slow machine beside a
#: browser causes no outage.
TIMING: Final = replace(
    FAST_TIMING,
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
#: A rota of JCM: the first person is on call in odd weeks.
ROTA: Final = "bertugas"
#: Roles of the program that prepares tests and reads results.
_ROLES: Final = ("viewer", "officer", "clerk", "noc")
_BY: Final = "Ujian"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSite:
    """The service, its fictional world, and the logins."""

    play: RunningService
    logins: Mapping[str, DemoLogin]
    _web: httpx.AsyncClient

    @property
    def url(self) -> str:
        """The portal's address."""
        return self.play.url

    async def get(self, path: str) -> Any:
        """Return the API's response at *path* below /api/v1."""
        return (await self._web.get(f"/api/v1{path}")).raise_for_status().json()

    async def post(self, path: str, **body: Any) -> Any:
        """Send a command to the API."""
        return (await self._web.post(f"/api/v1{path}", json=body)).raise_for_status().json()

    async def command(self, path: str, **body: Any) -> Any:
        """Send a command to the control socket."""
        return (await self.play.control(path, by=_BY, **body)).raise_for_status().json()

    async def wait_for_outage(self) -> str:
        """Wait until probes find the permanent outage; return its number."""

        async def there() -> bool:
            return bool(await open_ones())

        async def open_ones() -> list[str]:
            found = await self.get(f"/incidents?agency={UCM.code}")
            return [each["number"] for each in found if each["state"] != "resolved"]

        await self.play.until(there, f"the outage of {UCM.code} is found")
        return (await open_ones())[0]

    async def wait_until_probed(self, agency: str) -> None:
        """Wait until the health of each direction of an agency is known."""

        async def known() -> bool:
            healths = (await self.get(f"/agencies/{agency}"))["health"].values()
            return "unknown" not in healths

        await self.play.until(known, f"the mail of {agency} is proven")

    async def wait_for_self_health(self) -> None:
        """Wait until the health of every component is known: up to two minutes after a start."""

        async def known() -> bool:
            return all(part["health"] != "unknown" for part in await self.get("/self-health"))

        await self.play.until(known, "every part of Pantau itself is proven")

    async def declare_outage(self, agency: str) -> str:
        """Declare an outage of an agency; return the incident's number."""
        body = await self.post("/declarations", agency=agency, type="both", reason="Pengguna menelefon")
        return str(body["incident"]["number"])

    async def release_outage(self, agency: str) -> str:
        """Declare an outage and release its announcement; return the incident's number.

        The letters are in the tray then.
        """
        number = await self.declare_outage(agency)
        await self.post(f"/incidents/{number}/release")

        async def in_the_tray() -> bool:
            waiting = [each for each in await self.get("/letters") if each["incident"].startswith(number)]
            return len(waiting) == len(recipients(agency))

        await self.play.until(in_the_tray, f"the letters of {number} wait")
        return number

    async def close_incident(self, number: str) -> None:
        """Close an incident."""
        await self.post(f"/incidents/{number}/close", reason="Telah pulih", recovered=True)

    def audit_entries(self, event: str, **detail: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Return actor and details of an event from the database; *detail*: a filter."""
        with self._store() as store:
            rows = store.execute("SELECT actor, detail FROM audit_log WHERE event = ? ORDER BY id", (event,)).fetchall()
        found = [(actor, json.loads(kept)) for actor, kept in rows]
        return [(actor, kept) for actor, kept in found if detail.items() <= kept.items()]

    async def document(self, agency: str) -> Mapping[str, Any]:
        """Return an agency's document as the API returns it."""
        read: Mapping[str, Any] = yaml.safe_load((await self._document(agency)).text)
        return read

    async def edit_document(self, agency: str, change: Callable[[str], str]) -> int:
        """Edit an agency's document over the API; return the version's number."""
        before = await self._document(agency)
        match = {"If-Match": before.headers["etag"], "Content-Type": "application/yaml"}
        text = change(before.text)
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


def _logins() -> Sequence[DemoLogin]:
    """Return the demo's logins, and some more whose accounts the tests change."""
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


def _configure(world: DemoEnvironment) -> None:
    """Add a rota, a second office and a secrets key to the demo's configuration."""
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


def _change(file: Path, change: Any) -> None:
    file.write_text(yaml.safe_dump(change(yaml.safe_load(file.read_text())), sort_keys=False, allow_unicode=True))


@asynccontextmanager
async def running_site(directory: Path) -> AsyncIterator[RunningSite]:
    """Start the site as an operator does: agencies in files, which the database imports."""
    logins = _logins()
    async with demo_environment(directory, timing=TIMING, signs_in=True) as world:
        for phone in world.carrier.phones.values():
            phone.keys.clear()
        _configure(world)
        await write_initial_data(world.settings, logins)
        await world.network.systems[UCM.code].break_(Fault.REFUSE)
        play = RunningService(world=world, directory=directory)
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
