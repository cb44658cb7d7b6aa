"""Requests of commands to the running service over its Unix socket.

Commands must start quickly: nothing here imports the service or the configuration loader.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from socket import AF_UNIX
from socket import socket as Socket  # noqa: N812 - `socket` is a path here
from typing import Any, NoReturn

import httpx
import typer

from monitor.cli.log import complain
from monitor.config.files.document import read_document
from monitor.runtime.place import CONTROL_SOCKET, MODE_HEADER, MONITOR_ONLY, STATE, linked_sockets
from monitor.runtime.unix_socket import reachable


def fail(message: str, code: int = 1) -> NoReturn:
    """Print a message to standard error and end the command."""
    complain(message)
    raise typer.Exit(code)


def control_socket(config: Path, given: Path | None) -> Path:
    """Return the control socket: *given*; else that of the configuration; else that of the running service of this user.

    During an incident the configuration may be half edited, and secrets may be in the service's environment only: only the
    state directory has to be readable. If it is not, print which socket is used. End the command when there is no running
    service then, or more than one.
    """
    if given is not None:
        return given
    document = read_document(config)
    state = document.data.get("state_dir", STATE)
    # An editor or a full disk may leave the file half-written or empty, without `state_dir`.
    is_cut = "state_dir" not in document.data and not os.path.exists(STATE)  # noqa: PTH110 - as below
    is_old = "state" in document.data and "state_dir" not in document.data
    if document.readable and isinstance(state, str | Path) and not is_cut and not is_old:
        return (config.parent / state).absolute() / CONTROL_SOCKET
    unsaid = f"is missing, and there is no {STATE}" if is_cut else "must be a directory"
    wrong = str(document.problems[0]) if document.problems else f"{config}: state_dir: {unsaid}"
    if is_old:
        wrong = str(document.problem(("state",), "`state` is now `state_dir`", "state_dir"))
    found, others = linked_sockets(os.environ)
    running = [socket for socket in found if is_open(socket)]
    if document.readable and is_cut and not running:
        return STATE / CONTROL_SOCKET
    if len(running) == 1:
        typer.echo(f"{wrong}; asking the service at {running[0]}", err=True)
        return running[0]
    if running:
        choice = "\n".join(f"  --socket {socket}" for socket in running)
        fail(f"{wrong}\n{len(running)} of your services run here; choose one:\n{choice}", 2)
    foreign = "".join(f"\n{each} belongs to another user: run this command as the service's user" for each in others)
    fail(f"{wrong}{foreign}\nno running service of yours was found; if there is one, give its socket with --socket", 2)


def to_run(config: Path) -> str:
    """Return the command that starts the service, quoted for a shell."""
    return shlex.join(["pantau", "run", "--config", str(config)])


#: Seconds until a request times out.
USUAL = 30.0
#: For requests that may take minutes with years of records.
LONG = 3600.0


def request(
    socket: Path, method: str, path: str, word: Mapping[str, Any] | None = None, *, within: float = USUAL
) -> httpx.Response:
    """Send one request over a Unix socket. Raise `httpx.HTTPError` or `OSError` when the service does not answer."""
    with reachable(socket) as name:
        _try_connection(name)  # The library leaks its socket when the connection fails.
        with httpx.Client(transport=httpx.HTTPTransport(uds=name), timeout=within) as client:
            return client.request(method, f"http://pantau{path}", json=word)


def is_open(socket: Path) -> bool:
    """Whether a process listens on a socket."""
    try:
        with reachable(socket) as name:
            _try_connection(name)
    except OSError:
        return False
    return True


def _try_connection(name: str) -> None:
    with Socket(AF_UNIX) as trial:
        trial.connect(name)


def belongs_to_another(socket: Path) -> bool:
    """Whether this user may not use a socket or its directory."""
    directory = socket.parent
    # Not Path.exists: it raises when the directory is not accessible.
    if os.path.exists(directory) and not os.access(directory, os.X_OK, effective_ids=True):  # noqa: PTH110
        return True
    return os.path.exists(socket) and not os.access(socket, os.W_OK, effective_ids=True)  # noqa: PTH110


def ask(
    config: Path,
    given: Path | None,
    method: str,
    path: str,
    word: Mapping[str, Any] | None = None,
    *,
    within: float = USUAL,
    refused: list[str] | None = None,
) -> Any:
    """Send a request to the running service and return its answer; end the command when it is unreachable or refuses.

    *given*: its socket; else `control_socket` finds it. With *refused*, a refusal is appended there and `None` is returned.
    """
    socket = control_socket(config, given)
    try:
        answer = request(socket, method, path, word, within=within)
    except (httpx.ConnectError, OSError):
        if belongs_to_another(socket):
            fail(f"{socket} belongs to another user: run this command as the service's user")
        fail(f"the service is not running (nothing answers at {socket}); start it with `{to_run(config)}`")
    except httpx.TimeoutException:
        fail(
            f"the service did not answer within {within:.0f} s and may still carry this out: check before you repeat it"
        )
    except httpx.HTTPError as error:
        fail(f"the service does not answer at {socket}: {type(error).__name__}")
    if answer.status_code == 422:
        fail(answer.json()["detail"], 2)
    if refused is not None and answer.status_code in {404, 409}:
        refused.append(answer.json()["detail"])
        return None
    if answer.status_code in {404, 409, 503}:
        fail(answer.json()["detail"])
    if answer.status_code >= 500:
        fail(f"the service reported an internal error ({answer.status_code}); see its log")
    if answer.headers.get(MODE_HEADER) == MONITOR_ONLY:
        typer.echo("NOBODY IS NOTIFIED: the service only monitors (mode: monitor_only)", err=True)
    return answer.json()
