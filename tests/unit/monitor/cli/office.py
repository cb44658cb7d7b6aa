"""A configuration and the control socket of a running service, for the command line tests."""

from __future__ import annotations

import asyncio
import resource
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path

import yaml
from fastapi import APIRouter
from typer.testing import CliRunner

from monitor.cli import app
from monitor.runtime.control_socket import CONTROL_SOCKET
from monitor.web.command.control import control
from monitor.web.serving import open_unix, serve
from tests.unit.monitor.web.fake_service import Service

_DEPLOY = Path(__file__).parents[4] / "deploy"
ENVIRON = {"PANTAU_MPCONTOH_PASSWORD": "kata-laluan-contoh", "COLUMNS": "200"}


@cache
def _secrets_in(text: str) -> Sequence[str]:
    """Return the secret files that a document names. Cached: many offices have the same text."""
    return _secrets(yaml.safe_load(text))


def _secrets(tree: object) -> list[str]:
    if isinstance(tree, list):
        return [name for item in tree for name in _secrets(item)]
    if not isinstance(tree, dict):
        return []
    found = [value for key, value in tree.items() if key.endswith("_file") and isinstance(value, str)]
    return found + [name for value in tree.values() for name in _secrets(value)]


@contextmanager
def full_disk() -> Iterator[None]:
    """Limit the size of written files to half a megabyte."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


class IssuingOffice:
    """The example configuration in a separate directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "pantau.yaml"
        shutil.copy(_DEPLOY / "pantau.yaml", directory)
        shutil.copytree(_DEPLOY / "agencies", directory / "agencies")
        self.config.write_text(self.config.read_text().replace("state_dir: /var/lib/pantau", "state_dir: state"))
        self.state = directory / "state"
        self.state.mkdir(mode=0o700)
        #: The environment of the user who runs the service and the commands.
        self.session = {"XDG_RUNTIME_DIR": str(directory / "run"), "RUNTIME_DIRECTORY": ""}
        (directory / "run").mkdir(mode=0o700)
        for file in directory.rglob("*.yaml"):
            for secret in _secrets_in(file.read_text()):
                (directory / secret).parent.mkdir(exist_ok=True)
                (directory / secret).write_text("kata-laluan-contoh\n")
                (directory / secret).chmod(0o600)

    @property
    def socket(self) -> Path:
        return self.state / CONTROL_SOCKET

    @asynccontextmanager
    async def open(self, service: Service, *parts: APIRouter) -> AsyncIterator[None]:
        """Serve the control socket inside the block."""
        async with serve(control(service, *parts), open_unix(self.socket)):
            yield

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command; return its exit code and its output."""
        result = CliRunner().invoke(app, [*words, "--config", str(self.config)], env={**ENVIRON, **self.session})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    async def ask(self, *words: str) -> tuple[int, str]:
        """Run a command beside the service."""
        return await asyncio.to_thread(self.run, *words)
