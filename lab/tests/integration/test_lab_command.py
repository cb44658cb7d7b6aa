"""`pantau lab` as a process, with and without a terminal."""

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

#: In seconds. The start takes two, and many more on a busy machine.
TIMEOUT = 90.0
COMMAND = (sys.executable, "-m", "monitor.cli", "lab")


@dataclass(slots=True, kw_only=True)
class Session:
    """Running lab and its terminal."""

    process: subprocess.Popen[bytes]
    terminal: int
    shown: str = field(default="")

    def until(self, pattern: str) -> str:
        """Read until *pattern* appears; return the new output."""
        start_at, deadline = len(self.shown), time.monotonic() + TIMEOUT
        while not re.search(pattern, self.shown[start_at:]):
            assert time.monotonic() < deadline, self.shown
            if select([self.terminal], [], [], 0.1)[0]:
                self.shown += os.read(self.terminal, 65536).decode(errors="replace").replace("\r\n", "\n")
        return self.shown[start_at:]

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def enter(self, line: str) -> str:
        """Type a line and return the output."""
        self.type(f"{line}\n")
        return self.until(r"\n?lab> $")


@contextmanager
def on_a_terminal(home: Path, *words: str) -> Iterator[Session]:
    own_end, lab_end = pty.openpty()
    environment = os.environ | {"TERM": "dumb", "COLUMNS": "100", "TMPDIR": str(home)}
    # With a session and this terminal of its own, the lab receives Ctrl-C.
    setup = f"import os; os.setsid(); os.close(os.open({os.ttyname(lab_end)!r}, os.O_RDWR))"
    run_lab = f"os.execv({sys.executable!r}, {[*COMMAND, *words]!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{setup}; {run_lab}"], stdin=lab_end, stdout=lab_end, stderr=lab_end, env=environment
    )
    os.close(lab_end)
    try:
        yield Session(process=process, terminal=own_end)
    finally:
        process.kill()
        process.wait()
        os.close(own_end)


def test_terminal_breaks_and_repairs_faults_until_ctrl_c(tmp_path: Path) -> None:
    with on_a_terminal(tmp_path, "--break", "slow") as lab:
        welcome = lab.until("lab> ")
        (settings,) = re.findall(r"probe --config (\S+) JCM outbound", welcome)
        assert "JCM: slow  Messages arrive whole, but late." in welcome
        assert "internal timeout  outbound timeout  inbound timeout" in lab.enter("break tarpit")
        assert "JCM has slow, tarpit; rujukan-a has junk" in lab.enter("break junk rujukan-a") + lab.enter("systems")
        assert "did you mean mute?" in lab.enter("break mutee")
        assert "repaired; rujukan-a has junk" in lab.enter("repair jcm")
        assert "repaired; nothing is broken" in lab.enter("repair")
        assert Path(settings).exists()
        lab.type("\x03")
        assert lab.process.wait(TIMEOUT) == 0
    assert list(tmp_path.iterdir()) == []


def test_terminal_end_of_input_ends_lab(tmp_path: Path) -> None:
    with on_a_terminal(tmp_path) as lab:
        lab.until("lab> ")
        lab.type("\x04")
        assert lab.process.wait(TIMEOUT) == 0
    assert list(tmp_path.iterdir()) == []


def start(*words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=TIMEOUT)
    return process.returncode, said


def test_without_terminal_serves_until_sigterm_and_keeps_directory(tmp_path: Path) -> None:
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
