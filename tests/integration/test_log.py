"""Log lines for the systemd journal and other outputs, of a real process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

#: Logs each kind of line, also a multi-line traceback of a library.
PROGRAM = """
import logging, structlog
from monitor.cli.log import Level, log_to_stderr, write_error
log_to_stderr(Level({level!r}))
log = structlog.get_logger()
log.info("started", portal="http://127.0.0.1:8080")
log.warning("database not writable", reason="a\\nb")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("check failed unexpectedly", agency="JCM")
    logging.getLogger("library").exception("broken")
logging.getLogger("library").info("never shown")
write_error("pantau.yaml:1: bad\\npantau.yaml:2: bad")
write_error("pantau.yaml:3: odd", "warning")
"""


def log_lines(*, level: str = "info", to_journal: bool = True) -> list[str]:
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


def test_journal_line_has_priority_and_no_time() -> None:
    lines = log_lines()
    assert lines[:2] == [
        "<6>level=info event=started portal=http://127.0.0.1:8080",
        '<4>level=warning event="database not writable" reason=a\\nb',
    ]
    assert lines[2].startswith('<3>level=error event="check failed unexpectedly" agency=JCM exception="Traceback')
    library = lines[3:-3]
    assert library[0] == "<3>ERROR library broken"
    assert library[-1] == "<3>ZeroDivisionError: division by zero"
    assert all(line.startswith("<3>") for line in library)
    assert lines[-3:] == ["<3>pantau.yaml:1: bad", "<3>pantau.yaml:2: bad", "<4>pantau.yaml:3: odd"]


def test_other_stderr_line_has_time_and_no_priority() -> None:
    lines = log_lines(to_journal=False)
    assert lines[0].startswith("timestamp=20")
    assert lines[0].endswith("level=info event=started portal=http://127.0.0.1:8080")
    assert lines[3] == "ERROR library broken"
    assert lines[-1] == "pantau.yaml:3: odd"


@pytest.mark.parametrize(("level", "first"), [("info", "<6>"), ("warning", "<4>"), ("error", "<3>")])
def test_log_level_filters_lines(level: str, first: str) -> None:
    lines = log_lines(level=level)
    assert lines[0].startswith(first)
    assert lines[-1] == "<4>pantau.yaml:3: odd", "the reason for the exit is always logged"


def test_repeated_library_message_is_logged_once_a_minute(capfd: pytest.CaptureFixture[str]) -> None:
    program = """
import logging, structlog, time
moment = [0.0]
time.monotonic = lambda: moment[0]
from monitor.cli.log import log_to_stderr
log_to_stderr()
theirs = logging.getLogger("uvicorn.error")
for at in range(0, 62):
    moment[0] = float(at)
    theirs.warning("Invalid HTTP request received.")
    theirs.warning("from %s", f"10.0.0.{at}")
    try:
        int("x")
    except ValueError:
        theirs.exception("broken")
    try:
        {}[1]
    except KeyError:
        theirs.exception("broken")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if "Invalid" in line] == [
        "WARNING uvicorn.error Invalid HTTP request received.",
        "WARNING uvicorn.error Invalid HTTP request received. (59 more of these in between)",
    ]
    assert next(line for line in lines if " from " in line) == "WARNING uvicorn.error from 10.0.0.0"
    assert sum(line.startswith("ERROR uvicorn.error broken") for line in lines) == 4
