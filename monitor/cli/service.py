"""How a command reaches the running service: over its Unix socket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from socket import AF_UNIX
from socket import socket as Socket  # noqa: N812 - `socket` is a path here
from typing import Any, NoReturn

import httpx
import typer

from monitor.app import CONTROL_SOCKET
from monitor.config.document import read_document
from monitor.config.findings import Findings
from monitor.config.form import Form
from monitor.config.loading import BadConfiguration, Configuration, load
from monitor.config.problem import Severity
from monitor.config.reading import read_model
from monitor.config.secret import Vault
from monitor.config.store import StoreSettings
from monitor.settings import Settings
from monitor.store.postgres import PostgresServer
from monitor.unix import reachable


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with a message for people."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def configuration(path: Path) -> Configuration:
    """Read the configuration, or end the command with everything that is wrong with it (exit code 2)."""
    try:
        return load(path, os.environ).accepted()
    except BadConfiguration as bad:
        fail("\n".join(str(problem) for problem in bad.problems), 2)


def state_directory(path: Path) -> Path:
    """Return where the service keeps its state, whatever else is wrong with the configuration.

    In the middle of an incident somebody may be editing it, and secrets may be in the service's environment only.
    """
    document = read_document(path)
    state = document.data.get("state", Settings.model_fields["state"].default)
    if not document.readable or not isinstance(state, str | Path):
        fail("\n".join(str(p) for p in document.problems) or f"{path}: state: must be a directory", 2)
    return (path.parent / state).resolve()


def store_server(path: Path) -> PostgresServer | None:
    """Return the server that the store is on, whatever else is wrong with the configuration; `None`: it is a file.

    End the command when that part of the configuration is wrong (exit code 2).
    """
    document = read_document(path)
    if document.data.get("store") is None:
        return None
    findings = Findings(document)
    form = Form(findings, Vault(directory=path.parent, environ=os.environ))
    settings = read_model(StoreSettings, document.data["store"], form, findings, path=("store",))
    if settings is None or findings.is_broken(("store",)):
        fail("\n".join(str(problem) for problem in findings.problems if problem.severity is Severity.ERROR), 2)
    return settings.build()


#: In seconds, how long an answer may take.
USUAL = 30.0
#: For what takes minutes where years of records are at stake; then it is still at work.
LONG = 3600.0


def request(
    socket: Path, method: str, path: str, word: Mapping[str, str] | None = None, *, within: float = USUAL
) -> httpx.Response:
    """Send one request over a Unix socket. Raise `httpx.HTTPError` or `OSError` when nobody answers."""
    with reachable(socket) as name:
        with Socket(AF_UNIX) as knock:  # The library leaves its socket open when nobody answers.
            knock.connect(name)
        with httpx.Client(transport=httpx.HTTPTransport(uds=name), timeout=within) as client:
            return client.request(method, f"http://pantau{path}", json=word)


def belongs_to_another(socket: Path) -> bool:
    """Whether a socket, or the directory that it lies in, is not ours to use."""
    directory = socket.parent
    # Not Path.exists: it raises when the directory is closed to us.
    if os.path.exists(directory) and not os.access(directory, os.X_OK, effective_ids=True):  # noqa: PTH110
        return True
    return os.path.exists(socket) and not os.access(socket, os.W_OK, effective_ids=True)  # noqa: PTH110


def ask(config: Path, method: str, path: str, word: Mapping[str, str] | None = None, *, within: float = USUAL) -> Any:
    """Ask the running service, and return its answer; end the command when it cannot be reached or refuses."""
    socket = state_directory(config) / CONTROL_SOCKET
    try:
        answer = request(socket, method, path, word, within=within)
    except (httpx.ConnectError, OSError):
        if belongs_to_another(socket):
            fail(f"{socket} belongs to another user: run this command as the service's user")
        fail(f"the service is not running (nothing answers at {socket}); start it with `pantau run --config {config}`")
    except httpx.TimeoutException:
        fail(f"the service has not answered within {within:.0f} s; it may still do it: look before you repeat this")
    except httpx.HTTPError as error:
        fail(f"the service does not answer at {socket}: {type(error).__name__}")
    if answer.status_code == 422:
        fail("; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in answer.json()["detail"]), 2)
    if answer.status_code in {404, 409, 503}:
        fail(answer.json()["detail"])
    if answer.status_code >= 500:
        fail(f"the service failed to answer ({answer.status_code}); its log says why")
    return answer.json()
