"""Whatever a server says while a mailbox is read is turned into whose matter it is, and said so that people can mend it."""

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
from tests.hanging import HANGS
from tests.unit.probes.arrival.test_pop import PACE as POP3_PACE
from tests.unit.probes.arrival.test_pop import box
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import Handler, ImapStandIn, hang, listening, mailbox, server, server_context, until
from tests.unit.probes.watch import FOREIGN, PACE, SIGNER, Counted, issue, mail, running

#: Enough for whoever answers at once, on a machine that stands still meanwhile. Those that hang all hang at the same time.
PATIENCE = Timeouts(session=timedelta(seconds=5), arrival=timedelta(seconds=5))


async def failure_of(
    standin: Handler, *, pop3: bool = False, security: Security = Security.IMPLICIT
) -> ProbeFailedError:
    """Return what a run hears that waits in the mailbox at *standin*."""
    async with listening(standin, server_context() if security is Security.IMPLICIT else None) as port:
        of = replace(box(port), pop3=server(port, security)) if pop3 else mailbox(imap=server(port, security))
        polling = replace(POP3_PACE if pop3 else PACE, stable_after=timedelta(minutes=1))
        watcher = MailboxWatcher(of, SIGNER, on_arrival=Counted(), timeouts=PATIENCE, polling=polling)
        async with running(watcher):
            with watcher.expect(issue()) as letter:
                heard = await letter.arrival
    assert isinstance(heard, ProbeFailedError)
    return heard


def advice_for(trouble: ProbeFailedError, *, pop3: bool = False) -> str:
    of: Mailbox = box(1) if pop3 else mailbox()
    result = ProbeResult(
        route="JCM/inbound",
        token_id="00",
        started_at=datetime.now(UTC),
        duration=timedelta(),
        outcome=trouble.outcome,
        failure=trouble.failure,
    )
    route = Route(name="JCM/inbound", sender=of, recipient=of)
    advice = advise(
        MonitoredRoute(route=route, agency="JCM", direction=Direction.INBOUND, probing=ProbingPolicy()), result
    )
    return f"{advice.what} {advice.do}"


