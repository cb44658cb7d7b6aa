"""A stage for stories: the fictional world in this process, the real service in this one or in one of its own."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from monitor.cli.service import request
from monitor.runtime.place import CONTROL_SOCKET
from monitor.store.backend import sqlite
from monitor.store.backend.postgres import PostgresServer
from pantau_lab.carrier.phone import PATIENCE, Phone
from pantau_lab.config_files import Timing
from pantau_lab.environment import DemoEnvironment, stage
from pantau_lab.mail import FaultDelays
from pantau_lab.world import AGENCIES, NOC, FictionalAgency
from tests.stories.living import Living, bring_to_its_end, bring_to_life
from tests.unit.alerts.documents.pages import text_of

#: Fast enough to watch, slow enough that two busy cores do not make mail look slow.
BRISK = Timing(
    interval="3s",
    session_timeout="3s",
    arrival_timeout="5s",
    # Nothing is slow that arrives: a machine that stands still for two seconds is not what stories are about.
    slow_threshold="5s",
    tempo=FaultDelays(slow_by=timedelta(seconds=3)),
    retry_interval="1s",
    deferral_timeout="4s",
    call_after="2s",
    call_again_after="10s",
    release_after="4s",
    # Stories break the same agency again and again.
    unsteady_for="1s",
)
#: Nobody is called a second time, however long it takes until somebody presses a key: for stories that expect each call.
CALLED_ONCE = replace(BRISK, call_again_after="10m")
#: Its duty officer has no PIN but in the story that is about it: what is kept of one takes 20 ms at each start and reload.
JCM = replace(AGENCIES[0], duty=replace(AGENCIES[0].duty, pin=""))
#: The portal is asked in plain text, and often: to read the public authorities for each question would take longer than it.
_UNREAD = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
#: What is kept of a connection is let go long before the service lets go of it.
_BRIEF = httpx.Limits(keepalive_expiry=1)
#: Within that the service answers, in seconds, on a machine that is busy with other things: some questions are asked once.
_ANSWERS = 30
#: How often it is asked whether something is so, in seconds: each question costs both sides some milliseconds.
LOOK = 0.2
#: And after a second: what takes longer than that is not missed by another fifth of one.
_LOOK_AGAIN = 0.4


@dataclass(slots=True, kw_only=True)
class Theatre:
    """The world, and the service that watches it."""

    world: DemoEnvironment
    directory: Path
    #: What runs the service: a module, and what it is told before the command.
    program: Sequence[str] = ("monitor.cli",)
    #: What it is started with besides.
    environment: Mapping[str, str] = field(default_factory=dict)
    service: Living | None = None
    #: Faults of earlier lives of the service are kept: its log is one file.
    lives: int = field(default=0)
    #: What is asked again and again: to connect anew costs both sides more than the question.
    _line: httpx.AsyncClient | None = field(init=False, default=None, repr=False)

    @property
    def url(self) -> str:
        """The service's portal."""
        return self.world.url

    @property
    def duty(self) -> Phone:
        """The duty officer's phone of the first agency."""
        return self.phone(JCM.duty.number)

    @property
    def noc(self) -> Phone:
        """The phone of the network operations centre."""
        return self.phone(NOC.number)

    def phone(self, number: str) -> Phone:
        """Return a phone of the world."""
        return self.world.carrier.phones[number]

    def letters(self, place: str = ".") -> list[Path]:
        """Return the letters in the tray, or in `posted` or `withdrawn`."""
        return sorted((self.directory / "outbox" / "letter" / place).glob("*.pdf"))

    def faxes(self, agency: FictionalAgency = JCM) -> list[str]:
        """Return the text of each fax that the agency's recipient got."""
        machine = self.world.fax_service.machines[agency.recipient.fax]
        return [text_of(pdf) for pdf in machine.received]

    async def start(self) -> None:
        """Start the service in a process of its own, and wait until it is at work."""
        await self.launch()
        await self.until(self._is_ready, "the service is ready")

    async def launch(self) -> None:
        """Start the service, whatever becomes of it."""
        self.lives += 1
        words = (*self.program, "run", "--config", str(self.world.settings))
        self.service = await asyncio.to_thread(bring_to_life, words, self.directory / "pantau.log", self.environment)

    def web(self) -> httpx.AsyncClient:
        """Return a client for the portal that keeps no connection of an earlier life."""
        return httpx.AsyncClient(base_url=self.url, trust_env=False, verify=_UNREAD, limits=_BRIEF, timeout=_ANSWERS)

    async def _is_ready(self) -> bool:
        try:
            async with self.web() as client:
                return (await client.get("/-/ready")).status_code == 200
        except httpx.HTTPError:
            return False

    async def kill(self) -> None:
        """Kill it as a power cut would."""
        assert self.service is not None
        self.service.kill()
        assert await self.service.wait() == -signal.SIGKILL

    async def stop(self) -> None:
        """End it as a person would."""
        if self._line is not None:
            await self._line.aclose()
            self._line = None
        if self.service is not None and self.service.returncode is None:
            self.service.terminate()
            assert await asyncio.wait_for(self.service.wait(), PATIENCE) == 0, self.log()

    def log(self) -> str:
        """Return what the service wrote."""
        return (self.directory / "pantau.log").read_text()

    async def get(self, what: str) -> list[Mapping[str, Any]]:
        """Ask the service's API; nothing while it is not there, or has no store."""
        self._line = self._line or self.web()
        try:
            answer: list[Mapping[str, Any]] = (await self._line.get(f"/api/v1{what}")).raise_for_status().json()
        except httpx.HTTPError:
            return []
        return answer

    async def failures(self) -> int:
        """Return how many runs between an agency and a reference, or within an agency, have not been delivered."""
        async with self.web() as client:
            lines = (await client.get("/metrics")).text.splitlines()
        counted = (line for line in lines if line.startswith("pantau_probe_outcomes_total{"))
        return sum(int(float(n.split()[-1])) for n in counted if "control" not in n and '"delivered"' not in n)

    async def health(self, agency: str = JCM.code) -> Mapping[str, str]:
        """Return how an agency's mail is judged."""
        found = [a["health"] for a in await self.get("/agencies") if a["agency"] == agency]
        return found[0] if found else {}

    async def everybody_is_up(self) -> None:
        """Wait until the mail of every agency is proven."""

        async def up() -> bool:
            healths = [set(agency["health"].values()) for agency in await self.get("/agencies")]
            return bool(healths) and all(health == {"up"} for health in healths)

        await self.until(up, "every agency is up")

    async def until(self, true: Callable[[], Awaitable[bool]], what: str, *, look_again: float = _LOOK_AGAIN) -> None:
        """Wait until something is true; fail with the service's log when it does not become so.

        *look_again*: after so many seconds, once it has taken longer than one.
        """
        pauses = chain(repeat(LOOK, round(1 / LOOK)), repeat(look_again))
        try:
            async with asyncio.timeout(PATIENCE):
                while not await true():  # noqa: ASYNC110 - the service is another process: it can only be asked
                    await asyncio.sleep(next(pauses))
        except TimeoutError:
            raise AssertionError(f"not within {PATIENCE:.0f} s: {what}\n{self.log()[-4000:]}") from None

    async def until_notice(self, channel: str, purpose: str, state: str, count: int = 1) -> None:
        """Wait until so many notices of a kind are in a state."""

        async def there() -> bool:
            found = [(n["channel"], n["purpose"], n["state"]) for n in await self.get("/notifications")]
            return found.count((channel, purpose, state)) >= count

        await self.until(there, f"{count} {purpose} notice by {channel} is {state}")

    async def pantau(self, *words: str) -> tuple[int, str]:
        """Run a command as a person does; return its exit code and what it said, on either of its outputs."""
        with TemporaryDirectory() as scratch:
            said = Path(scratch) / "said"
            code = await bring_to_its_end(("monitor.cli", *words, "--config", str(self.world.settings)), said)
            return code, said.read_text()

    async def control(self, path: str, **word: str) -> httpx.Response:
        """Do what the command line does."""
        return await asyncio.to_thread(request, self.directory / "state" / CONTROL_SOCKET, "POST", path, word or None)


