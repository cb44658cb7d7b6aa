"""Debian with its systemd in a container with its own network (systemd-nspawn)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: Packages of Debian's installer that debootstrap's smallest variant lacks.
_PACKAGES = "adduser,ca-certificates,dbus,procps,systemd,systemd-sysv"
#: In seconds. Long enough for a busy machine.
_TIMEOUT = 600.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: pip's settings of this machine, which also hold in the container.
_PASSED_VARIABLES = ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES")


class Failed(Exception):
    """A command failed; the message has its output."""


class Machine:
    """A container that is made, booted in its own network, and removed."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self._leader: int | None = None

    def make(self, suite: str, base: Path) -> None:
        """Install Debian. *base*: directory that keeps it for later runs, because this takes minutes."""
        if not base.exists():
            unfinished = base.with_suffix(".half")
            shutil.rmtree(unfinished, ignore_errors=True)
            _run(["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", suite, str(unfinished)], within=1800)
            unfinished.rename(base)
        shutil.rmtree(self.root, ignore_errors=True)
        _run(["cp", "-a", "--reflink=auto", str(base), str(self.root)], within=600)
        (self.root / "etc" / "hostname").write_text("mesin-contoh\n")

    def clone(self, sources: Path) -> None:
        """Clone the committed *sources* into root's home."""
        _run(["git", "clone", "-q", f"file://{sources}", str(self.root / "root" / "pantau")], within=600)

    def prepare(self, commands: str, within: float = 1800) -> str:
        """Run commands with this machine's network, without systemd, to fetch packages."""
        words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe", f"--directory={self.root}"]
        environ = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
        if trusted := os.environ.get("PIP_CERT"):
            words += [f"--bind-ro={trusted}:/mnt/trusted.pem"]
            environ["PIP_CERT"] = "/mnt/trusted.pem"
        environ |= {"DEBIAN_FRONTEND": "noninteractive"}
        words += [f"--setenv={name}={value}" for name, value in environ.items()]
        return _run([*words, "bash", "-euc", f"cd /root/pantau\n{commands}"], within=within)

    @contextmanager
    def booted(self) -> Iterator[None]:
        """Boot the container for the duration of the block."""
        words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe"]
        nspawn = subprocess.Popen(
            [*words, f"--directory={self.root}", "--boot"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._leader = _leader(nspawn)
            self.until("systemctl is-system-running | grep -E 'running|degraded'")
            yield
        finally:
            self._leader = None
            nspawn.terminate()  # It shuts systemd down.
            try:
                nspawn.wait(90)
            except subprocess.TimeoutExpired:
                nspawn.kill()
                nspawn.wait()

    def run(self, commands: str, *, code: int = 0, environ: Mapping[str, str] | None = None) -> str:
        """Run commands as root in the clone; return their output. Raise `Failed`."""
        variables = {"PATH": _PATH, "HOME": "/root", "TERM": "dumb", "LANG": "C.UTF-8", **(environ or {})}
        enter = ["nsenter", f"--target={self._leader}", "--all", "env", "-i"]
        words = [*enter, *(f"{name}={value}" for name, value in variables.items())]
        return _run([*words, "bash", "-euc", f"cd /root/pantau\n{commands}"], within=_TIMEOUT, code=code)

    def until(self, commands: str) -> str:
        """Repeat commands until they succeed."""
        deadline = time.monotonic() + _TIMEOUT
        while True:
            try:
                return self.run(commands)
            except Failed:
                if time.monotonic() > deadline:
                    raise
            time.sleep(1)


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    """Return the first process of the container. Its first parent, beside nspawn, soon ends."""
    deadline = time.monotonic() + 60
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
    while time.monotonic() < deadline and nspawn.poll() is None:
        for child in children.read_text().split():
            # Its numbers outside and inside.
            if re.search(r"^NSpid:\t\d+\t1$", _status(child), re.MULTILINE):
                return int(child)
        time.sleep(0.1)
    raise Failed("systemd-nspawn has started no process")


def _status(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # The process has ended.
        return ""


def _run(words: list[str], *, within: float, code: int = 0) -> str:
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=within
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{words[-1]}\n... has not ended within {within:.0f} s") from late
    output = done.stdout + done.stderr
    if done.returncode != code:
        raise Failed(f"{words[-1]}\n... ended with {done.returncode} and not {code}:\n{output}")
    return output
