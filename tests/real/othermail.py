"""A private mail system of another make: Exim takes, sends and delivers mail, Courier lets it be read.

Debian's packages of these conflict with those of Postfix and Dovecot. So `install-debian` unpacks them beside the
others, into a directory, and here what is needed of them gets a root directory of its own (chroot): the paths that are
built into the programs are right in there, and nothing of the machine's own mail is touched. Must be started by root.
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
from tests.real.otherfiles import AUTHDAEMON, EXIM, IMAPD
from tests.real.rootdirectory import furnish

#: Where `install-debian` unpacks the packages.
UNPACKED = Path(os.environ.get("PANTAU_TEST_CACHE", "/var/cache/pantau-tests")) / "othermail"

_SECRET = "rahsia-ujian"
_UID = 5000
_EXIM, _AUTH = "usr/sbin/exim4", "usr/lib/courier/courier-authlib/authdaemond"
_TCPD, _TLS = "usr/sbin/couriertcpd", "usr/bin/couriertls"
_LOGIN, _IMAP = "usr/lib/courier/courier/imaplogin", "usr/bin/imapd"
_MAKEDAT = "usr/lib/courier/courier-authlib/makedatprog"
#: Loaded by its name, so that nothing else tells that it is needed.
_MODULE = "usr/lib/courier-authlib/libauthuserdb.so.0"
_PROGRAMS = (_EXIM, _AUTH, _TCPD, _TLS, _LOGIN, _IMAP, _MAKEDAT, _MODULE)
_SOCKET = "run/courier/authdaemon/socket"


class Door(StrEnum):
    """A listener."""

    #: Where other systems bring their mail.
    MX = "mx"
    #: STARTTLS.
    SUBMISSION = "submission"
    #: TLS from the first octet.
    IMAPS = "imaps"


class LivenessFailure(StrEnum):
    """What is wrong with it, as long as a file of this name lies in `ailments/`."""

    #: Mail from outside is refused.
    REFUSES = "refuses"
    #: Mail is accepted, and gone.
    LOSES = "loses"


@dataclass(slots=True, kw_only=True)
class OtherMail:
    """Start it with `with`; that takes a tenth of a second."""

    domain: str
    #: The mailboxes, by the part before the @.
    names: Sequence[str]
    #: Claimed for it, for as long as it is wanted.
    ports: Mapping[Door, int]
    #: The ports where other domains take their mail.
    neighbours: Mapping[str, int] = field(default_factory=dict)
    #: What the IMAP server says it can do. It can do more.
    capabilities: str = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE IDLE"
    directory: Path = field(init=False)
    trust: ssl.SSLContext = field(init=False)
    _running: list[subprocess.Popen[bytes]] = field(init=False, default_factory=list)

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="pothr-"))
        self.directory.chmod(0o755)
        try:
            self._furnish()
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
        """Start all of it, for the first time or again."""
        self._run(_EXIM, ["-bdf", "-q1s"], {})
        self._run(_AUTH, [], {})
        self._until((self.directory / _SOCKET).exists, "the keeper of the passwords")
        near = ["-nodnslookup", "-maxprocs=100", "-maxperip=100", "-address=127.0.0.1", str(self.ports[Door.IMAPS])]
        far = [f"/{_TLS}", "-server", "-tcpd", f"/{_LOGIN}", f"/{_IMAP}", "Maildir"]
        offer = {"IMAP_CAPABILITY": self.capabilities, "IMAP_CAPABILITY_TLS": f"{self.capabilities} AUTH=PLAIN"}
        self._run(_TCPD, [*near, *far], IMAPD | offer)
        for door, port in self.ports.items():
            self._until(lambda port=port: mailserver._is_open(port), f"{door} to open")  # type: ignore[misc]

    def stop(self) -> None:
        """Stop all of it at once, as a power cut does."""
        for process in self._running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
        (self.directory / _SOCKET).unlink(missing_ok=True)

    def fall(self, ailment: LivenessFailure) -> None:
        """Let it go wrong from now on."""
        (self.directory / "ailments" / ailment).touch()

    def recover(self) -> None:
        """Let it be well again."""
        for ailment in LivenessFailure:
            (self.directory / "ailments" / ailment).unlink(missing_ok=True)

    def mailbox(self, name: str) -> Mailbox:
        address = f"{name}@{self.domain}"
        return Mailbox(
            name=address,
            address=address,
            smtp=self._server(Door.SUBMISSION, Security.STARTTLS),
            imap=self._server(Door.IMAPS, Security.IMPLICIT),
            login=Password(username=address, secret=_SECRET),
        )

    def log(self) -> str:
        """Return what all of it has logged."""
        files = sorted((self.directory / "log").iterdir())
        return "\n".join(file.read_text(errors="replace") for file in files)

    def _server(self, door: Door, security: Security) -> Server:
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

    def _furnish(self) -> None:
        furnish(self.directory, UNPACKED, _PROGRAMS)
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
        (etc / "neighbours").write_text("".join(f"{d}: 127.0.0.1::{port}\n" for d, port in self.neighbours.items()))

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
