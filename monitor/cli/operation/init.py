"""`pantau init`: a first configuration, of one mailbox that is tested while its settings are asked."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from monitor.advice import advise, ended
from monitor.cli.operation.check import print_checked
from monitor.cli.operation.draft import (
    CA_FILE,
    HOW_SERVERS_ARE_WRITTEN,
    KEY,
    STATE_DIRECTORY,
    Change,
    FirstMailbox,
    InvalidAnswerError,
    code_of,
    files_of,
    read_address,
    read_change,
    read_code,
    read_password,
    read_server,
    route_of,
    written,
)
from monitor.cli.operation.probe import EXIT_CODES, undisturbed
from monitor.cli.operation.report import labelled
from monitor.cli.operation.trial import PATIENCE, Trial, Tried, find_way
from monitor.cli.private import write_private
from monitor.cli.service import fail, to_run
from monitor.cli.table import legible
from monitor.config.agency.mailbox import ServerSettings
from monitor.config.fields.circular import OFFICIAL_SUFFIXES, domain_of
from monitor.config.fields.trust import Trust, TrustStoreError
from monitor.config.files.secret import SecretResolver, SecretUnavailableError
from monitor.config.loading import load
from monitor.model.route import MonitoredRoute
from monitor.runtime.token_key import new_key
from probes.domain.x509 import issued_by
from probes.mail.message import SUBJECT
from probes.model.domain import is_within
from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError, ProtocolError
from probes.model.reply import Reason
from probes.model.result import Failure, Outcome, Party
from probes.preauth.callout import blind
from probes.preauth.discovery import DiscoveredServers, ServerCandidate, find_servers
from probes.preauth.session import Protocol, open_session

T = TypeVar("T")

#: Accounts are locked after three to ten refusals, including those of the person's own mail program.
_REFUSALS_AT_MOST = 3
#: Names that must not exist in the directory.
_TAKEN = ("pantau.yaml", "agencies", "secrets", STATE_DIRECTORY, CA_FILE)
_PORTS = range(8080, 8180, 2)

_SERVERS_FAULT = frozenset(
    {
        *(Reason.NAME_UNKNOWN, Reason.NAME_SERVER_SILENT, Reason.PORT_REFUSED, Reason.UNREACHABLE, Reason.NO_ANSWER),
        *(Reason.CONNECTION_CLOSED, Reason.UNEXPECTED_ANSWER, Reason.SERVICE_REFUSED, Reason.SIGN_IN_NOT_OFFERED),
        *(Reason.TLS_NOT_OFFERED, Reason.TLS_UNAVAILABLE, Reason.TLS_REFUSED, Reason.TLS_NOT_SPOKEN),
        *(Reason.TLS_TAMPERED, Reason.CERTIFICATE_EXPIRED, Reason.CERTIFICATE_OF_ANOTHER),
    }
)

_SERVER_QUESTIONS = {
    Protocol.SMTP: "Server that takes its mail (SMTP submission)",
    Protocol.IMAP: "Server that it is read at (IMAP)",
}
_WHICH_ANSWER = f"Which answer is another ({', '.join(Change)})"

ServerOption = Annotated[str | None, typer.Option(metavar="SERVER", help=f"Written {HOW_SERVERS_ARE_WRITTEN}.")]


def init(
    directory: Annotated[Path, typer.Argument(help="The directory to write; created if it does not exist.")] = Path(
        "pantau"
    ),
    *,
    address: Annotated[str | None, typer.Option(help="A mailbox that nobody uses; it sends to itself.")] = None,
    smtp: ServerOption = None,
    imap: ServerOption = None,
    username: Annotated[str | None, typer.Option(help="The user name of the sign-in; default: the address.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="A file that holds only the password.", metavar="FILE")
    ] = None,
    code: Annotated[str | None, typer.Option(help="The short code of the agency, such as JCONTOH.")] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="The servers' certificate authorities, as PEM.", metavar="FILE")
    ] = None,
) -> None:
    """Create a first configuration: ask for a mailbox, test it, and write the files.

    It notifies nobody (`mode: monitor_only`). An option answers its question; without a terminal nothing is asked. Nothing is written
    before a test message has arrived, and nothing is overwritten. The TLS mode of each server is detected. Exit codes of
    failures are those of `pantau probe`.
    """
    _check_room(directory)
    key = new_key()
    questions = _Questions(Trial(key), is_alone=sys.stdin is None or not sys.stdin.isatty())
    given = {"address": address, "smtp": smtp, "imap": imap, "username": username, "code": code}
    config: Path | None = None
    try:
        if questions.is_alone and (missing := _missing(given, password_file)):
            fail(f"there is no terminal for questions; give {', '.join(missing)}, too", 2)
        draft = questions.ask_all(given, password_file)
        draft, ca = questions.try_until_it_works(draft, ca)
        draft = replace(draft, code=questions.ask_code(code, draft))
        config = _write(directory, draft, key, ca)
    except (KeyboardInterrupt, EOFError, typer.Abort):
        typer.echo(err=True)
        questions.keep_answers(directory)
        fail("Interrupted; nothing was written.", 130)
    finally:
        questions.clean_up(is_written=config is not None)
    typer.echo(f"\nWritten: {config}, the agency's file and the password's.")
    if not is_within(draft.domain, OFFICIAL_SUFFIXES):
        typer.echo(f"{draft.domain} has no official suffix (circular, 3d); official_suffixes accepts it for this test.")
    loaded = load(config, os.environ, now=datetime.now(UTC))
    print_checked(config, loaded, loaded.problems)
    listen = loaded.accepted().settings.listen
    typer.echo(f"\nNext:  {to_run(config)}\nthen open  http://{listen}/")


def _missing(given: dict[str, str | None], password_file: Path | None) -> list[str]:
    needed = [f"--{name}" for name in ("address", "smtp", "imap") if given[name] is None]
    return needed + (["--password-file"] if password_file is None else [])


def _check_room(directory: Path) -> None:
    for name in _TAKEN:
        if os.path.lexists(directory / name):
            fail(f"{directory / name} exists, and nothing is overwritten; name another directory", 2)
    try:
        is_directory = stat.S_ISDIR(directory.stat().st_mode)
    except FileNotFoundError:
        is_directory = not directory.is_symlink()  # A dangling link is not created.
    except OSError as error:
        fail(f"{directory} cannot be written: {error.strerror}; name another directory", 2)
    if not is_directory:
        fail(f"{directory} is not a directory", 2)
    # Not Path.exists: it raises in a directory without access.
    around = next(each for each in (directory, *directory.absolute().parents) if os.path.lexists(each))
    if not os.access(around, os.W_OK | os.X_OK):
        fail(f"{around} cannot be written by this user; name another directory", 2)


class _Questions:
    """Asks at the terminal, shows the progress of the test, and asks again for wrong answers."""

    def __init__(self, trial: Trial, *, is_alone: bool) -> None:
        #: There is no terminal.
        self.is_alone = is_alone
        self._trial = trial
        self._trust = Trust()
        self._refusals = 0
        #: The present answers, once complete.
        self._draft: FirstMailbox | None = None

    # -- questions -----------------------------------------------------------------------------------------------

    def ask_all(self, given: dict[str, str | None], password_file: Path | None) -> FirstMailbox:
        """Return the answers, or the options given instead of them."""
        if not self.is_alone:
            typer.echo(
                "Pantau sends a message from a mailbox that nobody uses to itself, and checks that it arrives. Ctrl-C interrupts.\n"
            )
        if given["code"] is not None:  # Before all other questions and the test.
            self._answer("Short code of the agency", given["code"], read_code)
        address = self._answer("E-mail address of the mailbox", given["address"], read_address)
        found = DiscoveredServers()
        if given["smtp"] is None or given["imap"] is None:
            typer.echo(f"  Asking the DNS for the servers of {domain_of(address)} ...")
            found = asyncio.run(find_servers(domain_of(address)))
            typer.echo(f"  Servers are written {HOW_SERVERS_ARE_WRITTEN}.")
        proposed = {each: _proposed(found.of(each)) for each in (Protocol.SMTP, Protocol.IMAP)}
        smtp = self._server(Protocol.SMTP, given["smtp"], proposed[Protocol.SMTP])
        imap = self._server(Protocol.IMAP, given["imap"], proposed[Protocol.IMAP])
        username = given["username"] or (address if self.is_alone else self._answer("User name", None, _line, address))
        return FirstMailbox(
            address=address,
            smtp=smtp,
            imap=imap,
            username=username,
            password=self._password(password_file),
            code=code_of(domain_of(address)),
        )

    def _server(self, protocol: Protocol, given: str | None, default: str = "") -> ServerSettings:
        """Return a server with its TLS mode; if nothing answers, ask again until the same answer is given twice."""
        refused: ServerSettings | None = None
        while True:
            server = self._answer(_SERVER_QUESTIONS[protocol], given, read_server, default)
            way = asyncio.run(find_way(protocol, server))
            typer.echo(f"  {way.said}")
            if way.server is not None or self.is_alone or given is not None or server == refused:
                # The test explains in detail why a server is unusable.
                return way.server or server
            refused, default = server, written(way.proposed or server)

    def ask_code(self, given: str | None, draft: FirstMailbox) -> str:
        """Return the code of the agency."""
        return self._answer(
            "Short code of the agency", given or (draft.code if self.is_alone else None), read_code, draft.code
        )

    def _answer(
        self,
        question: str,
        given: str | None,
        read: Callable[[str], T],
        default: str | None = None,
        *,
        is_shown: bool = True,
    ) -> T:
        while True:
            try:
                text = given
                if text is None:
                    text = str(
                        typer.prompt(question, default=str(default) if default else None, hide_input=not is_shown)
                    )
                return read(text)
            except UnicodeDecodeError:  # The message of the exception would contain a part of a password.
                typer.echo("  is not UTF-8 text; type it instead of pasting")
            except InvalidAnswerError as wrong:
                if given is not None:
                    fail(f"{question}: {wrong}", 2)
                typer.echo(f"  {wrong}")

    def _password(self, file: Path | None) -> str:
        if file is None:
            return self._answer("Password (not shown)", None, read_password, is_shown=False)
        try:
            return SecretResolver(directory=Path.cwd(), environ={}).from_file(str(file)).get_secret_value()
        except SecretUnavailableError as wrong:
            fail(f"--password-file: {wrong}; write {wrong.instead}", 2)

    # -- test ----------------------------------------------------------------------------------------------------

    def try_until_it_works(self, draft: FirstMailbox, ca: Path | None) -> tuple[FirstMailbox, Path | None]:
        """Test the mailbox, and ask again for the wrong answer; end the command if it cannot be asked."""
        while True:
            self._draft = draft
            try:
                route = route_of(draft, PATIENCE, self._trust, ca)
            except TrustStoreError as wrong:
                ca = self._another_ca(str(wrong))
                continue
            with undisturbed(verbose=False):
                tried = asyncio.run(self._trial.run(route, draft.other_address))
            if tried.result.failure is None and tried.result.outcome is Outcome.DELIVERED:
                return replace(draft, has_ca=ca is not None), ca
            self._say(draft, route, tried)
            if self.is_alone:
                fail("Nothing was written.", EXIT_CODES[tried.result.outcome])
            draft, ca = self._corrected(draft, ca, route, tried)

    def keep_answers(self, directory: Path) -> None:
        """Print how to continue with the given answers; a password is entered again."""
        if self._draft is None or self.is_alone:
            return
        draft = self._draft
        answers = {"address": draft.address, "smtp": written(draft.smtp), "imap": written(draft.imap)}
        answers["username"] = draft.username
        options = [word for option, answer in answers.items() for word in (f"--{option}", answer)]
        typer.echo(
            f"To continue with the same answers:  {shlex.join(['pantau', 'init', str(directory), *options])}", err=True
        )

    def clean_up(self, *, is_written: bool) -> None:
        """Delete the test messages in the mailbox, and print which may still arrive; a service deletes those."""
        with suppress(KeyboardInterrupt), undisturbed(verbose=False):
            if asyncio.run(self._trial.clean_up()) and not is_written:
                typer.echo(f"A message of this test may still arrive; its subject begins with: {SUBJECT}", err=True)

    def _say(self, draft: FirstMailbox, route: MonitoredRoute, tried: Tried) -> None:
        width = min(shutil.get_terminal_size((80, 24)).columns, 100)
        result = tried.result
        advice = advise(route, result)
        means, do = advice.what, _to_do(advice.do, result.failure)
        if tried.reads_another:
            means = (
                f"{draft.username} signs in to another mailbox: mail to {draft.username} arrives there, and mail to "
                f"{draft.address} does not."
            )
            do = f"Write the user name of {draft.address}; or watch {draft.username}, as the address."
        elif draft.other_address and result.failure is not None and result.failure.reason == Reason.NOT_ARRIVED:
            do = f"Is {draft.address} an address of the mailbox that {draft.username} signs in to? If not, write another user name."
        typer.echo(f"\n{result.outcome.upper()}: {ended(result)}")
        said = result.failure.detail if result.failure else ""
        for label, text in (("Detail", said), ("Means", means), ("Do", do)):
            if text:
                typer.echo("\n".join(labelled(label, text, width)))

    def _corrected(
        self, draft: FirstMailbox, ca: Path | None, route: MonitoredRoute, tried: Tried
    ) -> tuple[FirstMailbox, Path | None]:
        """Ask again for the wrong answer, and for nothing else."""
        failure = tried.result.failure
        reason = failure.reason if failure else ""
        is_smtp = failure is not None and failure.party is Party.SENDER
        typer.echo()
        if failure is not None and failure.credentials_refused:
            self._refusals += 1
            if self._refusals == _REFUSALS_AT_MOST:
                fail(
                    f"The servers have refused {_REFUSALS_AT_MOST} sign-ins; many lock the account after more. "
                    "Sign in with a mail program first. Nothing was written.",
                    EXIT_CODES[tried.result.outcome],
                )
            return self._changed(draft, ca, Change.USERNAME)
        if reason == Reason.CERTIFICATE_UNTRUSTED:
            server = route.route.sender.smtp if is_smtp else route.route.recipient.imap
            if server is not None:
                asyncio.run(_show_issuer(Protocol.SMTP if is_smtp else Protocol.IMAP, server))
            return self._changed(draft, ca, Change.CA)
        if reason in _SERVERS_FAULT:
            return self._changed(draft, ca, Change.SMTP if is_smtp else Change.IMAP)
        if reason in {Reason.SENDER_REFUSED, Reason.RECIPIENT_REFUSED}:
            return self._changed(draft, ca, Change.ADDRESS)
        suspected = Change.USERNAME if reason == Reason.NOT_ARRIVED and draft.other_address else Change.AGAIN
        return self._changed(draft, ca, self._answer(_WHICH_ANSWER, None, read_change, suspected))

    def _changed(self, draft: FirstMailbox, ca: Path | None, change: Change) -> tuple[FirstMailbox, Path | None]:
        """Return the draft after one answer was asked again; another user name requires another password."""
        match change:
            case Change.ADDRESS:
                draft = draft.with_address(self._answer("E-mail address", None, read_address, draft.address))
            case Change.SMTP | Change.IMAP:
                typer.echo(f"  Written {HOW_SERVERS_ARE_WRITTEN}.")
                protocol = Protocol(change)
                server = self._server(protocol, None, written(draft.smtp if protocol is Protocol.SMTP else draft.imap))
                draft = replace(draft, smtp=server) if protocol is Protocol.SMTP else replace(draft, imap=server)
            case Change.USERNAME:
                proposed = draft.address if draft.other_address else draft.username
                username = self._answer("User name", None, _line, proposed)
                draft = replace(draft, username=username, password=self._password(None))
            case Change.PASSWORD:
                draft = replace(draft, password=self._password(None))
            case Change.CA:
                ca = self._another_ca("")
            case Change.END:
                raise typer.Abort
            case Change.AGAIN:
                pass
        return draft, ca

    def _another_ca(self, wrong: str) -> Path:
        if wrong:
            typer.echo(f"  {wrong}")
        if self.is_alone:
            fail("Give the servers' certificate authorities as a PEM file with --ca. Nothing was written.", 2)
        return self._answer("File of its certificate authority (PEM)", None, _file)


def _to_do(advised: str, failure: Failure | None) -> str:
    """Return the remedy for a server while there is no file yet whose settings the advice could name."""
    if failure is None or failure.reason not in _SERVERS_FAULT or f"mailboxes.{KEY}" not in advised:
        return advised
    option = "--smtp" if failure.party is Party.SENDER else "--imap"
    return f"Check the name and the port of this server ({option})."


def _proposed(candidates: Sequence[ServerCandidate]) -> str:
    """Return the first of some servers in the notation of the question; "": there is none."""
    proposed = (ServerSettings(host=each.host, port=each.port, security=each.security) for each in candidates)
    return next(map(written, proposed), "")


def _line(text: str) -> str:
    if not text.strip():
        raise InvalidAnswerError("is empty")
    return text.strip()


def _file(text: str) -> Path:
    path = Path(text.strip()).expanduser()
    if not path.is_file():
        raise InvalidAnswerError(f"there is no file {path}")
    return path.resolve()


async def _show_issuer(protocol: Protocol, server: Server) -> None:
    """Print the issuer of a server's certificate, so that nobody trusts an unknown authority."""
    try:
        async with asyncio.timeout(PATIENCE.session.total_seconds()):
            session = await open_session(protocol, server, Party.SENDER, tls=blind())
            try:
                if server.security is Security.STARTTLS:
                    await session.greet()
                    await session.offers()
                    await session.start_tls(blind(), server.certificate_name)
                issuer = issued_by(session.chain)
            finally:
                session.close()
    except (OSError, TimeoutError, ProbeFailedError, ProtocolError, ValueError):
        return
    typer.echo(f"  {server.host}:{server.port} shows a certificate that was issued by: {legible(issuer)}")


