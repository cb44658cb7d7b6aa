"""Signing in with an access token: a refusal ends at once with its reason, and is never taken for anything else."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from probes.credentials.oauth import AccessTokenError
from probes.credentials.sign_in import Bearer, with_credential
from probes.model.mailbox import Mailbox, Password, UnavailableLogin
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason
from probes.model.result import Outcome, Party, Phase
from probes.protocol import imap, pop3
from probes.protocol.smtp import try_submission
from probes.run.trace import TraceRecorder
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.purse import CHALLENGE, USER, Purse, login, purse, shown
from tests.unit.probes.standin import ImapStandIn, SmtpStandIn, Trick, listening, mailbox, server, server_context

WITHIN = timedelta(seconds=2)
#: What Microsoft says: nothing before the refusal.
UNEXPLAINED = ""


@dataclass(slots=True)
class Gate:
    """Lets in who shows a good token. Otherwise it challenges, as Google does, or refuses at once, as Microsoft does."""

    good: set[str] = field(default_factory=set)
    challenge: str = CHALLENGE
    #: Every token that was shown.
    seen: list[str] = field(default_factory=list)
    #: Whether the response came with the command.
    at_once: list[bool] = field(default_factory=list)
    words: str = "Invalid credentials (Failure)"
    imap: ImapStandIn = field(default_factory=ImapStandIn)
    smtp: SmtpStandIn = field(default_factory=SmtpStandIn)
    pop3: Pop3StandIn = field(default_factory=Pop3StandIn)

    def __post_init__(self) -> None:
        self.imap.capabilities = "IMAP4rev1 AUTH=XOAUTH2 SASL-IR UIDPLUS"
        self.imap.tricks["AUTHENTICATE"] = self._imap
        self.smtp.extensions = ("AUTH LOGIN XOAUTH2",)
        self.smtp.tricks["AUTH"] = self._smtp
        self.pop3.capabilities = ("USER", "UIDL", "TOP", "SASL PLAIN XOAUTH2")
        self.pop3.tricks["AUTH"] = self._pop3

    async def _imap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag, _, _, *rest = self.imap.asked[-1].split()
        words = f"{tag} NO {self.words}\r\n"
        await self._judge(reader, writer, rest, go_on="+ ", yes=f"{tag} OK masuk\r\n", no=words)

    async def _smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, _, *rest = self.smtp.asked[-1].split()
        await self._judge(
            reader, writer, rest, go_on="334 ", yes="235 2.7.0 masuk\r\n", no=f"535 5.7.8 {self.words}\r\n"
        )

    async def _pop3(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, _, *rest = self.pop3.asked[-1].split()
        await self._judge(reader, writer, rest, go_on="+ ", yes="+OK masuk\r\n", no=f"-ERR [AUTH] {self.words}\r\n")

    async def _judge(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        rest: list[str],
        *,
        go_on: str,
        yes: str,
        no: str,
    ) -> None:
        self.at_once.append(bool(rest))
        if not rest:
            writer.write(f"{go_on}\r\n".encode())
            rest = [(await reader.readline()).decode().strip()]
        token = shown(rest[0])
        self.seen.append(token)
        if token in self.good:
            writer.write(yes.encode())
            return
        if self.challenge:
            writer.write(f"{go_on}{self.challenge}\r\n".encode())
            # A server that has challenged says no more until it is answered.
            assert (await reader.readline()).strip() == b""
        writer.write(no.encode())


Way = Callable[[Mailbox, TraceRecorder], Awaitable[None]]


async def over_smtp(box: Mailbox, recorder: TraceRecorder) -> None:
    await try_submission(box, recorder, WITHIN)


async def over_imap(box: Mailbox, recorder: TraceRecorder) -> None:
    (await imap.open_session(box, recorder, Party.RECIPIENT, response_timeout=WITHIN, within=WITHIN)).close()


async def over_pop3(box: Mailbox, recorder: TraceRecorder) -> None:
    (await pop3.open_session(box, recorder, Party.RECIPIENT, response_timeout=WITHIN, within=WITHIN)).close()


WAYS = pytest.mark.parametrize("way", [over_smtp, over_imap, over_pop3])


@asynccontextmanager
async def standing(gate: Gate, tokens: Purse) -> Any:
    tls = server_context()
    async with listening(gate.smtp, tls) as smtp, listening(gate.imap, tls) as imap, listening(gate.pop3, tls) as pop3:
        yield replace(
            mailbox(smtp=server(smtp), imap=server(imap)), pop3=server(pop3), login=login(tokens), address=USER
        )


async def failure_at(gate: Gate, tokens: Purse, way: Way, recorder: TraceRecorder | None = None) -> ProbeFailedError:
    recorder = recorder or TraceRecorder()
    async with standing(gate, tokens) as box:
        with pytest.raises((ProbeFailedError, TimeoutError)) as caught:
            await way(box, recorder)
    if isinstance(caught.value, ProbeFailedError):
        return caught.value
    raise AssertionError(f"hung in {recorder.location}")


@WAYS
async def test_a_good_token_lets_in(way: Way) -> None:
    gate = Gate(good={"tanda"})
    async with standing(gate, purse("tanda")) as box:
        recorder = TraceRecorder()
        await way(box, recorder)
    assert gate.seen == ["tanda"]
    assert [phase for phase in recorder.phases if phase is not Phase.SUBMIT] == [
        Phase.DNS,
        Phase.CONNECT,
        Phase.TLS,
        Phase.AUTH,
    ]


async def test_a_server_that_takes_no_response_with_the_command_asks_for_it() -> None:
    gate = Gate(good={"tanda"})
    gate.imap.capabilities = "IMAP4rev1 AUTH=XOAUTH2"
    async with standing(gate, purse("tanda")) as box:
        await over_imap(box, TraceRecorder())
        await over_pop3(box, TraceRecorder())
        await over_smtp(box, TraceRecorder())
    # POP3 has no room for it in a command.
    assert gate.at_once == [False, False, True]


@pytest.mark.pitfall
@WAYS
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_challenge_after_a_refused_token_is_answered_and_does_not_end_as_a_time_out(
    *, way: Way, at_once: bool
) -> None:
    """Trap: An unanswered XOAUTH2 challenge makes a bad token look like a time-out.

    Pantau: It is answered, and its reason is reported.
    """
    gate = Gate()
    if not at_once:
        gate.imap.capabilities = "IMAP4rev1 AUTH=XOAUTH2"
    failure = await failure_at(gate, purse("basi", old=False), way)
    assert (failure.outcome, failure.failure.phase) == (Outcome.AUTH, Phase.AUTH)
    assert failure.failure.reason is Reason.CREDENTIALS_REFUSED
    assert failure.failure.credentials_refused
    assert failure.failure.detail.startswith("status 400, scope https://mail.google.com/; ")
    assert failure.failure.detail.endswith("Invalid credentials (Failure)")


@pytest.mark.pitfall
@WAYS
async def test_a_bare_authenticate_failed_is_a_refusal_too(way: Way) -> None:
    """Trap: A bare "AUTHENTICATE failed" has no reason.

    Pantau: It is a refusal.
    """
    gate = Gate(challenge=UNEXPLAINED, words="AUTHENTICATE failed.")
    failure = await failure_at(gate, purse("basi", old=False), way)
    assert failure.failure.reason is Reason.CREDENTIALS_REFUSED
    assert "AUTHENTICATE failed." in failure.failure.detail


@pytest.mark.pitfall
@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("535 5.7.3 Authentication unsuccessful [KL1.example]\r\n", "5.7.3"),
        (
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.\r\n",
            "5.7.139",
        ),
        ("550 5.7.30 Basic authentication is not supported for Client Submission.\r\n", "5.7.30"),
    ],
)
async def test_what_exchange_online_says_is_about_our_account(said: str, status: str) -> None:
    """Trap: A policy refusal of Exchange Online (550 5.7.30) looks like rejected mail.

    Pantau: It is about our account.
    """
    gate = Gate()
    gate.smtp.tricks["AUTH"] = said
    failure = await failure_at(gate, purse("tanda", old=False), over_smtp)
    assert failure.outcome is Outcome.AUTH
    assert failure.failure.credentials_refused
    assert failure.failure.status == status


@WAYS
async def test_a_server_that_does_not_offer_it_is_not_shown_a_token(way: Way) -> None:
    gate = Gate()
    gate.imap.capabilities, gate.smtp.extensions, gate.pop3.capabilities = (
        "IMAP4rev1",
        ("AUTH PLAIN",),
        ("USER", "UIDL"),
    )
    failure = await failure_at(gate, purse("tanda"), way)
    assert (failure.outcome, failure.failure.reason) == (Outcome.AUTH, Reason.SIGN_IN_NOT_OFFERED)
    assert not failure.failure.credentials_refused
    asked = (*gate.imap.asked, *gate.smtp.asked, *gate.pop3.asked)
    assert not any("AUTH" in line or "tanda" in line for line in asked)


@pytest.mark.pitfall
@WAYS
async def test_a_token_that_was_revoked_is_renewed_once_on_a_connection_of_its_own(way: Way) -> None:
    """Trap: Access tokens are not renewed.

    Pantau: A refused one is renewed once, on another connection.
    """
    gate, tokens = Gate(good={"baharu"}), purse("basi", "baharu")
    async with standing(gate, tokens) as box:
        await way(box, TraceRecorder())
    assert gate.seen == ["basi", "baharu"]
    assert tokens.rejected == ["basi"]


@WAYS
@pytest.mark.parametrize(
    ("tokens", "seen"),
    [
        (purse("satu", "dua", "tiga"), ["satu", "dua"]),
        (purse("satu"), ["satu"]),
        (purse("satu", "dua", old=False), ["satu"]),
    ],
)
async def test_a_refused_account_is_not_tried_again_and_again(way: Way, tokens: Purse, seen: list[str]) -> None:
    gate = Gate()
    failure = await failure_at(gate, replace(tokens, tokens=list(tokens.tokens), rejected=[]), way)
    assert failure.failure.credentials_refused
    assert gate.seen == seen


@WAYS
async def test_without_a_token_the_server_is_not_even_called(way: Way) -> None:
    gate = Gate()
    missing = Purse([AccessTokenError("log-masuk.example was not reached")])
    failure = await failure_at(gate, missing, way)
    assert (failure.outcome, failure.failure.reason) == (Outcome.INCONCLUSIVE, Reason.NO_TOKEN)
    assert not failure.failure.credentials_refused
    assert gate.imap.asked == gate.smtp.asked == gate.pop3.asked == []


@WAYS
async def test_an_authorization_server_that_refuses_us_is_about_our_account(way: Way) -> None:
    refused = Purse([AccessTokenError("invalid_client: AADSTS7000222", refused=True)])
    failure = await failure_at(Gate(), refused, way)
    assert (failure.outcome, failure.failure.reason) == (Outcome.AUTH, Reason.TOKEN_REFUSED)
    assert failure.failure.credentials_refused
    assert failure.failure.detail == "invalid_client: AADSTS7000222"


@pytest.mark.pitfall
@WAYS
async def test_a_slow_authorization_server_is_not_taken_for_a_slow_mail_server(way: Way) -> None:
    """Trap: A slow provider looks like a slow mail server.

    Pantau: It has its own time-out and reason.
    """
    failure = await failure_at(Gate(), Purse(silent=True), way)
    assert (failure.outcome, failure.failure.reason) == (Outcome.INCONCLUSIVE, Reason.NO_TOKEN)


@WAYS
async def test_a_server_that_repeats_the_token_does_not_get_it_into_our_words(way: Way) -> None:
    secret = "tanda-yang-sangat-rahsia"
    response = b64encode(f"user={USER}\1auth=Bearer {secret}\1\1".encode()).decode()
    for words in (secret, response):
        gate = Gate(words=f"bad token {words}")
        recorder = TraceRecorder(keep_dialogue=True)
        failure = await failure_at(gate, purse(secret, old=False), way, recorder)
        text = f"{failure} {failure.failure!r} {failure.__cause__!r} {recorder.dialogue}"
        assert secret not in text
        assert response not in text
        assert "bad token" in failure.failure.detail


@pytest.mark.parametrize(
    "challenge",
    ["", "!!!", b64encode(b"bukan json").decode(), b64encode(b"[1]").decode(), b64encode(b'{"status": []}').decode()],
)
async def test_a_challenge_of_any_kind_is_survived(challenge: str) -> None:
    for way in (over_smtp, over_imap, over_pop3):
        failure = await failure_at(Gate(challenge=challenge), purse("basi", old=False), way)
        assert failure.failure.credentials_refused
        assert failure.failure.detail.endswith("Invalid credentials (Failure)")


@pytest.mark.parametrize("trick", ["+ \r\n" * 3, "+ x\r\n{tag} BAD tidak\r\n"])
async def test_a_server_that_only_ever_asks_for_more_ends(trick: Trick) -> None:
    gate = Gate()
    gate.imap.tricks["AUTHENTICATE"] = trick
    async with standing(gate, purse("tanda")) as box:
        with pytest.raises((ProbeFailedError, TimeoutError)):
            await over_imap(box, TraceRecorder())


async def test_nobody_is_asked_to_let_us_in_without_what_there_is_to_sign_in_with() -> None:
    async def attempt(_key: Password | Bearer) -> None:
        raise AssertionError

    with pytest.raises(ProbeFailedError) as failed:
        await with_credential(
            UnavailableLogin(username="pantau", reason="it was typed for other servers"), Party.SENDER, attempt
        )

    assert (failed.value.outcome, failed.value.failure.reason) == (Outcome.INCONCLUSIVE, Reason.NO_SECRET)
    assert failed.value.failure.detail == "it was typed for other servers"
