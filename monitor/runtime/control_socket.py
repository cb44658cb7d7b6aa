"""Control sockets, by which command-line clients reach running services, and the default state directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

#: Default state directory.
DEFAULT_STATE_DIR: Final = Path("/var/lib/pantau")

#: File name of the control socket in the state directory.
CONTROL_SOCKET: Final = "control.sock"

#: HTTP header of every answer in monitor-only mode, and its value. The client warns that nobody is notified.
MODE_HEADER: Final = "Pantau-Mode"
MONITOR_ONLY: Final = "monitor_only"

#: systemd creates a service's `RuntimeDirectory=` here (systemd.exec(5)).
_RUN_DIRECTORY: Final = Path("/run")


def link_socket(socket: Path, environ: Mapping[str, str]) -> Path | None:
    """Link a control socket into the runtime directory, so that clients find it without the configuration.

    Return the link; `None` if the process has no runtime directory. Raise `OSError` when the link cannot be created.
    """
    directory = next(iter(_runtime_directories(environ)), None)
    if directory is None:
        return None
    # Check the parent too: the environment of a root process may name a directory of another user.
    if not directory.exists() and _is_private(directory.parent):
        directory.mkdir(mode=0o700)
    if not _is_private(directory):
        raise PermissionError(f"{directory} does not belong to this user alone")
    # The name is unique for the state directory, which the service has locked, so an existing link is stale.
    link = directory / f"{sha256(os.fsencode(socket.resolve())).hexdigest()[:12]}.sock"
    link.unlink(missing_ok=True)
    link.symlink_to(socket.resolve())
    return link


def linked_sockets(environ: Mapping[str, str], run_directory: Path = _RUN_DIRECTORY) -> tuple[list[Path], list[Path]]:
    """Return this user's linked control sockets, and the runtime directories of other users.

    A socket may belong to a service that has ended. Links that another user may have created are not followed.
    """
    # All directories are searched, because each service has its own. A client that misses one could send commands to
    # the wrong service.
    candidates = {Path(os.path.abspath(d)) for d in (*_runtime_directories(environ), *run_directory.glob("pantau*"))}  # noqa: PTH100 - keeps links
    existing = sorted(directory for directory in candidates if os.path.isdir(directory))  # noqa: PTH112 - raises no PermissionError
    private = [directory for directory in existing if _is_private(directory)]
    return sorted(set(_own_sockets(private))), [directory for directory in existing if directory not in private]


def _runtime_directories(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the runtime directories of this process: from systemd, or from the user's session."""
    yield from (Path(name) for name in environ.get("RUNTIME_DIRECTORY", "").split(":") if name)
    if session := environ.get("XDG_RUNTIME_DIR"):
        yield Path(session) / "pantau"


def _is_private(directory: Path) -> bool:
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
            continue  # The state directory was removed or is not accessible.
        if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid():
            yield link.resolve()
