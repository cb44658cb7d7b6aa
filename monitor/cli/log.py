"""Log output on standard error."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Hashable, Mapping
from enum import StrEnum
from typing import TextIO


class Level(StrEnum):
    """Lowest level that is logged. Pantau logs nothing below info."""

    INFO = "info"
    #: Faults and their possible beginnings; not recoveries.
    WARNING = "warning"
    #: Bugs, and faults that need a person.
    ERROR = "error"


#: Priorities of systemd's journal (sd-daemon(3)).
PRIORITIES: Mapping[str, int] = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def log_to_stderr(level: Level = Level.INFO) -> None:
    """Log warnings of libraries to standard error, and events of Pantau if structlog is imported."""
    # Libraries log warnings only: aioimaplib logs passwords at DEBUG.
    logging.basicConfig(
        level=max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]),
        handlers=[handler := logging.StreamHandler(sys.stderr)],
    )
    words = "%(levelname)s %(name)s %(message)s"
    handler.setFormatter(_Prioritised(words) if to_journal(sys.stderr, os.environ) else logging.Formatter(words))
    # Most commands log no events, and importing structlog takes a quarter of their time.
    if "structlog" in sys.modules:
        handler.addFilter(_Repeated())
        _write_events(level)


def _write_events(level: Level) -> None:
    """Write events as lines to standard error: coloured for a terminal, else key=value; for systemd's journal with a priority.

    The journal records the time of each line itself.
    """
    import structlog  # noqa: PLC0415 - see above

    logfmt = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)

    def prioritised(logger: object, method: str, event: structlog.typing.EventDict) -> str:
        return f"<{PRIORITIES[event['level']]}>{logfmt(logger, method, event)}"

    time: list[structlog.typing.Processor] = [structlog.processors.TimeStamper(fmt="iso", utc=True)]
    rendered: structlog.typing.Processor
    if to_journal(sys.stderr, os.environ):
        time, rendered = [], prioritised
    else:
        rendered = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else logfmt
    structlog.configure(
        processors=[structlog.processors.add_log_level, *time, structlog.processors.format_exc_info, rendered],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def complain(text: str, priority: str = "error") -> None:
    """Write to standard error why the program ends; in systemd's journal, each line with its priority."""
    lines = text.splitlines()
    if to_journal(sys.stderr, os.environ):
        lines = [f"<{PRIORITIES[priority]}>{line}" for line in lines]
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether what is written to *stream* goes to systemd's journal (systemd.exec(5), `$JOURNAL_STREAM`)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # Not a file.
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Repeated(logging.Filter):
    """Filter that passes a library's line at most once a minute; the next line has the number of suppressed ones.

    Any client can cause some lines ("Invalid HTTP request received."): without a limit they fill the disk. Lines are equal
    when they have the same logger, the same first line before anything is filled in, and the same exception.
    """

    def __init__(self) -> None:
        from monitor.runtime.log_throttle import LogThrottle  # noqa: PLC0415 - short commands do not need it

        super().__init__()
        self._throttle = LogThrottle()

    def filter(self, record: logging.LogRecord) -> bool:
        suppressed = self._throttle.admit(_kind_of(record))
        if suppressed:
            record.msg = f"{record.msg} ({suppressed} more of these in between)"
        return suppressed is not None


def _kind_of(record: logging.LogRecord) -> Hashable:
    error = record.exc_info[1] if record.exc_info else None
    at = error.__traceback__ if error is not None else None
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = None if at is None else (at.tb_frame.f_code.co_filename, at.tb_lineno)
    return record.name, str(record.msg).partition("\n")[0], type(error), where


class _Prioritised(logging.Formatter):
    """Formatter of libraries' lines; systemd's journal treats each line as an entry."""

    def format(self, record: logging.LogRecord) -> str:
        priority = PRIORITIES.get(record.levelname.lower(), 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
