"""`pantau init`: create a first configuration with one mailbox.

The command asks for the mailbox, tests it, asks again for wrong answers, and writes the files after the first success.
"""

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

from monitor.advice import advise, outcome_text
from monitor.cli.operation.check import print_check_result
from monitor.cli.operation.draft import (
    CA_FILE,
    MAILBOX_KEY,
    SERVER_NOTATION,
    STATE_DIRECTORY,
    Change,
    FirstMailbox,
    InvalidAnswerError,
    build_files,
    build_route,
    format_server,
    read_address,
    read_change,
    read_code,
    read_password,
    read_server,
    suggest_code,
)
from monitor.cli.operation.probe import EXIT_CODES, suppress_log_events
from monitor.cli.operation.report import format_labelled
from monitor.cli.operation.trial import TIMEOUTS, Trial, TrialResult, find_connection
from monitor.cli.private import write_private
from monitor.cli.service import fail, run_command
from monitor.cli.table import remove_control_characters
from monitor.config.agency.mailbox import ServerSettings
from monitor.config.fields.circular import OFFICIAL_SUFFIXES, domain_of
from monitor.config.fields.trust import Trust, TrustStoreError
from monitor.config.files.secret import SecretResolver, SecretUnavailableError
from monitor.config.loading import load
from monitor.model.route import MonitoredRoute
from monitor.runtime.token_key import new_key
from probes.domain.x509 import read_issuer
from probes.mail.message import SUBJECT_PREFIX
from probes.model.domain import is_within
from probes.model.mailbox import Security, Server
from probes.model.probe import ProbeFailedError, ProtocolError
from probes.model.reply import Reason
from probes.model.result import Failure, Outcome, Party
from probes.preauth.callout import unverified_tls_context
from probes.preauth.discovery import DiscoveredServers, ServerCandidate, find_servers
from probes.preauth.session import Protocol, open_session

_T = TypeVar("_T")

#: Many servers lock an account after three to ten failed sign-ins, including those of the user's own mail program.
_MAX_SIGN_IN_FAILURES = 3
#: Files and directories that the command writes. They must not exist in the target directory.
_RESERVED_NAMES = ("pantau.yaml", "agencies", "secrets", STATE_DIRECTORY, CA_FILE)
#: Ports to try for the portal. The listener for providers' callbacks gets the port after it.
_PORTS = range(8080, 8180, 2)

#: Reasons of failures that a wrong server name or port explains.
_SERVER_REASONS = frozenset(
    {
        *(Reason.NAME_UNKNOWN, Reason.NAME_SERVER_SILENT, Reason.PORT_REFUSED, Reason.UNREACHABLE, Reason.NO_ANSWER),
        *(Reason.CONNECTION_CLOSED, Reason.UNEXPECTED_ANSWER, Reason.SERVICE_REFUSED, Reason.SIGN_IN_NOT_OFFERED),
        *(Reason.TLS_NOT_OFFERED, Reason.TLS_UNAVAILABLE, Reason.TLS_REFUSED, Reason.TLS_NOT_SPOKEN),
        *(Reason.TLS_INJECTION, Reason.CERTIFICATE_EXPIRED, Reason.CERTIFICATE_NAME_MISMATCH),
    }
)

_SERVER_QUESTIONS = {
    Protocol.SMTP: "Server that takes its mail (SMTP submission)",
    Protocol.IMAP: "Server that it is read at (IMAP)",
}
_CHANGE_QUESTION = f"Which answer do you want to change ({', '.join(Change)})"