async def settled(play: Theatre, number: str = "JCM-01") -> bool:
    """Whether the call was acknowledged and nothing is under way: what was decided is told, or laid before a person."""
    # The SMS comes before the call, unless the machine stands still. One that a killed process had claimed is not sent again
    # once somebody has pressed a key.
    if not any("gagal" in sms.text for sms in play.duty.inbox) and await stands(play, "sms", number) != "unknown":
        return False
    if (number, "acknowledged") not in [(i["number"], i["state"]) for i in await play.get("/incidents")]:
        return False
    letter, fax = await stands(play, "letter", number), await stands(play, "fax", number)
    return letter == "sent" and fax in {"delivered", "unknown"}


async def stands(play: Theatre, channel: str, number: str = "JCM-01") -> str:
    """Return how the notice of the outage stands on a channel."""
    which = (channel, "outage", number)
    states = [
        n["state"] for n in await play.get("/notifications") if (n["channel"], n["purpose"], n["incident"]) == which
    ]
    return states[0] if states else ""


def lay_store(state: Path) -> None:
    """Let the store be there with its tables, empty, as after a first start: half a second is spent on them else."""
    file = state / "pantau.sqlite"
    if not file.exists():
        state.mkdir(mode=0o700, exist_ok=True)
        file.write_bytes(_tables())
        file.chmod(0o600)


@cache
def _tables() -> bytes:
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "made.sqlite"
        file.touch()
        # Found where the store finds it: all tests of a process make tables once.
        sqlite.upgrade(f"sqlite:///{file}")  # type: ignore[attr-defined]  # it is imported there, and not handed on
        return file.read_bytes()


@asynccontextmanager
async def theatre(
    directory: Path,
    timing: Timing = BRISK,
    *,
    agencies: Sequence[FictionalAgency] = (JCM,),
    program: Sequence[str] = ("monitor.cli",),
    store: PostgresServer | None = None,
    prepare: Callable[[Path], None] = lambda _: None,
    ready: bool = True,
) -> AsyncIterator[Theatre]:
    """Set the stage, start the service that watches *agencies*, and end both with the block.

    *program*: the module that is run, with its first words. *store*: instead of the embedded one. *prepare* changes the
    settings file before the service reads it. *ready*: begin when the service is at work, not at once.
    """
    async with stage(directory, timing=timing, agencies=agencies) as world:
        for phone in world.carrier.phones.values():
            phone.keys.clear()
        if store is not None:
            url = f"postgresql://{store.user}@{store.host}:{store.port}/{store.database}"
            with world.settings.open("a") as settings:
                settings.write(f"store: {{url: {url}, tls: false}}\n")
        else:
            lay_store(world.settings.parent / "state")
        prepare(world.settings)
        play = Theatre(world=world, directory=directory, program=program)
        await (play.start() if ready else play.launch())
        try:
            yield play
        finally:
            await play.stop()
