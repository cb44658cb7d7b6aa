"""PostgreSQL servers that the demo runs itself, on loopback and with passwords. They and their data end with the demo."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, LiteralString, Self

import psycopg
import trustme
from psycopg import sql

from monitor.store.backend.postgres import PostgresServer
from monitor.store.schema.migrations import upgrade
from pantau_lab.serving import claim

#: PostgreSQL role that owns a store (the database of a service).
OWNER = "pantau"
#: PostgreSQL role with which the hub connects to the store of a site.
HUB_USER = "pantau_hub"
#: From this version on a hub can subscribe without being a superuser.
MIN_VERSION = 16
#: Directory in which Debian's packages install the server programs, which are not in PATH.
DEBIAN = Path("/usr/lib/postgresql")
#: Operating system user that runs the server if the demo runs as root, because PostgreSQL refuses to run as root. Debian's
#: package creates the user.
_SERVER_USER = "postgres"
#: PostgreSQL role.
_SUPERUSER = "postgres"
_HOST = "127.0.0.1"
_TIMEOUT_SECONDS = 60

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
# The path of a socket in a deep directory would be too long.
unix_socket_directories = ''
wal_level = logical
max_slot_wal_keep_size = 512MB
# Reconnect soon after a link is reconnected, and when nothing has been received for 20 s.
wal_retrieve_retry_interval = 1s
wal_receiver_timeout = 20s
ssl = on
ssl_cert_file = '{directory}/server.crt'
ssl_key_file = '{directory}/server.key'
ssl_ca_file = '{directory}/ca.crt'
# The data need not survive a crash: the server is empty at each start.
fsync = off
max_connections = 40
shared_buffers = 16MB
min_wal_size = 32MB
max_wal_size = 64MB
"""
_HBA_RULES = """
hostssl pantau {caller} 127.0.0.1/32 scram-sha-256 clientcert=verify-full
host pantau {owner} 127.0.0.1/32 scram-sha-256
host all {superuser} 127.0.0.1/32 scram-sha-256
"""
#: Statements that create the store, alike for the hub and the sites.
_CREATE_STORE: tuple[LiteralString, ...] = (
    "CREATE ROLE {owner} LOGIN PASSWORD {pantau_password}",
    "GRANT pg_create_subscription TO {owner}",
    "CREATE ROLE {caller} LOGIN REPLICATION PASSWORD {pantau_hub_password} IN ROLE {owner}",
    "CREATE DATABASE pantau OWNER {owner}",
)


class NoPostgresError(Exception):
    """No sufficient PostgreSQL is installed; the message says what to install."""


def newest_programs(min_version: int, *directories: Path) -> Path | None:
    """Return the directory of the newest server's programs, such as /usr/lib/postgresql/17/bin.

    Search the *directories* in order, and return the newest version of the first one that has *min_version* or newer.
    """
    for directory in directories:
        installed = sorted((int(each.parts[-3]), each.parent) for each in directory.glob("*/bin/initdb"))
        if installed and installed[-1][0] >= min_version:
            return installed[-1][1]
    return None


def hub_programs(debian: Path = DEBIAN) -> Path:
    """Return the directory of the programs of a server that can be a hub: one in PATH, else Debian's newest.

    Raise `NoPostgresError` if none is new enough, or if the demo runs as root without the user that runs the server.
    """
    in_path = (Path(each) for each in os.get_exec_path() if (Path(each) / "initdb").exists())
    found = next((each for each in in_path if _version(each) >= MIN_VERSION), None)
    found = found or newest_programs(MIN_VERSION, debian)
    if found is None:
        older = newest_programs(0, debian)
        older_version = "" if older is None else f"; there is {_version(older)}"
        raise NoPostgresError(
            f"sites need PostgreSQL {MIN_VERSION} or newer{older_version}. Only its programs are used, and no server has to run:\n"
            "  sudo apt-get install --no-install-recommends postgresql\n"
            "Debian 13 has version 17. Debian 12 has 15: https://wiki.postgresql.org/wiki/Apt has newer ones for it.\n"
            "Without sites none is needed: make run"
        )
    if os.geteuid() == 0 and _server_user() is None:
        raise NoPostgresError(
            f"PostgreSQL does not run as root, and the user {_SERVER_USER}, whom Debian's package makes, is not there: "
            "run the demo as another user than root"
        )
    return found


def _version(directory: Path) -> int:
    """Return the major version of the programs in *directory*; 0 if it is unknown."""
    command = [str(directory / "initdb"), "--version"]
    # The program is from PATH or from Debian, so it is trusted.
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS)  # noqa: S603
    found = re.search(r"\) (\d+)", result.stdout)
    return int(found[1]) if found else 0


def _server_user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(_SERVER_USER)
    except KeyError:
        return None


def make_home(directory: Path) -> Path:
    """Make *directory*/postgresql for the servers' files, and return it.

    As root make a temporary directory that the server's user can enter, and link to it from there.
    """
    home = directory / "postgresql"
    if os.geteuid():
        home.mkdir(mode=0o700)
        return home
    # Only root may be able to enter *directory*.
    elsewhere = Path(tempfile.mkdtemp(prefix="pantau-demo-"))
    shutil.chown(elsewhere, _SERVER_USER, _SERVER_USER)
    home.symlink_to(elsewhere)
    return elsewhere


def remove_home(directory: Path) -> None:
    """Remove what `make_home` has made, in this or in an earlier demo that was killed."""
    home = directory / "postgresql"
    if not home.is_symlink():
        shutil.rmtree(home, ignore_errors=True)
        return
    elsewhere, user = home.readlink(), _server_user()
    with suppress(OSError):
        # After a restart of the machine the link may point to a directory of somebody else.
        if user is not None and elsewhere.lstat().st_uid == user.pw_uid:
            shutil.rmtree(elsewhere, ignore_errors=True)
    home.unlink()


