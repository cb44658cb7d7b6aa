"""`pantau remark`: a person says what is being done about an incident."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, in_path, login_name
from monitor.cli.service import ask
from monitor.cli.table import clock


def remark(
    incident: Annotated[str, typer.Argument(help="Its number, as in the notices: JKR-07.")],
    text: Annotated[str, typer.Argument(help="What is being done, for the journal and the dossier.")],
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write down what is being done about an incident: whoever has taken it on has it for longer by it."""
    found = ask(config, "POST", f"/incidents/{in_path(incident)}/remark", {"by": by or login_name(), "text": text})
    until = found["acknowledged_until"]
    has = f" {found['acknowledged_by']} has it until {clock(until)}." if until else ""
    typer.echo(f"{found['number']}: written down.{has}")
