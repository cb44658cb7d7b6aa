"""State directory and control sockets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

#: The default.
STATE: Final = Path("/var/lib/pantau")

#: In the state directory.
CONTROL_SOCKET: Final = "control.sock"

#: Header of every answer in monitor-only mode, so that the client can warn that nobody is notified.
MODE_HEADER: Final = "Pantau-Mode"
MONITOR_ONLY: Final = "monitor_only"

#: systemd creates a service's `RuntimeDirectory=` here (systemd.exec(5)).
_RUN: Final = Path("/run")


def link_socket(socket: Path, environ: Mapping[str, str]) -> Path | None:
    """Link a control socket in the runtime directory, where clients find it without the configuration. Return the link.

    `None`: the process has no runtime directory. Raise `OSError` when the link cannot be created.
    """
    directory = next(iter(_runtime_directories(environ)), None)
    if directory is None:
        return None
    # Check the parent too: a command line of root may name a directory of another user.
    if not directory.exists() and _is_ours(directory.parent):
        directory.mkdir(mode=0o700)
    if not _is_ours(directory):
        raise PermissionError(f"{directory} does not belong to this user alone")
    # One name per state directory, which is locked: a link left by a dead service is replaced.
    link = directory / f"{sha256(os.fsencode(socket.resolve())).hexdigest()[:12]}.sock"
    link.unlink(missing_ok=True)
    link.symlink_to(socket.resolve())
    return link


def linked_sockets(environ: Mapping[str, str], run: Path = _RUN) -> tuple[list[Path], list[Path]]:
    """Return this user's linked control sockets, and the runtime directories of other users.

    The services may have died since. Links that another user may have created are not followed.
    """
    # A second service has its own unit and directory. To skip it would be to ask the wrong service.
    every = {Path(os.path.abspath(d)) for d in (*_runtime_directories(environ), *run.glob("pantau*"))}  # noqa: PTH100 - links stay
    there = sorted(directory for directory in every if os.path.isdir(directory))  # noqa: PTH112 - may be closed to us
    ours = [directory for directory in there if _is_ours(directory)]
    return sorted(set(_own_sockets(ours))), [directory for directory in there if directory not in ours]


def _runtime_directories(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the runtime directories of this process: from systemd, or from the user's session."""
    yield from (Path(name) for name in environ.get("RUNTIME_DIRECTORY", "").split(":") if name)
    if session := environ.get("XDG_RUNTIME_DIR"):
        yield Path(session) / "pantau"


def _is_ours(directory: Path) -> bool:
    """Whether only this user can write to a directory."""
    try:
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _own_sockets(directories: Iterable[Path]) -> Iterator[Path]:
    for link in (link for directory in directories for link in directory.glob("*.sock")):
        try:
            status = link.stat()
        except OSError:
            continue  # The state directory is gone or not accessible.
        if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid():
            yield link.resolve()
