"""`pantau override`: put a contact on call for a while, instead of the one in the rota (on-call schedule)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import call_service
from monitor.cli.table import Columns, format_day_and_time, print_table

app = typer.Typer(help="Put somebody else on call for a while.", no_args_is_help=True)


@app.command()
def add(
    rota: Annotated[str, typer.Argument(help="Its name, as `pantau on-call` shows it: JKR/bertugas.")],
    person: Annotated[str, typer.Argument(help="Key of the contact who takes over.")],
    *,
    until: Annotated[str, typer.Option("--until", help="Until when: 2026-12-02 08:00.", metavar="TIME")],
    from_: Annotated[str, typer.Option("--from", help="From when; default: now.", metavar="TIME")] = "",
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Put somebody on call instead of whoever is scheduled. It takes effect with the next step of an escalation."""
    body = {"rota": rota, "person": person, "starts_at": from_, "ends_at": until, "by": by}
    override = call_service(config, socket, "POST", "/overrides", body)
    span = f"from {format_day_and_time(override['starts_at'])} until {format_day_and_time(override['ends_at'])}"
    typer.echo(
        f"{override['name']} ({override['person']}) is on call for {override['rota']} {span}: override {override['id']}."
    )
    _print_people_to_inform(override)


@app.command("list")
def list_(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """List the overrides that have not ended. Times are Malaysian."""
    columns: Columns = {
        "No.": "id",
        "Rota": "rota",
        "Who": "person",
        # The year is omitted, because the list has to fit 80 columns and no override is longer than a quarter.
        "From": lambda each: format_day_and_time(each["starts_at"], year=False),
        "Until": lambda each: format_day_and_time(each["ends_at"], year=False),
        "By": "by",
    }
    print_table(call_service(config, socket, "GET", "/overrides"), columns, nothing="There are no overrides.")


@app.command()
def remove(
    number: Annotated[int, typer.Argument(help="As `pantau override list` shows it.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Remove an override: whoever is scheduled is on call again."""
    override = call_service(config, socket, "POST", f"/overrides/{number}/remove", {"by": by})
    typer.echo(f"Override {override['id']} of {override['rota']} is removed.")
    _print_people_to_inform(override)


def _print_people_to_inform(override: Mapping[str, Any]) -> None:
    """Print whom the user must inform of the change, because Pantau does not notify them."""
    names = " and ".join(f"{each['name']} ({each['key']})" for each in override["tell"])
    typer.echo(f"Pantau does not notify anybody of this: inform {names}.")
