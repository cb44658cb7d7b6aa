"""Reasons why the service cannot start on this machine, as problems of the setting concerned."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from monitor.config.fields.listen import Listen
from monitor.config.files.document import read_document
from monitor.config.files.problem import Path as KeyPath
from monitor.config.files.problem import Problem
from monitor.config.files.regular import process_user
from monitor.config.model.settings import LISTEN_VARIABLE
from monitor.store.backend.database import StoreUnusableError


def port_problem(
    settings_file: Path, key: KeyPath, listen: Listen, error: OSError, environ: Mapping[str, str]
) -> Problem:
    """Return why nothing can listen at *listen*. *key*: the setting of *listen*.

    An environment variable may replace the setting `listen`; then the problem is one of the variable.
    """
    suggestion = Listen(listen.host, min(listen.port + 10, 65535))
    match error.errno:
        case errno.EADDRINUSE:
            message = f"another program listens at {listen}"
            instead = f"{suggestion}, or end that program; to see it: ss -ltnp 'sport = :{listen.port}' (in a shell)"
        case errno.EACCES:
            message = f"user {process_user()} may not listen at port {listen.port}, which is below 1024"
            instead = f"{Listen(listen.host, 8080)}, with a proxy in front where browsers need port {listen.port}"
        case errno.EADDRNOTAVAIL:
            message, instead = f"{listen.host} is not an address of this machine", "one that `ip address` lists"
        case _:
            message, instead = f"nothing can listen at {listen}: {error.strerror or error}", "127.0.0.1:8080"
    if key == ("listen",) and LISTEN_VARIABLE in environ:
        return Problem(file="environment", key=LISTEN_VARIABLE, message=message, instead=instead)
    return read_document(settings_file).problem(key, message, instead)


def state_problem(settings_file: Path, state_dir: Path) -> Problem | None:
    """Create the state directory if it is missing; return why it cannot be used. `None`: it can be used."""
    reason = ""
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        reason = f"cannot be created: {error.strerror}"
    if not reason and os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
        return None
    reason = reason or (
        "is on a file system that is mounted read-only" if _is_read_only(state_dir) else "cannot be written"
    )
    message = f"{state_dir} {reason} (by user {process_user()}, as whom the service runs)"
    user = process_user()
    instead = f"a directory that user {user} may write: install -d -o {user} -m 700 {state_dir} (in a shell, as root)"
    return read_document(settings_file).problem(("state_dir",), message, instead)


def store_problem(settings_file: Path, error: StoreUnusableError) -> Problem:
    """Return *error*, which contains the remedy, as a problem of the setting that locates the database."""
    document = read_document(settings_file)
    return document.problem(("store",) if "store" in document.data else ("state_dir",), str(error), "")


def _is_read_only(state_dir: Path) -> bool:
    return bool(os.statvfs(state_dir).f_flag & os.ST_RDONLY)
