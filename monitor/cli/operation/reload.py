"""`pantau reload`: reload the configuration."""

from __future__ import annotations

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import LONG_TIMEOUT, call_service, fail


def reload(by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Reload the configuration of the running service. An invalid one changes nothing; exit code 2."""
    answer = call_service(config, socket, "POST", "/reload", {"by": by}, timeout=LONG_TIMEOUT)
    for problem in answer["problems"]:
        typer.echo(problem)
    if not answer["taken"]:
        fail("Refused: the old configuration stays active.", 2)
    typer.echo("The new configuration is active.")
