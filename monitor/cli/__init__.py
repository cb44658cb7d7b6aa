"""The command `pantau`: one function a command, and what is done about one thing in one file."""

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

#: What each does. Its file is imported when it is called: all that they need would cost two seconds of CPU each time.
COMMANDS: Final[Mapping[str, str]] = {
    "init": "Ask for a mailbox, at most six questions, try it at once, and write a configuration that watches it.",
    "run": "Run the service until SIGTERM or Ctrl-C. SIGHUP reads the configuration again.",
    "check": "Check the whole configuration and print everything that is wrong with it, a line each.",
    "probe": "Send one real message now and show each phase with its time, and what the outcome means.",
    "backup": "Copy the store into a new file, while the service runs or not, and look whether the copy is whole.",
    "restore": "Put a copy in the store's place while the service is stopped, and let paper wait for a person.",
    "store": "Move the store from its file to PostgreSQL.",
    "site": "Other sites that probe: let one join this hub, look how it stands, let it leave.",
    "incidents": "List the incidents that are open, then the newest of the others. Times are Malaysian.",
    "notifications": "List the newest notices, newest first. Times are Malaysian.",
    "on-call": "Show who is on call and who comes next, until when, and by which numbers. Times are Malaysian.",
    "ack": "Acknowledge an incident: the escalation to staff stops, the announcement does not.",
    "escalate": "Hand an incident on: the next of the staff are told at once, and that it was handed on.",
    "note": "Write down what is being done about an incident: whoever has taken it on has it for longer by it.",
    "release": "Release the announcements of outages: their fax pages and letters go out to the agencies' recipients.",
    "declare": "Declare an outage that no probe sees: people cannot read or send mail, and every probe is well.",
    "close": "End an incident by your word. What has not left is withdrawn, and you say whether a recovery is told.",
    "false-alarm": "End an incident as a false alarm: whoever was told of it gets a correction, by the same way.",
    "letter-preview": "Write the letter that would go out, with this agency's data and invented times.",
    "letters": "The letters in the tray: print, sign and post them, and record it here.",
    "paper": "Letters and faxes that wait because the store may be an older copy, and numbers that are not given.",
    "set-status": "Say what became of a notice whose fate is unknown: ask its reader first.",
    "incident-record": "Write an incident's dossier: the record as PDF/A, and the data behind it with the journal's hashes.",
    "monthly-report": "Write an agency's monthly statement for its head: a page of PDF/A in Malay, and tables beside it.",
    "drill": "Try a contact's numbers, or everybody's: SMS, calls and faxes that say that they are a drill.",
    "override": "Let somebody take a duty over for a while.",
    "silence": "Let nobody be told about an agency or a route for a while.",
    "reload": "Let the running service read its configuration again. A bad one changes nothing; exit code 2.",
    "apply": "Write the agency files of a directory into the store, all or none, and show what becomes different.",
    "export": "Write the store's agency documents as files into a directory, each as it was written.",
    "user": "Say who may sign in to the portal, and as what.",
    "token": "Give programs tokens by which they ask and order over HTTP.",
    "secrets": "The secrets in the store: the key that they are encrypted with, and another in its place.",
    "rename": "Let an agency or a mailbox be called otherwise, without losing its history. Write the new name into the files first.",
    "audit": "The journal: whether it is as it was written, and all of it for an auditor.",
    "purge": "Show which incidents, notices and entries of the journal would be disposed of, and with --confirm do it.",
    "demo": "Run against fictional agencies whose mail can be broken on purpose.",
    "lab": "Start mail systems that can be broken on purpose, and wait for orders on this terminal.",
}

#: Modules of several commands; every other command has one of its own, called like it.
_TOGETHER: Final[Mapping[str, tuple[str, ...]]] = {
    "incident": ("incidents", "ack", "escalate", "note", "release", "declare", "close", "false-alarm"),
    "notification": ("notifications", "set-status"),
    "record": ("incident-record", "monthly-report", "purge"),
    "documents": ("apply", "export"),
}


#: What Python makes of an octet that is no UTF-8, as a terminal that is set to Latin-1 sends it: nothing of ours can take it.
_UNREADABLE: Final = re.compile("[\udc80-\udcff]")


class _Commands(TyperGroup):
    """Knows what each command does, and imports the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name=name, help=text) for name, text in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        for word in filter(_UNREADABLE.search, args):
            fail(f"{word!a} is not in UTF-8: set the terminal to that, or write plain letters", 2)
        name, known, rest = super().resolve_command(ctx, args)
        found = known and command(known.name or "")
        if ctx.obj is not None:
            ctx.obj()
        return name, found, rest


def command(name: str) -> TyperCommand | TyperGroup:
    """Return the command that is called *name*, with all that it needs."""
    # What is imported stays: to look for garbage among it meanwhile is a sixth of a start.
    gc.disable()
    try:
        module = _module(name)
    finally:
        gc.enable()
    if hasattr(module, "app"):
        group = typer.main.get_group(module.app)
        group.name = name
        for each in group.commands.values():
            _flow(each)
        return group
    alone = typer.Typer(add_completion=False)
    alone.command(name)(getattr(module, name.replace("-", "_")))
    found = cast(TyperCommand, typer.main.get_command(alone))
    _flow(found)
    return found


def _flow(found: Any) -> None:
    """Let the paragraphs of a command's help be as wide as the terminal is: in its docstring they are as wide as code."""
    found.help = "\n\n".join(" ".join(each.split()) for each in cleandoc(found.help or "").split("\n\n"))


def _module(name: str) -> ModuleType:
    module = next((module for module, names in _TOGETHER.items() if name in names), name.replace("-", "_"))
    for file in Path(__file__).parent.glob(f"*/{module}.py"):
        return import_module(f"{__name__}.{file.parent.name}.{module}")
    # The fictional world is a distribution of its own: a service in earnest has none of it.
    found = entry_points(group="pantau.commands", name=name)
    if not found:
        fail(f"`pantau {name}` comes with pantau-lab, which is not installed here; in the sources: pip install ./lab")
    return cast(ModuleType, found[name].load())


app = typer.Typer(
    name="pantau",
    help="Proves that official e-mail works, and tells people by SMS, call, fax and letter when it does not.",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"pantau {version('pantau')}")
        raise typer.Exit


@app.callback()
def pantau(
    *, _: Annotated[bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version)] = False
) -> None:
    """Take what stands before the command."""


def main() -> None:
    """Run the command line."""
    # Before a command does anything: what a library's default log shows of a failure may hold a password.
    app(obj=log_to_stderr)
