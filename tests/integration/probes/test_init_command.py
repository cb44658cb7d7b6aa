"""`pantau init` in a terminal, with a real Postfix and Dovecot and their own certificate authority."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import ssl
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from monitor.cli import app
from monitor.cli.operation.draft import FirstMailbox, build_route, read_server
from monitor.cli.operation.trial import Trial, find_connection
from monitor.config.fields.trust import Trust
from monitor.model.route import MonitoredRoute
from probes.arrival.watcher import MailboxWatcher
from probes.mail.token import TokenSigner
from probes.model.probe import Timeouts
from probes.model.result import Arrival, Outcome
from probes.preauth.session import Protocol
from tests.real.mailserver import DOMAIN, HOST, SECRET, Listener, MailServer, RecipientOutcome

pytestmark = pytest.mark.real

#: In seconds, for a busy machine.
TIMEOUTS = 180.0
ADDRESS = f"pantau@{DOMAIN}"
#: For a trial whose message does not arrive.
SHORT_TIMEOUTS = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=3))


class Terminal:
    """A person at a terminal who reads output and answers questions."""

    def __init__(self, *words: str) -> None:
        self.text = ""
        self._read = 0
        self._child, self._terminal = pty.fork()
        if self._child == 0:
            os.environ["COLUMNS"] = "100"
            # Background jobs of a shell ignore SIGINT, and children inherit that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execv(sys.executable, [sys.executable, "-m", "monitor.cli", "init", *words])
        self.asked = 0

    def wait_for(self, words: str) -> None:
        """Read until *words* are printed."""
        deadline = time.monotonic() + TIMEOUTS
        while words not in self.text[self._read :]:
            if not self._read_more() or time.monotonic() > deadline:
                raise AssertionError(f"not said: {words}\n{self.text}")
        self._read = self.text.index(words, self._read) + len(words)

    def answer(self, question: str, text: str | bytes, *, hidden: bool = False) -> None:
        """Answer a question once it is asked."""
        self.wait_for(question)
        self.asked += 1
        while hidden and termios.tcgetattr(self._terminal)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(self._terminal, (text if isinstance(text, bytes) else text.encode()) + b"\n")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self._terminal, b"\x03")

    def end(self) -> int:
        """Return the exit code, once it has ended."""
        deadline = time.monotonic() + TIMEOUTS
        while self._read_more() and time.monotonic() < deadline:
            pass
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
        os.close(self._terminal)

    def _read_more(self) -> bool:
        if select.select([self._terminal], [], [], 1)[0]:
            try:
                self.text += os.read(self._terminal, 4096).decode(errors="replace").replace("\r", "")
            except OSError:  # The other end is closed.
                return False
        return True


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    made = Terminal(*words)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def authority(mail_server: MailServer, tmp_path: Path) -> Path:
    """Return the file of the servers' own authority, as an administrator would hand it out."""
    trust = mail_server.trust
    # The system's authorities are in the same list, in no fixed order.
    known = zip(trust.get_ca_certs(), trust.get_ca_certs(binary_form=True), strict=True)
    [der] = [der for told, der in known if "Testing CA" in str(told["subject"])]
    file = tmp_path / "ca-jabatan.pem"
    file.write_text(ssl.DER_cert_to_PEM_cert(der))
    return file


def smtp(server: MailServer) -> str:
    return f"localhost:{server.ports[Listener.SUBMISSION]} starttls as {HOST}"


def imap(server: MailServer) -> str:
    return f"localhost:{server.ports[Listener.IMAPS]} as {HOST}"


def refusals(server: MailServer) -> int:
    """Return how often a password was refused, by the servers' own logs."""
    return server.log().count("SASL PLAIN authentication failed") + server.log().count("auth failed")


def refusals_become(server: MailServer, times: int) -> bool:
    """Return whether exactly so many passwords were refused; servers log after they answered."""
    deadline = time.monotonic() + TIMEOUTS
    while refusals(server) < times and time.monotonic() < deadline:
        time.sleep(0.05)
    return refusals(server) == times


