"""The `pantau` command line.

Each command is the function of its name in a module below this package. Modules are grouped in packages by subject, and
`load_command` imports only the module of the command that is called.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points, version
from inspect import cleandoc
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperCommand, TyperGroup

from monitor.cli.log import log_to_stderr
from monitor.cli.service import fail

#: The first sentence of each command's help, by command. `pantau --help` lists them from here, because importing all
#: modules takes two seconds of CPU.
COMMANDS: Final[Mapping[str, str]] = {
    "init": "Create a first configuration: ask for a mailbox, test it, and write the files.",
    "run": "Run the service until SIGTERM or Ctrl-C. SIGHUP reloads the configuration.",
    "check": "Check the configuration and print every problem, one a line.",
    "probe": "Send one real message now, show the duration of each phase, and explain the outcome.",
    "backup": "Copy the store to a new file, also while the service runs, and verify the copy.",
    "restore": "Replace the store by a copy while the service is stopped, and pause letters and faxes.",
    "store": "Move the store from SQLite to PostgreSQL.",
    "site": "Sites that probe for this hub: add, check, rejoin and remove them.",
    "incidents": "List the open incidents, then the latest resolved ones. Times are Malaysian.",
    "notifications": "List notifications, newest first. Times are Malaysian.",
    "on-call": "Show who is on call, until when, who is next, and their numbers. Times are Malaysian.",
    "ack": "Acknowledge an incident: this stops escalation to staff, not the announcement.",
    "escalate": "Escalate an incident: notify the next people of its escalation policy at once.",
    "note": "Add a note to an incident. This extends its acknowledgement.",
    "release": "Release announcements of outages: send faxes and letters to the agencies' recipients.",
    "declare": "Declare an outage that no probe detects.",
    "close": "Close an incident by hand, and choose whether a recovery is announced.",
    "false-alarm": "Close an incident as a false alarm, and send a correction to everybody who was notified.",
    "letter-preview": "Write a letter or fax page as it would be sent, with this agency's data and invented times.",
    "letters": "Letters in the tray: list them, and record printing and posting.",
    "paper": "Letters and faxes that are paused because the store may be an older copy.",
    "set-status": "Set the delivery status of a notification where it is unknown. Ask the recipient first.",
    "incident-record": "Write an incident's record: a PDF/A, and the data with the hashes of the audit log.",
    "monthly-report": "Write an agency's monthly report for its head: one page of PDF/A in Malay, and tables.",
    "drill": "Test a contact's numbers, or everybody's, by SMS, calls and faxes that are marked as a drill.",
    "override": "Put somebody else on call for a while.",
    "silence": "Suppress notifications about an agency or a route for a while.",
    "reload": "Reload the configuration of the running service. An invalid one changes nothing; exit code 2.",
    "apply": "Write the agency files of a directory to the store, all or none, and show the differences.",
    "export": "Write the agency documents of the store as files into a directory.",
    "user": "Users of the portal, their roles and their sign-in.",
    "token": "API tokens of programs.",
    "secrets": "Secrets in the store, and the key that encrypts them.",
    "rename": "Rename an agency or a mailbox and keep its history. Change the name in the files first.",
    "audit": "The audit log: verify it, print its head, export it.",
    "purge": "Show which incidents, notifications and audit log entries would be deleted; --confirm deletes them.",
    "demo": "Run against fictional agencies whose mail can be broken on purpose.",
    "lab": "Start mail systems that can be broken on purpose, and read commands from this terminal.",
}

#: Modules that have several commands. Every other command has a module of its own name.
_SHARED_MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "incident": ("incidents", "ack", "escalate", "note", "release", "declare", "close", "false-alarm"),
    "notification": ("notifications", "set-status"),
    "record": ("incident-record", "monthly-report", "purge"),
    "documents": ("apply", "export"),
}


#: Surrogate code points, to which Python decodes those octets of an argument that are not UTF-8, for instance from a
#: Latin-1 terminal. Neither JSON nor the database accepts surrogates.
_UNDECODABLE: Final = re.compile("[\udc80-\udcff]")


class _Commands(TyperGroup):
    """Command group that imports only the command that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name=name, help=text) for name, text in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        for argument in filter(_UNDECODABLE.search, args):
            fail(f"{argument!a} is not UTF-8: set the terminal to UTF-8, or write plain letters", 2)
        name, placeholder, rest = super().resolve_command(ctx, args)
        command = placeholder and load_command(placeholder.name or "")
        # `ctx.obj` is the function that configures logging, which `main` passes. It must run after the imports of the
        # command, because it configures structlog only if that is imported.
        if ctx.obj is not None:
            ctx.obj()
        return name, command, rest


def load_command(name: str) -> TyperCommand | TyperGroup:
    """Import and return the command *name*."""
    # Imports create no garbage, and collections during them take a sixth of the start time.
    gc.disable()
    try:
        module = _import_module(name)
    finally:
        gc.enable()
    if hasattr(module, "app"):
        group = typer.main.get_group(module.app)
        group.name = name
        for each in group.commands.values():
            _unwrap_help(each)
        return group
    single = typer.Typer(add_completion=False)
    single.command(name)(getattr(module, name.replace("-", "_")))
    command = cast(TyperCommand, typer.main.get_command(single))
    _unwrap_help(command)
    return command


def _unwrap_help(command: Any) -> None:
    """Remove the line breaks within the paragraphs of a command's help, so that it uses the width of the terminal."""
    command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in cleandoc(command.help or "").split("\n\n"))


def _import_module(name: str) -> ModuleType:
    module = next((module for module, names in _SHARED_MODULES.items() if name in names), name.replace("-", "_"))
    for file in Path(__file__).parent.glob(f"*/{module}.py"):
        return import_module(f"{__name__}.{file.parent.name}.{module}")
    # The lab is a distribution of its own: a production service does not need it.
    entry_points_found = entry_points(group="pantau.commands", name=name)
    if not entry_points_found:
        fail(f"`pantau {name}` needs pantau-lab, which is not installed here; in the source tree: pip install ./lab")
    return cast(ModuleType, entry_points_found[name].load())


app = typer.Typer(
    name="pantau",
    help="Monitor e-mail with real messages, and notify people by SMS, call, fax and letter when it fails.",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(*, is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"pantau {version('pantau')}")
        raise typer.Exit


@app.callback()
def pantau(
    *, _: Annotated[bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version)] = False
) -> None:
    """Handle the options before the command name."""


def main() -> None:
    """Run the command line."""
    # Configure logging before any command runs: with Python's default configuration, a failing library may log a
    # password.
    app(obj=log_to_stderr)
