"""Three mail systems that exchange mail over SMTP: two of Postfix and Dovecot, one of Exim and Courier.

Each accepts mail for its own domain from all hosts, and mail for all three domains from users who have signed in,
like systems on the Internet. The routes are configured instead of looked up in the DNS. They must be started by
root.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self

from pantau_lab.serving import claimed
from probes.model.mailbox import Mailbox
from tests.real import mailserver
from tests.real.exim_courier import EximCourier
from tests.real.exim_courier import Listener as EximListener
from tests.real.mailserver import Listener, MailServer

AGENCY = "jabatan-contoh.gov.my"
REFERENCE_A = "rujukan.example"
REFERENCE_B = "rujukan-b.example"
_NAME = "pantau"


class PostfixFault(StrEnum):
    """Faults of a Postfix system, as settings of main.cf."""

    #: Outgoing mail stays in the queue.
    KEEPS = "default_transport = retry:4.4.1 the line is down\ntransport_maps ="
    #: Signed-in users may not send.
    MAY_NOT_SEND = "submission_restrictions = check_client_access static:{550 5.7.1 no mail goes out today}"
    #: Mail from outside is refused.
    REFUSES = "mx_restrictions = check_client_access static:{550 5.2.1 mailbox disabled, ask the directory}"
    #: Mail is accepted and lost.
    LOSES = "virtual_transport = discard:"


@dataclass(slots=True, kw_only=True)
class Postfix(MailServer):
    """Postfix and Dovecot that also accept mail from the other systems."""

    domain: str
    mx: int
    #: SMTP ports of the other domains.
    peer_ports: Mapping[str, int]

    def inject_fault(self, fault: PostfixFault) -> None:
        self._configure(fault)

    def clear_faults(self) -> None:
        self._configure("")

    def close_imap(self) -> None:
        """Stop IMAP. Mail is still delivered."""
        self._enable(imap=False)
        for pid in self._dovecots():
            # Open sessions would outlive the service. Some end by themselves meanwhile.
            with suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("imap"):
                    os.kill(pid, signal.SIGKILL)
        mailserver._until(lambda: not mailserver._is_open(self.ports[Listener.IMAPS]), "Dovecot's port to close")

    def open_imap(self) -> None:
        """Start IMAP again."""
        self._enable(imap=True)
        self._wait_for(Listener.IMAPS)

    def stop(self) -> None:
        """Stop both servers."""
        mailserver._run("postfix", "-c", str(self.directory / "postfix"), "stop")
        # An orderly stop would leave sessions open.
        for pid in self._dovecots():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._pid_file.unlink()

    def start(self) -> None:
        """Start both servers again."""
        mailserver._run("postfix", "-c", str(self.directory / "postfix"), "start")
        self.start_imap()
        self._wait_for(Listener.SUBMISSION)

    def _dovecots(self) -> list[int]:
        master = int(self._pid_file.read_text())
        return [master, *mailserver._children(master)]

    def _enable(self, *, imap: bool) -> None:
        conf = self.directory / "dovecot.conf"
        text = conf.read_text()
        old, new = ("  imap = no\n", "  imap = yes\n") if imap else ("  imap = yes\n", "  imap = no\n")
        assert old in text
        conf.write_text(text.replace(old, new))
        os.kill(self._dovecots()[0], signal.SIGHUP)

    def _configure(self, fault: str) -> None:
        postfix = self.directory / "postfix"
        _write_with_old_time(postfix / "main.cf", _with_settings((postfix / "main.cf.well").read_text(), fault))
        self._reload()

    def _write(self) -> None:
        MailServer._write(self)
        postfix = self.directory / "postfix"
        routes = (f"{domain} smtp:[127.0.0.1]:{port}\n" for domain, port in self.peer_ports.items())
        (postfix / "peer_ports").write_text("".join(routes))
        text = (postfix / "main.cf").read_text()
        text = _with_settings(text, _MAIN.format(directory=self.directory, domain=self.domain))
        for name in ("main.cf", "main.cf.well"):
            _write_with_old_time(postfix / name, text)
        with (postfix / "master.cf").open("a") as master:
            master.write(_MASTER.format(port=self.mx))


def _with_settings(text: str, changes: str) -> str:
    """Return a main.cf with other values, one line for each parameter.

    Postfix warns of each parameter that is set twice, and its log daemon hangs when many warnings go to itself.
    """
    lines = {line.partition(" = ")[0].rstrip(" ="): line for line in (text + changes).splitlines()}
    return "\n".join(lines.values()) + "\n"


def _write_with_old_time(file: Path, text: str) -> None:
    """Write a file with an old time: Postfix waits two seconds before it reads one that has just changed."""
    file.write_text(text)
    past = time.time() - 60
    os.utime(file, (past, past))


@dataclass(slots=True)
class MailSystems:
    """Context manager. Start and stop take about three seconds each."""

    agency: Postfix = field(init=False)
    reference_a: Postfix = field(init=False)
    reference_b: EximCourier = field(init=False)
    _running: ExitStack = field(init=False, default_factory=ExitStack)

    def __enter__(self) -> Self:
        with ExitStack() as running:
            listeners = dict(zip(EximListener, running.enter_context(claimed(len(EximListener))), strict=True))
            mx = dict(zip((AGENCY, REFERENCE_A), running.enter_context(claimed(2)), strict=True))
            mx[REFERENCE_B] = listeners[EximListener.MX]

            def others(own: str) -> Mapping[str, int]:
                return {domain: port for domain, port in mx.items() if domain != own}

            self.agency, self.reference_a = (
                running.enter_context(Postfix(domain=domain, mx=mx[domain], peer_ports=others(domain)))
                for domain in (AGENCY, REFERENCE_A)
            )
            self.reference_b = running.enter_context(
                EximCourier(domain=REFERENCE_B, names=[_NAME], peer_ports=others(REFERENCE_B), ports=listeners)
            )
            self._running = running.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def mailboxes(self) -> tuple[Mailbox, Mailbox, Mailbox]:
        """Return one mailbox of the agency and one of each reference."""
        return (
            self.agency.mailbox(_NAME, domain=AGENCY),
            self.reference_a.mailbox(_NAME, domain=REFERENCE_A),
            self.reference_b.mailbox(_NAME),
        )


#: Undelivered mail is retried every second instead of after minutes.
_MAIN = """myhostname = mel.{domain}
virtual_mailbox_domains = {domain}
transport_maps = $own_transport_maps, texthash:{directory}/postfix/peer_ports
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
transport_retry_time = 1s
submission_restrictions =
mx_restrictions =
smtpd_client_restrictions = $submission_restrictions
"""
_MASTER = """127.0.0.1:{port} inet n - n - - smtpd
  -o smtpd_tls_security_level=none
  -o smtpd_sasl_auth_enable=no
  -o smtpd_client_restrictions=$mx_restrictions
  -o smtpd_relay_restrictions=reject_unauth_destination
  -o smtpd_recipient_restrictions=reject_unauth_destination
"""
