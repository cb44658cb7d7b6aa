"""`pantau reload`: read the configuration again."""

from __future__ import annotations

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import LONG, ask, fail


def reload(by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Let the running service read its configuration again. A bad one changes nothing; exit code 2."""
    answer = ask(config, socket, "POST", "/reload", {"by": by}, within=LONG)
    for problem in answer["problems"]:
        typer.echo(problem)
    if not answer["taken"]:
        fail("Refused: the old configuration stays in force.", 2)
    typer.echo("The new configuration is in force.")
