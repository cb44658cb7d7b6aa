"""Private Postfix and Dovecot, with recipients for each outcome of a message.

Both run in a temporary directory on free loopback ports with their own certificate authority, and do not touch the
machine's own mail. Postfix must be started by root. Dovecot is 2.4, whose configuration differs from that of 2.3.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Self

import trustme

from pantau_lab.serving import claimed
from probes.model.mailbox import Mailbox, OAuth, Password, Security, Server

DOMAIN = "jabatan-contoh.gov.my"
#: Our own domain, outside the agency.
REFERENCE = "rujukan.example"
SECRET = "rahsia-ujian"
HOST = "mel.jabatan-contoh.gov.my"
_MAIL_UID = 5000
#: In seconds, for a busy machine.
_TIMEOUT = 90.0


class Listener(StrEnum):
    """A listener of one of the servers."""

    #: Submission with STARTTLS (RFC 6409, RFC 8314).
    SUBMISSION = "submission"
    #: Submission with implicit TLS.
    SUBMISSIONS = "submissions"
    #: As SUBMISSIONS, with an expired certificate.
    EXPIRED = "expired"
    #: No STARTTLS.
    CLEAR = "clear"
    #: Changes the body of every message.
    CORRUPTING = "corrupting"
    #: Refuses mail to `RecipientOutcome.BOUNCED` after it was accepted. Not for clients.
    REFUSING = "refusing"
    #: For local programs, such as Sieve rules that redirect a copy. Not for clients.
    INSIDE = "inside"
    IMAP = "imap"
    IMAPS = "imaps"
    POP3 = "pop3"
    POP3S = "pop3s"
    #: Token introspection (RFC 7662), which the test that needs it serves.
    INTROSPECTION = "introspection"
    #: No listener.
    CLOSED = "closed"


class RecipientOutcome(StrEnum):
    """Local parts of recipients by the outcome of mail to them. Mail to all others is delivered."""

    REJECTED = "tolak"
    DEFERRED = "tangguh"
    #: Accepted, then returned to the sender.
    BOUNCED = "pulang"
    #: Accepted, then gone.
    LOST = "hilang"
    #: Delivered into the junk folder.
    JUNK = "sarap"
    #: Held until `release()`.
    HELD = "tahan"
    #: Delivered twice.
    DOUBLED = "kembar"


#: Sign-in under this name fails temporarily, because its password cannot be looked up (454, UNAVAILABLE).
UNAVAILABLE_USER = "sementara"
_IMPLICIT = frozenset({Listener.SUBMISSIONS, Listener.EXPIRED, Listener.IMAPS, Listener.POP3S})
#: Not served by Postfix or Dovecot.
_NOT_SERVED = frozenset({Listener.CLOSED, Listener.INTROSPECTION})


@dataclass(slots=True)
class MailServer:
    """Context manager. Start and stop take about two seconds each."""

    directory: Path = field(init=False)
    trust: ssl.SSLContext = field(init=False)
    ports: dict[Listener, int] = field(init=False)
    _claims: ExitStack = field(init=False, default_factory=ExitStack)
    _aliases: dict[str, tuple[str, ...]] = field(init=False, default_factory=dict)

    def __enter__(self) -> Self:
        # Short, because paths of sockets have at most 108 characters. Readable, because Postfix's children are not root.
        self.directory = Path(tempfile.mkdtemp(prefix="pmail-"))
        self.directory.chmod(0o755)
        # Some ports open later, or close and open again.
        self.ports = dict(zip(Listener, self._claims.enter_context(claimed(len(Listener))), strict=True))
        try:
            self._write()
            self.start_imap()
            _run("postfix", "-c", str(self.directory / "postfix"), "start")
            for door in Listener:
                if door not in _NOT_SERVED:
                    self._wait_for(door)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(subprocess.CalledProcessError):
            _run("postfix", "-c", str(self.directory / "postfix"), "stop")
        self.stop_imap()
        self._claims.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start_imap(self) -> None:
        _run("dovecot", "-c", str(self.directory / "dovecot.conf"))
        self._wait_for(Listener.IMAPS)
        # Dovecot writes its pid file after its ports are open, and cannot be stopped without that.
        _until(self._pid_file.exists, "Dovecot's pid file")

    def stop_imap(self) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):
            pid = int(self._pid_file.read_text())
            os.kill(pid, signal.SIGTERM)
            _until(lambda: not self._pid_file.exists(), "Dovecot to stop")
            # Its children hold the port a moment longer without answering.
            _until(lambda: not _is_open(self.ports[Listener.IMAPS]), "Dovecot's port to close")

    @contextmanager
    def imap_down(self) -> Iterator[None]:
        """Stop Dovecot for the duration of the block."""
        self.stop_imap()
        try:
            yield
        finally:
            self.start_imap()

    @contextmanager
    def hung_smtp(self) -> Iterator[None]:
        """Freeze Postfix: the kernel accepts connections, and no server answers."""
        # The parent first, so that it starts no more children.
        os.kill(self._postfix, signal.SIGSTOP)
        children = _children(self._postfix)
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in (self._postfix, *children):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def address(self, name: str, domain: str = DOMAIN) -> str:
        return f"{name}@{domain}"

    def mailbox(
        self,
        name: str,
        *,
        domain: str = DOMAIN,
        smtp: Listener = Listener.SUBMISSION,
        imap: Listener = Listener.IMAPS,
        pop3: Listener | None = None,
        secret: str = SECRET,
        login: Password | OAuth | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Mailbox:
        """Return a mailbox, which exists from the first mail or sign-in. With *pop3* it is read by POP3."""
        address = self.address(name, domain)
        return Mailbox(
            name=address,
            address=address,
            smtp=self.server(smtp, tls),
            imap=None if pop3 else self.server(imap, tls),
            pop3=self.server(pop3, tls) if pop3 else None,
            login=login or Password(username=address, secret=secret),
        )

    def server(self, door: Listener, tls: ssl.SSLContext | None = None) -> Server:
        security = Security.IMPLICIT if door in _IMPLICIT else Security.STARTTLS
        return Server(host="localhost", port=self.ports[door], security=security, tls=tls or self.trust, tls_name=HOST)

    def deliver(self, address: str, raw: bytes) -> None:
        """Deliver *raw* into a mailbox without Postfix."""
        with smtplib.LMTP(str(self.directory / "dovecot/run/lmtp")) as lmtp:
            lmtp.sendmail("luar@luar.example", [address], raw)

    def mails(self, address: str, folder: str = "") -> list[bytes]:
        """Return the messages in the inbox, or in a folder such as "Junk"."""
        maildir = self.directory / "mail" / address / "Maildir" / (f".{folder}" if folder else "")
        while True:
            files = [file for part in ("new", "cur") for file in sorted((maildir / part).glob("*"))]
            # A file may be renamed or removed meanwhile; then list again.
            with suppress(FileNotFoundError):
                # Flag T: marked as deleted, not yet expunged.
                return [file.read_bytes() for file in files if "T" not in file.name.partition(":2,")[2]]

    def release(self) -> None:
        """Release the mail held by `RecipientOutcome.HELD`."""
        where = str(self.directory / "postfix")
        _run("postsuper", "-c", where, "-H", "ALL")
        _run("postqueue", "-c", where, "-f")

    def alias(self, address: str, *targets: str) -> None:
        """Redirect mail for *address* to *targets*, or stop redirecting if there are none."""
        self._aliases[address] = targets
        self._write_table(
            "aliases", (f"{name} {', '.join(others)}" for name, others in self._aliases.items() if others)
        )

    def refuse(self, *addresses: str) -> None:
        """Bounce mail to exactly these addresses after accepting it."""
        door = f"smtp:[127.0.0.1]:{self.ports[Listener.REFUSING]}"
        self._write_table("refused", (f"{address} {door}" for address in addresses))

    def rule(self, address: str, sieve: str | None) -> None:
        """Set the Sieve script (RFC 5228) of the mailbox *address*, or remove it."""
        home = self.directory / "mail" / address
        _make_home(home)
        for old in home.glob("active.*"):
            old.unlink()
        if sieve is not None:
            (home / "active.sieve").write_text(sieve)
            os.chown(home / "active.sieve", _MAIL_UID, _MAIL_UID)

    def share(self, settings: str) -> None:
        """Add these settings to Dovecot and restart it."""
        (self.directory / "sharing.conf").write_text(settings)
        self.stop_imap()
        self.start_imap()

    def doveadm(self, command: str) -> None:
        """Run a doveadm command, which begins with "doveadm"."""
        program, *arguments = shlex.split(command)
        _run(program, "-c", str(self.directory / "dovecot.conf"), *arguments)

    def log(self) -> str:
        """Return the logs of both servers."""
        files = (self.directory / "mail.log", self.directory / "dovecot/dovecot.log")
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def _write_table(self, table: str, lines: Iterable[str]) -> None:
        file = self.directory / "postfix" / table
        text = "".join(f"{line}\n" for line in lines)
        if text == file.read_text():
            return
        file.write_text(text)
        # Postfix waits two seconds before it reads a file that has just changed.
        past = time.time() - 60
        os.utime(file, (past, past))
        self._reload()

    def _reload(self) -> None:
        """Reload Postfix, and wait until no process uses the old configuration.

        A process ends when it notices the reload; until then it serves new connections.
        """
        old = {*_children(self._postfix)}
        _run("postfix", "-c", str(self.directory / "postfix"), "reload")
        _until(lambda: old.isdisjoint(_children(self._postfix)), "Postfix's old processes to end")

    @property
    def _postfix(self) -> int:
        return int((self.directory / "spool/pid/master.pid").read_text())

    @property
    def _pid_file(self) -> Path:
        return self.directory / "dovecot/run/master.pid"

    def _wait_for(self, door: Listener) -> None:
        _until(lambda: _is_open(self.ports[door]), f"{door} to open")

    def _write(self) -> None:
        for name in ("tls", "postfix", "spool", "pfdata", "dovecot", "mail", "sieve", "passwd"):
            (self.directory / name).mkdir()
        shutil.chown(self.directory / "pfdata", "postfix")
        for name in ("mail", "sieve"):
            os.chown(self.directory / name, _MAIL_UID, _MAIL_UID)
        # Dovecot may not read this password file: an internal error, which it reports as temporary.
        (self.directory / "passwd" / self.address(UNAVAILABLE_USER)).touch(mode=0o600)
        self._write_certificates()
        values = {"DIR": str(self.directory), "DOMAIN": DOMAIN, "REFERENCE": REFERENCE, "HOST": HOST, "SECRET": SECRET}
        values |= {f"PORT_{door.name}": str(port) for door, port in self.ports.items()}
        values |= {token_state.name: token_state.value for token_state in RecipientOutcome}
        for file, text in _FILES.items():
            for name in sorted(values, key=len, reverse=True):
                text = text.replace(f"@{name}@", values[name])  # noqa: PLW2901 - the text is filled in, name by name
            (self.directory / file).write_text(text)

    def _write_certificates(self) -> None:
        authority = trustme.CA()
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)
        past = datetime.now(UTC) - timedelta(days=2)
        certificates = {"good": authority.issue_cert(HOST), "expired": authority.issue_cert(HOST, not_after=past)}
        for name, certificate in certificates.items():
            certificate.private_key_and_cert_chain_pem.write_to_path(str(self.directory / f"tls/{name}.pem"))
            (self.directory / f"tls/{name}.pem").chmod(0o600)


def _make_home(directory: Path) -> None:
    if not directory.exists():
        directory.mkdir()
        os.chown(directory, _MAIL_UID, _MAIL_UID)


def _children(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in children.split()]


def _run(*command: str) -> None:
    # Daemons inherit pipes, and a reader would wait for ever.
    nothing = subprocess.DEVNULL
    subprocess.run(command, check=True, stdin=nothing, stdout=nothing, stderr=nothing, timeout=_TIMEOUT)


def _is_open(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _until(condition: Callable[[], bool], awaited: str) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited for {awaited}")
        time.sleep(0.01)


_FILES = {
    "dovecot.conf": r"""dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.0
