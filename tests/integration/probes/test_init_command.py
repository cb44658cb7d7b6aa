"""`pantau init` at a terminal, against a real Postfix and Dovecot with an authority of their own."""

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
from tests.real.mailserver import DOMAIN, HOST, SECRET, Door, MailServer, TokenState

pytestmark = pytest.mark.real

#: In seconds; a machine that is busy with other things may need many.
PATIENCE = 180.0
ADDRESS = f"pantau@{DOMAIN}"
#: For a trial in which a message does not come.
QUICK = Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=3))


class Terminal:
    """Somebody at a terminal: reads what the command says, and answers."""

    def __init__(self, *words: str) -> None:
        self.text = ""
        self._read = 0
        self._child, self._terminal = pty.fork()
        if self._child == 0:
            os.environ["COLUMNS"] = "100"
            # Whoever starts the tests in the background has it ignored, for all that come of them.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execv(sys.executable, [sys.executable, "-m", "monitor.cli", "init", *words])
        self.asked = 0

    def expect(self, words: str) -> None:
        """Read on until *words* have been said."""
        deadline = time.monotonic() + PATIENCE
        while words not in self.text[self._read :]:
            if not self._more() or time.monotonic() > deadline:
                raise AssertionError(f"not said: {words}\n{self.text}")
        self._read = self.text.index(words, self._read) + len(words)

    def answer(self, question: str, text: str | bytes, *, hidden: bool = False) -> None:
        """Answer a question once it is asked."""
        self.expect(question)
        self.asked += 1
        while hidden and termios.tcgetattr(self._terminal)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(self._terminal, (text if isinstance(text, bytes) else text.encode()) + b"\n")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self._terminal, b"\x03")

    def end(self) -> int:
        """Return the exit code, once it has ended."""
        deadline = time.monotonic() + PATIENCE
        while self._more() and time.monotonic() < deadline:
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

    def _more(self) -> bool:
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
    # Beside those of the system, and in no order that says which it is.
    known = zip(trust.get_ca_certs(), trust.get_ca_certs(binary_form=True), strict=True)
    [der] = [der for told, der in known if "Testing CA" in str(told["subject"])]
    file = tmp_path / "ca-jabatan.pem"
    file.write_text(ssl.DER_cert_to_PEM_cert(der))
    return file


def smtp(server: MailServer) -> str:
    return f"localhost:{server.ports[Door.SUBMISSION]} starttls as {HOST}"


def imap(server: MailServer) -> str:
    return f"localhost:{server.ports[Door.IMAPS]} as {HOST}"


def refusals(server: MailServer) -> int:
    """Return how often a password was refused, by the servers' own logs."""
    return server.log().count("SASL PLAIN authentication failed") + server.log().count("auth failed")


def are_refused(server: MailServer, times: int) -> bool:
    """Return whether so many were refused, and not more; servers write down what they answered once they have answered."""
    deadline = time.monotonic() + PATIENCE
    while refusals(server) < times and time.monotonic() < deadline:
        time.sleep(0.05)
    return refusals(server) == times


def test_the_first_green_route_takes_six_answers_and_the_authority(
    mail_server: MailServer, authority: Path, tmp_path: Path
) -> None:
    """Also a wrong password: it is tried once, and asked for again."""
    place = tmp_path / "jabatan contoh"
    with terminal(str(place)) as person:
        person.answer("E-mail address", ADDRESS)
        person.expect("`implicit` behind it (encrypted from the start")
        person.answer("SMTP submission)", smtp(mail_server))
        person.answer("(IMAP)", imap(mail_server))
        person.answer("User name", "")
        person.expect("Password")
        before = refusals(mail_server)
        person.answer("", "salah", hidden=True)
        assert not place.exists()

        # Corrections, each of the one answer that was wrong.
        person.expect("CERTIFICATE_VERIFY_FAILED")
        person.expect("issued by: OU=")
        person.answer("certificate authority (PEM)", str(authority))
        person.expect("refuses the password")
        assert are_refused(mail_server, before + 1), "accounts are locked by those who go on trying"
        person.answer("User name", "")
        person.answer("Password", SECRET, hidden=True)
        for phase in ("dns", "connect", "tls", "auth", "submit", "data", "transit", "retrieve"):
            person.expect(f"  {phase} ")

        person.answer("Short code", "")
        person.expect("NOBODY IS NOTIFIED: mode is monitor_only")
        person.expect(f"Next:  pantau run --config '{place}/pantau.yaml'")
        assert person.end() == 0
    assert person.asked == 6 + 3, "six questions, and three corrections"
    assert SECRET not in person.text
    assert "salah" not in person.text
    assert are_refused(mail_server, before + 1)

    files = {str(file.relative_to(place)): file for file in place.rglob("*") if file.is_file()}
    assert set(files) == {"pantau.yaml", "agencies/jcontoh.yaml", "secrets/utama", "ca.pem", "state/token.key"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}
    assert [name for name, file in files.items() if SECRET.encode() in file.read_bytes()] == ["secrets/utama"]
    assert mail_server.mails(ADDRESS) == [], "what was sent is taken away again"
    becomes_green(place)


