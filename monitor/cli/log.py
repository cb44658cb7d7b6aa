"""What the program says of its work: on standard error."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import TextIO

import structlog


class Level(StrEnum):
    """From which level on something is said. Nothing of ours is below info: there is no more to see."""

    INFO = "info"
    #: What is wrong, and what may become it; not what is well again.
    WARNING = "warning"
    #: Bugs of ours, and what nobody but a person can mend.
    ERROR = "error"


#: The priorities of a journal, as sd-daemon(3) has them.
_PRIORITIES: Mapping[str, int] = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}

_LOGFMT = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)


def log_to_stderr(level: Level = Level.INFO) -> None:
    """Write events as lines to standard error: coloured for a terminal, key=value else, with its priority for a journal.

    A journal has the time of each line itself.
    """
    to_journal = _is_journal(sys.stderr, os.environ)
    rendered: structlog.typing.Processor
    if to_journal:
        rendered = _journal_line
    elif sys.stderr.isatty():
        rendered = structlog.dev.ConsoleRenderer()
    else:
        rendered = _LOGFMT
    time = [] if to_journal else [structlog.processors.TimeStamper(fmt="iso", utc=True)]
    structlog.configure(
        processors=[structlog.processors.add_log_level, *time, structlog.processors.format_exc_info, rendered],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Libraries say only what went wrong; aioimaplib would log passwords at DEBUG.
    logging.basicConfig(
        level=max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]),
        handlers=[handler := logging.StreamHandler(sys.stderr)],
    )
    words = "%(levelname)s %(name)s %(message)s"
    handler.setFormatter(_Prioritised(words) if to_journal else logging.Formatter(words))


def complain(text: str, priority: str = "error") -> None:
    """Say on standard error why the program ends; each line with its priority where a journal reads it."""
    lines = text.splitlines()
    if _is_journal(sys.stderr, os.environ):
        lines = [f"<{_PRIORITIES[priority]}>{line}" for line in lines]
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether what is written to *stream* goes to systemd's journal (systemd.exec(5), `$JOURNAL_STREAM`)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # It is no file.
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _journal_line(logger: object, method: str, event: structlog.typing.EventDict) -> str:
    return f"<{_PRIORITIES[event['level']]}>{_LOGFMT(logger, method, event)}"


class _Prioritised(logging.Formatter):
    """A library's words; a journal takes each line of them for an entry."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelname.lower(), 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