hostname = @HOST@
base_dir = @DIR@/dovecot/run
state_dir = @DIR@/dovecot/state
log_path = @DIR@/dovecot/dovecot.log
protocols {
  imap = yes
  lmtp = yes
  pop3 = yes
}
listen = 127.0.0.1
default_client_limit = 500
auth_mechanisms = plain login xoauth2
oauth2 {
  introspection_mode = post
  introspection_url = http://127.0.0.1:@PORT_INTROSPECTION@/introspect
  username_attribute = username
  active_attribute = active
  active_value = true
}
auth_allow_cleartext = no
# A wrong password is answered at once.
auth_failure_delay = 0
ssl = yes
ssl_server_cert_file = @DIR@/tls/good.pem
ssl_server_key_file = @DIR@/tls/good.pem
mail_driver = maildir
mail_home = @DIR@/mail/%{user}
mail_path = ~/Maildir
mail_uid = 5000
mail_gid = 5000
first_valid_uid = 1
recipient_delimiter = +
protocol imap {
  mail_max_userip_connections = 0
}
protocol pop3 {
  mail_max_userip_connections = 0
  # As servers do that keep to the RFC: a second session is refused.
  pop3_lock_session = yes
}
protocol lmtp {
  auth_username_format = %{user | lower}
  mail_plugins {
    sieve = yes
  }
}
sieve_script junk {
  type = before
  path = @DIR@/sieve/junk.sieve
}
sieve_script personal {
  type = personal
  path = ~/sieve
  active_path = ~/active.sieve
}
# By this a rule sends a copy on.
submission_host = 127.0.0.1:@PORT_INSIDE@
!include_try @DIR@/sharing.conf
namespace inbox {
  inbox = yes
  mailbox Junk {
    auto = create
    special_use = \Junk
  }
}
passdb passwd-file {
  passwd_file_path = @DIR@/passwd/%{user}
  result_failure = continue
  result_internalfail = return-fail
}
passdb static {
  password = @SECRET@
}
userdb static {
  static_allow_all_users = yes
}
service imap-login {
  inet_listener imap {
    port = @PORT_IMAP@
  }
  inet_listener imaps {
    port = @PORT_IMAPS@
    ssl = yes
  }
  restart_request_count = unlimited
  process_min_avail = 1
}
service pop3-login {
  inet_listener pop3 {
    port = @PORT_POP3@
  }
  inet_listener pop3s {
    port = @PORT_POP3S@
    ssl = yes
  }
  restart_request_count = unlimited
}
service lmtp {
  unix_listener lmtp {
    mode = 0666
  }
  # Otherwise each message has a process of its own.
  restart_request_count = unlimited
}
# Of ten that come to a user at the same time the next would be put off, for minutes.
lmtp_user_concurrency_limit = unlimited
service auth {
  unix_listener postfix-auth {
    mode = 0666
  }
  # Whoever opens a shared mailbox asks where its owner's home is.
  unix_listener auth-userdb {
    mode = 0777
  }
}
""",
    "sieve/junk.sieve": r"""require ["fileinto", "envelope"];
