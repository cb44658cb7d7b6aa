"""How our own events are written: as lines on standard error."""

from __future__ import annotations

import os
import sys

import structlog

from monitor.cli.log import PRIORITIES, Level, to_journal

_LOGFMT = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)


def write_events(level: Level) -> None:
    """Write events as lines to standard error: coloured for a terminal, key=value else, with its priority for a journal.

    A journal has the time of each line itself.
    """
    is_journal = to_journal(sys.stderr, os.environ)
    rendered: structlog.typing.Processor
    if is_journal:
        rendered = _journal_line
    elif sys.stderr.isatty():
        rendered = structlog.dev.ConsoleRenderer()
    else:
        rendered = _LOGFMT
    time = [] if is_journal else [structlog.processors.TimeStamper(fmt="iso", utc=True)]
    structlog.configure(
        processors=[structlog.processors.add_log_level, *time, structlog.processors.format_exc_info, rendered],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _journal_line(logger: object, method: str, event: structlog.typing.EventDict) -> str:
    return f"<{PRIORITIES[event['level']]}>{_LOGFMT(logger, method, event)}"
