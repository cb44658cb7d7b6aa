"""The real service in its own process, with the demo environment in this one."""

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
from monitor.runtime.control_socket import CONTROL_SOCKET
from monitor.store.backend import sqlite
from monitor.store.backend.postgres import PostgresServer
from pantau_lab.carrier.phone import PATIENCE, Phone
from pantau_lab.config_files import Timing
from pantau_lab.environment import DemoEnvironment, demo_environment
from pantau_lab.mail import FaultDelays
from pantau_lab.world import AGENCIES, NOC, FictionalAgency
from tests.stories.service_process import ServiceProcess, run_process, start_process
from tests.unit.alerts.documents.pages import text_of

#: Fast, but slow enough that two busy cores do not make mail look slow.
FAST_TIMING = Timing(
    interval="3s",
    session_timeout="3s",
    arrival_timeout="5s",
    # Mail that arrives is not slow: a machine that stands still for two seconds must not matter.
    slow_threshold="5s",
    tempo=FaultDelays(slow_by=timedelta(seconds=3)),
    retry_interval="1s",
    deferral_timeout="4s",
    call_after="2s",
    call_again_after="10s",
    release_after="4s",
    # Tests break the same agency repeatedly.
    flapping_window="1s",
)
#: Without redial, however late the key press: for tests that expect each call.
CALLED_ONCE = replace(FAST_TIMING, call_again_after="10m")
#: Its duty officer has no PIN except in one test: hashing takes 20 ms at each start and reload.
JCM = replace(AGENCIES[0], duty=replace(AGENCIES[0].duty, pin=""))
#: The portal is plain HTTP: loading the public authorities would take longer than the request.
_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
#: The client closes a connection long before the service does.
_LIMITS = httpx.Limits(keepalive_expiry=1)
#: Seconds until the service answers on a busy machine: some requests are sent once.
_TIMEOUT = 30
#: Seconds between polls: each costs both sides some milliseconds.
POLL_INTERVAL = 0.2
#: Seconds between polls after the first second.
_SLOW_POLL_INTERVAL = 0.4


@dataclass(slots=True, kw_only=True)
class RunningService:
    """The demo environment and the service that monitors it."""

    world: DemoEnvironment
    directory: Path
    #: The module that runs the service, and its first arguments.
    program: Sequence[str] = ("monitor.cli",)
    #: Additional environment variables.
    environment: Mapping[str, str] = field(default_factory=dict)
    service: ServiceProcess | None = None
    #: The number of starts; all write to one log.
    lives: int = field(default=0)
    #: A kept connection: a new one costs both sides more than a request.
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
        """Start the service in its own process, and wait until it is ready."""
        await self.launch()
        await self.until(self._is_ready, "the service is ready")

    async def launch(self) -> None:
        """Start the service without waiting."""
        self.lives += 1
        words = (*self.program, "run", "--config", str(self.world.settings))
        self.service = await asyncio.to_thread(start_process, words, self.directory / "pantau.log", self.environment)

    def web(self) -> httpx.AsyncClient:
        """Return a client for the portal without connections of an earlier process."""
        return httpx.AsyncClient(
            base_url=self.url, trust_env=False, verify=_NO_AUTHORITIES, limits=_LIMITS, timeout=_TIMEOUT
        )

    async def _is_ready(self) -> bool:
        try:
            async with self.web() as client:
                return (await client.get("/-/ready")).status_code == 200
        except httpx.HTTPError:
            return False

    async def kill(self) -> None:
        """Kill it as a power cut does."""
        assert self.service is not None
        self.service.kill()
        assert await self.service.wait() == -signal.SIGKILL

    async def stop(self) -> None:
        """Stop it properly."""
        if self._line is not None:
            await self._line.aclose()
            self._line = None
        if self.service is not None and self.service.returncode is None:
            self.service.terminate()
            assert await asyncio.wait_for(self.service.wait(), PATIENCE) == 0, self.log()

    def log(self) -> str:
        """Return the service's log."""
        return (self.directory / "pantau.log").read_text()

    async def get(self, what: str) -> list[Mapping[str, Any]]:
        """Read the service's API; return an empty list while it is unavailable."""
        self._line = self._line or self.web()
        try:
            answer: list[Mapping[str, Any]] = (await self._line.get(f"/api/v1{what}")).raise_for_status().json()
        except httpx.HTTPError:
            return []
        return answer

    async def failures(self) -> int:
        """Return the number of undelivered runs within an agency or between it and a reference."""
        async with self.web() as client:
            lines = (await client.get("/metrics")).text.splitlines()
        counted = (line for line in lines if line.startswith("pantau_probe_outcomes_total{"))
        return sum(int(float(n.split()[-1])) for n in counted if "control" not in n and '"delivered"' not in n)

    async def health(self, agency: str = JCM.code) -> Mapping[str, str]:
        """Return the health of an agency's mail."""
        found = [a["health"] for a in await self.get("/agencies") if a["agency"] == agency]
        return found[0] if found else {}

    async def wait_until_up(self) -> None:
        """Wait until the mail of every agency is proven."""

        async def up() -> bool:
            healths = [set(agency["health"].values()) for agency in await self.get("/agencies")]
            return bool(healths) and all(health == {"up"} for health in healths)

        await self.until(up, "every agency is up")

    async def until(
        self, true: Callable[[], Awaitable[bool]], what: str, *, slow_interval: float = _SLOW_POLL_INTERVAL
    ) -> None:
        """Wait until something is true; fail with the service's log when it does not become so.

        *slow_interval*: seconds between polls after the first second.
        """
        pauses = chain(repeat(POLL_INTERVAL, round(1 / POLL_INTERVAL)), repeat(slow_interval))
        try:
            async with asyncio.timeout(PATIENCE):
                while not await true():  # noqa: ASYNC110 - the service is another process: it can only be asked
                    await asyncio.sleep(next(pauses))
        except TimeoutError:
            raise AssertionError(f"not within {PATIENCE:.0f} s: {what}\n{self.log()[-4000:]}") from None

    async def until_notification(self, channel: str, purpose: str, state: str, count: int = 1) -> None:
        """Wait until so many notifications are in a state."""

        async def there() -> bool:
            found = [(n["channel"], n["purpose"], n["state"]) for n in await self.get("/notifications")]
            return found.count((channel, purpose, state)) >= count

        await self.until(there, f"{count} {purpose} notice by {channel} is {state}")

    async def pantau(self, *words: str) -> tuple[int, str]:
        """Run a command; return its exit code and its output on both streams."""
        with TemporaryDirectory() as scratch:
            said = Path(scratch) / "said"
            code = await run_process(("monitor.cli", *words, "--config", str(self.world.settings)), said)
            return code, said.read_text()

    async def control(self, path: str, **word: str) -> httpx.Response:
        """Send a request to the control socket, as the command line does."""
        return await asyncio.to_thread(request, self.directory / "state" / CONTROL_SOCKET, "POST", path, word or None)


