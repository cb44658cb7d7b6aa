"""Three mail systems that write to each other over SMTP: two of Postfix and Dovecot, one of Exim and Courier.

Each takes mail for its own domain from anybody, and from those who signed in for all three domains, as systems on the
Internet do; the way to the others is written down instead of asked of a name server. Must be started by root.
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
from tests.real.mailserver import Door, MailServer
from tests.real.othermail import Door as OtherDoor
from tests.real.othermail import OtherMail

AGENCY = "jabatan-contoh.gov.my"
REFERENCE_A = "rujukan.example"
REFERENCE_B = "rujukan-b.example"
_NAME = "pantau"


class LivenessFailure(StrEnum):
    """What is wrong with a Postfix system, as its administrator would have written it."""

    #: What is to go elsewhere stays in the queue.
    KEEPS = "default_transport = retry:4.4.1 the line is down\ntransport_maps ="
    #: Those who sign in may not send.
    MAY_NOT_SEND = "submission_restrictions = check_client_access static:{550 5.7.1 no mail goes out today}"
    #: Mail from outside is refused.
    REFUSES = "mx_restrictions = check_client_access static:{550 5.2.1 mailbox disabled, ask the directory}"
    #: Mail is accepted, and gone.
    LOSES = "virtual_transport = discard:"


@dataclass(slots=True, kw_only=True)
class Postfix(MailServer):
    """A Postfix and Dovecot that takes mail from its neighbours, too."""

    domain: str
    mx: int
    #: The ports where other domains take their mail.
    neighbours: Mapping[str, int]

    def fall(self, ailment: LivenessFailure) -> None:
        self._configure(ailment)

    def recover(self) -> None:
        self._configure("")

    def close_imap(self) -> None:
        """Let nobody read mail any more. It is delivered all the same."""
        self._serve(imap=False)
        for pid in self._dovecots():
            # Open sessions would outlive the service; some end by themselves meanwhile.
            with suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("imap"):
                    os.kill(pid, signal.SIGKILL)
        mailserver._until(lambda: not mailserver._is_open(self.ports[Door.IMAPS]), "Dovecot's port to close")

    def open_imap(self) -> None:
        """Let mail be read again."""
        self._serve(imap=True)
        self._wait_for(Door.IMAPS)

    def stop(self) -> None:
        """Stop all of it."""
        mailserver._run("postfix", "-c", str(self.directory / "postfix"), "stop")
        # In an orderly stop the sessions that are open stay open.
        for pid in self._dovecots():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._pid_file.unlink()

    def start(self) -> None:
        """Start it again."""
        mailserver._run("postfix", "-c", str(self.directory / "postfix"), "start")
        self.start_imap()
        self._wait_for(Door.SUBMISSION)

    def _dovecots(self) -> list[int]:
        master = int(self._pid_file.read_text())
        return [master, *mailserver._children(master)]

    def _serve(self, *, imap: bool) -> None:
        conf = self.directory / "dovecot.conf"
        text = conf.read_text()
        old, new = ("  imap = no\n", "  imap = yes\n") if imap else ("  imap = yes\n", "  imap = no\n")
        assert old in text
        conf.write_text(text.replace(old, new))
        os.kill(self._dovecots()[0], signal.SIGHUP)

    def _configure(self, ailment: str) -> None:
        postfix = self.directory / "postfix"
        _write_at_once(postfix / "main.cf", _changed((postfix / "main.cf.well").read_text(), ailment))
        self._reload()

    def _write(self) -> None:
        MailServer._write(self)
        postfix = self.directory / "postfix"
        routes = (f"{domain} smtp:[127.0.0.1]:{port}\n" for domain, port in self.neighbours.items())
        (postfix / "neighbours").write_text("".join(routes))
        text = (postfix / "main.cf").read_text()
        text = _changed(text, _MAIN.format(directory=self.directory, domain=self.domain))
        for name in ("main.cf", "main.cf.well"):
            _write_at_once(postfix / name, text)
        with (postfix / "master.cf").open("a") as master:
            master.write(_MASTER.format(port=self.mx))


def _changed(text: str, changes: str) -> str:
    """Return a main.cf with other values: one line a parameter, because Postfix warns of each that stands twice.

    Its log daemon, which logs to itself, waits for itself for ever when there are many warnings.
    """
    lines = {line.partition(" = ")[0].rstrip(" ="): line for line in (text + changes).splitlines()}
    return "\n".join(lines.values()) + "\n"


def _write_at_once(file: Path, text: str) -> None:
    """Write a file that seems to have been there: Postfix waits two seconds before it reads one that just changed."""
    file.write_text(text)
    past = time.time() - 60
    os.utime(file, (past, past))


@dataclass(slots=True)
class Neighbours:
    """Start them with `with`; that takes about three seconds, and as long to stop."""

    agency: Postfix = field(init=False)
    reference_a: Postfix = field(init=False)
    reference_b: OtherMail = field(init=False)
    _running: ExitStack = field(init=False, default_factory=ExitStack)

    def __enter__(self) -> Self:
        with ExitStack() as running:
            doors = dict(zip(OtherDoor, running.enter_context(claimed(len(OtherDoor))), strict=True))
            mx = dict(zip((AGENCY, REFERENCE_A), running.enter_context(claimed(2)), strict=True))
            mx[REFERENCE_B] = doors[OtherDoor.MX]

            def others(own: str) -> Mapping[str, int]:
                return {domain: port for domain, port in mx.items() if domain != own}

            self.agency, self.reference_a = (
                running.enter_context(Postfix(domain=domain, mx=mx[domain], neighbours=others(domain)))
                for domain in (AGENCY, REFERENCE_A)
            )
            self.reference_b = running.enter_context(
                OtherMail(domain=REFERENCE_B, names=[_NAME], neighbours=others(REFERENCE_B), ports=doors)
            )
            self._running = running.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def mailboxes(self) -> tuple[Mailbox, Mailbox, Mailbox]:
        """Return one mailbox of each: the agency's, and the two references'."""
        return (
            self.agency.mailbox(_NAME, domain=AGENCY),
            self.reference_a.mailbox(_NAME, domain=REFERENCE_A),
            self.reference_b.mailbox(_NAME),
        )


#: What could not be delivered is tried again every second, not after minutes.
_MAIN = """myhostname = mel.{domain}
virtual_mailbox_domains = {domain}
transport_maps = $own_transport_maps, texthash:{directory}/postfix/neighbours
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
