"""A PostgreSQL of the demo's own, from Debian's packages: on loopback only, with passwords, and gone with the demo."""

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

#: Who owns a store, and as whom the hub comes to a site's.
OWNER, CALLER = "pantau", "pantau_hub"
#: A hub subscribes without being a superuser from this version on.
LEAST = 16
#: Where Debian has the servers' programs: not in PATH.
DEBIAN = Path("/usr/lib/postgresql")
#: By whom the server is run where we are root, who may not: Debian's package makes this user.
_SERVER_USER = "postgres"
_SUPERUSER = "postgres"
_HOST = "127.0.0.1"
#: In seconds.
_PATIENCE = 60

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
# A path below a deep directory would be too long for one.
unix_socket_directories = ''
wal_level = logical
max_slot_wal_keep_size = 512MB
# Soon, for whoever looks at a wire that was mended; and once more where nothing has come for so long.
wal_retrieve_retry_interval = 1s
wal_receiver_timeout = 20s
ssl = on
ssl_cert_file = '{directory}/server.crt'
ssl_key_file = '{directory}/server.key'
ssl_ca_file = '{directory}/ca.crt'
# It is empty at each start.
fsync = off
max_connections = 40
shared_buffers = 16MB
min_wal_size = 32MB
max_wal_size = 64MB
"""
_RULES = """
hostssl pantau {caller} 127.0.0.1/32 scram-sha-256 clientcert=verify-full
host pantau {owner} 127.0.0.1/32 scram-sha-256
host all {superuser} 127.0.0.1/32 scram-sha-256
"""
#: Made at each: whether it is a hub's or a site's is said by the settings.
_STORE: tuple[LiteralString, ...] = (
    "CREATE ROLE {owner} LOGIN PASSWORD {pantau_password}",
    "GRANT pg_create_subscription TO {owner}",
    "CREATE ROLE {caller} LOGIN REPLICATION PASSWORD {pantau_hub_password} IN ROLE {owner}",
    "CREATE DATABASE pantau OWNER {owner}",
)


class NoPostgresError(Exception):
    """There is none that will do; the message says what to install."""


def programs(least: int, *places: Path) -> Path | None:
    """Return the directory of the newest server's programs, as Debian lays them out in *places*; the first that has one.

    *least*: the oldest version that will do.
    """
    for place in places:
        known = sorted((int(each.parts[-3]), each.parent) for each in place.glob("*/bin/initdb"))
        if known and known[-1][0] >= least:
            return known[-1][1]
    return None


def hub_programs(debian: Path = DEBIAN) -> Path:
    """Return the directory of the programs of a server that can be a hub: in PATH, else Debian's. Raise `NoPostgresError`."""
    url_part = (Path(each) for each in os.get_exec_path() if (Path(each) / "initdb").exists())
    found = next((each for each in url_part if _version(each) >= LEAST), None) or programs(LEAST, debian)
    if found is None:
        older = programs(0, debian)
        is_there = "" if older is None else f"; there is {_version(older)}"
        raise NoPostgresError(
            f"sites need PostgreSQL {LEAST} or newer{is_there}. Only its programs are used, and no server has to run:\n"
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


def _version(place: Path) -> int:
    asked = [str(place / "initdb"), "--version"]
    # Of PATH, or of Debian's: what runs as us anyway.
    said = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=_PATIENCE)  # noqa: S603
    found = re.search(r"\) (\d+)", said.stdout)
    return int(found[1]) if found else 0


def _server_user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(_SERVER_USER)
    except KeyError:
        return None


def make_home(directory: Path) -> Path:
    """Make a directory that the server's user can come to, and return it; it is found again below *directory*."""
    home = directory / "postgresql"
    if os.geteuid():
        home.mkdir(mode=0o700)
        return home
    # Our own may lie where nobody but root comes in.
    elsewhere = Path(tempfile.mkdtemp(prefix="pantau-demo-"))
    shutil.chown(elsewhere, _SERVER_USER, _SERVER_USER)
    home.symlink_to(elsewhere)
    return elsewhere


def remove_home(directory: Path) -> None:
    """Remove what `make_home` has made, also by a demo that was killed."""
    home = directory / "postgresql"
    if not home.is_symlink():
        shutil.rmtree(home, ignore_errors=True)
        return
    elsewhere, user = home.readlink(), _server_user()
    with suppress(OSError):
        # After a restart of the machine somebody else may have a directory of that name.
        if user is not None and elsewhere.lstat().st_uid == user.pw_uid:
            shutil.rmtree(elsewhere, ignore_errors=True)
    home.unlink()