def test_init_six_answers_and_authority_create_working_configuration(
    mail_server: MailServer, authority: Path, tmp_path: Path
) -> None:
    """Includes a wrong password, which is tried once and asked again."""
    place = tmp_path / "jabatan contoh"
    with terminal(str(place)) as person:
        person.answer("E-mail address", ADDRESS)
        person.wait_for("`implicit` (encrypted from the start")
        person.answer("SMTP submission)", smtp(mail_server))
        person.answer("(IMAP)", imap(mail_server))
        person.answer("User name", "")
        person.wait_for("Password")
        before = refusals(mail_server)
        person.answer("", "salah", hidden=True)
        assert not place.exists()

        # Each correction replaces only the wrong answer.
        person.wait_for("CERTIFICATE_VERIFY_FAILED")
        person.wait_for("issued by: OU=")
        person.answer("certificate authority (PEM)", str(authority))
        person.wait_for("refuses the password")
        assert refusals_become(mail_server, before + 1), "accounts are locked by those who go on trying"
        person.answer("User name", "")
        person.answer("Password", SECRET, hidden=True)
        for phase in ("dns", "connect", "tls", "auth", "submit", "data", "transit", "retrieve"):
            person.wait_for(f"  {phase} ")

        person.answer("Short code", "")
        person.wait_for("NOBODY IS NOTIFIED: mode is monitor_only")
        person.wait_for(f"Next:  pantau run --config '{place}/pantau.yaml'")
        assert person.end() == 0
    assert person.asked == 6 + 3, "six questions, and three corrections"
    assert SECRET not in person.text
    assert "salah" not in person.text
    assert refusals_become(mail_server, before + 1)

    files = {str(file.relative_to(place)): file for file in place.rglob("*") if file.is_file()}
    assert set(files) == {"pantau.yaml", "agencies/jcontoh.yaml", "secrets/utama", "ca.pem", "state/token.key"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}
    assert [name for name, file in files.items() if SECRET.encode() in file.read_bytes()] == ["secrets/utama"]
    assert mail_server.mails(ADDRESS) == [], "what was sent is taken away again"
    assert_mail_becomes_up(place)


def assert_mail_becomes_up(place: Path) -> None:
    """Run the service until its metrics show that mail flows."""
    settings = place / "pantau.yaml"
    listen = yaml.safe_load(settings.read_text()).get("listen", "127.0.0.1:8080")
    log = (place.parent / "run.log").open("wb")
    words = [sys.executable, "-m", "monitor.cli", "run", "--config", str(settings)]
    with (
        log,
        httpx.Client(base_url=f"http://{listen}", trust_env=False) as client,
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as service,
    ):
        try:
            deadline = time.monotonic() + TIMEOUTS
            while 'pantau_mail_up{agency="JCONTOH",direction="internal"} 1' not in (show_progress := scraped(client)):
                assert time.monotonic() < deadline, (place.parent / "run.log").read_text()
                time.sleep(1)
            assert "pantau_monitor_only 1.0" in show_progress
        finally:
            service.terminate()


def scraped(client: httpx.Client) -> str:
    try:
        return client.get("/metrics").text
    except httpx.HTTPError:
        return ""


def test_init_interrupted_writes_nothing(mail_server: MailServer, authority: Path, tmp_path: Path) -> None:
    place = tmp_path / "ministry"
    with terminal(str(place), "--ca", str(authority)) as person:
        person.answer("E-mail address", ADDRESS)
        person.answer("SMTP submission)", smtp(mail_server))
        person.answer("(IMAP)", imap(mail_server))
        person.answer("User name", "")
        person.answer("Password", SECRET, hidden=True)
        person.wait_for("Short code")
        person.interrupt()
        person.wait_for("nothing was written")
        assert person.end() == 130
    assert not place.exists()


