"""What a demo that was killed has left running is known again and ended, and nobody else's process is."""

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
_IS_DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


@pytest.fixture(params=[_SLEEPS, _IS_DEAF], ids=["heeds SIGTERM", "does not"])
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", request.param], stdout=subprocess.PIPE, text=True) as begun:
        if request.param is _IS_DEAF:
            assert begun.stdout is not None
            begun.stdout.readline()
        yield begun
        begun.kill()


def test_a_process_that_was_left_is_known_again_and_ended(process: subprocess.Popen[str], tmp_path: Path) -> None:
    leftover.remember(tmp_path / "mark", process.pid)
    [left] = leftover.left_by(tmp_path / "mark")
    assert left.pid == process.pid
    # Time goes by in a hurry, and not before the process has had its two seconds to hear.
    leftover.end(left, sleep=lambda _: time.sleep(0.02))
    # It is our child, and a zombie until it is asked after: that is no living process.
    assert not left.is_alive()
    assert leftover.left_by(tmp_path / "mark") == []
    assert process.wait(5) != 0


def test_of_several_that_were_started_those_are_known_that_are_left(tmp_path: Path) -> None:
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
def test_whoever_has_the_number_now_is_left_alone(tmp_path: Path, key: str, value: object) -> None:
    mark = tmp_path / "mark"
    with subprocess.Popen([sys.executable, "-c", _SLEEPS]) as another:
        leftover.remember(mark, another.pid)
        mark.write_text(json.dumps({**json.loads(mark.read_text()), key: value}))
        assert leftover.left_by(mark) == []
        assert another.poll() is None
        another.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "started": 1, "boot": ""}', None])
def test_a_mark_that_tells_of_nobody_tells_of_nobody(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "mark").write_text(text)
    assert leftover.left_by(tmp_path / "mark") == []
