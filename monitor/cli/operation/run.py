"""`pantau run`: the service itself."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from monitor.app import App
from monitor.cli.log import log_to_stderr
from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.cli.service import fail
from monitor.config.loading import BadConfiguration
from monitor.store.backend.database import StoreInUseError, StoreUnusableError
from monitor.store.schema.migrations import StoreTooNewError

#: EX_CONFIG of sysexits(3): only a person can mend it, and the unit does not start the service again.
_MISCONFIGURED = 78


def run(config: Config = DEFAULT_CONFIG) -> None:
    """Run the service until SIGTERM or Ctrl-C. SIGHUP reads the configuration again.

    Exit code 78 when the configuration cannot be used, or a newer version has used the store.
    """
    log_to_stderr()
    try:
        asyncio.run(_run(config))
    except BadConfiguration as bad:
        fail("\n".join(str(problem) for problem in bad.problems), _MISCONFIGURED)
    except StoreTooNewError as error:
        fail(f"pantau cannot run: {error}", _MISCONFIGURED)
    except (StoreInUseError, StoreUnusableError, OSError, ValueError) as error:
        fail(f"pantau cannot run: {error}")


async def _run(config: Path) -> None:
    app = App(config, os.environ)
    loop = asyncio.get_running_loop()
    for stop in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop, app.stop)
    loop.add_signal_handler(signal.SIGHUP, app.want_reload)
    await app.run()