ServerOption = Annotated[str | None, typer.Option(metavar="SERVER", help=f"Written {SERVER_NOTATION}.")]


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

    The configuration notifies nobody (`mode: monitor_only`). Each option replaces a question; without a terminal, give all
    answers as options. Files are written only after a test message has arrived, and never overwritten. The TLS mode of each
    server is detected. Exit codes of failures are those of `pantau probe`.
    """
    _check_directory(directory)
    key = new_key()
    dialogue = _Dialogue(Trial(key), is_unattended=sys.stdin is None or not sys.stdin.isatty())
    options = {"address": address, "smtp": smtp, "imap": imap, "username": username, "code": code}
    config: Path | None = None
    try:
        if dialogue.is_unattended and (missing_options := _missing_options(options, password_file)):
            fail(f"there is no terminal for questions; give {', '.join(missing_options)}, too", 2)
        draft = dialogue.ask_all(options, password_file)
        draft, ca = dialogue.test_until_success(draft, ca)
        draft = replace(draft, code=dialogue.ask_code(code, draft))
        config = _write(directory, draft, key, ca)
    except (KeyboardInterrupt, EOFError, typer.Abort):
        typer.echo(err=True)
        dialogue.print_continuation(directory)
        fail("Interrupted; nothing was written.", 130)
    finally:
        dialogue.clean_up(is_configured=config is not None)
    typer.echo(f"\nWritten: {config}, the agency's file and the password's.")
    if not is_within(draft.domain, OFFICIAL_SUFFIXES):
        typer.echo(f"{draft.domain} has no official suffix (circular, 3d); official_suffixes accepts it for this test.")
    loaded = load(config, os.environ, now=datetime.now(UTC))
    print_check_result(config, loaded, loaded.problems)
    listen = loaded.require_configuration().settings.listen
    typer.echo(f"\nNext:  {run_command(config)}\nthen open  http://{listen}/")


def _missing_options(options: dict[str, str | None], password_file: Path | None) -> list[str]:
    needed = [f"--{name}" for name in ("address", "smtp", "imap") if options[name] is None]
    return needed + (["--password-file"] if password_file is None else [])


def _check_directory(directory: Path) -> None:
    for name in _RESERVED_NAMES:
        if os.path.lexists(directory / name):
            fail(f"{directory / name} exists, and nothing is overwritten; name another directory", 2)
    try:
        is_directory = stat.S_ISDIR(directory.stat().st_mode)
    except FileNotFoundError:
        is_directory = not directory.is_symlink()  # The target of a dangling link is not created.
    except OSError as error:
        fail(f"{directory} cannot be written: {error.strerror}; name another directory", 2)
    if not is_directory:
        fail(f"{directory} is not a directory", 2)
    # `Path.exists` would raise in a directory without access.
    existing = next(each for each in (directory, *directory.absolute().parents) if os.path.lexists(each))
    if not os.access(existing, os.W_OK | os.X_OK):
        fail(f"{existing} cannot be written by this user; name another directory", 2)


class _Dialogue:
    """Dialogue at the terminal: questions, test of the mailbox, and questions about wrong answers.

    Without a terminal all answers are options, and the command ends at a wrong one.
    """

    def __init__(self, trial: Trial, *, is_unattended: bool) -> None:
        #: Whether there is no terminal.
        self.is_unattended = is_unattended
        self._trial = trial
        self._trust = Trust()
        self._sign_in_failures = 0
        #: The present answers; `None` while they are incomplete.
        self._draft: FirstMailbox | None = None

    # -- questions -----------------------------------------------------------------------------------------------

    def ask_all(self, options: dict[str, str | None], password_file: Path | None) -> FirstMailbox:
        """Return all answers. An option answers its question."""
        if not self.is_unattended:
            typer.echo(
                "Pantau sends a message from a mailbox that nobody uses to itself, and checks that it arrives. Ctrl-C interrupts.\n"
            )
        if options["code"] is not None:  # An invalid code is rejected here; `ask_code` uses it after the test.
            self._ask("Short code of the agency", options["code"], read_code)
        address = self._ask("E-mail address of the mailbox", options["address"], read_address)
        discovered = DiscoveredServers()
        if options["smtp"] is None or options["imap"] is None:
            typer.echo(f"  Asking the DNS for the servers of {domain_of(address)} ...")
            discovered = asyncio.run(find_servers(domain_of(address)))
            typer.echo(f"  Servers are written {SERVER_NOTATION}.")
        defaults = {each: _first_server(discovered.for_protocols(each)) for each in (Protocol.SMTP, Protocol.IMAP)}
        smtp = self._ask_server(Protocol.SMTP, options["smtp"], defaults[Protocol.SMTP])
        imap = self._ask_server(Protocol.IMAP, options["imap"], defaults[Protocol.IMAP])
        username = options["username"] or (
            address if self.is_unattended else self._ask("User name", None, _read_line, address)
        )
        return FirstMailbox(
            address=address,
            smtp=smtp,
            imap=imap,
            username=username,
            password=self._ask_password(password_file),
            code=suggest_code(domain_of(address)),
        )

    def _ask_server(self, protocol: Protocol, option: str | None, default: str = "") -> ServerSettings:
        """Return a server with its TLS mode. If it does not answer, ask again until the user gives the same server twice."""
        unreachable: ServerSettings | None = None
        while True:
            server = self._ask(_SERVER_QUESTIONS[protocol], option, read_server, default)
            connection = asyncio.run(find_connection(protocol, server))
            typer.echo(f"  {connection.message}")
            if connection.server is not None or self.is_unattended or option is not None or server == unreachable:
                # Accept a server that does not answer, too: the test explains the fault in detail.
                return connection.server or server
            unreachable, default = server, format_server(connection.alternative or server)

    def ask_code(self, option: str | None, draft: FirstMailbox) -> str:
        """Return the short code of the agency: *option*, or the user's answer; without a terminal the suggested code."""
        return self._ask(
            "Short code of the agency", option or (draft.code if self.is_unattended else None), read_code, draft.code
        )

    def _ask(
        self,
        question: str,
        option: str | None,
        read: Callable[[str], _T],
        default: str | None = None,
        *,
        is_shown: bool = True,
    ) -> _T:
        """Return *option*, or an answer to *question*, as parsed by *read*. Repeat the question after a wrong answer.

        *read* raises `InvalidAnswerError`; for an option that ends the command. *is_shown*: whether typed text is visible.
        """
        while True:
            try:
                text = option
                if text is None:
                    text = str(
                        typer.prompt(question, default=str(default) if default else None, hide_input=not is_shown)
                    )
                return read(text)
            except UnicodeDecodeError:  # Its message is not shown, because it may contain a part of a password.
                typer.echo("  is not UTF-8 text; type it instead of pasting")
            except InvalidAnswerError as error:
                if option is not None:
                    fail(f"{question}: {error}", 2)
                typer.echo(f"  {error}")

    def _ask_password(self, file: Path | None) -> str:
        if file is None:
            return self._ask("Password (not shown)", None, read_password, is_shown=False)
        try:
            return SecretResolver(directory=Path.cwd(), environ={}).from_file(str(file)).get_secret_value()
        except SecretUnavailableError as error:
            fail(f"--password-file: {error}; write {error.instead}", 2)

    # -- test ----------------------------------------------------------------------------------------------------

    def test_until_success(self, draft: FirstMailbox, ca: Path | None) -> tuple[FirstMailbox, Path | None]:
        """Test the mailbox, and ask again for a wrong answer, until the test succeeds.

        Return the corrected answers and the CA file. Without a terminal, end the command at a failure.
        """
        while True:
            self._draft = draft
            try:
                route = build_route(draft, TIMEOUTS, self._trust, ca)
            except TrustStoreError as error:
                ca = self._ask_ca(str(error))
                continue
            with suppress_log_events(verbose=False):
                trial_result = asyncio.run(self._trial.run(route, draft.other_address))
            if trial_result.result.failure is None and trial_result.result.outcome is Outcome.DELIVERED:
                return replace(draft, has_ca=ca is not None), ca
            self._print_result(draft, route, trial_result)
            if self.is_unattended:
                fail("Nothing was written.", EXIT_CODES[trial_result.result.outcome])
            draft, ca = self._ask_correction(draft, ca, route, trial_result)

    def print_continuation(self, directory: Path) -> None:
        """Print the command that continues with the given answers. The password must be entered again."""
        if self._draft is None or self.is_unattended:
            return
        draft = self._draft
        answers = {"address": draft.address, "smtp": format_server(draft.smtp), "imap": format_server(draft.imap)}
        answers["username"] = draft.username
        options = [word for option, answer in answers.items() for word in (f"--{option}", answer)]
        typer.echo(
            f"To continue with the same answers:  {shlex.join(['pantau', 'init', str(directory), *options])}", err=True
        )

    def clean_up(self, *, is_configured: bool) -> None:
        """Delete the test messages, and warn if one may still arrive.

        *is_configured*: the configuration was written, so its service will delete late messages; then do not warn.
        """
        with suppress(KeyboardInterrupt), suppress_log_events(verbose=False):
            if asyncio.run(self._trial.clean_up()) and not is_configured:
                typer.echo(
                    f"A message of this test may still arrive; its subject begins with: {SUBJECT_PREFIX}", err=True
                )

    def _print_result(self, draft: FirstMailbox, route: MonitoredRoute, trial_result: TrialResult) -> None:
        width = min(shutil.get_terminal_size((80, 24)).columns, 100)
        result = trial_result.result
        advice = advise(route, result)
        meaning, remedy = advice.what, _remedy(advice.do, result.failure)
        if trial_result.reads_other_mailbox:
            meaning = (
                f"{draft.username} signs in to another mailbox: mail to {draft.username} arrives there, and mail to "
                f"{draft.address} does not."
            )
            remedy = f"Write the user name of {draft.address}; or watch {draft.username}, as the address."
        elif draft.other_address and result.failure is not None and result.failure.reason == Reason.NOT_ARRIVED:
            remedy = f"Is {draft.address} an address of the mailbox that {draft.username} signs in to? If not, write another user name."
        typer.echo(f"\n{result.outcome.upper()}: {outcome_text(result)}")
        detail_text = result.failure.detail if result.failure else ""
        for label, text in (("Detail", detail_text), ("Means", meaning), ("Do", remedy)):
            if text:
                typer.echo("\n".join(format_labelled(label, text, width)))

    def _ask_correction(
        self, draft: FirstMailbox, ca: Path | None, route: MonitoredRoute, trial_result: TrialResult
    ) -> tuple[FirstMailbox, Path | None]:
        """Ask again for the answer that explains the failure; if none does, ask the user which one to change."""
        failure = trial_result.result.failure
        reason = failure.reason if failure else ""
        # The sender's server is the SMTP server, and the recipient's is the IMAP server.
        is_smtp = failure is not None and failure.party is Party.SENDER
        typer.echo()
        if failure is not None and failure.credentials_refused:
            self._sign_in_failures += 1
            if self._sign_in_failures == _MAX_SIGN_IN_FAILURES:
                fail(
                    f"The servers have refused {_MAX_SIGN_IN_FAILURES} sign-ins; many lock the account after more. "
                    "Sign in with a mail program first. Nothing was written.",
                    EXIT_CODES[trial_result.result.outcome],
                )
            return self._ask_again(draft, ca, Change.USERNAME)
        if reason == Reason.CERTIFICATE_UNTRUSTED:
            server = route.route.sender.smtp if is_smtp else route.route.recipient.imap
            if server is not None:
                asyncio.run(_show_issuer(Protocol.SMTP if is_smtp else Protocol.IMAP, server))
            return self._ask_again(draft, ca, Change.CA)
        if reason in _SERVER_REASONS:
            return self._ask_again(draft, ca, Change.SMTP if is_smtp else Change.IMAP)
        if reason in {Reason.SENDER_REFUSED, Reason.RECIPIENT_REFUSED}:
            return self._ask_again(draft, ca, Change.ADDRESS)
        suspected = Change.USERNAME if reason == Reason.NOT_ARRIVED and draft.other_address else Change.AGAIN
        return self._ask_again(draft, ca, self._ask(_CHANGE_QUESTION, None, read_change, suspected))

    def _ask_again(self, draft: FirstMailbox, ca: Path | None, change: Change) -> tuple[FirstMailbox, Path | None]:
        """Ask for one answer again, and return the answers and the CA file. For a user name, ask for its password, too."""
        match change:
            case Change.ADDRESS:
                draft = draft.with_address(self._ask("E-mail address", None, read_address, draft.address))
            case Change.SMTP | Change.IMAP:
                typer.echo(f"  Written {SERVER_NOTATION}.")
                protocol = Protocol(change)
                server = self._ask_server(
                    protocol, None, format_server(draft.smtp if protocol is Protocol.SMTP else draft.imap)
                )
                draft = replace(draft, smtp=server) if protocol is Protocol.SMTP else replace(draft, imap=server)
            case Change.USERNAME:
                proposed = draft.address if draft.other_address else draft.username
                username = self._ask("User name", None, _read_line, proposed)
                draft = replace(draft, username=username, password=self._ask_password(None))
            case Change.PASSWORD:
                draft = replace(draft, password=self._ask_password(None))
            case Change.CA:
                ca = self._ask_ca("")
            case Change.END:
                raise typer.Abort
            case Change.AGAIN:
                pass
        return draft, ca

    def _ask_ca(self, problem: str) -> Path:
        if problem:
            typer.echo(f"  {problem}")
        if self.is_unattended:
            fail("Give the servers' certificate authorities as a PEM file with --ca. Nothing was written.", 2)
        return self._ask("File of its certificate authority (PEM)", None, _read_path)


