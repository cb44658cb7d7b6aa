"""Log output of the command line and the service, on standard error."""

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
    #: Faults, and what may become one. Recoveries are logged as info.
    WARNING = "warning"
    #: Bugs, and faults that somebody must correct.
    ERROR = "error"


#: Priorities of systemd's journal (sd-daemon(3)).
PRIORITIES: Mapping[str, int] = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def log_to_stderr(level: Level = Level.INFO) -> None:
    """Log warnings of libraries to standard error, and Pantau's own events if structlog is imported."""
    # Libraries log at WARNING or above, whatever *level* is: aioimaplib logs passwords at DEBUG.
    handler = logging.StreamHandler(sys.stderr)
    logging.basicConfig(
        level=max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]),
        handlers=[handler],
    )
    line_format = "%(levelname)s %(name)s %(message)s"
    handler.setFormatter(
        _PriorityFormatter(line_format) if is_journal(sys.stderr, os.environ) else logging.Formatter(line_format)
    )
    # Most commands log no events, and importing structlog takes a quarter of their time.
    if "structlog" in sys.modules:
        handler.addFilter(_RepetitionFilter())
        _configure_events(level)


def _configure_events(level: Level) -> None:
    """Write events to standard error: coloured on a terminal, else as key=value.

    In systemd's journal a line has a priority and no time, because the journal records the time.
    """
    import structlog  # noqa: PLC0415 - see above

    logfmt = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)

    def add_priority(logger: object, method: str, event: structlog.typing.EventDict) -> str:
        return f"<{PRIORITIES[event['level']]}>{logfmt(logger, method, event)}"

    timestamp: list[structlog.typing.Processor] = [structlog.processors.TimeStamper(fmt="iso", utc=True)]
    renderer: structlog.typing.Processor
    if is_journal(sys.stderr, os.environ):
        timestamp, renderer = [], add_priority
    else:
        renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else logfmt
    structlog.configure(
        processors=[structlog.processors.add_log_level, *timestamp, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def write_error(text: str, priority: str = "error") -> None:
    """Write *text* to standard error; in systemd's journal, each line with its priority."""
    lines = text.splitlines()
    if is_journal(sys.stderr, os.environ):
        lines = [f"<{PRIORITIES[priority]}>{line}" for line in lines]
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether *stream* is connected to systemd's journal (systemd.exec(5), `$JOURNAL_STREAM`)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # Not a file.
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _RepetitionFilter(logging.Filter):
    """Filter that passes equal log records of libraries once a minute, with the number of suppressed ones.

    Any client can cause records such as "Invalid HTTP request received.", and could fill the disk with them. Records are
    equal if they have the same logger, first line of the message template, exception type and position of the exception.
    """

    def __init__(self) -> None:
        from monitor.runtime.log_throttle import LogThrottle  # noqa: PLC0415 - short commands do not need it

        super().__init__()
        self._throttle = LogThrottle()

    def filter(self, record: logging.LogRecord) -> bool:
        # How many equal records were suppressed since the last one that passed; `None`: suppress this record, too.
        suppressed = self._throttle.admit(_repetition_key(record))
        if suppressed:
            record.msg = f"{record.msg} ({suppressed} more of these in between)"
        return suppressed is not None


def _repetition_key(record: logging.LogRecord) -> Hashable:
    error = record.exc_info[1] if record.exc_info else None
    traceback = error.__traceback__ if error is not None else None
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    position = None if traceback is None else (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
    return record.name, str(record.msg).partition("\n")[0], type(error), position


class _PriorityFormatter(logging.Formatter):
    """Formatter for systemd's journal. The journal stores each line as an entry, so each line gets the priority."""

    def format(self, record: logging.LogRecord) -> str:
        priority = PRIORITIES.get(record.levelname.lower(), 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
