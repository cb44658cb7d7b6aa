"""Where the service keeps its state, and where it is asked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

#: Where the settings name no other.
STATE: Final = Path("/var/lib/pantau")

#: The control socket, in the state directory.
CONTROL_SOCKET: Final = "control.sock"

#: What every answer there bears while mail is only watched: whoever asks is to know that nobody is told.
MODE_HEADER: Final = "Pantau-Mode"
WATCH_ONLY: Final = "watch"

#: Where systemd makes the directory of a service (`RuntimeDirectory=`, systemd.exec(5)).
_RUN: Final = Path("/run")


def signpost(socket: Path, environ: Mapping[str, str]) -> Path | None:
    """Leave a link to a control socket where it is found without the configuration, and return the link.

    `None`: this process has no runtime directory. Raise `OSError` when no link can be made in it.
    """
    directory = next(iter(_given(environ)), None)
    if directory is None:
        return None
    # The directory around it stays whose it is: root's command line may have been given somebody else's.
    if not directory.exists() and _is_ours(directory.parent):
        directory.mkdir(mode=0o700)
    if not _is_ours(directory):
        raise PermissionError(f"{directory} does not belong to this user alone")
    # One name a state directory, whose lock is ours: what a service that died has left there is replaced.
    link = directory / f"{sha256(os.fsencode(socket.resolve())).hexdigest()[:12]}.sock"
    link.unlink(missing_ok=True)
    link.symlink_to(socket.resolve())
    return link


def signposts(environ: Mapping[str, str], run: Path = _RUN) -> tuple[list[Path], list[Path]]:
    """Return the control sockets of this user to which services have left links, and others' runtime directories.

    The services may have died since. Nothing is followed that another user may have planted.
    """
    # A second service has a unit and a directory of its own: to pass it over would be to ask the wrong one.
    every = {Path(os.path.abspath(d)) for d in (*_given(environ), *run.glob("pantau*"))}  # noqa: PTH100 - links stay
    there = sorted(directory for directory in every if os.path.isdir(directory))  # noqa: PTH112 - may be closed to us
    ours = [directory for directory in there if _is_ours(directory)]
    return sorted(set(_sockets(ours))), [directory for directory in there if directory not in ours]


def _given(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the runtime directories that this process was given: by systemd, or in its user's session."""
    yield from (Path(name) for name in environ.get("RUNTIME_DIRECTORY", "").split(":") if name)
    if session := environ.get("XDG_RUNTIME_DIR"):
        yield Path(session) / "pantau"


def _is_ours(directory: Path) -> bool:
    """Whether nobody but this user puts anything into a directory."""
    try:
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _sockets(directories: Iterable[Path]) -> Iterator[Path]:
    for link in (link for directory in directories for link in directory.glob("*.sock")):
        try:
            status = link.stat()
        except OSError:
            continue  # Its state directory is gone, or closed to us.
        if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid():
            yield link.resolve()
