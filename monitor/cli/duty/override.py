"""`pantau override`: put another contact on call for a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import ask
from monitor.cli.table import Columns, day_and_time, show

app = typer.Typer(help="Put somebody else on call for a while.", no_args_is_help=True)


@app.command()
def add(
    rota: Annotated[str, typer.Argument(help="Its name, as `pantau on-call` shows it: JKR/bertugas.")],
    person: Annotated[str, typer.Argument(help="Key of the contact who takes over.")],
    *,
    until: Annotated[str, typer.Option("--until", help="Until when: 2026-12-02 08:00.", metavar="TIME")],
    begins: Annotated[str, typer.Option("--from", help="From when; default: now.", metavar="TIME")] = "",
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Put somebody on call instead of whoever is scheduled. It takes effect with the next step of an escalation."""
    order = {"rota": rota, "person": person, "starts_at": begins, "ends_at": until, "by": by}
    made = ask(config, socket, "POST", "/overrides", order)
    span = f"from {day_and_time(made['starts_at'])} until {day_and_time(made['ends_at'])}"
    typer.echo(f"{made['name']} ({made['person']}) is on call for {made['rota']} {span}: override {made['id']}.")
    _name_concerned(made)


@app.command("list")
def list_(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List the overrides that have not ended. Times are Malaysian."""
    columns: Columns = {
        "No.": "id",
        "Rota": "rota",
        "Who": "person",
        # Without the year: no override is longer than a quarter, and the list has to fit 80 columns.
        "From": lambda each: day_and_time(each["starts_at"], year=False),
        "Until": lambda each: day_and_time(each["ends_at"], year=False),
        "By": "by",
    }
    show(ask(config, socket, "GET", "/overrides"), columns, nothing="There are no overrides.")


@app.command()
def remove(
    number: Annotated[int, typer.Argument(help="As `pantau override list` shows it.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Remove an override: whoever is scheduled is on call again."""
    gone = ask(config, socket, "POST", f"/overrides/{number}/remove", {"by": by})
    typer.echo(f"Override {gone['id']} of {gone['rota']} is removed.")
    _name_concerned(gone)


def _name_concerned(changed: Mapping[str, Any]) -> None:
    """Print who must be informed: nobody else informs them."""
    names = " and ".join(f"{each['name']} ({each['key']})" for each in changed["tell"])
    typer.echo(f"Pantau does not notify anybody of this: inform {names}.")
