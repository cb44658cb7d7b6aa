"""PostgreSQL servers of sites and a hub. Each site has a link that can be disconnected and client certificates.

They are set up by the files in deploy/site and deploy/hub, with certificates made by the commands of
docs/how-to/operator/sites.md. A site's server runs in a network namespace behind a link (`tests.real.slow_link`),
the hub's server in ours. They must be started by root.
"""

from __future__ import annotations

import atexit
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Any, Self

import psycopg
import trustme
from psycopg import sql

from monitor.store.backend.postgres import PostgresServer
from monitor.store.schema.migrations import upgrade
from tests.machine.documents import ROOT, commands
from tests.real.postgres import Postgres, memory, programs
from tests.real.slow_link import SlowLink

#: The hub's role at a site, and its password, which is needed beside the certificate.
CALLER, PASSWORD = "pantau_hub", "rahsia-hab"
#: Owner of the store at a site and at the hub, not a superuser.
OWNER = "pemilik"
#: First version in which a role other than a superuser may subscribe.
_LEAST = 16

#: Names in the documents and installed files, which are replaced here.
_GUIDE, _DEPLOY = "docs/how-to/operator/sites.md", ROOT / "deploy"
_FILES, _NAME, _HUB = "/etc/postgresql/pantau", "johor.kementerian-contoh.gov.my", "10.7.0.1/32"

_CONFIGURATION = """
# Retry at once instead of after five seconds.
wal_retrieve_retry_interval = 100ms
max_slot_wal_keep_size = 512MB
"""

#: From the range for benchmarks: each test process has its own addresses, for eight sites.
_FIRST = int(IPv4Address("198.18.0.0")) + 32 * (os.getpid() % 4096)
_sites = count(0)
_certificates = count(1)


@dataclass(slots=True)
class _NewPostgres(Postgres):
    """PostgreSQL that is new enough for sites."""

    @property
    def _programs(self) -> Path:
        return programs(_LEAST)