@dataclass(slots=True, kw_only=True)
class DemoCluster:
    """PostgreSQL server (cluster) of the hub or a site, with one database: the store."""

    #: Directory of the server's files, in a home of `make_home`. `open` creates it.
    directory: Path
    #: Directory of the server's programs.
    programs: Path
    #: Certificate authority of the server and of its clients.
    authority: trustme.CA = field(default_factory=trustme.CA)
    #: Passwords by PostgreSQL role.
    passwords: dict[str, str] = field(
        default_factory=lambda: {name: token_urlsafe(16) for name in (OWNER, HUB_USER, _SUPERUSER)}, repr=False
    )
    #: Bound socket that reserves the port before the server listens.
    _claim: socket.socket = field(default_factory=claim)

    @property
    def port(self) -> int:
        """Port of the server."""
        number: int = self._claim.getsockname()[1]
        return number

    @property
    def store(self) -> PostgresServer:
        """Connection settings of the store for its owner."""
        return self._server(OWNER, "pantau")

    @property
    def ca_file(self) -> Path:
        """File with the certificate of `authority`."""
        return self.directory / "ca.crt"

    def hub_certificate(self) -> Path:
        """Write the client certificate of the hub, and its key, to a file; return the file. The hub's server reads it, too."""
        certificate = self.authority.issue_cert("pusat.contoh", common_name=HUB_USER)
        return self._write_private("hub.pem", certificate.private_key_and_cert_chain_pem.bytes())

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Create the server and its store without tables, and run the server until the end of the block."""
        with closing(self._claim):
            await self._initialize()
            process = await self._start()
            try:
                await asyncio.to_thread(self._create_store, process)
                yield self
            finally:
                # Immediate shutdown: a normal one would write data that nobody reads again.
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGQUIT)
                await process.wait()

    async def _initialize(self) -> None:
        self.directory.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self.directory, _SERVER_USER, _SERVER_USER)
        secret = self._write_private("superuser", f"{self.passwords[_SUPERUSER]}\n".encode())
        options = ("--pgdata", str(self._data), "--username", _SUPERUSER, "--pwfile", str(secret), "--no-sync")
        locale = ("--encoding", "UTF8", "--locale", "C.UTF-8")
        process = await self._run("initdb", *options, "--auth", "scram-sha-256", *locale)
        try:
            exit_status = await process.wait()
        except asyncio.CancelledError:
            # The directory is removed next, and initdb could still write files there.
            process.kill()
            await process.wait()
            raise
        if exit_status:
            raise OSError(f"PostgreSQL's initdb failed:\n{self._log_end()}")
        certificate = self.authority.issue_cert(_HOST)
        self.ca_file.write_bytes(self.authority.cert_pem.bytes())
        self.ca_file.chmod(0o644)
        self._write_private("server.crt", certificate.cert_chain_pems[0].bytes())
        self._write_private("server.key", certificate.private_key_pem.bytes())
        (self._data / "pg_hba.conf").write_text(_HBA_RULES.format(caller=HUB_USER, owner=OWNER, superuser=_SUPERUSER))
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION.format(directory=self.directory, port=self.port))

    async def _start(self) -> asyncio.subprocess.Process:
        return await self._run("postgres", "-D", str(self._data))

    async def _run(self, program: str, *arguments: str) -> asyncio.subprocess.Process:
        # The program ends with the demo, even if the demo is killed: SIGQUIT ends all processes of PostgreSQL.
        launcher = ["setpriv", "--pdeathsig", "QUIT"]
        if (user := _server_user()) is not None and os.geteuid() == 0:
            launcher += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--init-groups"]
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(*launcher, str(self.programs / program), *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                # In its own session the program does not receive Ctrl-C from the terminal.
                start_new_session=True,
            )

    def _create_store(self, process: asyncio.subprocess.Process) -> None:
        """Wait until the server accepts connections, and create the store, whose owner is not a superuser."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while True:
            try:
                connection = self._connect("postgres")
                break
            except psycopg.OperationalError:
                if process.returncode is not None or time.monotonic() > deadline:
                    raise OSError(f"PostgreSQL did not start:\n{self._log_end()}") from None
                time.sleep(0.1)
        with closing(connection):
            for statement in _CREATE_STORE:
                names = {"owner": sql.Identifier(OWNER), "caller": sql.Identifier(HUB_USER)}
                secrets = {f"{name}_password": sql.Literal(self.passwords[name]) for name in (OWNER, HUB_USER)}
                connection.execute(sql.SQL(statement).format(**names, **secrets))

    def create_tables(self) -> None:
        """Create the tables. Do this for one cluster at a time, because the migrations have state that is global in a process."""
        upgrade(self.store.url(), arguments=self.store.arguments())

    def _connect(self, database: str) -> psycopg.Connection[Any]:
        server = self._server(_SUPERUSER, database)
        return psycopg.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            dbname=database,
            autocommit=True,
        )

    def _server(self, role: str, database: str) -> PostgresServer:
        return PostgresServer(
            host=_HOST, port=self.port, database=database, user=role, password=self.passwords[role], tls=False
        )

    def _write_private(self, name: str, content: bytes) -> Path:
        """Write a file that only the demo's user and the server's user may read."""
        file = self.directory / name
        file.touch(mode=0o600)
        file.write_bytes(content)
        if os.geteuid() == 0:
            # PostgreSQL accepts a private key that root owns if nobody but a group may read it.
            shutil.chown(file, "root", _SERVER_USER)
            file.chmod(0o640)
        return file

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    def _log_end(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]
