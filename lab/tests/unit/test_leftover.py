"""Processes left by a demo that was killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pantau_lab import leftover

_SLEEPS = "import time; time.sleep(60)"
_IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


@pytest.fixture(params=[_SLEEPS, _IGNORES_SIGTERM], ids=["obeys SIGTERM", "ignores SIGTERM"])
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", request.param], stdout=subprocess.PIPE, text=True) as started_process:
        if request.param is _IGNORES_SIGTERM:
            assert started_process.stdout is not None
            started_process.stdout.readline()
        yield started_process
        started_process.kill()


def test_left_by_finds_remaining_process_and_end_stops_it(process: subprocess.Popen[str], tmp_path: Path) -> None:
    leftover.remember(tmp_path / "mark", process.pid)
    [left] = leftover.left_by(tmp_path / "mark")
    assert left.pid == process.pid
    # The clock is faster here, but the process still gets its two seconds to end.
    leftover.end(left, sleep=lambda _: time.sleep(0.02))
    # Our child is a zombie until we wait for it: that is no running process.
    assert not left.is_alive()
    assert leftover.left_by(tmp_path / "mark") == []
    assert process.wait(5) != 0


def test_left_by_lists_only_running_processes(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with (
        subprocess.Popen([sys.executable, "-c", _SLEEPS]) as ended,
        subprocess.Popen([sys.executable, "-c", _SLEEPS]) as one,
        subprocess.Popen([sys.executable, "-c", _SLEEPS]) as other,
    ):
        for each in (ended, one, other):
            leftover.remember(mark, each.pid)
        ended.kill()
        ended.wait()
        assert [each.pid for each in leftover.left_by(mark)] == [one.pid, other.pid]
        for each in (one, other):
            each.kill()


@pytest.mark.parametrize(("key", "value"), [("started", 1), ("boot", "another"), ("pid", 2**30)])
def test_left_by_ignores_reused_pid(tmp_path: Path, key: str, value: object) -> None:
    mark = tmp_path / "mark"
    with subprocess.Popen([sys.executable, "-c", _SLEEPS]) as another:
        leftover.remember(mark, another.pid)
        mark.write_text(json.dumps({**json.loads(mark.read_text()), key: value}))
        assert leftover.left_by(mark) == []
        assert another.poll() is None
        another.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "started": 1, "boot": ""}', None])
def test_left_by_invalid_mark_is_empty(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "mark").write_text(text)
    assert leftover.left_by(tmp_path / "mark") == []
