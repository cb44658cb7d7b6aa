"""What the program says of its work: on standard error."""

from __future__ import annotations

import logging
import sys

import structlog


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