def _remedy(remedy: str, failure: Failure | None) -> str:
    """Return *remedy*, or one that names an option if *remedy* names a setting, because no settings file exists yet."""
    if failure is None or failure.reason not in _SERVER_REASONS or f"mailboxes.{MAILBOX_KEY}" not in remedy:
        return remedy
    option = "--smtp" if failure.party is Party.SENDER else "--imap"
    return f"Check the name and the port of this server ({option})."


def _first_server(candidates: Sequence[ServerCandidate]) -> str:
    """Return the first candidate in the notation `SERVER_NOTATION`; "" if there is none."""
    proposed = (ServerSettings(host=each.host, port=each.port, security=each.security) for each in candidates)
    return next(map(format_server, proposed), "")


def _read_line(text: str) -> str:
    if not text.strip():
        raise InvalidAnswerError("is empty")
    return text.strip()


def _read_path(text: str) -> Path:
    path = Path(text.strip()).expanduser()
    if not path.is_file():
        raise InvalidAnswerError(f"there is no file {path}")
    return path.resolve()


async def _show_issuer(protocol: Protocol, server: Server) -> None:
    """Print the issuer of a server's certificate, so that the user can decide whether to trust it."""
    try:
        async with asyncio.timeout(TIMEOUTS.session.total_seconds()):
            session = await open_session(protocol, server, Party.SENDER, tls=unverified_tls_context())
            try:
                if server.security is Security.STARTTLS:
                    await session.read_greeting()
                    await session.read_capabilities()
                    await session.start_tls(unverified_tls_context(), server.certificate_name)
                issuer = read_issuer(session.certificate_chain)
            finally:
                session.close()
    except (OSError, TimeoutError, ProbeFailedError, ProtocolError, ValueError):
        return
    typer.echo(
        f"  {server.host}:{server.port} shows a certificate that was issued by: {remove_control_characters(issuer)}"
    )