@dataclass(slots=True, kw_only=True)
class DemoCluster:
    """A PostgreSQL with one database, a store."""

    #: Below a home.
    directory: Path
    #: Of the server's programs.
    programs: Path
    #: Signs its certificate, and those that others are known by there.
    authority: trustme.CA = field(default_factory=trustme.CA)
    #: Of the store's owner, and of the hub where it is a site's.
    passwords: dict[str, str] = field(
        default_factory=lambda: {name: token_urlsafe(16) for name in (OWNER, CALLER, _SUPERUSER)}, repr=False
    )
    #: The port is its own before it listens there.
    _claim: socket.socket = field(default_factory=claim)

    @property
    def port(self) -> int:
        """Where it listens."""
        number: int = self._claim.getsockname()[1]
        return number

    @property
    def store(self) -> PostgresServer:
        """The store, as its owner comes to it."""
        return self._server(OWNER, "pantau")

    @property
    def ca_file(self) -> Path:
        """The authority of its certificate."""
        return self.directory / "ca.crt"

    def caller_certificate(self) -> Path:
        """Return a new file with the certificate that the hub shows here, and its key. The hub's server reads it, too."""
        made = self.authority.issue_cert("pusat.contoh", common_name=CALLER)
        return self._keep("hub.pem", made.private_key_and_cert_chain_pem.bytes())

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Make it and its store, without tables, and run it for as long as the block lasts."""
        with closing(self._claim):
            await self._make()
            process = await self._start()
            try:
                await asyncio.to_thread(self._make_store, process)
                yield self
            finally:
                # Nobody reads again what a shutdown would write first.
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGQUIT)
                await process.wait()

    async def _make(self) -> None:
        self.directory.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self.directory, _SERVER_USER, _SERVER_USER)
        secret = self._keep("superuser", f"{self.passwords[_SUPERUSER]}\n".encode())
        words = ("--pgdata", str(self._data), "--username", _SUPERUSER, "--pwfile", str(secret), "--no-sync")
        made = await self._run("initdb", *words, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8")
        try:
            code = await made.wait()
        except asyncio.CancelledError:
            # What it still wrote would be left behind.
            made.kill()
            await made.wait()
            raise
        if code:
            raise OSError(f"PostgreSQL's initdb failed:\n{self._said()}")
        certificate = self.authority.issue_cert(_HOST)
        self.ca_file.write_bytes(self.authority.cert_pem.bytes())
        self.ca_file.chmod(0o644)
        self._keep("server.crt", certificate.cert_chain_pems[0].bytes())
        self._keep("server.key", certificate.private_key_pem.bytes())
        (self._data / "pg_hba.conf").write_text(_RULES.format(caller=CALLER, owner=OWNER, superuser=_SUPERUSER))
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION.format(directory=self.directory, port=self.port))

    async def _start(self) -> asyncio.subprocess.Process:
        return await self._run("postgres", "-D", str(self._data))

    async def _run(self, program: str, *words: str) -> asyncio.subprocess.Process:
        # It ends with us, even if we are killed: SIGQUIT stops all of its processes.
        launcher = ["setpriv", "--pdeathsig", "QUIT"]
        if (user := _server_user()) is not None and os.geteuid() == 0:
            launcher += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--init-groups"]
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(*launcher, str(self.programs / program), *words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                # A Ctrl-C at the terminal is not for it.
                start_new_session=True,
            )

    def _make_store(self, process: asyncio.subprocess.Process) -> None:
        """Wait until it takes connections, and make the store; its owner is no superuser."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                connection = self._connect("postgres")
                break
            except psycopg.OperationalError:
                if process.returncode is not None or time.monotonic() > until:
                    raise OSError(f"PostgreSQL did not start:\n{self._said()}") from None
                time.sleep(0.1)
        with closing(connection):
            for statement in _STORE:
                names = {"owner": sql.Identifier(OWNER), "caller": sql.Identifier(CALLER)}
                secrets = {f"{name}_password": sql.Literal(self.passwords[name]) for name in (OWNER, CALLER)}
                connection.execute(sql.SQL(statement).format(**names, **secrets))

    def lay_tables(self) -> None:
        """Give the store its tables. One cluster after another: what migrates keeps for a process where it is."""
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

    def _keep(self, name: str, content: bytes) -> Path:
        """Write what its user and we may read, and nobody else."""
        file = self.directory / name
        file.touch(mode=0o600)
        file.write_bytes(content)
        if os.geteuid() == 0:
            # What root owns is taken for a key that is well kept, as long as only a group may read it.
            shutil.chown(file, "root", _SERVER_USER)
            file.chmod(0o640)
        return file

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]
