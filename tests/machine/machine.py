"""A machine of its own: Debian with its systemd as the first process, its network a loopback of its own (systemd-nspawn)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: What Debian's installer brings and debootstrap's smallest variant does not.
_BESIDE = "adduser,ca-certificates,dbus,procps,systemd,systemd-sysv"
#: How long is waited for what takes seconds on a machine that does nothing else. This one may be busy with other things.
_PATIENCE = 600.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What pip is told on this machine holds for it, too: where packages come from, and whom it trusts.
_HANDED_ON = ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES")


class Failed(Exception):
    """A command did not end as it should; the message has what it said."""


class Machine:
    """Made, used in its own network while it is booted, thrown away."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self._leader: int | None = None

    def make(self, suite: str, base: Path) -> None:
        """Lay Debian out anew. *base*: kept for the next time, for this takes minutes."""
        if not base.exists():
            half = base.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            _run(["debootstrap", "--variant=minbase", f"--include={_BESIDE}", suite, str(half)], within=1800)
            half.rename(base)
        shutil.rmtree(self.root, ignore_errors=True)
        _run(["cp", "-a", "--reflink=auto", str(base), str(self.root)], within=600)
        (self.root / "etc" / "hostname").write_text("mesin-contoh\n")

    def clone(self, sources: Path) -> None:
        """Put a clone of *sources*, as they are committed, into root's home."""
        _run(["git", "clone", "-q", f"file://{sources}", str(self.root / "root" / "pantau")], within=600)

    def prepare(self, commands: str, within: float = 1800) -> str:
        """Run commands with this machine's network and without systemd: what fetches packages."""
        words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe", f"--directory={self.root}"]
        environ = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        if trusted := os.environ.get("PIP_CERT"):
            words += [f"--bind-ro={trusted}:/mnt/trusted.pem"]
            environ["PIP_CERT"] = "/mnt/trusted.pem"
        environ |= {"DEBIAN_FRONTEND": "noninteractive"}
        words += [f"--setenv={name}={value}" for name, value in environ.items()]
        return _run([*words, "bash", "-euc", f"cd /root/pantau\n{commands}"], within=within)

    @contextmanager
    def booted(self) -> Iterator[None]:
        """Let its systemd run for as long as the block lasts."""
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
            nspawn.terminate()  # It tells its systemd to halt.
            try:
                nspawn.wait(90)
            except subprocess.TimeoutExpired:
                nspawn.kill()
                nspawn.wait()

    def run(self, commands: str, *, code: int = 0, environ: Mapping[str, str] | None = None) -> str:
        """Run commands as root beside its systemd, in the clone; return what they say. Raise `Failed`."""
        variables = {"PATH": _PATH, "HOME": "/root", "TERM": "dumb", "LANG": "C.UTF-8", **(environ or {})}
        inside = ["nsenter", f"--target={self._leader}", "--all", "env", "-i"]
        words = [*inside, *(f"{name}={value}" for name, value in variables.items())]
        return _run([*words, "bash", "-euc", f"cd /root/pantau\n{commands}"], within=_PATIENCE, code=code)

    def until(self, commands: str) -> str:
        """Run commands again and again until they succeed."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return self.run(commands)
            except Failed:
                if time.monotonic() > deadline:
                    raise
            time.sleep(1)


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    """Return the first process of the machine. For a moment it has a parent beside nspawn, which then ends."""
    deadline = time.monotonic() + 60
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
    while time.monotonic() < deadline and nspawn.poll() is None:
        for child in children.read_text().split():
            # By the numbers that it has outside and inside.
            if re.search(r"^NSpid:\t\d+\t1$", _status(child), re.MULTILINE):
                return int(child)
        time.sleep(0.1)
    raise Failed("systemd-nspawn has started nothing")


def _status(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # It has ended meanwhile.
        return ""


def _run(words: list[str], *, within: float, code: int = 0) -> str:
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=within
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{words[-1]}\n... has not ended within {within:.0f} s") from late
    said = done.stdout + done.stderr
    if done.returncode != code:
        raise Failed(f"{words[-1]}\n... ended with {done.returncode} and not {code}:\n{said}")
    return said
