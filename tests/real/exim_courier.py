"""Private mail system of Exim, which accepts, sends and delivers mail, and Courier for IMAP.

Debian's packages of these conflict with Postfix and Dovecot. So `install-debian` unpacks them into a directory, and
the programs run in a root directory of their own (chroot), where their built-in paths are right and the machine's
own mail is not touched. It must be started by root.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self

import trustme

from probes.model.mailbox import Mailbox, Password, Security, Server
from tests.real import mailserver
from tests.real.chroot import install_programs
from tests.real.exim_courier_config import AUTHDAEMON, EXIM, IMAPD

#: Where `install-debian` unpacks the packages.
UNPACKED = Path(os.environ.get("PANTAU_TEST_CACHE", "/var/cache/pantau-tests")) / "othermail"

_SECRET = "rahsia-ujian"
_UID = 5000
_EXIM, _AUTH = "usr/sbin/exim4", "usr/lib/courier/courier-authlib/authdaemond"
_TCPD, _TLS = "usr/sbin/couriertcpd", "usr/bin/couriertls"
_LOGIN, _IMAP = "usr/lib/courier/courier/imaplogin", "usr/bin/imapd"
_MAKEDAT = "usr/lib/courier/courier-authlib/makedatprog"
#: Loaded by name, so that ldd does not list it.
_MODULE = "usr/lib/courier-authlib/libauthuserdb.so.0"
_PROGRAMS = (_EXIM, _AUTH, _TCPD, _TLS, _LOGIN, _IMAP, _MAKEDAT, _MODULE)
_SOCKET = "run/courier/authdaemon/socket"


class Listener(StrEnum):
    """A listener of Exim or Courier."""

    #: For other mail systems.
    MX = "mx"
    #: STARTTLS.
    SUBMISSION = "submission"
    #: Implicit TLS.
    IMAPS = "imaps"


class EximFault(StrEnum):
    """Faults, which exist as long as a file of this name lies in `ailments/`."""

    #: Mail from outside is refused.
    REFUSES = "refuses"
    #: Mail is accepted and lost.
    LOSES = "loses"


@dataclass(slots=True, kw_only=True)
class EximCourier:
    """Context manager. The start takes a tenth of a second."""

    domain: str
    #: Local parts of the mailboxes.
    names: Sequence[str]
    #: Claimed ports.
    ports: Mapping[Listener, int]
    #: SMTP ports of the other domains.
    peer_ports: Mapping[str, int] = field(default_factory=dict)
    #: Announced IMAP capabilities; the server has more.
    capabilities: str = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE IDLE"
    directory: Path = field(init=False)
    trust: ssl.SSLContext = field(init=False)
    _running: list[subprocess.Popen[bytes]] = field(init=False, default_factory=list)

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="pothr-"))
        self.directory.chmod(0o755)
        try:
            self._install_programs()
            self._write()
            self._write_users()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Start all programs, for the first time or again."""
        self._run(_EXIM, ["-bdf", "-q1s"], {})
        self._run(_AUTH, [], {})
        self._until((self.directory / _SOCKET).exists, "the authentication daemon")
        tcpd_options = [
            "-nodnslookup",
            "-maxprocs=100",
            "-maxperip=100",
            "-address=127.0.0.1",
            str(self.ports[Listener.IMAPS]),
        ]
        tcpd_command = [f"/{_TLS}", "-server", "-tcpd", f"/{_LOGIN}", f"/{_IMAP}", "Maildir"]
        announced = {"IMAP_CAPABILITY": self.capabilities, "IMAP_CAPABILITY_TLS": f"{self.capabilities} AUTH=PLAIN"}
        self._run(_TCPD, [*tcpd_options, *tcpd_command], IMAPD | announced)
        for door, port in self.ports.items():
            self._until(lambda port=port: mailserver._is_open(port), f"{door} to open")  # type: ignore[misc]

    def stop(self) -> None:
        """Kill all programs, like a power cut."""
        for process in self._running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
        (self.directory / _SOCKET).unlink(missing_ok=True)

    def inject_fault(self, fault: EximFault) -> None:
        """Inject a fault."""
        (self.directory / "ailments" / fault).touch()

    def clear_faults(self) -> None:
        """Remove all faults."""
        for fault in EximFault:
            (self.directory / "ailments" / fault).unlink(missing_ok=True)

    def mailbox(self, name: str) -> Mailbox:
        address = f"{name}@{self.domain}"
        return Mailbox(
            name=address,
            address=address,
            smtp=self._server(Listener.SUBMISSION, Security.STARTTLS),
            imap=self._server(Listener.IMAPS, Security.IMPLICIT),
            login=Password(username=address, secret=_SECRET),
        )

    def log(self) -> str:
        """Return the logs of all programs."""
        files = sorted((self.directory / "log").iterdir())
        return "\n".join(file.read_text(errors="replace") for file in files)

    def _server(self, door: Listener, security: Security) -> Server:
        name = f"mel.{self.domain}"
        return Server(host="localhost", port=self.ports[door], security=security, tls=self.trust, tls_name=name)

    def _run(self, program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        with (self.directory / "log" / Path(program).name).open("ab") as log:
            process = subprocess.Popen(
                ["chroot", str(self.directory), f"/{program}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/bin:/usr/sbin:/bin:/sbin", **environment},
                start_new_session=True,
            )
        self._running.append(process)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        def met() -> bool:
            if any(process.poll() is not None for process in self._running):
                raise ChildProcessError(f"a program of the mail system has ended:\n{self.log()}")
            return condition()

        mailserver._until(met, what)

    def _install_programs(self) -> None:
        install_programs(self.directory, UNPACKED, _PROGRAMS)
        for name in ("ailments", "dev", "etc/courier", "etc/exim4"):
            (self.directory / name).mkdir(parents=True)
        for name in ("log", "mail", str(Path(_SOCKET).parent), "spool", "tmp"):
            (self.directory / name).mkdir(parents=True)
            os.chown(self.directory / name, _UID, _UID)
        (self.directory / "dev/null").touch(mode=0o666)

    def _write(self) -> None:
        etc, host = self.directory / "etc", f"mel.{self.domain}"
        authority = trustme.CA()
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)
        authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(str(etc / "mail.pem"))
        os.chown(etc / "mail.pem", _UID, _UID)
        (etc / "mail.pem").chmod(0o600)
        users = ("root:x:0:0", f"Debian-exim:x:{_UID}:{_UID}", f"courier:x:{_UID}:{_UID}")
        (etc / "passwd").write_text("".join(f"{user}::/:/\n" for user in users))
        (etc / "group").write_text(f"root:x:0:\nDebian-exim:x:{_UID}:\ncourier:x:{_UID}:\n")
        (etc / "courier/authdaemonrc").write_text(AUTHDAEMON)
        values = {"HOST": host, "DOMAIN": self.domain, "SECRET": _SECRET, "UID": str(_UID)}
        values |= {f"PORT_{door.name}": str(port) for door, port in self.ports.items()}
        text = EXIM
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        (etc / "exim4/exim4.conf").write_text(text)
        (etc / "neighbours").write_text("".join(f"{d}: 127.0.0.1::{port}\n" for d, port in self.peer_ports.items()))

    def _write_users(self) -> None:
        etc = self.directory / "etc"
        (etc / "names").write_text("".join(f"{name}: {name}\n" for name in self.names))
        hashed = base64.b64encode(hashlib.sha256(_SECRET.encode()).digest()).decode()
        users, secrets = "", ""
        for name in self.names:
            for part in ("", "Maildir", "Maildir/new", "Maildir/cur", "Maildir/tmp"):
                (self.directory / "mail" / name / part).mkdir()
                os.chown(self.directory / "mail" / name / part, _UID, _UID)
            users += f"{name}@{self.domain}\tuid={_UID}|gid={_UID}|home=/mail/{name}|mail=/mail/{name}/Maildir\n"
            secrets += f"{name}@{self.domain}\tsystempw={{SHA256}}{hashed}\n"
        for file, text in (("userdb", users), ("userdbshadow", secrets)):
            command = [f"/{_MAKEDAT}", "-", f"/etc/courier/{file}.new", f"/etc/courier/{file}.dat"]
            subprocess.run(
                ["chroot", str(self.directory), *command], input=f"{text}.\n".encode(), check=True, timeout=60
            )
            os.chown(etc / f"courier/{file}.dat", _UID, _UID)