async def settled(env: RunningService, number: str = "JCM-01") -> bool:
    """Whether the call was acknowledged and every notification is sent or waits for a person."""
    # The SMS precedes the call, unless the machine stands still. One that a killed process had claimed is not resent
    # after a key press.
    if (
        not any("gagal" in sms.text for sms in env.duty.inbox)
        and await notification_state(env, "sms", number) != "unknown"
    ):
        return False
    if (number, "acknowledged") not in [(i["number"], i["state"]) for i in await env.get("/incidents")]:
        return False
    letter, fax = await notification_state(env, "letter", number), await notification_state(env, "fax", number)
    return letter == "sent" and fax in {"delivered", "unknown"}


async def notification_state(env: RunningService, channel: str, number: str = "JCM-01") -> str:
    """Return the state of the outage notification on a channel."""
    which = (channel, "outage", number)
    states = [
        n["state"] for n in await env.get("/notifications") if (n["channel"], n["purpose"], n["incident"]) == which
    ]
    return states[0] if states else ""


def create_store(state: Path) -> None:
    """Create an empty store with its tables, which saves half a second of the first start."""
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
        # Cached where the store finds it: all tests of a process create the tables once.
        sqlite.upgrade(f"sqlite:///{file}")  # type: ignore[attr-defined]  # it is imported there, and not handed on
        return file.read_bytes()


@asynccontextmanager
async def running_service(
    directory: Path,
    timing: Timing = FAST_TIMING,
    *,
    agencies: Sequence[FictionalAgency] = (JCM,),
    program: Sequence[str] = ("monitor.cli",),
    store: PostgresServer | None = None,
    prepare: Callable[[Path], None] = lambda _: None,
    ready: bool = True,
) -> AsyncIterator[RunningService]:
    """Start the demo environment and the service that monitors *agencies*; stop both at the end of the block.

    *program*: the module of the service, with its first arguments. *store*: instead of the embedded one. *prepare*:
    changes the settings file before the start. *ready*: wait until the service is ready.
    """
    async with demo_environment(directory, timing=timing, agencies=agencies) as world:
        for phone in world.carrier.phones.values():
            phone.keys.clear()
        if store is not None:
            url = f"postgresql://{store.user}@{store.host}:{store.port}/{store.database}"
            with world.settings.open("a") as settings:
                settings.write(f"store: {{url: {url}, tls: false}}\n")
        else:
            create_store(world.settings.parent / "state")
        prepare(world.settings)
        env = RunningService(world=world, directory=directory, program=program)
        await (env.start() if ready else env.launch())
        try:
            yield env
        finally:
            await env.stop()