# -- files -------------------------------------------------------------------------------------------------------------


def _write(directory: Path, draft: FirstMailbox, key: bytes, ca: Path | None) -> Path:
    """Write the configuration, completely or not at all, and return the settings file."""
    files = dict(files_of(draft, key, *_listeners()))
    made = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        stage = Path(tempfile.mkdtemp(prefix=".pantau-init-", dir=directory))
    except OSError as error:
        fail(f"{directory} cannot be written: {error.strerror}. Nothing was written.")
    moved: list[Path] = []
    try:
        if ca is not None:
            files = {CA_FILE: ca.read_bytes(), **files}
        for name, octets in files.items():
            (stage / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(stage / name, octets)
        loaded = load(stage / "pantau.yaml", os.environ)
        if loaded.errors:
            fail("\n".join(map(str, loaded.errors)) + "\nNothing was written.", 2)
        # The settings last: without them the rest is no configuration.
        for name in sorted({Path(name).parts[0] for name in files}, key=lambda name: (name == "pantau.yaml", name)):
            (stage / name).rename(directory / name)
            moved.append(directory / name)
    except BaseException as error:
        for path in moved:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(stage, ignore_errors=True)
        if made:
            with suppress(OSError):
                directory.rmdir()
        if isinstance(error, OSError):
            fail(f"{directory} cannot be written: {error.strerror}. Nothing was written.")
        raise
    stage.rmdir()
    return directory / "pantau.yaml"


def _listeners() -> tuple[str, str]:
    """Return listening addresses if the usual ports are in use, as on a machine that runs Pantau already; else ""."""
    for port in _PORTS:
        if all(map(_is_free, (port, port + 1))):
            return ("", "") if port == _PORTS[0] else (f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}")
    return "", ""


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
