"""`pantau run`: the service itself."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import structlog

from monitor.app import App
from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.cli.service import fail
from monitor.config.loading import BadConfiguration
from monitor.store.database import StoreInUseError, StoreUnusableError
from monitor.store.migrations import StoreTooNewError


def run(config: Config = DEFAULT_CONFIG) -> None:
    """Run the service until SIGTERM or Ctrl-C. SIGHUP reads the configuration again."""
    log_to_stderr()
    try:
        asyncio.run(_run(config))
    except BadConfiguration as bad:
        fail("\n".join(str(problem) for problem in bad.problems), 2)
    except (StoreInUseError, StoreUnusableError, StoreTooNewError, OSError, ValueError) as error:
        fail(f"pantau cannot run: {error}")


async def _run(config: Path) -> None:
    app = App(config, os.environ)
    loop = asyncio.get_running_loop()
    for stop in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop, app.stop)
    loop.add_signal_handler(signal.SIGHUP, app.want_reload)
    await app.run()


def log_to_stderr() -> None:
    """Write events as lines to standard error: coloured for a terminal, key=value for a journal."""
    rendered: structlog.typing.Processor
    if sys.stderr.isatty():
        rendered = structlog.dev.ConsoleRenderer()
    else:
        rendered = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            rendered,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Libraries say only what went wrong; aioimaplib would log passwords at DEBUG.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
