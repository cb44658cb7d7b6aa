"""`pantau demo`: run the real service against fictional agencies, and break and repair their mail."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlencode

import httpx
import typer
from rich.console import Console
from rich.live import Live

from alerts.persistence.store import StoreUnavailable
from monitor.cli.service import fail, request
from monitor.config.fields.listen import Listen, parse_listen
from monitor.config.model.settings import LISTEN_VARIABLE
from monitor.runtime.control_socket import CONTROL_SOCKET
from monitor.store.sites.link import SiteRefusedError
from monitor.web.serving import open_port
from pantau_lab import leftover
from pantau_lab.clerk import post_letters
from pantau_lab.cli.fault import fault_called
from pantau_lab.config_files import DEMO, MULTI_SITE
from pantau_lab.environment import DemoEnvironment, command_socket, demo_environment
from pantau_lab.mail import Fault
from pantau_lab.screen import ScreenState, changes, render, site_commands
from pantau_lab.seed.login import DemoLogin, demo_logins, login_table, write_logins, write_private
from pantau_lab.seed.seed_store import move_agencies_to_database, write_initial_data
from pantau_lab.sites.cluster import NoPostgresError, hub_programs, remove_home
from pantau_lab.sites.multi_site import HUB_SITE, SITES, multi_site_demo

app = typer.Typer(
    help="Run against fictional agencies whose mail can be broken on purpose.", invoke_without_command=True
)

Directory = Annotated[Path, typer.Option("--directory", help="Where the demo keeps its files.", metavar="DIR")]
WhichDemo = Annotated[Path | None, typer.Option("--directory", help="The running demo's directory.", metavar="DIR")]
_DIRECTORY = Path("var/demo")
Sites = Annotated[
    int,
    typer.Option(
        "--sites",
        min=0,
        max=len(SITES),
        help="Number of sites that probe beside the hub, each with a PostgreSQL of its own.",
        metavar="NUMBER",
    ),
]
SiteName = Annotated[str, typer.Argument(help="A site of the running demo, such as johor.", metavar="SITE")]
#: Marker file of a directory that the demo has created and may empty at its start. It lists the service processes.
_MARK = ".pantau-demo"
#: File with the demo users and their passwords.
_LOGINS_FILE = "sign-in.txt"
#: File with the API token for programs.
_API_TOKEN_FILE = "token"  # noqa: S105 - the name of the file


@app.callback()
def demo(context: typer.Context, directory: Directory = _DIRECTORY, *, sites: Sites = 0) -> None:
    """Start the demo: three agencies, their mail, a carrier, a fax service, a letter tray, and the service itself."""
    context.obj = directory
    if context.invoked_subcommand is not None:
        return
    listen = parse_listen(os.environ.get(LISTEN_VARIABLE, "127.0.0.1:8080"))
    if listen is None or not listen.is_loopback:
        fail(f"{LISTEN_VARIABLE} must be an address of this machine with a port, such as 127.0.0.1:8080", 2)
    try:
        # Report a missing PostgreSQL before anything is changed.
        programs = hub_programs() if sites else None
        _check_directory(directory)
        # Fail here if the port is in use: an old service there would lose its database when the directory is emptied.
        open_port(listen.host, listen.port).close()
        _empty(directory)
        asyncio.run(_run(directory.resolve(), listen, SITES[:sites], programs))
    except NoPostgresError as missing:
        fail(str(missing), 2)
    except (OSError, SiteRefusedError, StoreUnavailable) as error:
        fail(f"the demo cannot start: {error}")
    except asyncio.CancelledError:
        pass  # A signal ended the demo while it started.


@app.command("break")
def break_(
    agency: Annotated[str, typer.Argument(help="Short code, such as JCM; or a reference, rujukan-a.")],
    how: Annotated[
        Fault,
        typer.Option("--how", parser=fault_called, help="What goes wrong; `pantau lab --list` tells.", metavar="FAULT"),
    ],
    context: typer.Context,
    directory: WhichDemo = None,
) -> None:
    """Break an agency's mail in the running demo."""
    typer.echo(f"{_command_mail(directory or context.obj, agency, f'break/{how}')}: {how}")


@app.command()
def repair(
    agency: Annotated[str, typer.Argument(help="Short code, such as JCM.")],
    context: typer.Context,
    directory: WhichDemo = None,
) -> None:
    """Repair an agency's mail in the running demo."""
    typer.echo(f"{_command_mail(directory or context.obj, agency, 'repair')}: repaired")


