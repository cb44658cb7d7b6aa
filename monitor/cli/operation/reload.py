"""`pantau reload`: reload the configuration."""

from __future__ import annotations

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import LONG_TIMEOUT, call_service, fail


def reload(by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Reload the configuration of the running service. An invalid one changes nothing; exit code 2."""
    result = call_service(config, socket, "POST", "/reload", {"by": by}, timeout=LONG_TIMEOUT)
    for problem in result["problems"]:
        typer.echo(problem)
    if not result["taken"]:  # Whether the service has applied the configuration.
        fail("Refused: the old configuration stays active.", 2)
    typer.echo("The new configuration is active.")
