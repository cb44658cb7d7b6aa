"""`pantau run`: run the service in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from monitor.app import App
from monitor.cli.log import Level, log_to_stderr, write_error
from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.config.files.problem import Severity
from monitor.config.loading import ConfigurationError
from monitor.store.backend.database import StoreInUseError, StoreUnusableError
from monitor.store.schema.migrations import StoreBlockedError, StoreTooNewError

#: EX_CONFIG of sysexits(3). The systemd unit does not restart the service, because a person must correct the fault.
_MISCONFIGURED = 78


def run(
    config: Config = DEFAULT_CONFIG,
    log_level: Annotated[
        Level,
        typer.Option("--log-level", envvar="PANTAU_LOG_LEVEL", help="The lowest level that is logged."),
    ] = Level.INFO,
) -> None:
    """Run the service until SIGTERM or Ctrl-C. SIGHUP reloads the configuration.

    Exit code 78: the configuration is invalid, a newer version has used the store, or the store was moved to PostgreSQL.
    """
    log_to_stderr(log_level)
    try:
        asyncio.run(_run_app(config))
    except ConfigurationError as invalid:
        for problem in invalid.problems:
            write_error(str(problem), "warning" if problem.severity is Severity.WARNING else "error")
        raise typer.Exit(_MISCONFIGURED) from None
    except (StoreTooNewError, StoreBlockedError) as error:
        write_error(f"pantau cannot run: {error}")
        raise typer.Exit(_MISCONFIGURED) from None
    except (StoreInUseError, StoreUnusableError, OSError, ValueError) as error:
        write_error(f"pantau cannot run: {error}")
        raise typer.Exit(1) from None


async def _run_app(config: Path) -> None:
    app = App(config, os.environ)
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, app.stop)
    loop.add_signal_handler(signal.SIGHUP, app.request_reload)
    await app.run()