OURS = (Outcome.AUTH, Reason.CREDENTIALS_REFUSED, "refuses the password")
NOBODY = (Outcome.AUTH, Reason.SIGN_IN_UNAVAILABLE, "can let nobody in")
BUSY = (Outcome.INCONCLUSIVE, Reason.SIGN_IN_UNAVAILABLE, "too many sign-ins or sessions")
CLOSED = (Outcome.CONNECT, Reason.CONNECTION_CLOSED, "hung up")
GARBLED = (Outcome.CONNECT, Reason.UNEXPECTED_ANSWER, "does not speak IMAP")
TURNED_AWAY = (Outcome.CONNECT, Reason.SERVICE_REFUSED, "turned us away")
UNOPENED = (Outcome.CONNECT, Reason.MAILBOX_REFUSED, "does not open the mailbox")
IN_USE = (Outcome.INCONCLUSIVE, Reason.MAILBOX_IN_USE, "Another program holds the mailbox")
#: Of RFC 5530, of RFC 3501, and Google's.
CODES = (
    *("UNAVAILABLE", "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "CONTACTADMIN"),
    *("NOPERM", "INUSE", "EXPUNGEISSUED", "CORRUPTION", "SERVERBUG", "CLIENTBUG", "CANNOT", "LIMIT", "OVERQUOTA"),
    *("ALREADYEXISTS", "NONEXISTENT", "ALERT", "WEBALERT https://akaun.example", "TRYCREATE", "X-BAHARU", ""),
)
ABOUT_US = {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "CONTACTADMIN", "ALERT", ""}


def coded(code: str) -> str:
    return f"[{code}] maaf" if code else "maaf"


def imap_table() -> Iterator[tuple[str, str, tuple[Outcome, Reason, str]]]:
    for code in CODES:
        said = coded(code)
        about_us = code in ABOUT_US or code.startswith("WEBALERT")
        busy = BUSY if code in {"LIMIT", "INUSE"} else NOBODY
        yield "LOGIN", f"{{tag}} NO {said}\r\n", OURS if about_us else busy
        yield "LOGIN", f"{{tag}} BAD {said}\r\n", busy
        yield "LOGIN", f"* BYE {said}\r\n", CLOSED
        yield "SELECT", f"{{tag}} NO {said}\r\n", IN_USE if code in {"LIMIT", "INUSE"} else UNOPENED
        yield "SELECT", f"{{tag}} BAD {said}\r\n", IN_USE if code in {"LIMIT", "INUSE"} else UNOPENED
        yield "SELECT", f"* BYE {said}\r\n", CLOSED
        yield "", f"* BYE {said}\r\n", TURNED_AWAY
        yield "", f"* NO {said}\r\n", GARBLED


@pytest.mark.blind
@pytest.mark.parametrize(("command", "said", "expected"), list(imap_table()))
async def test_every_refusal_of_an_imap_server_has_its_party_and_its_advice(
    command: str, said: str, expected: tuple[Outcome, Reason, str]
) -> None:
    """Defect: Google's alerts and a disabled account count as an outage of sign-in, a locked inbox as the server's fault.

    Pantau: Each response code at each step has its outcome, party and advice.
    """
    standin = ImapStandIn(tricks={command: said}) if command else ImapStandIn(greeting=said)
    trouble = await failure_of(standin)
    outcome, reason, words = expected
    assert (trouble.outcome, trouble.failure.reason, trouble.failure.party) == (outcome, reason, Party.RECIPIENT)
    assert trouble.failure.credentials_refused == (reason is Reason.CREDENTIALS_REFUSED)
    assert words in advice_for(trouble)
    assert "maaf" in trouble.failure.detail


POP3_CODES = {
    "": OURS,
    "[AUTH] ": OURS,
    "[SYS/TEMP] ": NOBODY,
    "[SYS/PERM] ": NOBODY,
    "[LOGIN-DELAY] ": IN_USE,
    "[IN-USE] ": IN_USE,
    "[in-use] ": IN_USE,
    "[X-BAHARU] ": NOBODY,
    # The example of RFC 1939, and what qpopper, Mailutils and others say.
    "maildrop already locked ": IN_USE,
    "unable to lock maildrop ": IN_USE,
    "mailbox is in use by another session ": IN_USE,
    "account is locked ": OURS,
    "invalid password ": OURS,
}


@pytest.mark.blind
@pytest.mark.parametrize("command", ["USER", "PASS"])
@pytest.mark.parametrize(("code", "expected"), POP3_CODES.items())
async def test_every_refusal_of_a_pop3_sign_in_has_its_party_and_its_advice(
    command: str, code: str, expected: tuple[Outcome, Reason, str]
) -> None:
    """Defect: "Maildrop already locked" is a wrong password.

    Pantau: It is another session, with or without a code.
    """
    trouble = await failure_of(Pop3StandIn(tricks={command: f"-ERR {code}maaf\r\n"}), pop3=True)
    outcome, reason, words = expected
    assert (trouble.outcome, trouble.failure.reason, trouble.failure.phase) == (outcome, reason, Phase.AUTH)
    assert words in advice_for(trouble, pop3=True)


@pytest.mark.blind
@pytest.mark.parametrize("command", ["UIDL", "LIST", "TOP", "QUIT"])
async def test_what_pop3_refuses_after_the_sign_in_is_told_without_keys_that_it_lacks(command: str) -> None:
    """Defect: A POP3 refusal is explained with an IMAP key.

    Pantau: It has advice of its own.
    """
    standin = Pop3StandIn(tricks={command: "-ERR [SYS/TEMP] maaf\r\n"})
    standin.put(FOREIGN)
    if command == "QUIT":
        # Deletion only: no fault of mail delivery.
        async with listening(standin, server_context()) as port:
            watcher = MailboxWatcher(box(port), SIGNER, on_arrival=Counted(), timeouts=PATIENCE, polling=POP3_PACE)
            async with running(watcher):
                await until(lambda: watcher.polled_at is not None)
                assert watcher.failure is None
        return
    trouble = await failure_of(standin, pop3=True)
    assert (trouble.outcome, trouble.failure.reason) == (Outcome.CONNECT, Reason.MAILBOX_REFUSED)
    told = advice_for(trouble, pop3=True)
    assert "does not show what is in the mailbox" in told
    assert ".inbox" not in told


@pytest.mark.blind
@pytest.mark.parametrize("capabilities", [("USER",), ("USER", "TOP")])
@pytest.mark.parametrize("says_what_it_can", [True, False])
async def test_a_pop3_server_without_uidl_is_read_all_the_same(
    *, capabilities: tuple[str, ...], says_what_it_can: bool
) -> None:
    """Defect: A POP3 server without UIDL or TOP is a connect error.

    Pantau: Messages are told apart by their headers.
    """
    standin, counted = Pop3StandIn(capabilities=capabilities), Counted()
    missing = {"UIDL": "-ERR apa?\r\n"} | ({} if "TOP" in capabilities else {"TOP": "-ERR apa?\r\n"})
    standin.tricks |= missing | ({} if says_what_it_can else {"CAPA": "-ERR apa?\r\n"})
    kept = [standin.put(FOREIGN), standin.put(b"Status: RO\r\n" + FOREIGN), standin.put(FOREIGN)]
    async with listening(standin, server_context()) as port:
        watcher = MailboxWatcher(box(port), SIGNER, on_arrival=counted, timeouts=PATIENCE, polling=POP3_PACE)
        async with running(watcher):
            for _ in range(2):
                token = issue()
                with watcher.expect(token) as letter:
                    await letter.ready
                    standin.put(mail(token))
                    letter.request_fast_polling()
                    assert await letter.content == mail(token)
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
async def test_a_message_that_the_server_cannot_show_is_not_blamed_on_another_client(command: str, answer: str) -> None:
    """Defect: A malformed FETCH is blamed on another client, and the route stays unknown.

    Pantau: It is an unexpected answer of the server.
    """
    standin, token = ImapStandIn(), issue()
    async with listening(standin, server_context()) as port:
        watcher = MailboxWatcher(
            mailbox(imap=server(port)), SIGNER, on_arrival=Counted(), timeouts=PATIENCE, polling=PACE
        )
        async with running(watcher):
            await until(lambda: watcher.polled_at is not None)
            standin.tricks[command] = answer
            with watcher.expect(token) as letter:
                standin.put(mail(token))
                letter.request_fast_polling()
                trouble = await letter.content
    assert isinstance(trouble, ProbeFailedError)
    assert (trouble.outcome, trouble.failure.reason) == (Outcome.CONNECT, Reason.UNEXPECTED_ANSWER)
    assert trouble.failure.party is Party.RECIPIENT
    assert "FETCH" in trouble.failure.detail


@pytest.mark.blind
@pytest.mark.parametrize("answer", ["* 1 FETCH (BODY[] {4}\r\nA: b)\r\n{tag} OK\r\n", "{tag} NO [SERVERBUG] rosak\r\n"])
async def test_one_mail_that_the_server_cannot_show_does_not_hide_those_after_it(answer: str) -> None:
    """Defect: One mail that a server cannot show blocks the mailbox.

    Pantau: It is skipped after three attempts.
    """
    standin, token = ImapStandIn(), issue()
    async with listening(standin, server_context()) as port:
        watcher = MailboxWatcher(
            mailbox(imap=server(port)), SIGNER, on_arrival=Counted(), timeouts=PATIENCE, polling=PACE
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

            async def waited() -> bytes | ProbeFailedError:
                with watcher.expect(token) as letter:
                    letter.request_fast_polling()
                    return await letter.content

            async with asyncio.timeout(HANGS):
                # Meanwhile those who wait hear why.
                while isinstance(found := await waited(), ProbeFailedError):  # noqa: ASYNC110 - a run, and another one
                    await asyncio.sleep(0.05)
    assert found == mail(token)


def dripping(said: bytes, *, after: bytes = b"") -> Handler:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        while True:
            writer.write(said)
            await asyncio.sleep(0.02)

    return drip


@pytest.mark.blind
async def test_a_server_that_does_not_come_to_an_end_is_not_called_silent() -> None:
    """Defect: An endless IMAP or POP3 answer is reported as silence.

    Pantau: It is reported as endless.
    """
    hanging: dict[tuple[str, bytes], Awaitable[ProbeFailedError]] = {}
    for command in ("CAPABILITY", "LOGIN", "LIST", "SELECT"):
        for said in (b"*", b"* OK sabar\r\n"):
            hanging[command, said] = failure_of(ImapStandIn(tricks={command: dripping(said)}))
    for said in (b"+", b"1 x\r\n"):
        hanging["UIDL", said] = failure_of(Pop3StandIn(tricks={"UIDL": dripping(said, after=b"+OK\r\n")}), pop3=True)
    troubles = dict(zip(hanging, await asyncio.gather(*hanging.values()), strict=True))
    assert {key: (each.outcome, each.failure.detail) for key, each in troubles.items()} == dict.fromkeys(
        hanging, (Outcome.TIMEOUT, "an answer without an end")
    )


async def test_a_port_that_opens_and_greets_nobody_is_not_taken_for_a_closed_one() -> None:
    ports = list(itertools.product((b"", b"*"), (False, True)))
    hanging = (failure_of(dripping(greeting) if greeting else hang, pop3=pop3) for greeting, pop3 in ports)
    for (greeting, pop3), trouble in zip(ports, await asyncio.gather(*hanging), strict=True):
        assert (trouble.outcome, trouble.failure.phase) == (Outcome.TIMEOUT, Phase.CONNECT)
        assert trouble.failure.detail == ("an answer without an end" if greeting else ""), (greeting, pop3)
        assert "firewall drops" not in advice_for(trouble, pop3=pop3)


@pytest.mark.blind
@pytest.mark.parametrize("pop3", [False, True])
async def test_words_slipped_in_before_tls_are_told_as_tampering(*, pop3: bool) -> None:
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
    trouble = await failure_of(standin, pop3=pop3, security=Security.STARTTLS)
    assert (trouble.outcome, trouble.failure.reason) == (Outcome.TLS, Reason.TLS_INJECTION)
    assert "somebody on the way" in advice_for(trouble, pop3=pop3)


@pytest.mark.parametrize("pop3", [False, True])
@pytest.mark.parametrize("security", Security)
@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\xff\x80\r\n" * 50, b"220 mel ESMTP\r\n", b"-ERR apa\r\n"]
)
async def test_an_answer_that_is_not_tls_is_not_called_silence(said: bytes, security: Security, *, pop3: bool) -> None:
    async def clear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if security is Security.STARTTLS:
            writer.write(b"+OK sedia\r\n" if pop3 else b"* OK [CAPABILITY STARTTLS] sedia\r\n")
            tag = (await reader.readline()).split()[0].decode()
            writer.write(b"+OK\r\nSTLS\r\n.\r\n" if pop3 else f"* CAPABILITY STARTTLS\r\n{tag} OK\r\n".encode())
            tag = (await reader.readline()).split()[0].decode()
            writer.write(b"+OK mula\r\n" if pop3 else f"{tag} OK mula\r\n".encode())
        await reader.read(64)
        writer.write(said)
        await asyncio.Event().wait()

    async def in_clear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await clear(reader, writer)

    async with listening(in_clear) as port:
        of = replace(box(port), pop3=server(port, security)) if pop3 else mailbox(imap=server(port, security))
        watcher = MailboxWatcher(of, SIGNER, on_arrival=Counted(), timeouts=PATIENCE, polling=PACE)
        async with running(watcher):
            with watcher.expect(issue()) as letter:
                trouble = await letter.arrival
    assert isinstance(trouble, ProbeFailedError)
    assert (trouble.outcome, trouble.failure.reason) == (Outcome.TLS, Reason.TLS_NOT_SPOKEN), trouble.failure