# -- files -------------------------------------------------------------------------------------------------------------


def _write(directory: Path, draft: FirstMailbox, key: bytes, ca: Path | None) -> Path:
    """Write the configuration, completely or not at all, and return the path of the settings file."""
    files = dict(build_files(draft, key, *_listen_addresses()))
    is_new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        staging = Path(tempfile.mkdtemp(prefix=".pantau-init-", dir=directory))
    except OSError as error:
        fail(f"{directory} cannot be written: {error.strerror}. Nothing was written.")
    moved: list[Path] = []
    try:
        if ca is not None:
            files = {CA_FILE: ca.read_bytes(), **files}
        for name, octets in files.items():
            (staging / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(staging / name, octets)
        loaded = load(staging / "pantau.yaml", os.environ)
        if loaded.errors:
            fail("\n".join(map(str, loaded.errors)) + "\nNothing was written.", 2)
        # Move the settings file last: the other files are used only if it exists.
        for name in sorted({Path(name).parts[0] for name in files}, key=lambda name: (name == "pantau.yaml", name)):
            (staging / name).rename(directory / name)
            moved.append(directory / name)
    except BaseException as error:
        for path in moved:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(staging, ignore_errors=True)
        if is_new:
            with suppress(OSError):
                directory.rmdir()
        if isinstance(error, OSError):
            fail(f"{directory} cannot be written: {error.strerror}. Nothing was written.")
        raise
    staging.rmdir()
    return directory / "pantau.yaml"


def _listen_addresses() -> tuple[str, str]:
    """Return free addresses for the portal and the callbacks; "" for both if the default ports are free or all are in use."""
    for port in _PORTS:
        if all(map(_is_free, (port, port + 1))):
            return ("", "") if port == _PORTS[0] else (f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}")
    return "", ""


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