if envelope :localpart "to" "@JUNK@" {
  fileinto "Junk";
  stop;
}
""",
    "postfix/main.cf": r"""compatibility_level = 3.6
queue_directory = @DIR@/spool
data_directory = @DIR@/pfdata
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = @DIR@/mail.log
maillog_file_prefixes = @DIR@
myhostname = @HOST@
mydomain = @DOMAIN@
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = @DOMAIN@, @REFERENCE@
virtual_mailbox_maps = static:ok
recipient_bcc_maps = texthash:@DIR@/postfix/copies
virtual_alias_maps = texthash:@DIR@/postfix/aliases
virtual_alias_domains =
virtual_transport = lmtp:unix:@DIR@/dovecot/run/lmtp
own_transport_maps = texthash:@DIR@/postfix/refused, texthash:@DIR@/postfix/transport
transport_maps = $own_transport_maps
recipient_delimiter = +
smtpd_sasl_type = dovecot
smtpd_sasl_path = @DIR@/dovecot/run/postfix-auth
smtpd_sasl_auth_enable = yes
smtpd_tls_auth_only = yes
smtpd_tls_chain_files = @DIR@/tls/good.pem
smtpd_tls_security_level = encrypt
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access texthash:@DIR@/postfix/access, permit_sasl_authenticated, reject
smtpd_delay_reject = yes
# Refusals are answered at once: by default the tenth error of a session is made to wait.
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
biff = no
in_flow_delay = 0
# A process that cannot start, as one that lets people sign in while Dovecot is down, is started again soon.
service_throttle_time = 1s
""",
    "postfix/access": r"""@REJECTED@@@DOMAIN@ 550 5.1.1 no such mailbox here