def becomes_green(place: Path) -> None:
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
            deadline = time.monotonic() + PATIENCE
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


def test_ctrl_c_in_the_middle_leaves_nothing(mail_server: MailServer, authority: Path, tmp_path: Path) -> None:
    place = tmp_path / "ministry"
    with terminal(str(place), "--ca", str(authority)) as person:
        person.answer("E-mail address", ADDRESS)
        person.answer("SMTP submission)", smtp(mail_server))
        person.answer("(IMAP)", imap(mail_server))
        person.answer("User name", "")
        person.answer("Password", SECRET, hidden=True)
        person.expect("Short code")
        person.interrupt()
        person.expect("nothing was written")
        assert person.end() == 130
    assert not place.exists()


def test_an_account_is_not_locked_by_somebody_who_goes_on_guessing(
    mail_server: MailServer, authority: Path, tmp_path: Path
) -> None:
    place, before = tmp_path / "ministry", refusals(mail_server)
    options = ("--address", ADDRESS, "--smtp", smtp(mail_server), "--imap", imap(mail_server), "--username", ADDRESS)
    with terminal(str(place), "--ca", str(authority), *options) as person:
        person.answer("Password", "satu ", hidden=True)
        person.expect("begins or ends with a blank")
        person.answer("Password", b"sat\xff", hidden=True)
        person.expect("is not UTF-8 text")
        person.answer("Password", "satu", hidden=True)
        for guess in ("dua", "tiga"):
            person.answer("User name", "")
            person.answer("Password", guess, hidden=True)
        person.expect("many lock the account")
        assert person.end() == 16
    assert are_refused(mail_server, before + 3)
    assert not place.exists()


def alone(place: Path, *words: str) -> tuple[int, str]:
    """Do as a script does, without a terminal; without a process of its own, which would cost a second."""
    done = CliRunner().invoke(app, ["init", str(place), *words])
    return done.exit_code, done.output