@app.command()
def disconnect(
    site: SiteName,
    agency: Annotated[
        str | None, typer.Argument(help="From this agency's mail, or a reference's; else from the hub.")
    ] = None,
    *,
    context: typer.Context,
    directory: WhichDemo = None,
) -> None:
    """Disconnect a site of the running demo from the hub, or from an agency's mail. Packets are then lost."""
    typer.echo(_command_link(directory or context.obj, site, "disconnect", agency))


@app.command()
def reconnect(
    site: SiteName,
    agency: Annotated[
        str | None, typer.Argument(help="To this agency's mail only; else to all that it is disconnected from.")
    ] = None,
    *,
    context: typer.Context,
    directory: WhichDemo = None,
) -> None:
    """Reconnect a site of the running demo."""
    typer.echo(_command_link(directory or context.obj, site, "reconnect", agency))


def _command_link(directory: Path, site: str, action: str, agency: str | None) -> str:
    system = {} if agency is None else {"system": agency}
    return _send_command(directory, f"/{action}?{urlencode({'site': site, **system})}")


def _command_mail(directory: Path, agency: str, action: str) -> str:
    # An empty name would leave out a part of the path; no system is called "-".
    return _send_command(directory, f"/systems/{quote(agency or '-', safe='')}/{action}")


def _send_command(directory: Path, path: str) -> str:
    """Post to the running demo's command socket, and return its message. End this command if the demo refuses it."""
    try:
        response = request(command_socket(directory.resolve()), "POST", path)
    except (httpx.HTTPError, OSError):
        fail("the demo is not running here; start it with `make run`")
    if response.status_code == 404:
        fail(str(response.json()["detail"]), 2)
    return str(response.json())


def _check_directory(directory: Path) -> None:
    """Check that the directory is a demo's or empty and that no demo runs there; end a killed demo's services."""
    if directory.exists() and any(directory.iterdir()) and not (directory / _MARK).exists():
        fail(f"{directory} holds files that are not the demo's; name another with --directory", 2)
    if command_socket(directory).exists():
        with suppress(httpx.HTTPError, OSError):
            request(command_socket(directory).resolve(), "GET", "/")
            fail(f"a demo is already running in {directory}; end it first, or name another with --directory")
    if left := leftover.left_by(directory / _MARK):
        pids = ", ".join(str(each.pid) for each in left)
        what = "service is" if len(left) == 1 else "services are"
        it = "it is" if len(left) == 1 else "they are"
        typer.echo(f"A demo was killed here, and its {what} still running (process {pids}); {it} ended now.")
        for each in left:
            leftover.end(each)
    elif command_socket(directory).exists():
        typer.echo(f"A demo was killed here; what it has left in {directory} is removed.")


def _empty(directory: Path) -> None:
    """Empty the directory, and mark it as a demo's."""
    remove_home(directory)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    (directory / _MARK).touch()


async def _run(directory: Path, listen: Listen, sites: Sequence[str], programs: Path | None) -> None:
    """Run the demo until a signal. *programs*: directory of PostgreSQL's programs; `None` without sites."""
    stopping, started = asyncio.Event(), asyncio.Event()
    own_task = asyncio.current_task()

    def stop() -> None:
        stopping.set()
        # A signal must also end the demo while it starts, which takes a while.
        if own_task is not None and not started.is_set():
            own_task.cancel()

    # SIGHUP comes from a closed terminal. The service has a session of its own and would otherwise continue to run.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    logins = demo_logins()
    async with AsyncExitStack() as stack:
        multi_site = None
        if programs is not None:
            typer.echo(f"Starting a PostgreSQL for the hub and each of {', '.join(sites)}, and services on them ...")
            multi_site = await stack.enter_async_context(multi_site_demo(directory, sites, programs))
        settings, timing = ({}, DEMO) if multi_site is None else (multi_site.hub_settings(), MULTI_SITE)
        world = await stack.enter_async_context(
            demo_environment(directory, listen=str(listen), timing=timing, signs_in=True, settings=settings)
        )
        token = await write_initial_data(world.settings, logins)
        await move_agencies_to_database(world.settings)
        write_logins(directory / _LOGINS_FILE, logins)
        write_private(directory / _API_TOKEN_FILE, f"{token}\n")
        services = [world.settings]
        if multi_site is not None:
            world.site_links.update(multi_site.connect_mail(world.network))
            await multi_site.join()
            multi_site.share_key()
            services = [*(each.settings for each in multi_site.sites), *services]
        # From here on a signal sets only `stopping`, upon which `_services` ends the services.
        started.set()
        async with _services(services, directory / _MARK, stopping):
            pages = {} if multi_site is None else {HUB_SITE: world.url, **multi_site.pages}
            demo = RunningDemo(
                directory=directory, world=world, pages=pages, logins=logins, token=token, since=datetime.now(UTC)
            )
            await _show(demo, stopping)


