"""How a command reaches the running service: over its Unix socket.

Whoever uses it at night wants an answer at once: nothing here imports the service, or what reads its configuration.
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
from monitor.runtime.place import CONTROL_SOCKET, MODE_HEADER, STATE, WATCH_ONLY, linked_sockets
from monitor.runtime.unix_socket import reachable


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with a message for people."""
    complain(message)
    raise typer.Exit(code)


def control_socket(config: Path, given: Path | None) -> Path:
    """Return where the service is asked: *given*; else as the configuration says; else where one of this user runs.

    In the middle of an incident somebody may be editing the configuration, and secrets may be in the service's environment
    only: of all of it the state directory must be readable, and if that is not, it is said on standard error. End the
    command when no service is found then, or several are.
    """
    if given is not None:
        return given
    document = read_document(config)
    state = document.data.get("state", STATE)
    # A file that an editor, or a full disk, has left half-written or empty: nobody has written where the state is.
    is_cut = "state" not in document.data and not os.path.exists(STATE)  # noqa: PTH110 - as below
    if document.readable and isinstance(state, str | Path) and not is_cut:
        return (config.parent / state).absolute() / CONTROL_SOCKET
    unsaid = f"is not written, and there is no {STATE}" if is_cut else "must be a directory"
    wrong = str(document.problems[0]) if document.problems else f"{config}: state: {unsaid}"
    found, others = linked_sockets(os.environ)
    running = [socket for socket in found if is_open(socket)]
    if document.readable and is_cut and not running:
        return STATE / CONTROL_SOCKET
    if len(running) == 1:
        typer.echo(f"{wrong}; asking the service at {running[0]}", err=True)
        return running[0]
    if running:
        choice = "\n".join(f"  --socket {socket}" for socket in running)
        fail(f"{wrong}\n{len(running)} services of yours run here; say which to ask:\n{choice}", 2)
    foreign = "".join(f"\n{each} belongs to another user: run this command as the service's user" for each in others)
    fail(f"{wrong}{foreign}\nno service of yours was found without it; if one runs, name its socket with --socket", 2)


def to_run(config: Path) -> str:
    """Return what somebody types to start the service, also where the path has blanks."""
    return shlex.join(["pantau", "run", "--config", str(config)])


#: In seconds, how long an answer may take.
USUAL = 30.0
#: For what takes minutes where years of records are at stake; then it is still at work.
LONG = 3600.0


def request(
    socket: Path, method: str, path: str, word: Mapping[str, Any] | None = None, *, within: float = USUAL
) -> httpx.Response:
    """Send one request over a Unix socket. Raise `httpx.HTTPError` or `OSError` when nobody answers."""
    with reachable(socket) as name:
        _knock(name)  # The library leaves its socket open when nobody answers.
        with httpx.Client(transport=httpx.HTTPTransport(uds=name), timeout=within) as client:
            return client.request(method, f"http://pantau{path}", json=word)


def is_open(socket: Path) -> bool:
    """Whether somebody listens at a socket."""
    try:
        with reachable(socket) as name:
            _knock(name)
    except OSError:
        return False
    return True


def _knock(name: str) -> None:
    with Socket(AF_UNIX) as knock:
        knock.connect(name)


def belongs_to_another(socket: Path) -> bool:
    """Whether a socket, or the directory that it lies in, is not ours to use."""
    directory = socket.parent
    # Not Path.exists: it raises when the directory is closed to us.
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
    """Ask the running service, and return its answer; end the command when it cannot be reached or refuses.

    *given*: its socket, if not found by itself (`control_socket`). *refused* takes why it refuses instead, and `None` is returned.
    """
    socket = control_socket(config, given)
    try:
        answer = request(socket, method, path, word, within=within)
    except (httpx.ConnectError, OSError):
        if belongs_to_another(socket):
            fail(f"{socket} belongs to another user: run this command as the service's user")
        fail(f"the service is not running (nothing answers at {socket}); start it with `{to_run(config)}`")
    except httpx.TimeoutException:
        fail(f"the service has not answered within {within:.0f} s; it may still do it: look before you repeat this")
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
        fail(f"the service failed to answer ({answer.status_code}); its log says why")
    if answer.headers.get(MODE_HEADER) == WATCH_ONLY:
        typer.echo("NOBODY IS TOLD: the service only watches (mode: watch)", err=True)
    return answer.json()