def test_init_stops_after_few_wrong_passwords(mail_server: MailServer, authority: Path, tmp_path: Path) -> None:
    place, before = tmp_path / "ministry", refusals(mail_server)
    options = ("--address", ADDRESS, "--smtp", smtp(mail_server), "--imap", imap(mail_server), "--username", ADDRESS)
    with terminal(str(place), "--ca", str(authority), *options) as person:
        person.answer("Password", "satu ", hidden=True)
        person.wait_for("begins or ends with a blank")
        person.answer("Password", b"sat\xff", hidden=True)
        person.wait_for("is not UTF-8 text")
        person.answer("Password", "satu", hidden=True)
        for guess in ("dua", "tiga"):
            person.answer("User name", "")
            person.answer("Password", guess, hidden=True)
        person.wait_for("many lock the account")
        assert person.end() == 16
    assert refusals_become(mail_server, before + 3)
    assert not place.exists()


def run_without_terminal(place: Path, *words: str) -> tuple[int, str]:
    """Run without a terminal, in this process, which saves a second."""
    done = CliRunner().invoke(app, ["init", str(place), *words])
    return done.exit_code, done.output


def test_init_without_terminal_takes_options_and_password_file(
    mail_server: MailServer, authority: Path, tmp_path: Path
) -> None:
    secret, place = tmp_path / "secret", tmp_path / "ministry"
    secret.write_text("salah\n")
    words = (
        "--address",
        ADDRESS,
        "--smtp",
        smtp(mail_server),
        "--imap",
        imap(mail_server),
        "--password-file",
        str(secret),
    )
    assert run_without_terminal(place, "--address", ADDRESS) == (
        2,
        "there is no terminal for questions; give --smtp, --imap, --password-file, too\n",
    )
    code, said = run_without_terminal(place, *words, "--code", "dua kata")
    assert (code, "Sign in" in said) == (2, False), "it is said before anything is tried"
    elsewhere = ("--smtp", f"localhost:{mail_server.ports[Listener.IMAPS]} as {HOST}", "--ca", str(authority))
    code, said = run_without_terminal(place, *words, *elsewhere)
    assert (code, "mailboxes." in said, "(--smtp)" in said) == (19, False, True), "no file is there yet to correct"
    code, said = run_without_terminal(place, *words)
    assert (code, "Nothing was written." in said) == (17, True), "nobody has named the authority"
    code, said = run_without_terminal(place, *words, "--ca", str(authority))
    assert (code, "refuses the password" in said, place.exists()) == (16, True, False)

    secret.write_text(f"{SECRET}\n")
    command = [
        sys.executable,
        "-m",
        "monitor.cli",
        "init",
        str(place),
        *words,
        "--ca",
        str(authority),
        "--code",
        "ujian",
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=TIMEOUTS
    )
    assert done.returncode == 0, done.stderr
    assert (place / "agencies" / "ujian.yaml").exists()

    before = (place / "pantau.yaml").read_bytes()
    code, said = run_without_terminal(place, *words)
    assert (code, "nothing is overwritten" in said) == (2, True)
    assert (place / "pantau.yaml").read_bytes() == before


def draft_of(server: MailServer, name: str, username: str) -> FirstMailbox:
    return FirstMailbox(
        address=server.address(name),
        smtp=read_server(smtp(server)),
        imap=read_server(imap(server)),
        username=username,
        password=SECRET,
    )


def route_in(draft: FirstMailbox, authority: Path) -> MonitoredRoute:
    return build_route(draft, SHORT_TIMEOUTS, Trust(), authority)


async def test_trial_user_name_of_other_mailbox_is_reported(mail_server: MailServer, authority: Path) -> None:
    draft = draft_of(mail_server, "petugas", f"siti@{DOMAIN}")
    tried = await Trial(bytes(32), SHORT_TIMEOUTS).run(route_in(draft, authority), draft.other_address)
    assert (tried.reads_other_mailbox, tried.result.outcome) == (True, Outcome.LOST)
    assert mail_server.mails(f"siti@{DOMAIN}") == [], "the message for comparison is taken away"


