"""Client of the running service's HTTP API on its Unix socket (the control socket), for commands.

Commands must start quickly, so this module imports neither the service nor the configuration loader.
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

from monitor.cli.log import write_error
from monitor.config.files.document import read_document
from monitor.runtime.control_socket import CONTROL_SOCKET, DEFAULT_STATE_DIR, MODE_HEADER, MONITOR_ONLY, linked_sockets
from monitor.runtime.unix_socket import short_socket_path


def fail(message: str, code: int = 1) -> NoReturn:
    """Print a message to standard error and end the command."""
    write_error(message)
    raise typer.Exit(code)


def control_socket(config: Path, socket_option: Path | None) -> Path:
    """Return the control socket: *socket_option*, or that of the settings file, or that of this user's running service.

    Read only `state_dir` from the settings: during an incident the rest may be half edited, and secrets may be only in the
    service's environment. If `state_dir` is unreadable, use this user's running service and print its socket; end the
    command if none or several are running.
    """
    if socket_option is not None:
        return socket_option
    document = read_document(config)
    state = document.data.get("state_dir", DEFAULT_STATE_DIR)
    # If `state_dir` is missing, an editor or a full disk may have truncated the file before it. The default directory
    # applies only if it exists.
    is_truncated = "state_dir" not in document.data and not os.path.exists(DEFAULT_STATE_DIR)  # noqa: PTH110 - as below
    uses_old_key = "state" in document.data and "state_dir" not in document.data
    if document.readable and isinstance(state, str | Path) and not is_truncated and not uses_old_key:
        return (config.parent / state).absolute() / CONTROL_SOCKET
    missing = f"is missing, and there is no {DEFAULT_STATE_DIR}" if is_truncated else "must be a directory"
    message = str(document.problems[0]) if document.problems else f"{config}: state_dir: {missing}"
    if uses_old_key:
        message = str(document.problem(("state",), "`state` is now `state_dir`", "state_dir"))
    # Each service links its control socket in a runtime directory, where clients find it without the settings.
    own_sockets, foreign_directories = linked_sockets(os.environ)
    running = [socket for socket in own_sockets if is_open(socket)]
    # The default directory does not exist, so the caller finds no service there, and reports that none is running.
    if document.readable and is_truncated and not running:
        return DEFAULT_STATE_DIR / CONTROL_SOCKET
    if len(running) == 1:
        typer.echo(f"{message}; asking the service at {running[0]}", err=True)
        return running[0]
    if running:
        choice = "\n".join(f"  --socket {socket}" for socket in running)
        fail(f"{message}\n{len(running)} of your services run here; choose one:\n{choice}", 2)
    foreign = "".join(
        f"\n{each} belongs to another user: run this command as the service's user" for each in foreign_directories
    )
    fail(
        f"{message}{foreign}\nno running service of yours was found; if there is one, give its socket with --socket", 2
    )


def run_command(config: Path) -> str:
    """Return the shell command that starts the service."""
    return shlex.join(["pantau", "run", "--config", str(config)])


#: In seconds.
DEFAULT_TIMEOUT = 30.0
#: In seconds, for requests that take minutes if there are years of records.
LONG_TIMEOUT = 3600.0


def request(
    socket: Path, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout: float = DEFAULT_TIMEOUT
) -> httpx.Response:
    """Send one request over a Unix socket. Raise `httpx.HTTPError` or `OSError` if the service does not answer."""
    with short_socket_path(socket) as address:
        # Connect without httpx first: httpx leaks its socket if the connection fails.
        _check_connection(address)
        with httpx.Client(transport=httpx.HTTPTransport(uds=address), timeout=timeout) as client:
            return client.request(method, f"http://pantau{path}", json=body)


def is_open(socket: Path) -> bool:
    """Whether a process listens on a socket."""
    try:
        with short_socket_path(socket) as address:
            _check_connection(address)
    except OSError:
        return False
    return True


def _check_connection(address: str) -> None:
    with Socket(AF_UNIX) as client:
        client.connect(address)


def belongs_to_another(socket: Path) -> bool:
    """Whether a socket or its directory exists, and this user has no access to it."""
    directory = socket.parent
    # `Path.exists` would raise if the directory is not accessible.
    if os.path.exists(directory) and not os.access(directory, os.X_OK, effective_ids=True):  # noqa: PTH110
        return True
    return os.path.exists(socket) and not os.access(socket, os.W_OK, effective_ids=True)  # noqa: PTH110


def call_service(
    config: Path,
    socket_option: Path | None,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    rejections: list[str] | None = None,
) -> Any:
    """Send a request to the running service and return the JSON of its response.

    End the command if the service is unreachable or rejects the request. With *rejections*, append the reason of a
    rejection to it and return `None` instead. *socket_option*: as in `control_socket`.
    """
    socket = control_socket(config, socket_option)
    try:
        response = request(socket, method, path, body, timeout=timeout)
    except (httpx.ConnectError, OSError):
        if belongs_to_another(socket):
            fail(f"{socket} belongs to another user: run this command as the service's user")
        fail(f"the service is not running (nothing answers at {socket}); start it with `{run_command(config)}`")
    except httpx.TimeoutException:
        fail(
            f"the service did not answer within {timeout:.0f} s and may still carry this out: check before you repeat it"
        )
    except httpx.HTTPError as error:
        fail(f"the service does not answer at {socket}: {type(error).__name__}")
    if response.status_code == 422:
        fail(response.json()["detail"], 2)
    if rejections is not None and response.status_code in {404, 409}:
        rejections.append(response.json()["detail"])
        return None
    if response.status_code in {404, 409, 503}:
        fail(response.json()["detail"])
    if response.status_code >= 500:
        fail(f"the service reported an internal error ({response.status_code}); see its log")
    if response.headers.get(MODE_HEADER) == MONITOR_ONLY:
        typer.echo("NOBODY IS NOTIFIED: the service only monitors (mode: monitor_only)", err=True)
    return response.json()
