"""Outcome, party and advice for each failure of a server while a mailbox is read."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from monitor.advice import advise
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from probes.arrival.watcher import MailboxWatcher
from probes.model.mailbox import Mailbox, Security
from probes.model.probe import ProbeFailedError, Route, Timeouts
from probes.model.reply import Reason
from probes.model.result import Outcome, Party, Phase, ProbeResult
from tests.timeouts import HANG_TIMEOUT
from tests.unit.probes.arrival.test_pop import POLLING as POP3_PACE
from tests.unit.probes.arrival.test_pop import box
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import Handler, ImapStandIn, hang, listening, mailbox, server, server_context, until
from tests.unit.probes.watchers import FOREIGN, POLLING, SIGNER, Counted, issue, mail, running

#: Enough for an immediate answer on a busy machine. All hanging servers hang at the same time.
TIMEOUTS = Timeouts(session=timedelta(seconds=5), arrival=timedelta(seconds=5))


async def failure_of(
    standin: Handler, *, pop3: bool = False, security: Security = Security.IMPLICIT
) -> ProbeFailedError:
    """Return the failure of a run that waits for mail at *standin*."""
    async with listening(standin, server_context() if security is Security.IMPLICIT else None) as port:
        mailbox_ = replace(box(port), pop3=server(port, security)) if pop3 else mailbox(imap=server(port, security))
        polling = replace(POP3_PACE if pop3 else POLLING, stable_after=timedelta(minutes=1))
        watcher = MailboxWatcher(mailbox_, SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=polling)
        async with running(watcher):
            with watcher.expect(issue()) as expectation:
                arrival = await expectation.arrival
    assert isinstance(arrival, ProbeFailedError)
    return arrival


def advice_for(error: ProbeFailedError, *, pop3: bool = False) -> str:
    mailbox_: Mailbox = box(1) if pop3 else mailbox()
    result = ProbeResult(
        route="JCM/inbound",
        token_id="00",
        started_at=datetime.now(UTC),
        duration=timedelta(),
        outcome=error.outcome,
        failure=error.failure,
    )
    route = Route(name="JCM/inbound", sender=mailbox_, recipient=mailbox_)
    advice = advise(
        MonitoredRoute(route=route, agency="JCM", direction=Direction.INBOUND, probing=ProbingPolicy()), result
    )
    return f"{advice.what} {advice.do}"


REFUSED_PASSWORD = (Outcome.AUTH, Reason.CREDENTIALS_REFUSED, "refuses the password")
SIGN_IN_DOWN = (Outcome.AUTH, Reason.SIGN_IN_UNAVAILABLE, "cannot authenticate anybody")
BUSY = (Outcome.INCONCLUSIVE, Reason.SIGN_IN_UNAVAILABLE, "too many sign-ins or sessions")
CLOSED = (Outcome.CONNECT, Reason.CONNECTION_CLOSED, "closed the connection")
GARBLED = (Outcome.CONNECT, Reason.UNEXPECTED_ANSWER, "does not speak IMAP")
REFUSED_SERVICE = (Outcome.CONNECT, Reason.SERVICE_REFUSED, "rejected the connection in its greeting")
UNOPENED = (Outcome.CONNECT, Reason.MAILBOX_REFUSED, "does not open the mailbox")
IN_USE = (Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE, "Another program holds the mailbox")
#: Of RFC 5530, of RFC 3501, and Google's.
CODES = (
    *("UNAVAILABLE", "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "CONTACTADMIN"),
    *("NOPERM", "INUSE", "EXPUNGEISSUED", "CORRUPTION", "SERVERBUG", "CLIENTBUG", "CANNOT", "LIMIT", "OVERQUOTA"),
    *("ALREADYEXISTS", "NONEXISTENT", "ALERT", "WEBALERT https://akaun.example", "TRYCREATE", "X-BAHARU", ""),
)
ACCOUNT_CODES = {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "CONTACTADMIN", "ALERT", ""}


def with_code(code: str) -> str:
    return f"[{code}] maaf" if code else "maaf"


def imap_table() -> Iterator[tuple[str, str, tuple[Outcome, Reason, str]]]:
    for code in CODES:
        response = with_code(code)
        is_account_code = code in ACCOUNT_CODES or code.startswith("WEBALERT")
        busy = BUSY if code in {"LIMIT", "INUSE"} else SIGN_IN_DOWN
        yield "LOGIN", f"{{tag}} NO {response}\r\n", REFUSED_PASSWORD if is_account_code else busy
        yield "LOGIN", f"{{tag}} BAD {response}\r\n", busy
        yield "LOGIN", f"* BYE {response}\r\n", CLOSED
        yield "SELECT", f"{{tag}} NO {response}\r\n", IN_USE if code in {"LIMIT", "INUSE"} else UNOPENED
        yield "SELECT", f"{{tag}} BAD {response}\r\n", IN_USE if code in {"LIMIT", "INUSE"} else UNOPENED
        yield "SELECT", f"* BYE {response}\r\n", CLOSED
        yield "", f"* BYE {response}\r\n", REFUSED_SERVICE
        yield "", f"* NO {response}\r\n", GARBLED


@pytest.mark.blind
@pytest.mark.parametrize(("command", "response", "expected"), list(imap_table()))
async def test_imap_refusal_has_outcome_party_and_advice(
    command: str, response: str, expected: tuple[Outcome, Reason, str]
) -> None:
    """Defect: Google's alerts and a disabled account count as an outage of sign-in, a locked inbox as the server's fault.

    Pantau: Each response code at each step has its outcome, party and advice.
    """
    standin = ImapStandIn(tricks={command: response}) if command else ImapStandIn(greeting=response)
    error = await failure_of(standin)
    outcome, reason, advice_part = expected
    assert (error.outcome, error.failure.reason, error.failure.party) == (outcome, reason, Party.RECIPIENT)
    assert error.failure.credentials_refused == (reason is Reason.CREDENTIALS_REFUSED)
    assert advice_part in advice_for(error)
    assert "maaf" in error.failure.detail


POP3_CODES = {
    "": REFUSED_PASSWORD,
    "[AUTH] ": REFUSED_PASSWORD,
    "[SYS/TEMP] ": SIGN_IN_DOWN,
    "[SYS/PERM] ": SIGN_IN_DOWN,
    "[LOGIN-DELAY] ": IN_USE,
    "[IN-USE] ": IN_USE,
    "[in-use] ": IN_USE,
    "[X-BAHARU] ": SIGN_IN_DOWN,
    # The example of RFC 1939, and what qpopper, Mailutils and others say.
    "maildrop already locked ": IN_USE,
    "unable to lock maildrop ": IN_USE,
    "mailbox is in use by another session ": IN_USE,
    "account is locked ": REFUSED_PASSWORD,
    "invalid password ": REFUSED_PASSWORD,
}


@pytest.mark.blind
@pytest.mark.parametrize("command", ["USER", "PASS"])
@pytest.mark.parametrize(("code", "expected"), POP3_CODES.items())
async def test_pop3_sign_in_refusal_has_outcome_and_advice(
    command: str, code: str, expected: tuple[Outcome, Reason, str]
) -> None:
    """Defect: "Maildrop already locked" is a wrong password.

    Pantau: It is another session, with or without a code.
    """
    error = await failure_of(Pop3StandIn(tricks={command: f"-ERR {code}maaf\r\n"}), pop3=True)
    outcome, reason, advice_part = expected
    assert (error.outcome, error.failure.reason, error.failure.phase) == (outcome, reason, Phase.AUTH)
    assert advice_part in advice_for(error, pop3=True)


@pytest.mark.blind
@pytest.mark.parametrize("command", ["UIDL", "LIST", "TOP", "QUIT"])
async def test_pop3_refusal_after_sign_in_has_advice_without_imap_keys(command: str) -> None:
    """Defect: A POP3 refusal is explained with an IMAP key.

    Pantau: It has advice of its own.
    """
    standin = Pop3StandIn(tricks={command: "-ERR [SYS/TEMP] maaf\r\n"})
    standin.put(FOREIGN)
    if command == "QUIT":
        # Deletion only: no fault of mail delivery.
        async with listening(standin, server_context()) as port:
            watcher = MailboxWatcher(box(port), SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POP3_PACE)
            async with running(watcher):
                await until(lambda: watcher.polled_at is not None)
                assert watcher.failure is None
        return
    error = await failure_of(standin, pop3=True)
    assert (error.outcome, error.failure.reason) == (Outcome.CONNECT, Reason.MAILBOX_REFUSED)
    advice_text = advice_for(error, pop3=True)
    assert "does not list the mailbox" in advice_text
    assert ".inbox" not in advice_text


@pytest.mark.blind
@pytest.mark.parametrize("capabilities", [("USER",), ("USER", "TOP")])
@pytest.mark.parametrize("answers_capa", [True, False])
async def test_pop3_server_without_uidl_is_read(*, capabilities: tuple[str, ...], answers_capa: bool) -> None:
    """Defect: A POP3 server without UIDL or TOP is a connect error.

    Pantau: Messages are told apart by their headers.
    """
    standin, counted = Pop3StandIn(capabilities=capabilities), Counted()
    missing = {"UIDL": "-ERR apa?\r\n"} | ({} if "TOP" in capabilities else {"TOP": "-ERR apa?\r\n"})
    standin.tricks |= missing | ({} if answers_capa else {"CAPA": "-ERR apa?\r\n"})
    kept = [standin.put(FOREIGN), standin.put(b"Status: RO\r\n" + FOREIGN), standin.put(FOREIGN)]
    async with listening(standin, server_context()) as port:
        watcher = MailboxWatcher(box(port), SIGNER, on_arrival=counted, timeouts=TIMEOUTS, polling=POP3_PACE)
        async with running(watcher):
            for _ in range(2):
                token = issue()
                with watcher.expect(token) as expectation:
                    await expectation.ready
                    standin.put(mail(token))
                    expectation.request_fast_polling()
                    assert await expectation.content == mail(token)
                await watcher.wait_until_deleted()
            assert watcher.failure is None
    assert list(standin.mails) == kept
    assert counted.arrivals == []


@pytest.mark.blind
@pytest.mark.parametrize(
    "answer",
    [
        "* 1 FETCH (BODY[HEADER]<0> {4}\r\nA: b)\r\n{tag} OK\r\n",
        '* 1 FETCH (UID 1 BODY[HEADER]<0> "tiada hujung)\r\n{tag} OK\r\n',
        "* 1 FETCH UID 1 BODY[]\r\n{tag} OK\r\n",
        "* 1 FETCH (UID 99 BODY[HEADER]<0> {4}\r\nA: b)\r\n{tag} OK\r\n",
        "* 1 FETCH (UID satu BODY[] {4}\r\nA: b)\r\n{tag} OK\r\n",
    ],
)
@pytest.mark.parametrize("command", ["UID FETCH 1 (UID RFC822.SIZE", "UID FETCH 1 (UID BODY.PEEK[]"])
async def test_imap_malformed_fetch_is_unexpected_answer_not_mailbox_in_use(command: str, answer: str) -> None:
    """Defect: A malformed FETCH is blamed on another client, and the route stays unknown.

    Pantau: It is an unexpected answer of the server.
    """
    standin, token = ImapStandIn(), issue()
    async with listening(standin, server_context()) as port:
        watcher = MailboxWatcher(
            mailbox(imap=server(port)), SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POLLING
        )
        async with running(watcher):
            await until(lambda: watcher.polled_at is not None)
            standin.tricks[command] = answer
            with watcher.expect(token) as expectation:
                standin.put(mail(token))
                expectation.request_fast_polling()
                error = await expectation.content
    assert isinstance(error, ProbeFailedError)
    assert (error.outcome, error.failure.reason) == (Outcome.CONNECT, Reason.UNEXPECTED_ANSWER)
    assert error.failure.party is Party.RECIPIENT
    assert "FETCH" in error.failure.detail


@pytest.mark.blind
@pytest.mark.parametrize("answer", ["* 1 FETCH (BODY[] {4}\r\nA: b)\r\n{tag} OK\r\n", "{tag} NO [SERVERBUG] rosak\r\n"])
async def test_imap_unfetchable_mail_does_not_hide_later_mail(answer: str) -> None:
    """Defect: One mail that a server cannot show blocks the mailbox.

    Pantau: It is skipped after three attempts.
    """
    standin, token = ImapStandIn(), issue()
    async with listening(standin, server_context()) as port:
        watcher = MailboxWatcher(
            mailbox(imap=server(port)), SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POLLING
        )
        async with running(watcher):
            await until(lambda: watcher.polled_at is not None)
            broken = standin.put(FOREIGN)

            async def show(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                tag, which = standin.asked[-1].split()[:4:3]
                if str(broken) in which.split(","):
                    writer.write(answer.replace("{tag}", tag).encode())
                    return
                raw = mail(token)
                header = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                text = f"* 2 FETCH (UID {which} BODY[HEADER]<0> {{{len(header)}}}\r\n".encode()
                writer.write(text + header + f")\r\n{tag} OK\r\n".encode())

            standin.tricks["UID FETCH 1"] = standin.tricks["UID FETCH 2 (UID RFC"] = show
            standin.put(mail(token))

            async def wait_for_content() -> bytes | ProbeFailedError:
                with watcher.expect(token) as expectation:
                    expectation.request_fast_polling()
                    return await expectation.content

            async with asyncio.timeout(HANG_TIMEOUT):
                # Meanwhile each waiting run gets the reason.
                while isinstance(found := await wait_for_content(), ProbeFailedError):  # noqa: ASYNC110 - a run, and another one
                    await asyncio.sleep(0.05)
    assert found == mail(token)


def dripping(response: bytes, *, after: bytes = b"") -> Handler:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        while True:
            writer.write(response)
            await asyncio.sleep(0.02)

    return drip


@pytest.mark.blind
async def test_endless_answer_is_not_reported_as_silence() -> None:
    """Defect: An endless IMAP or POP3 answer is reported as silence.

    Pantau: It is reported as endless.
    """
    hanging: dict[tuple[str, bytes], Awaitable[ProbeFailedError]] = {}
    for command in ("CAPABILITY", "LOGIN", "LIST", "SELECT"):
        for response in (b"*", b"* OK sabar\r\n"):
            hanging[command, response] = failure_of(ImapStandIn(tricks={command: dripping(response)}))
    for response in (b"+", b"1 x\r\n"):
        hanging["UIDL", response] = failure_of(
            Pop3StandIn(tricks={"UIDL": dripping(response, after=b"+OK\r\n")}), pop3=True
        )
    errors = dict(zip(hanging, await asyncio.gather(*hanging.values()), strict=True))
    assert {key: (each.outcome, each.failure.detail) for key, each in errors.items()} == dict.fromkeys(
        hanging, (Outcome.TIMEOUT, "an answer without an end")
    )


async def test_open_port_without_greeting_is_not_reported_as_closed_port() -> None:
    cases = list(itertools.product((b"", b"*"), (False, True)))
    hanging = (failure_of(dripping(greeting) if greeting else hang, pop3=pop3) for greeting, pop3 in cases)
    for (greeting, pop3), error in zip(cases, await asyncio.gather(*hanging), strict=True):
        assert (error.outcome, error.failure.phase) == (Outcome.TIMEOUT, Phase.CONNECT)
        assert error.failure.detail == ("an answer without an end" if greeting else ""), (greeting, pop3)
        assert "firewall drops" not in advice_for(error, pop3=pop3)


@pytest.mark.blind
@pytest.mark.parametrize("pop3", [False, True])
async def test_text_injected_before_tls_is_reported_as_tampering(*, pop3: bool) -> None:
    """Defect: Text injected before TLS is reported as a wrong port.

    Pantau: The run ends as tls, with tampering as the reason.
    """
    standin: Handler = (
        Pop3StandIn(capabilities=("STLS",), tricks={"STLS": "+OK mula\r\n+OK masuk\r\n"})
        if pop3
        else ImapStandIn(
            capabilities="IMAP4rev1 STARTTLS",
            tricks={"STARTTLS": "{tag} OK mula\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"},
        )
    )
    error = await failure_of(standin, pop3=pop3, security=Security.STARTTLS)
    assert (error.outcome, error.failure.reason) == (Outcome.TLS, Reason.TLS_INJECTION)
    assert "somebody on the network path" in advice_for(error, pop3=pop3)


@pytest.mark.parametrize("pop3", [False, True])
@pytest.mark.parametrize("security", Security)
@pytest.mark.parametrize(
    "response", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\xff\x80\r\n" * 50, b"220 mel ESMTP\r\n", b"-ERR apa\r\n"]
)
async def test_answer_without_tls_is_not_reported_as_silence(
    response: bytes, security: Security, *, pop3: bool
) -> None:
    async def clear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if security is Security.STARTTLS:
            writer.write(b"+OK sedia\r\n" if pop3 else b"* OK [CAPABILITY STARTTLS] sedia\r\n")
            tag = (await reader.readline()).split()[0].decode()
            writer.write(b"+OK\r\nSTLS\r\n.\r\n" if pop3 else f"* CAPABILITY STARTTLS\r\n{tag} OK\r\n".encode())
            tag = (await reader.readline()).split()[0].decode()
            writer.write(b"+OK mula\r\n" if pop3 else f"{tag} OK mula\r\n".encode())
        await reader.read(64)
        writer.write(response)
        await asyncio.Event().wait()

    async def in_clear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await clear(reader, writer)

    async with listening(in_clear) as port:
        mailbox_ = replace(box(port), pop3=server(port, security)) if pop3 else mailbox(imap=server(port, security))
        watcher = MailboxWatcher(mailbox_, SIGNER, on_arrival=Counted(), timeouts=TIMEOUTS, polling=POLLING)
        async with running(watcher):
            with watcher.expect(issue()) as expectation:
                error = await expectation.arrival
    assert isinstance(error, ProbeFailedError)
    assert (error.outcome, error.failure.reason) == (Outcome.TLS, Reason.TLS_NOT_SPOKEN), error.failure
