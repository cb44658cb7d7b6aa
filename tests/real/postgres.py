"""Private PostgreSQL in a temporary directory, with its own loopback port and socket.

If the tests run as root, which PostgreSQL refuses, it runs as the user `postgres` of Debian's package.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

import psycopg
import trustme
from psycopg import sql

from monitor.store.backend.postgres import PostgresServer
from monitor.store.schema.migrations import upgrade
from pantau_lab.serving import claim
from pantau_lab.sites.cluster import DEBIAN, newest_programs
from tests.in_memory import MEMORY, in_memory

#: Here `install-debian` unpacks a newer version if an old one is installed.
UNPACKED = Path(os.environ.get("PANTAU_TEST_CACHE", "/var/cache/pantau-tests")) / "postgresql17"

_OWNER = "postgres"
_USER = "pantau"
#: A role that needs its password and owns nothing.
WITH_PASSWORD, PASSWORD = "tetamu", "rahsia-pangkalan"
#: In seconds. The start takes two, and many more on a busy machine.
_TIMEOUT = 90
#: Number of stores that are kept; no test needs more.
_MAX_STORES = 8

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{directory}'
port = {port}
# What a power cut would do is not tested here, and the disk is slow.
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 100
ssl = on
ssl_cert_file = '{directory}/certificate.pem'
ssl_key_file = '{directory}/key.pem'
shared_buffers = 32MB
log_timezone = 'UTC'
# Not UTC and not English order: we must not count on either.
timezone = 'Asia/Kuala_Lumpur'
datestyle = 'german'
# Where it is on, another transaction is under way at times, and the same question is answered by another plan.
autovacuum = {autovacuum}
"""


def programs(least: int = 0) -> Path:
    """Return the directory of the newest installed PostgreSQL programs, which are not in PATH.

    *least*: the oldest sufficient version. If the installed one is older, an unpacked one is used.
    """
    if (found := newest_programs(least, DEBIAN, UNPACKED / "usr/lib/postgresql")) is not None:
        return found
    if least or (elsewhere := shutil.which("initdb")) is None:
        raise FileNotFoundError("PostgreSQL is missing: tests/real/install-debian installs it, as root")
    return Path(elsewhere).parent


