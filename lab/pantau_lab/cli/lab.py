"""`pantau lab`: mail systems on this machine that can be broken on purpose, to see what a probe reports."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console, RenderableType

from monitor.cli.service import fail
from pantau_lab.cli.fault import fault_called
from pantau_lab.faultlab import screen
from pantau_lab.faultlab.command import Break, Command, InvalidCommand, Quit, Repair, ShowFaults, ShowSystems, read
from pantau_lab.faultlab.directory import DirectoryInUseError, claimed
from pantau_lab.faultlab.lab import AGENCY, FaultLab, fault_lab
from pantau_lab.faultlab.terminal import Lines, typed
from pantau_lab.mail import Fault

#: Marks a directory that the lab made and may empty at its start.
_MARK = ".pantau-lab"
_PROMPT = "lab> "


def lab(
    directory: Annotated[
        Path | None,
        typer.Option("--directory", help="Where it keeps its files; default: a temporary one.", metavar="DIR"),
    ] = None,
    faults: Annotated[
        list[Fault] | None,
        typer.Option("--break", parser=fault_called, help="Begin with this fault; may be repeated.", metavar="FAULT"),
    ] = None,
    *,
    list_: Annotated[bool, typer.Option("--list", help="List the faults and what a probe reports of each.")] = False,
) -> None:
    """Start mail systems that can be broken on purpose, and read commands from this terminal.

    Without --directory its files are removed at the end.
    """
    if list_:
        Console().print(screen.catalogue())
        return
    with ExitStack() as stack:
        try:
            if directory is None:
                directory = Path(stack.enter_context(TemporaryDirectory(prefix="pantau-lab-")))
            stack.enter_context(claimed(directory, _MARK))
            asyncio.run(_run(directory.resolve(), faults or []))
        except DirectoryInUseError as error:
            fail(str(error), 2)
        except OSError as error:
            fail(f"the lab cannot start: {error}")


async def _run(directory: Path, faults: list[Fault]) -> None:
    lines = Lines()
    # `None` ends the loop below.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, lines.put_nowait, None)
    console = Console()
    async with fault_lab(directory) as running:
        console.print(screen.welcome(running, _program()), highlight=False, crop=False)
        for fault in faults:
            console.print(await _carry_out(Break(fault=fault, system=AGENCY.code), running), highlight=False)
        with typed(sys.stdin.fileno(), lines):
            while (line := await _next_line(lines)) is not None:
                command = read(line, list(running.network.systems))
                if isinstance(command, Quit):
                    break
                if command is not None:
                    console.print(await _carry_out(command, running), highlight=False)


async def _next_line(lines: Lines) -> str | None:
    if sys.stdin.isatty() and sys.stdout.isatty():
        sys.stdout.write(_PROMPT)
    sys.stdout.flush()
    return await lines.get()


def _program() -> str:
    """Return the path by which this program was called, for the command that the operator copies."""
    return sys.argv[0] if Path(sys.argv[0]).name == "pantau" else "pantau"


async def _carry_out(command: Command, running: FaultLab) -> RenderableType:
    systems = running.network.systems
    match command:
        case Break(fault=fault, system=system):
            await systems[system].break_(fault)
            return screen.broken(fault, system)
        case Repair(fault=fault, system=system):
            for each in systems.values() if system is None else (systems[system],):
                await each.repair(fault)
            return screen.repaired(systems.values())
        case ShowFaults():
            return screen.catalogue()
        case ShowSystems():
            return screen.systems(running)
        case InvalidCommand(reason=reason):
            return reason
        case _:
            return screen.usage_table()
