"""A private PostgreSQL in a temporary directory: its own port on loopback, its own socket, nothing of the machine's.

Where the tests are root's, who may not run it, it is run by the user `postgres` of Debian's package.
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
from pantau_lab.sites.cluster import DEBIAN
from pantau_lab.sites.cluster import programs as installed
from tests.in_memory import MEMORY, in_memory

#: Where `install-debian` unpacks a newer version, if an old one is installed.
UNPACKED = Path(os.environ.get("PANTAU_TEST_CACHE", "/var/cache/pantau-tests")) / "postgresql17"

_OWNER = "postgres"
_USER = "pantau"
#: A role that is only let in with its password, and owns nothing.
WITH_PASSWORD, PASSWORD = "tetamu", "rahsia-pangkalan"
#: In seconds; it takes two, and a machine that is busy with other things may need many.
_PATIENCE = 90
#: So many stores are kept; no test has more of its own.
_KEPT = 8

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
    """Return the directory of the server's programs: the newest that Debian has installed, which are not in PATH.

    *least*: the oldest version that will do; where what is installed is older, one is unpacked beside it.
    """
    if (found := installed(least, DEBIAN, UNPACKED / "usr/lib/postgresql")) is not None:
        return found
    if least or (elsewhere := shutil.which("initdb")) is None:
        raise FileNotFoundError("PostgreSQL is missing: tests/real/install-debian installs it, as root")
    return Path(elsewhere).parent


@dataclass(slots=True)
class Postgres:
    """Start it with `with`; it takes two seconds to start and one to stop."""

    #: Whether its files are in memory, where there is room: to copy a store takes half the work. And it does nothing of its
    #: own accord. Not where it is measured.
    #: A store has ten megabytes, in four hundred files.
    in_memory: bool = False
    directory: Path = field(init=False)
    port: int = field(init=False)
    #: The port stays ours while the server is stopped.
    _claim: socket.socket = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _databases: Iterator[int] = field(init=False, default_factory=lambda: count(1))
    #: The database that stores are copied from.
    _made: str | None = field(init=False, default=None)
    #: Those that were, the oldest first.
    _stores: deque[str] = field(init=False, default_factory=deque)
    #: By which databases are made, and orders given.
    _maker: psycopg.Connection[Any] | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        # Short: the socket in it must stay below 108 characters.
        self.directory = Path(tempfile.mkdtemp(prefix=f"ppg-{os.getpid()}-", dir=memory() if self.in_memory else None))
        self._claim = claim()
        self.port = self._claim.getsockname()[1]
        try:
            if os.geteuid() == 0:
                shutil.chown(self.directory, _OWNER)
            self._lay_data()
            self._certify()
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
            # Nobody reads again what a shutdown would write to the disk first, for each database that was made.
            self._end(signal.SIGQUIT)
        self._claim.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _programs(self) -> Path:
        return programs()

    def _lay_data(self) -> None:
        """Let its data be there, as before a first start."""
        initdb = [str(self._programs / "initdb"), "--pgdata", str(self._data), "--username", _USER, "--no-sync"]
        self._run(*initdb, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8")

    def _rules(self) -> str:
        """Return who is let in how, before what holds for all others."""
        return f"host all {WITH_PASSWORD} 127.0.0.1/32 scram-sha-256"

    def _configuration(self) -> str:
        autovacuum = "off" if self.in_memory else "on"
        return _CONFIGURATION.format(directory=self.directory, port=self.port, autovacuum=autovacuum)

    def _launcher(self) -> tuple[list[str], dict[str, Any]]:
        """Return what starts the server, and as whom."""
        # Ends with us, even if we are killed: SIGQUIT stops all of its processes.
        return ["setpriv", "--pdeathsig", "QUIT"], _as_owner()

    def _certify(self) -> None:
        """Give it a certificate for `localhost`, and not for its address."""
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
        """The authority of its certificate."""
        return self.directory / "ca.pem"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        launcher, whose = self._launcher()
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*launcher, str(self._programs / "postgres"), "-D", str(self._data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                **whose,
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
        for _ in range(_PATIENCE * 10):
            if self._run(*ready, check=False) == 0:
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"PostgreSQL did not start:\n{(self.directory / 'log').read_text()[-2000:]}")

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop it at once, as `systemctl stop` does: every connection breaks (a "fast" shutdown)."""
        if self.is_running:
            try:
                self._end(signal.SIGINT)
            except subprocess.TimeoutExpired:
                self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self.thaw()
        if self._maker is not None:
            self._maker.close()
            self._maker = None
        self._process.send_signal(how)
        self._process.wait(_PATIENCE)

    def freeze(self) -> None:
        """Let it neither answer nor break any connection, as a machine that hangs does."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        # The father first: once he stands still he has no more children than are listed.
        self._process.send_signal(number)
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._process.pid)], capture_output=True, text=True, check=True
        )
        for pid in map(int, listed.stdout.split()):
            # One that served somebody may have ended since.
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def database(self, **options: str) -> PostgresServer:
        """Make an empty database and return where it is. *options* of CREATE DATABASE, such as `encoding`."""
        name = f"pantau{next(self._databases)}"
        words = [
            sql.SQL("{} {}").format(sql.SQL(option.upper()), sql.Literal(value)) for option, value in options.items()
        ]
        make = sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(" ").join(words))
        self._order(make)
        return PostgresServer(host="127.0.0.1", port=self.port, database=name, user=_USER, tls=False)

    def store(self) -> PostgresServer:
        """Make a database with the tables of a store, empty, and return where it is.

        A copy of one that the migrations made: to run them takes half a second, and hundreds of tests want a store.
        """
        if self._made is None:
            made = self.database()
            upgrade(made.url(), arguments=made.arguments())
            self._made = made.database
        # Its files are copied, and not each page of them through the server's memory, its log and the disk: a third less work.
        copy = self.database(template=self._made, strategy="file_copy")
        self._stores.append(copy.database)
        if len(self._stores) > _KEPT:
            with suppress(psycopg.errors.ObjectInUse):  # Somebody has not hung up yet: it stays.
                self._order(sql.SQL("DROP DATABASE {}").format(sql.Identifier(self._stores.popleft())))
        return copy

    def _order(self, statement: sql.Composed) -> None:
        """Have a statement carried out that makes a database, or takes one away."""
        if self._maker is None:
            self._maker = psycopg.connect(self.address("postgres"), autocommit=True)
        self._maker.execute(statement)

    def address(self, database: str) -> str:
        """Return what libpq connects to."""
        return f"host=127.0.0.1 port={self.port} user={_USER} dbname={database}"

    def cpu_seconds(self) -> float:
        """Return the CPU that its processes have used which live now."""
        ours = str(self._process.pid) if self._process else ""
        spent = 0
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # It has just ended.
                if ours in (status.parent.name, status.read_text().rpartition(")")[2].split()[1]):
                    spent += int((status.parent / "schedstat").read_text().split()[0])
        return spent / 1e9

    def _run(self, *command: str, check: bool = True) -> int:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.directory,
            timeout=_PATIENCE,
            check=False,
            **_as_owner(),
        )
        if check and done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr.decode()}")
        return done.returncode


def memory() -> Path | None:
    """Return where files are in memory, if there is room, without what test processes that were killed have left there."""
    for left in MEMORY.glob("ppg-*-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return in_memory()


def _as_owner() -> dict[str, Any]:
    return {"user": _OWNER, "group": _OWNER, "extra_groups": []} if os.geteuid() == 0 else {}
