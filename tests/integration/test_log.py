"""What a journal gets: a real process, whose standard error is a socket as systemd gives it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

#: What each kind of line is said by. A library's logger says what went wrong, several lines long.
PROGRAM = """
import logging, structlog
from monitor.cli.log import Level, complain, log_to_stderr
log_to_stderr(Level({level!r}))
log = structlog.get_logger()
log.info("started", portal="http://127.0.0.1:8080")
log.warning("the store cannot be written", why="a\\nb")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("a check broke", agency="JCM")
    logging.getLogger("library").exception("broken")
logging.getLogger("library").info("never shown")
complain("pantau.yaml:1: bad\\npantau.yaml:2: bad")
complain("pantau.yaml:3: odd", "warning")
"""


def said(*, level: str = "info", to_journal: bool = True) -> list[str]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        status = os.fstat(theirs.fileno())
        stream = f"{status.st_dev}:{status.st_ino}" if to_journal else "1:1"
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(level=level)],
            stderr=theirs.fileno(),
            env={**os.environ, "JOURNAL_STREAM": stream},
            check=True,
            timeout=60,
        )
        theirs.close()
        return ours.makefile().read().splitlines()


def test_each_line_in_a_journal_has_its_priority_and_not_its_time() -> None:
    lines = said()
    assert lines[:2] == [
        "<6>level=info event=started portal=http://127.0.0.1:8080",
        '<4>level=warning event="the store cannot be written" why=a\\nb',
    ]
    assert lines[2].startswith('<3>level=error event="a check broke" agency=JCM exception="Traceback')
    library = lines[3:-3]
    assert library[0] == "<3>ERROR library broken"
    assert library[-1] == "<3>ZeroDivisionError: division by zero"
    assert all(line.startswith("<3>") for line in library)
    assert lines[-3:] == ["<3>pantau.yaml:1: bad", "<3>pantau.yaml:2: bad", "<4>pantau.yaml:3: odd"]


def test_what_is_no_journal_gets_the_time_and_no_priority() -> None:
    lines = said(to_journal=False)
    assert lines[0].startswith("timestamp=20")
    assert lines[0].endswith("level=info event=started portal=http://127.0.0.1:8080")
    assert lines[3] == "ERROR library broken"
    assert lines[-1] == "pantau.yaml:3: odd"


@pytest.mark.parametrize(("level", "first"), [("info", "<6>"), ("warning", "<4>"), ("error", "<3>")])
def test_only_what_is_as_bad_as_the_level_is_said(level: str, first: str) -> None:
    lines = said(level=level)
    assert lines[0].startswith(first)
    assert lines[-1] == "<4>pantau.yaml:3: odd", "why it ends is always said"