@DEFERRED@@@DOMAIN@ 450 4.2.0 mailbox busy, come again
@HELD@@@DOMAIN@ HOLD for a test
""",
    "postfix/transport": r"""@BOUNCED@@@DOMAIN@ smtp:[127.0.0.1]:@PORT_REFUSING@
@LOST@@@DOMAIN@ discard:
""",
    "postfix/copies": r"""@DOUBLED@@@DOMAIN@ @DOUBLED@+dua@@DOMAIN@
""",
    "postfix/aliases": "",
    "postfix/refused": "",
    "postfix/changes": r"""/^Rujukan: / REPLACE Rujukan: dibuang
""",
    "postfix/master.cf": r"""127.0.0.1:@PORT_SUBMISSION@ inet n - n - - smtpd
127.0.0.1:@PORT_SUBMISSIONS@ inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
127.0.0.1:@PORT_EXPIRED@ inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_tls_chain_files=@DIR@/tls/expired.pem
127.0.0.1:@PORT_CLEAR@ inet n - n - - smtpd
  -o smtpd_tls_security_level=none
127.0.0.1:@PORT_CORRUPTING@ inet n - n - - smtpd
  -o cleanup_service_name=corrupt
127.0.0.1:@PORT_REFUSING@ inet n - n - - smtpd
  -o smtpd_tls_security_level=none
  -o smtpd_sasl_auth_enable=no
  -o smtpd_relay_restrictions=permit_mynetworks,reject
  -o { smtpd_recipient_restrictions = check_recipient_access static:{550 5.2.1 mailbox disabled, ask the directory} }
127.0.0.1:@PORT_INSIDE@ inet n - n - - smtpd
  -o smtpd_tls_security_level=none
  -o smtpd_sasl_auth_enable=no
  -o smtpd_relay_restrictions=permit_mynetworks,reject
  -o smtpd_recipient_restrictions=permit_mynetworks,reject
  -o smtpd_client_restrictions=
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
corrupt unix n - n - 0 cleanup
  -o body_checks=regexp:@DIR@/postfix/changes
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
""",
}