def test_a_script_passes_all_of_it_and_secrets_by_file(
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
    assert alone(place, "--address", ADDRESS) == (
        2,
        "there is no terminal for questions; give --smtp, --imap, --password-file, too\n",
    )
    code, said = alone(place, *words, "--code", "dua kata")
    assert (code, "Sign in" in said) == (2, False), "it is said before anything is tried"
    elsewhere = ("--smtp", f"localhost:{mail_server.ports[Door.IMAPS]} as {HOST}", "--ca", str(authority))
    code, said = alone(place, *words, *elsewhere)
    assert (code, "mailboxes." in said, "(--smtp)" in said) == (19, False, True), "no file is there yet to correct"
    code, said = alone(place, *words)
    assert (code, "Nothing was written." in said) == (17, True), "nobody has named the authority"
    code, said = alone(place, *words, "--ca", str(authority))
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
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert (place / "agencies" / "ujian.yaml").exists()

    before = (place / "pantau.yaml").read_bytes()
    code, said = alone(place, *words)
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
    return build_route(draft, QUICK, Trust(), authority)


async def test_trial_with_the_user_name_of_another_mailbox_says_so(mail_server: MailServer, authority: Path) -> None:
    draft = draft_of(mail_server, "petugas", f"siti@{DOMAIN}")
    tried = await Trial(bytes(32), QUICK).run(route_in(draft, authority), draft.other_address)
    assert (tried.reads_other_mailbox, tried.result.outcome) == (True, Outcome.LOST)
    assert mail_server.mails(f"siti@{DOMAIN}") == [], "the message for comparison is taken away"


async def test_trial_with_an_address_that_leads_to_the_user_names_mailbox_arrives(
    mail_server: MailServer, authority: Path
) -> None:
    draft = draft_of(mail_server, "pantau-lain", f"siti@{DOMAIN}")
    mail_server.alias(draft.address, f"siti@{DOMAIN}")
    try:
        tried = await Trial(bytes(32), QUICK).run(route_in(draft, authority), draft.other_address)
    finally:
        mail_server.alias(draft.address)
    assert (tried.reads_other_mailbox, tried.result.outcome) == (False, Outcome.DELIVERED)


async def test_trial_message_that_comes_late_is_deleted_and_is_not_forged(
    mail_server: MailServer, authority: Path
) -> None:
    key, draft = bytes(range(32)), draft_of(mail_server, TokenState.HELD, f"{TokenState.HELD}@{DOMAIN}")
    route, trial = route_in(draft, authority), Trial(key, QUICK)
    tried = await trial.run(route, draft.other_address)
    assert tried.result.outcome is Outcome.LOST
    assert await trial.clean_up() is True, "it may still come"
    mail_server.release()
    await until(lambda: len(mail_server.mails(draft.address)) == 1)

    # The service that is written signs with the same key; one with another key would take it for forged.
    assert Arrival.FORGED not in await seen_by(TokenSigner(key, "perkhidmatan"), route)
    assert Arrival.FORGED in await seen_by(TokenSigner(bytes(32), "perkhidmatan"), route)
    assert len(mail_server.mails(draft.address)) == 1

    assert await trial.clean_up() is False
    assert mail_server.mails(draft.address) == []


async def seen_by(signer: TokenSigner, route: MonitoredRoute) -> list[Arrival]:
    """Return what somebody who signs so sees in the mailbox."""
    seen: list[Arrival] = []
    watcher = MailboxWatcher(
        route.route.recipient, signer, on_arrival=lambda each, *_: seen.append(each), timeouts=QUICK
    )
    await watcher.poll_once()
    return seen


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_find_way_at_a_port_of_its_own_finds_the_tls_that_is_spoken(mail_server: MailServer) -> None:
    port = mail_server.ports[Door.SUBMISSION]
    way = await find_connection(Protocol.SMTP, read_server(f"localhost:{port} implicit as {HOST}"))
    assert way.server == read_server(f"localhost:{port} starttls as {HOST}")
    assert way.message == f"localhost:{port} answers with STARTTLS, and not TLS from the start."


def test_starttls_at_a_port_of_its_own_needs_no_second_answer_and_another_user_name_asks_for_it_alone(
    mail_server: MailServer, authority: Path, tmp_path: Path
) -> None:
    place = tmp_path / "ministry"
    with terminal(str(place), "--ca", str(authority)) as person:
        person.answer("E-mail address", ADDRESS)
        port = mail_server.ports[Door.SUBMISSION]
        person.answer("SMTP submission)", f"localhost:{port} as {HOST}")
        person.expect(f"localhost:{port} answers with STARTTLS, and not TLS from the start.")
        person.answer("(IMAP)", imap(mail_server))
        person.answer("User name", f"siti@{DOMAIN}")
        begun = time.monotonic()
        person.answer("Password", SECRET, hidden=True)
        person.expect(f"Send a message to siti@{DOMAIN} first, which is the user name")
        person.expect(f"siti@{DOMAIN} signs in to another mailbox")
        (tmp_path / "took").write_text(f"{time.monotonic() - begun:.1f}")
        person.answer("Which answer do you want to change", "")
        person.answer("User name", "")
        person.answer("Password", SECRET, hidden=True)
        person.expect("Short code")
        person.interrupt()
        person.expect(f"--address {ADDRESS} --smtp 'localhost:{port} starttls as {HOST}'")
        person.expect("Interrupted; nothing was written.")
        assert person.end() == 130
    assert person.asked == 5 + 3
    assert SECRET not in person.text
    assert [mail_server.mails(each) for each in (ADDRESS, f"siti@{DOMAIN}")] == [[], []], "also what came to the other"