async def test_trial_address_aliased_to_user_names_mailbox_arrives(mail_server: MailServer, authority: Path) -> None:
    draft = draft_of(mail_server, "pantau-lain", f"siti@{DOMAIN}")
    mail_server.alias(draft.address, f"siti@{DOMAIN}")
    try:
        tried = await Trial(bytes(32), SHORT_TIMEOUTS).run(route_in(draft, authority), draft.other_address)
    finally:
        mail_server.alias(draft.address)
    assert (tried.reads_other_mailbox, tried.result.outcome) == (False, Outcome.DELIVERED)


async def test_trial_late_message_is_deleted_and_not_forged(mail_server: MailServer, authority: Path) -> None:
    key, draft = bytes(range(32)), draft_of(mail_server, RecipientOutcome.HELD, f"{RecipientOutcome.HELD}@{DOMAIN}")
    route, trial = route_in(draft, authority), Trial(key, SHORT_TIMEOUTS)
    tried = await trial.run(route, draft.other_address)
    assert tried.result.outcome is Outcome.LOST
    assert await trial.clean_up() is True, "it may still come"
    mail_server.release()
    await until(lambda: len(mail_server.mails(draft.address)) == 1)

    # The service uses the same key; with another key the message would be forged.
    assert Arrival.FORGED not in await arrivals_seen_by(TokenSigner(key, "perkhidmatan"), route)
    assert Arrival.FORGED in await arrivals_seen_by(TokenSigner(bytes(32), "perkhidmatan"), route)
    assert len(mail_server.mails(draft.address)) == 1

    assert await trial.clean_up() is False
    assert mail_server.mails(draft.address) == []


async def arrivals_seen_by(signer: TokenSigner, route: MonitoredRoute) -> list[Arrival]:
    """Return the arrivals that a watcher with this signer counts."""
    seen: list[Arrival] = []
    watcher = MailboxWatcher(
        route.route.recipient, signer, on_arrival=lambda each, *_: seen.append(each), timeouts=SHORT_TIMEOUTS
    )
    await watcher.poll_once()
    return seen


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUTS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_find_connection_at_other_port_detects_starttls(mail_server: MailServer) -> None:
    port = mail_server.ports[Listener.SUBMISSION]
    connection = await find_connection(Protocol.SMTP, read_server(f"localhost:{port} implicit as {HOST}"))
    assert connection.server == read_server(f"localhost:{port} starttls as {HOST}")
    assert connection.message == f"localhost:{port} answers with STARTTLS, and not TLS from the start."


def test_init_starttls_at_other_port_and_other_user_name_need_one_correction(
    mail_server: MailServer, authority: Path, tmp_path: Path
) -> None:
    place = tmp_path / "ministry"
    with terminal(str(place), "--ca", str(authority)) as person:
        person.answer("E-mail address", ADDRESS)
        port = mail_server.ports[Listener.SUBMISSION]
        person.answer("SMTP submission)", f"localhost:{port} as {HOST}")
        person.wait_for(f"localhost:{port} answers with STARTTLS, and not TLS from the start.")
        person.answer("(IMAP)", imap(mail_server))
        person.answer("User name", f"siti@{DOMAIN}")
        begun = time.monotonic()
        person.answer("Password", SECRET, hidden=True)
        person.wait_for(f"Send a message to siti@{DOMAIN} first, which is the user name")
        person.wait_for(f"siti@{DOMAIN} signs in to another mailbox")
        (tmp_path / "took").write_text(f"{time.monotonic() - begun:.1f}")
        person.answer("Which answer do you want to change", "")
        person.answer("User name", "")
        person.answer("Password", SECRET, hidden=True)
        person.wait_for("Short code")
        person.interrupt()
        person.wait_for(f"--address {ADDRESS} --smtp 'localhost:{port} starttls as {HOST}'")
        person.wait_for("Interrupted; nothing was written.")
        assert person.end() == 130
    assert person.asked == 5 + 3
    assert SECRET not in person.text
    assert [mail_server.mails(each) for each in (ADDRESS, f"siti@{DOMAIN}")] == [[], []], "also what came to the other"
