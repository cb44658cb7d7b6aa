"""`pantau lab` as an operator uses it: the real process, on a terminal and without one."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select

import yaml

#: In seconds; it takes two to begin, and on a machine that is busy with other things many.
PATIENCE = 90.0
COMMAND = (sys.executable, "-m", "monitor.cli", "lab")


@dataclass(slots=True, kw_only=True)
class Session:
    """A lab that runs, and the terminal it is typed to."""

    process: subprocess.Popen[bytes]
    terminal: int
    shown: str = field(default="")

    def until(self, pattern: str) -> str:
        """Read on until *pattern* is shown; return what was shown since the last time."""
        begun, deadline = len(self.shown), time.monotonic() + PATIENCE
        while not re.search(pattern, self.shown[begun:]):
            assert time.monotonic() < deadline, self.shown
            if select([self.terminal], [], [], 0.1)[0]:
                self.shown += os.read(self.terminal, 65536).decode(errors="replace").replace("\r\n", "\n")
        return self.shown[begun:]

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def order(self, line: str) -> str:
        """Type a line and return the answer."""
        self.type(f"{line}\n")
        return self.until(r"\n?lab> $")


@contextmanager
def on_a_terminal(home: Path, *words: str) -> Iterator[Session]:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "dumb", "COLUMNS": "100", "TMPDIR": str(home)}
    # A session of its own with that terminal, so that its Ctrl-C is the lab's.
    begin = f"import os; os.setsid(); os.close(os.open({os.ttyname(theirs)!r}, os.O_RDWR))"
    go_on = f"os.execv({sys.executable!r}, {[*COMMAND, *words]!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{begin}; {go_on}"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    try:
        yield Session(process=process, terminal=ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_faults_are_put_in_and_taken_out_at_the_terminal_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    with on_a_terminal(tmp_path, "--break", "slow") as lab:
        welcome = lab.until("lab> ")
        (settings,) = re.findall(r"probe --config (\S+) JCM outbound", welcome)
        assert "JCM: slow  Messages arrive whole, but late." in welcome
        assert "internal timeout  outbound timeout  inbound timeout" in lab.order("break tarpit")
        assert "JCM has slow, tarpit; rujukan-a has junk" in lab.order("break junk rujukan-a") + lab.order("systems")
        assert "did you mean mute?" in lab.order("break mutee")
        assert "repaired; rujukan-a has junk" in lab.order("repair jcm")
        assert "repaired; nothing is broken" in lab.order("repair")
        assert Path(settings).exists()
        lab.type("\x03")
        assert lab.process.wait(PATIENCE) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_what_is_typed_ends_it(tmp_path: Path) -> None:
    with on_a_terminal(tmp_path) as lab:
        lab.until("lab> ")
        lab.type("\x04")
        assert lab.process.wait(PATIENCE) == 0
    assert list(tmp_path.iterdir()) == []


def start(*words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def test_without_a_terminal_it_serves_until_it_is_terminated_and_leaves_a_named_directory(tmp_path: Path) -> None:
    directory = tmp_path / "makmal"
    lab = start("--directory", str(directory), stdin=subprocess.PIPE)
    try:
        assert lab.stdin is not None
        assert lab.stdout is not None
        lab.stdin.write("break refuse\n")
        lab.stdin.close()
        lab.stdin = None
        while "554 5.3.2" not in lab.stdout.readline():
            assert lab.poll() is None
        second = start("--directory", str(directory))
        assert ended(second) == (
            2,
            f"a lab is already running in {directory}; end it first, or name another directory\n",
        )
        settings = yaml.safe_load((directory / "pantau.yaml").read_text())
        assert [path.name for path in (directory / "agencies").iterdir()] == ["jcm.yaml"]
        assert settings["references"].keys() == {"rujukan-a", "rujukan-b"}
        lab.send_signal(signal.SIGTERM)
        assert ended(lab)[0] == 0
    finally:
        lab.kill()
        lab.wait()
    assert (directory / "pantau.yaml").exists()