@asynccontextmanager
async def _services(settings: Sequence[Path], mark: Path, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Run `pantau run` with each settings file until the block ends. If one process ends by itself, set *stopping*."""
    processes = {file: await _start_service(file, mark) for file in settings}

    async def stop_after(process: asyncio.subprocess.Process) -> None:
        await process.wait()
        stopping.set()

    async with asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(stop_after(process)) for process in processes.values()]
        try:
            yield
        finally:
            for process in processes.values():
                if process.returncode is None:
                    process.terminate()
            # The same time limit as in the systemd unit, which a busy machine may need.
            await asyncio.wait(watching, timeout=60)
            for process in processes.values():
                if process.returncode is None:
                    process.kill()
            await asyncio.wait(watching)
    for file, process in processes.items():
        if process.returncode not in {0, -signal.SIGTERM}:
            log = _end_of(_log_of(file))
            fail(f"the service of {file} ended with {process.returncode}; the end of its log says why:\n{log}")


async def _start_service(settings: Path, mark: Path) -> asyncio.subprocess.Process:
    with _log_of(settings).open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "monitor.cli", "run", "--config", str(settings)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Each service listens where its settings say; the variable was for the demo only.
            env={name: value for name, value in os.environ.items() if name != LISTEN_VARIABLE},
            # In its own session the service does not receive Ctrl-C: the demo ends it before the mail systems.
            start_new_session=True,
        )
    # The service survives a killed demo; the next demo then ends it.
    leftover.remember(mark, process.pid)
    return process


def _log_of(settings: Path) -> Path:
    return settings.with_name("pantau.log")


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDemo:
    """Data source of the screen."""

    directory: Path
    world: DemoEnvironment
    #: URLs of the status pages of the hub and each site, by name; empty without sites.
    pages: Mapping[str, str]
    logins: Sequence[DemoLogin]
    #: API token with which the screen reads the service's state.
    token: str = field(repr=False)
    #: Older notifications are not shown.
    since: datetime


async def _show(demo: RunningDemo, stopping: asyncio.Event) -> None:
    """Show the state until the demo ends: redrawn on a terminal, else one line for each change."""
    console, world, directory = Console(), demo.world, demo.directory
    before = ScreenState()
    headers = {"Authorization": f"Bearer {demo.token}"}
    client = httpx.AsyncClient(base_url=f"{world.url}/api/v1", headers=headers, trust_env=False, timeout=5)
    with Live(console=console, screen=False, auto_refresh=False) if console.is_terminal else nullcontext() as live:
        if live is None:
            console.print(f"Pantau: {world.url}", login_table(demo.logins), sep="\n", highlight=False)
            for site, page in demo.pages.items():
                console.print(f"{site}: {page}", highlight=False)
            if demo.pages:
                console.print(site_commands(len(demo.pages)))
            console.print(f"sent messages: {directory}/outbox/\nCtrl-C to stop", highlight=False)
        async with client:
            while not stopping.is_set():
                state = await _state(demo, client)
                if live is not None:
                    live.update(render(state, world.url, directory, demo.logins, demo.pages), refresh=True)
                else:
                    for line in changes(before, state):
                        console.print(line, markup=False, highlight=False)
                before = state
                with suppress(httpx.HTTPError, OSError):
                    await post_letters(directory / "state" / CONTROL_SOCKET, datetime.now(UTC))
                with suppress(TimeoutError):
                    # Asking every second would be most of the work of the hub. A reader of lines
                    # can wait two seconds longer.
                    async with asyncio.timeout(3 if live is None else 1):
                        await stopping.wait()


async def _state(demo: RunningDemo, client: httpx.AsyncClient) -> ScreenState:
    world = demo.world
    state = ScreenState(
        faults={name: sorted(system.faults) for name, system in world.network.systems.items()},
        disconnected={site: links.disconnected() for site, links in world.site_links.items()},
        sent=[*world.outbox.sent, *world.outbox.letters()],
    )
    try:
        agencies, incidents, notifications = [
            (await client.get(path)).raise_for_status().json() for path in ("/agencies", "/incidents", "/notifications")
        ]
    except (httpx.HTTPError, ValueError):
        return state  # The service is starting or ending.
    recent = [each for each in notifications if datetime.fromisoformat(each["created_at"]) >= demo.since]
    return replace(state, agencies=agencies, incidents=incidents, notifications=recent)
