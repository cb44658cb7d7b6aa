"""`pantau rename`: rename an agency or a mailbox and keep its history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import LONG_TIMEOUT, call_service

app = typer.Typer(
    help="Rename an agency or a mailbox and keep its history. Change the name in the files first.",
    no_args_is_help=True,
)

_OLD = Annotated[str, typer.Argument(help="The old name.")]
_NEW = Annotated[str, typer.Argument(help="The new name, as in the files.")]


@app.command()
def agency(old: _OLD, new: _NEW, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Rename an agency by its code: change `agency` in its file, and run this instead of a reload.

    Runs, health, incidents, silences and overrides get the new name; open incidents stay open. Numbers of incidents and the
    audit log do not change.
    """
    _rename("agency", old, new, by=by, config=config, socket=socket)


@app.command()
def mailbox(old: _OLD, new: _NEW, by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Rename a mailbox by its key: an agency's is CODE/KEY, a reference is KEY. Change it in the files first.

    Its address, servers and password can change without this command.
    """
    _rename("mailbox", old, new, by=by, config=config, socket=socket)


def _rename(what: str, old: str, new: str, *, by: str, config: Path, socket: Path | None) -> None:
    body = {"what": what, "old": old, "new": new, "by": by}
    result = call_service(config, socket, "POST", "/renames", body, timeout=LONG_TIMEOUT)
    for problem in result["problems"]:
        typer.echo(problem)
    counts = result["counts"]
    typer.echo(
        f"{old} is renamed to {new}: {counts['routes']} routes, {counts['runs']} runs and {counts['incidents']} incidents "
        "have the new name. The configuration is active."
    )
