"""Private name servers: Knot serves and signs the zones of a test, Unbound resolves and validates.

Both run in a temporary directory on free loopback ports and never query the Internet: Unbound's root is Knot.
Unbound caches nothing, so a test may add records at any time.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.update

from pantau_lab.serving import claim
from probes.model.check import NameServers

#: Signed. Unbound trusts its key, like that of the real root.
SIGNED = "gov.my"
#: Not signed. Our own domain and the block lists are below it.
UNSIGNED = "example"
#: Signed, with a DS record in the parent.
DELEGATED_SIGNED = "sah.gov.my"
#: Signed, with a DS record of another key in the parent, like a forged answer.
FORGED = "palsu.gov.my"
#: Signed, without a DS record in the parent.
ISLAND = "pulau.gov.my"
#: Not signed, below a signed parent.
DELEGATED_UNSIGNED = "biasa.gov.my"

_ZONES = ("my", SIGNED, UNSIGNED, DELEGATED_SIGNED, FORGED, ISLAND, DELEGATED_UNSIGNED)
_WITH_KEYS = (SIGNED, DELEGATED_SIGNED, FORGED, ISLAND)
#: In seconds, for a busy machine.
_TIMEOUT = 90.0
_NO_SUCH_KEY = "IN DS 11111 13 2 " + "ab" * 32


@dataclass(slots=True)
class NameServer:
    """Context manager. The start takes about a second."""

    directory: Path = field(init=False)
    #: Validating resolver, as at a site.
    validating: NameServers = field(init=False)
    #: The same records without validation.
    not_validating: NameServers = field(init=False)
    #: Never answers.
    silent: NameServers = field(init=False)
    _processes: list[subprocess.Popen[bytes]] = field(init=False, default_factory=list)
    _claims: ExitStack = field(init=False, default_factory=ExitStack)

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="pnames-"))
        knot, unbound = (self._claims.enter_context(_claimed()) for _ in range(2))
        # Bound and never read: a closed port would answer with ICMP, unlike a packet filter.
        silent = self._claims.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        silent.bind(("127.0.0.1", 0))
        self.not_validating = NameServers(addresses=("127.0.0.1",), port=knot, within=timedelta(seconds=15))
        self.validating = NameServers(addresses=("127.0.0.1",), port=unbound, within=timedelta(seconds=15))
        self.silent = NameServers(addresses=("127.0.0.1",), port=silent.getsockname()[1], within=timedelta(seconds=0.3))
        try:
            self._write_knot(knot)
            self._start("knotd", "-c", self._path("knot.conf"))
            self._wait_for(knot)
            self._write_unbound(unbound, knot)
            self._start("unbound", "-d", "-p", "-c", self._path("unbound.conf"))
            self._wait_for(unbound)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(timeout=_TIMEOUT)
        self._claims.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def add(self, name: str, kind: str, *values: str) -> None:
        """Add records: `add("contoh.gov.my", "MX", "10 mx1.contoh.gov.my.")`. A TXT value has no quotes."""
        owner = dns.name.from_text(name)
        zone = max((one for one in _ZONES if owner.is_subdomain(dns.name.from_text(one))), key=len)
        update = dns.update.UpdateMessage(zone)
        for value in values:
            update.add(owner, 1, kind, _quoted(value) if kind == "TXT" else value)
        answer = dns.query.tcp(update, "127.0.0.1", port=self.not_validating.port, timeout=_TIMEOUT)
        if answer.rcode() != dns.rcode.NOERROR:
            raise ValueError(f"{name} {kind} {values}: {dns.rcode.to_text(answer.rcode())}")

    def _path(self, name: str) -> str:
        return str(self.directory / name)

    def _start(self, *command: str) -> None:
        nothing = subprocess.DEVNULL
        with (self.directory / f"{command[0]}.log").open("ab") as log:
            self._processes.append(subprocess.Popen(command, stdin=nothing, stdout=log, stderr=log))

    def _wait_for(self, port: int) -> None:
        question = dns.message.make_query(SIGNED, "SOA")
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline:
            try:
                if dns.query.udp(question, "127.0.0.1", port=port, timeout=0.2).answer:
                    return
            except (dns.exception.DNSException, OSError):
                time.sleep(0.02)
        raise TimeoutError("\n".join(log.read_text() for log in self.directory.glob("*.log")))

    def _write_knot(self, port: int) -> None:
        zones = "".join(
            f"  - domain: {zone}\n    file: {zone}.zone\n    acl: anybody\n"
            + ("    dnssec-signing: on\n    dnssec-policy: fixed\n" if zone in _WITH_KEYS else "")
            for zone in _ZONES
        )
        (self.directory / "knot.conf").write_text(_KNOT.format(directory=self.directory, port=port, zones=zones))
        for zone in _WITH_KEYS:
            self._keymgr(zone, "generate", "ksk=yes", "zsk=yes")
        for zone in _ZONES:
            below = _DELEGATIONS + self._keymgr(DELEGATED_SIGNED, "ds").splitlines()[0] if zone == SIGNED else ""
            (self.directory / f"{zone}.zone").write_text(_ZONE.format(zone=zone, below=below))

    def _write_unbound(self, port: int, knot: int) -> None:
        anchor = self._keymgr(SIGNED, "ds").splitlines()[0]
        stubs = "".join(f'stub-zone:\n    name: "{zone}"\n    stub-addr: 127.0.0.1@{knot}\n' for zone in (".", *_ZONES))
        (self.directory / "unbound.conf").write_text(
            _UNBOUND.format(directory=self.directory, port=port, anchor=anchor, stubs=stubs)
        )

    def _keymgr(self, zone: str, *command: str) -> str:
        return subprocess.run(
            ("keymgr", "-c", self._path("knot.conf"), f"{zone}.", *command),
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        ).stdout


def _quoted(value: str) -> str:
    # A string of a TXT record has 255 octets at most (RFC 1035 3.3); a key has more.
    return " ".join(f'"{value[at : at + 255]}"' for at in range(0, len(value), 255))


@contextmanager
def _claimed() -> Iterator[int]:
    """Yield a port that is claimed for TCP and UDP."""
    with ExitStack() as stack:
        while True:
            tcp, udp = stack.enter_context(claim()), stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port: int = tcp.getsockname()[1]
            # Packets to the server's bound address go to the server and not to this socket.
            with suppress(OSError):
                udp.bind(("", port))
                break
        yield port


_DELEGATIONS = f"""
{DELEGATED_SIGNED}. NS ns.{SIGNED}.
{FORGED}. NS ns.{SIGNED}.
{FORGED}. {_NO_SUCH_KEY}
{ISLAND}. NS ns.{SIGNED}.
{DELEGATED_UNSIGNED}. NS ns.{SIGNED}.
ns.{SIGNED}. A 127.0.0.1
"""

_ZONE = """$TTL 60
{zone}. SOA ns.gov.my. tiada.gov.my. 1 3600 600 86400 60
{zone}. NS ns.gov.my.
{below}
"""

_KNOT = """server:
    listen: 127.0.0.1@{port}
    rundir: {directory}
    background-workers: 1
    udp-workers: 1
    tcp-workers: 1
database:
    storage: {directory}
log:
  - target: stderr
    any: notice
acl:
  - id: anybody
    action: update
policy:
  - id: fixed
    manual: on
    algorithm: ecdsap256sha256
template:
  - id: default
    storage: {directory}
    journal-content: changes
    zonefile-sync: -1
zone:
{zones}"""

_UNBOUND = """server:
    interface: 127.0.0.1
    port: {port}
    username: ""
    chroot: ""
    directory: {directory}
    pidfile: ""
    use-syslog: no
    num-threads: 1
    do-not-query-localhost: no
    cache-max-ttl: 0
    cache-max-negative-ttl: 0
    infra-cache-numhosts: 100
    module-config: "validator iterator"
    trust-anchor: "{anchor}"
remote-control:
    control-enable: no
{stubs}"""