@cache
def _template_data() -> Path:
    """Return the data of a server with an empty store. A copy takes a tenth of the time of a new one."""
    template = Path(tempfile.mkdtemp(prefix=f"ppg-{os.getpid()}-", dir=memory()))
    atexit.register(shutil.rmtree, template, ignore_errors=True)
    with _NewPostgres(in_memory=True) as made:
        with psycopg.connect(made.address("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(OWNER)))
            connection.execute(sql.SQL("CREATE DATABASE pantau OWNER {}").format(sql.Identifier(OWNER)))
        server = PostgresServer(host="127.0.0.1", port=made.port, database="pantau", user=OWNER, tls=False)
        upgrade(server.url(), arguments=server.arguments())
        made.stop()
        _copy(made.directory / "data", template)
    return template / "data"


def _copy(data: Path, into: Path) -> None:
    subprocess.run(["cp", "--archive", "--reflink=auto", data, into], check=True)


@dataclass(slots=True)
class Cluster(_NewPostgres):
    """A PostgreSQL that can be a hub."""

    def _create_data(self) -> None:
        _copy(_template_data(), self.directory)

    def _configuration(self) -> str:
        # `super()` without arguments fails in a dataclass with slots, which is a new class.
        return Postgres._configuration(self) + (_DEPLOY / "hub" / "postgresql.conf").read_text() + _CONFIGURATION

    def _launcher(self) -> tuple[list[str], dict[str, Any]]:
        start, whose = Postgres._launcher(self)
        # Like Debian's user, which so can read the keys for sites.
        return start, whose | {"extra_groups": ["ssl-cert"]}

    def make(self) -> PostgresServer:
        """Return the address of the store, whose owner is no superuser."""
        return PostgresServer(host=str(self.directory), port=self.port, database="pantau", user=OWNER, tls=False)

    def address(self, database: str) -> str:
        """Return the connection string for libpq: the socket, which does not depend on the link."""
        return f"host={self.directory} port={self.port} user=pantau dbname={database}"

    def order(self, *statements: str) -> list[Any]:
        """Execute statements as superuser; return the rows of the last."""
        if self._admin is None:
            # No program reads the server's default date style.
            options = "-c datestyle=iso"
            self._admin = psycopg.connect(
                self.address("pantau"), autocommit=True, prepare_threshold=None, options=options
            )
        for statement in statements:
            result = self._admin.execute(statement)
        # A row without columns is still a row.
        return [] if result.description is None else result.fetchall()

    def said(self) -> str:
        """Return the server's log."""
        return (self.directory / "log").read_text(errors="replace")


@dataclass(slots=True)
class SiteCluster(Cluster):
    """PostgreSQL behind a link that can be disconnected."""

    number: int = field(default_factory=lambda: next(_sites))
    #: Additional environment of the server.
    environment: Mapping[str, str] = field(default_factory=dict)
    wire: SlowLink = field(init=False)
    _ends: ExitStack = field(init=False, default_factory=ExitStack)

    @property
    def _namespace(self) -> str:
        return f"pantau-{os.getpid()}-{self.number}"

    @property
    def host(self) -> str:
        """Address of its end of the link."""
        return str(IPv4Address(_FIRST + 4 * self.number + 2))

    @property
    def _our_end(self) -> str:
        return str(IPv4Address(_FIRST + 4 * self.number + 1))

    def __enter__(self) -> Self:
        _remove_old_namespaces()
        # Names of devices have at most fifteen characters.
        device = f"pt{os.getpid()}n{self.number}"
        with ExitStack() as ends:
            _ip("netns", "add", self._namespace)
            ends.callback(_ip, "netns", "delete", self._namespace)
            wire = SlowLink(device=device, far_device="wire", namespace=self._namespace)
            self.wire = ends.enter_context(wire)
            _ip("-n", self._namespace, "address", "add", f"{self.host}/30", "dev", "wire")
            for far in ("lo", "wire"):
                _ip("-n", self._namespace, "link", "set", far, "up")
            _ip("address", "add", f"{self._our_end}/30", "dev", device)
            _ip("link", "set", device, "up")
            Postgres.__enter__(self)
            ends.callback(Postgres.__exit__, self)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def disconnect(self) -> None:
        """Disconnect the link without notice: packets are dropped."""
        self.wire.disconnect()

    def reconnect(self) -> None:
        """Reconnect the link."""
        self.wire.reconnect()

    def certificate(
        self,
        name: str = CALLER,
        *,
        by: trustme.CA | None = None,
        ago: timedelta | None = None,
        ahead: timedelta | None = None,
    ) -> Path:
        """Return a file with another certificate for *name* and its key.

        *ago*: time since it expired. *ahead*: time until it becomes valid, as with a clock that is behind.
        """
        until = None if ago is None else datetime.now(UTC) - ago
        begins = None if ahead is None else datetime.now(UTC) + ahead
        ours = trustme.CA.from_pem(*((self._own / f"ca.{each}").read_bytes() for each in ("crt", "key")))
        made = (by or ours).issue_cert("hab.contoh", common_name=name, not_before=begins, not_after=until)
        file = self.directory / f"{name}-{next(_certificates)}.pem"
        made.private_key_and_cert_chain_pem.write_to_path(file)
        # The hub's server reads it as its user, and the command as root.
        shutil.chown(file, "root", "postgres")
        file.chmod(0o640)
        return file

    def reached(self, certificate: Path | None = None) -> PostgresServer:
        """Return the store as the hub connects: over the link, with *certificate* or the installed one."""
        return PostgresServer(
            host=self.host,
            port=self.port,
            database="pantau",
            user=CALLER,
            password=PASSWORD,
            tls=True,
            ca_file=self.ca_file,
            cert_file=certificate or self._at_hub / "johor.crt",
            key_file=certificate or self._at_hub / "johor.key",
        )

    def make(self) -> PostgresServer:
        """Create the hub's role; return the address of the store."""
        server = Cluster.make(self)
        self.order(f"CREATE ROLE {CALLER} LOGIN REPLICATION PASSWORD '{PASSWORD}' IN ROLE {OWNER}")
        return server

    @property
    def _own(self) -> Path:
        """The configuration directory at the site."""
        return self.directory / "site"

    @property
    def _at_hub(self) -> Path:
        return self.directory / "hub"

    @property
    def ca_file(self) -> Path:
        """The site's certificate authority, as copied to the hub."""
        return self._at_hub / "johor-ca.crt"

    def _rules(self) -> str:
        return (_DEPLOY / "site" / "pg_hba.conf").read_text().replace(_HUB, "198.18.0.0/15")

    def _configuration(self) -> str:
        installed = (_DEPLOY / "site" / "postgresql.conf").read_text().replace(_FILES, str(self._own))
        return f"{Postgres._configuration(self)}{installed}{_CONFIGURATION}listen_addresses = '{self.host}'\n"

    def _create_certificates(self) -> None:
        """Run the guide's commands at the site, the hub and the site again, and copy the files between them."""
        at_site, at_hub, signing = commands(_GUIDE, "Certificates")
        self._run_commands(at_site, self._own)
        # The service has no user here.
        self._run_commands(re.sub(r"^usermod .*\n", "", at_hub, flags=re.MULTILINE), self._at_hub)
        shutil.copy(self._at_hub / "johor.csr", self._own)
        self._run_commands(signing, self._own)
        shutil.copy(self._own / "johor.crt", self._at_hub)
        shutil.copy(self._own / "ca.crt", self.ca_file)

    def _run_commands(self, written: str, where: Path) -> None:
        here = written.replace(_FILES, str(where)).replace(f"DNS:{_NAME}", f"IP:{self.host}")
        done = subprocess.run(["bash", "-e"], input=here, capture_output=True, text=True, check=False, timeout=60)
        assert not done.returncode, done.stderr

    def _launcher(self) -> tuple[list[str], dict[str, Any]]:
        # Only root may enter a namespace: the server changes its user after that.
        who = pwd.getpwnam("postgres")
        whose = ["--reuid", str(who.pw_uid), "--regid", str(who.pw_gid), "--clear-groups"]
        env_command = ["env", *(f"{name}={value}" for name, value in self.environment.items())]
        return ["ip", "netns", "exec", self._namespace, "setpriv", *whose, "--pdeathsig", "QUIT", *env_command], {}


@dataclass(slots=True, kw_only=True)
class SiteWorld:
    """A hub and its sites by name."""

    hub: Cluster
    store: PostgresServer
    sites: dict[str, SiteCluster]
    stores: dict[str, PostgresServer]


@contextmanager
def site_world(
    *names: str, in_memory: bool = True, environment: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[SiteWorld]:
    """Start a hub and a site of each of *names*, each with a store. *in_memory*: as for `Postgres`.

    *environment*: additional environment of a site's server.
    """
    environments = environment or {}
    with ExitStack() as stack:
        hub = stack.enter_context(Cluster(in_memory=in_memory))
        sites = {
            name: stack.enter_context(SiteCluster(in_memory=in_memory, environment=environments.get(name, {})))
            for name in names
        }
        store = hub.make()
        hub.order(f"GRANT pg_create_subscription TO {OWNER}")
        yield SiteWorld(hub=hub, store=store, sites=sites, stores={name: each.make() for name, each in sites.items()})


def _remove_old_namespaces() -> None:
    """Remove the namespaces of test processes that were killed."""
    for namespace in Path("/run/netns").glob("pantau-*-*"):
        if not Path("/proc", namespace.name.split("-")[1]).exists():
            with suppress(subprocess.CalledProcessError):  # Another process has removed it.
                _ip("netns", "delete", namespace.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