@dataclass(slots=True)
class Postgres:
    """Context manager. The start takes two seconds, the stop one."""

    #: Keep the files in memory if there is room, which halves the time to copy a store (ten megabytes in 400 files),
    #: and switch autovacuum off. Not for measurements.
    in_memory: bool = False
    directory: Path = field(init=False)
    port: int = field(init=False)
    #: The port stays claimed while the server is stopped.
    _claim: socket.socket = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _databases: Iterator[int] = field(init=False, default_factory=lambda: count(1))
    #: Template database of stores.
    _template: str | None = field(init=False, default=None)
    #: Names of the copies, the oldest first.
    _stores: deque[str] = field(init=False, default_factory=deque)
    #: Administrative connection.
    _admin: psycopg.Connection[Any] | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        # Short, because the path of the socket has at most 108 characters.
        self.directory = Path(tempfile.mkdtemp(prefix=f"ppg-{os.getpid()}-", dir=memory() if self.in_memory else None))
        self._claim = claim()
        self.port = self._claim.getsockname()[1]
        try:
            if os.geteuid() == 0:
                shutil.chown(self.directory, _OWNER)
            self._create_data()
            self._create_certificates()
            rules = self._data / "pg_hba.conf"
            rules.write_text(f"{self._rules()}\n{rules.read_text()}")
            with (self._data / "postgresql.conf").open("a") as configuration:
                configuration.write(self._configuration())
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running:
            # A clean shutdown would write every database to the disk first.
            self._end(signal.SIGQUIT)
        self._claim.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _programs(self) -> Path:
        return programs()

    def _create_data(self) -> None:
        """Create the data directory."""
        initdb = [str(self._programs / "initdb"), "--pgdata", str(self._data), "--username", _USER, "--no-sync"]
        self._run(*initdb, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8")

    def _rules(self) -> str:
        """Return the first rules of pg_hba.conf."""
        return f"host all {WITH_PASSWORD} 127.0.0.1/32 scram-sha-256"

    def _configuration(self) -> str:
        autovacuum = "off" if self.in_memory else "on"
        return _CONFIGURATION.format(directory=self.directory, port=self.port, autovacuum=autovacuum)

    def _launcher(self) -> tuple[list[str], dict[str, Any]]:
        """Return the command before the server's, and arguments of `Popen`."""
        # The server ends with this process, even if that is killed: SIGQUIT stops all of its processes.
        return ["setpriv", "--pdeathsig", "QUIT"], _as_owner()

    def _create_certificates(self) -> None:
        """Create a certificate for `localhost`, and not for the address."""
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        authority.cert_pem.write_to_path(self.ca_file)
        certificate.private_key_pem.write_to_path(self.directory / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(self.directory / "certificate.pem")
        (self.directory / "key.pem").chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(self.directory / "key.pem", _OWNER)

    @property
    def ca_file(self) -> Path:
        """The certificate authority."""
        return self.directory / "ca.pem"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        launcher, owner_options = self._launcher()
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*launcher, str(self._programs / "postgres"), "-D", str(self._data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                **owner_options,
            )
        ready = [
            str(self._programs / "pg_isready"),
            "--host",
            str(self.directory),
            "--port",
            str(self.port),
            "--timeout",
            "1",
        ]
        for _ in range(_TIMEOUT * 10):
            if self._run(*ready, check=False) == 0:
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"PostgreSQL did not start:\n{(self.directory / 'log').read_text()[-2000:]}")

    @property
    def is_running(self) -> bool:
        """Whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the server like `systemctl stop`: all connections break (a "fast" shutdown)."""
        if self.is_running:
            try:
                self._end(signal.SIGINT)
            except subprocess.TimeoutExpired:
                self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self.thaw()
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        self._process.send_signal(how)
        self._process.wait(_TIMEOUT)

    def freeze(self) -> None:
        """Suspend the server: it neither answers nor closes connections, like a hanging machine."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the server."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        # The parent first, so that it starts no more children.
        self._process.send_signal(number)
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._process.pid)], capture_output=True, text=True, check=True
        )
        for pid in map(int, listed.stdout.split()):
            # A session may have ended since.
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def database(self, **options: str) -> PostgresServer:
        """Create an empty database and return its address. *options* of CREATE DATABASE, such as `encoding`."""
        name = f"pantau{next(self._databases)}"
        words = [
            sql.SQL("{} {}").format(sql.SQL(option.upper()), sql.Literal(value)) for option, value in options.items()
        ]
        make = sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(" ").join(words))
        self._execute(make)
        return PostgresServer(host="127.0.0.1", port=self.port, database=name, user=_USER, tls=False)

    def store(self) -> PostgresServer:
        """Create an empty store and return its address.

        It is a copy of a template, because the migrations take half a second and hundreds of tests need a store.
        """
        if self._template is None:
            made = self.database()
            upgrade(made.url(), arguments=made.arguments())
            self._template = made.database
        # A copy of the files takes a third less time than pages through the server's memory and log.
        copy = self.database(template=self._template, strategy="file_copy")
        self._stores.append(copy.database)
        if len(self._stores) > _MAX_STORES:
            with suppress(psycopg.errors.ObjectInUse):  # It still has connections, and stays.
                self._execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(self._stores.popleft())))
        return copy

    def _execute(self, statement: sql.Composed) -> None:
        """Execute a statement that creates or drops a database."""
        if self._admin is None:
            self._admin = psycopg.connect(self.address("postgres"), autocommit=True)
        self._admin.execute(statement)

    def address(self, database: str) -> str:
        """Return the connection string for libpq."""
        return f"host=127.0.0.1 port={self.port} user={_USER} dbname={database}"

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the server's running processes."""
        server_pid = str(self._process.pid) if self._process else ""
        spent = 0
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # It has just ended.
                if server_pid in (status.parent.name, status.read_text().rpartition(")")[2].split()[1]):
                    spent += int((status.parent / "schedstat").read_text().split()[0])
        return spent / 1e9

    def _run(self, *command: str, check: bool = True) -> int:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.directory,
            timeout=_TIMEOUT,
            check=False,
            **_as_owner(),
        )
        if check and done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr.decode()}")
        return done.returncode


def memory() -> Path | None:
    """Return an in-memory directory if there is room. Remove directories left by killed test processes."""
    for left in MEMORY.glob("ppg-*-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return in_memory()


def _as_owner() -> dict[str, Any]:
    return {"user": _OWNER, "group": _OWNER, "extra_groups": []} if os.geteuid() == 0 else {}
