"""Sign-in with an access token: a refusal ends at once, with its own reason."""

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
from tests.unit.probes.fake_tokens import CHALLENGE, USER, FakeTokens, fake_tokens, login, token_of_response
from tests.unit.probes.pop3_standin import Pop3StandIn
from tests.unit.probes.standin import ImapStandIn, SmtpStandIn, Trick, listening, mailbox, server, server_context

WITHIN = timedelta(seconds=2)
#: Microsoft sends no challenge before the refusal.
NO_CHALLENGE = ""


@dataclass(slots=True)
class TokenCheckingServers:
    """Servers that accept valid tokens. Otherwise they send a challenge, as Google, or refuse at once, as Microsoft."""

    valid_tokens: set[str] = field(default_factory=set)
    challenge: str = CHALLENGE
    #: Every token that was shown.
    shown_tokens: list[str] = field(default_factory=list)
    #: Whether the response came with the command.
    sent_initial_response: list[bool] = field(default_factory=list)
    refusal_text: str = "Invalid credentials (Failure)"
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
        words = f"{tag} NO {self.refusal_text}\r\n"
        await self._check_token(reader, writer, rest, continuation="+ ", yes=f"{tag} OK masuk\r\n", no=words)

    async def _smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, _, *rest = self.smtp.asked[-1].split()
        await self._check_token(
            reader,
            writer,
            rest,
            continuation="334 ",
            yes="235 2.7.0 masuk\r\n",
            no=f"535 5.7.8 {self.refusal_text}\r\n",
        )

    async def _pop3(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, _, *rest = self.pop3.asked[-1].split()
        await self._check_token(
            reader, writer, rest, continuation="+ ", yes="+OK masuk\r\n", no=f"-ERR [AUTH] {self.refusal_text}\r\n"
        )

    async def _check_token(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        rest: list[str],
        *,
        continuation: str,
        yes: str,
        no: str,
    ) -> None:
        self.sent_initial_response.append(bool(rest))
        if not rest:
            writer.write(f"{continuation}\r\n".encode())
            rest = [(await reader.readline()).decode().strip()]
        token = token_of_response(rest[0])
        self.shown_tokens.append(token)
        if token in self.valid_tokens:
            writer.write(yes.encode())
            return
        if self.challenge:
            writer.write(f"{continuation}{self.challenge}\r\n".encode())
            # After a challenge the server waits for an answer.
            assert (await reader.readline()).strip() == b""
        writer.write(no.encode())


SignIn = Callable[[Mailbox, TraceRecorder], Awaitable[None]]


async def over_smtp(box: Mailbox, recorder: TraceRecorder) -> None:
    await try_submission(box, recorder, WITHIN)


async def over_imap(box: Mailbox, recorder: TraceRecorder) -> None:
    (await imap.open_session(box, recorder, Party.RECIPIENT, response_timeout=WITHIN, within=WITHIN)).close()


async def over_pop3(box: Mailbox, recorder: TraceRecorder) -> None:
    (await pop3.open_session(box, recorder, Party.RECIPIENT, response_timeout=WITHIN, within=WITHIN)).close()


EACH_PROTOCOL = pytest.mark.parametrize("sign_in", [over_smtp, over_imap, over_pop3])


@asynccontextmanager
async def serving(servers: TokenCheckingServers, tokens: FakeTokens) -> Any:
    tls = server_context()
    async with (
        listening(servers.smtp, tls) as smtp,
        listening(servers.imap, tls) as imap,
        listening(servers.pop3, tls) as pop3,
    ):
        yield replace(
            mailbox(smtp=server(smtp), imap=server(imap)), pop3=server(pop3), login=login(tokens), address=USER
        )


async def failure_of(
    servers: TokenCheckingServers, tokens: FakeTokens, sign_in: SignIn, recorder: TraceRecorder | None = None
) -> ProbeFailedError:
    recorder = recorder or TraceRecorder()
    async with serving(servers, tokens) as box:
        with pytest.raises((ProbeFailedError, TimeoutError)) as caught:
            await sign_in(box, recorder)
    if isinstance(caught.value, ProbeFailedError):
        return caught.value
    raise AssertionError(f"hung in {recorder.location}")


@EACH_PROTOCOL
async def test_valid_token_signs_in(sign_in: SignIn) -> None:
    servers = TokenCheckingServers(valid_tokens={"tanda"})
    async with serving(servers, fake_tokens("tanda")) as box:
        recorder = TraceRecorder()
        await sign_in(box, recorder)
    assert servers.shown_tokens == ["tanda"]
    assert [phase for phase in recorder.phases if phase is not Phase.SUBMIT] == [
        Phase.DNS,
        Phase.CONNECT,
        Phase.TLS,
        Phase.AUTH,
    ]


async def test_server_without_initial_response_requests_token_separately() -> None:
    servers = TokenCheckingServers(valid_tokens={"tanda"})
    servers.imap.capabilities = "IMAP4rev1 AUTH=XOAUTH2"
    async with serving(servers, fake_tokens("tanda")) as box:
        await over_imap(box, TraceRecorder())
        await over_pop3(box, TraceRecorder())
        await over_smtp(box, TraceRecorder())
    # A POP3 command is too short for an initial response.
    assert servers.sent_initial_response == [False, False, True]


@pytest.mark.pitfall
@EACH_PROTOCOL
@pytest.mark.parametrize("at_once", [True, False])
async def test_challenge_after_refused_token_is_answered_and_reported_as_auth_failure(
    *, sign_in: SignIn, at_once: bool
) -> None:
    """Trap: An unanswered XOAUTH2 challenge makes a bad token look like a time-out.

    Pantau: It is answered, and its reason is reported.
    """
    servers = TokenCheckingServers()
    if not at_once:
        servers.imap.capabilities = "IMAP4rev1 AUTH=XOAUTH2"
    failure = await failure_of(servers, fake_tokens("basi", is_renewable=False), sign_in)
    assert (failure.outcome, failure.failure.phase) == (Outcome.AUTH, Phase.AUTH)
    assert failure.failure.reason is Reason.CREDENTIALS_REFUSED
    assert failure.failure.credentials_refused
    assert failure.failure.detail.startswith("status 400, scope https://mail.google.com/; ")
    assert failure.failure.detail.endswith("Invalid credentials (Failure)")


@pytest.mark.pitfall
@EACH_PROTOCOL
async def test_bare_authenticate_failed_is_auth_failure(sign_in: SignIn) -> None:
    """Trap: A bare "AUTHENTICATE failed" has no reason.

    Pantau: It is a refusal.
    """
    servers = TokenCheckingServers(challenge=NO_CHALLENGE, refusal_text="AUTHENTICATE failed.")
    failure = await failure_of(servers, fake_tokens("basi", is_renewable=False), sign_in)
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
async def test_exchange_online_policy_refusal_is_auth_failure(said: str, status: str) -> None:
    """Trap: A policy refusal of Exchange Online (550 5.7.30) looks like rejected mail.

    Pantau: It is about our account.
    """
    servers = TokenCheckingServers()
    servers.smtp.tricks["AUTH"] = said
    failure = await failure_of(servers, fake_tokens("tanda", is_renewable=False), over_smtp)
    assert failure.outcome is Outcome.AUTH
    assert failure.failure.credentials_refused
    assert failure.failure.status == status


@EACH_PROTOCOL
async def test_server_without_xoauth2_receives_no_token(sign_in: SignIn) -> None:
    servers = TokenCheckingServers()
    servers.imap.capabilities, servers.smtp.extensions, servers.pop3.capabilities = (
        "IMAP4rev1",
        ("AUTH PLAIN",),
        ("USER", "UIDL"),
    )
    failure = await failure_of(servers, fake_tokens("tanda"), sign_in)
    assert (failure.outcome, failure.failure.reason) == (Outcome.AUTH, Reason.SIGN_IN_NOT_OFFERED)
    assert not failure.failure.credentials_refused
    asked = (*servers.imap.asked, *servers.smtp.asked, *servers.pop3.asked)
    assert not any("AUTH" in line or "tanda" in line for line in asked)


@pytest.mark.pitfall
@EACH_PROTOCOL
async def test_revoked_token_is_renewed_once_on_new_connection(sign_in: SignIn) -> None:
    """Trap: Access tokens are not renewed.

    Pantau: A refused one is renewed once, on another connection.
    """
    servers, tokens = TokenCheckingServers(valid_tokens={"baharu"}), fake_tokens("basi", "baharu")
    async with serving(servers, tokens) as box:
        await sign_in(box, TraceRecorder())
    assert servers.shown_tokens == ["basi", "baharu"]
    assert tokens.rejected == ["basi"]


@EACH_PROTOCOL
@pytest.mark.parametrize(
    ("tokens", "shown_tokens"),
    [
        (fake_tokens("satu", "dua", "tiga"), ["satu", "dua"]),
        (fake_tokens("satu"), ["satu"]),
        (fake_tokens("satu", "dua", is_renewable=False), ["satu"]),
    ],
)
async def test_refused_account_is_tried_at_most_twice(
    sign_in: SignIn, tokens: FakeTokens, shown_tokens: list[str]
) -> None:
    servers = TokenCheckingServers()
    failure = await failure_of(servers, replace(tokens, tokens=list(tokens.tokens), rejected=[]), sign_in)
    assert failure.failure.credentials_refused
    assert servers.shown_tokens == shown_tokens


@EACH_PROTOCOL
async def test_missing_token_is_inconclusive_without_connection(sign_in: SignIn) -> None:
    servers = TokenCheckingServers()
    unavailable = FakeTokens([AccessTokenError("log-masuk.example was not reached")])
    failure = await failure_of(servers, unavailable, sign_in)
    assert (failure.outcome, failure.failure.reason) == (Outcome.INCONCLUSIVE, Reason.NO_TOKEN)
    assert not failure.failure.credentials_refused
    assert servers.imap.asked == servers.smtp.asked == servers.pop3.asked == []


@EACH_PROTOCOL
async def test_authorization_server_refusal_is_auth_failure(sign_in: SignIn) -> None:
    refused = FakeTokens([AccessTokenError("invalid_client: AADSTS7000222", refused=True)])
    failure = await failure_of(TokenCheckingServers(), refused, sign_in)
    assert (failure.outcome, failure.failure.reason) == (Outcome.AUTH, Reason.TOKEN_REFUSED)
    assert failure.failure.credentials_refused
    assert failure.failure.detail == "invalid_client: AADSTS7000222"


@pytest.mark.pitfall
@EACH_PROTOCOL
async def test_slow_authorization_server_is_not_mail_server_timeout(sign_in: SignIn) -> None:
    """Trap: A slow provider looks like a slow mail server.

    Pantau: It has its own time-out and reason.
    """
    failure = await failure_of(TokenCheckingServers(), FakeTokens(silent=True), sign_in)
    assert (failure.outcome, failure.failure.reason) == (Outcome.INCONCLUSIVE, Reason.NO_TOKEN)


@EACH_PROTOCOL
async def test_server_repeating_token_does_not_leak_it(sign_in: SignIn) -> None:
    secret = "tanda-yang-sangat-rahsia"
    response = b64encode(f"user={USER}\1auth=Bearer {secret}\1\1".encode()).decode()
    for words in (secret, response):
        servers = TokenCheckingServers(refusal_text=f"bad token {words}")
        recorder = TraceRecorder(keep_dialogue=True)
        failure = await failure_of(servers, fake_tokens(secret, is_renewable=False), sign_in, recorder)
        text = f"{failure} {failure.failure!r} {failure.__cause__!r} {recorder.dialogue}"
        assert secret not in text
        assert response not in text
        assert "bad token" in failure.failure.detail


@pytest.mark.parametrize(
    "challenge",
    ["", "!!!", b64encode(b"bukan json").decode(), b64encode(b"[1]").decode(), b64encode(b'{"status": []}').decode()],
)
async def test_challenge_of_any_content_is_auth_failure(challenge: str) -> None:
    for sign_in in (over_smtp, over_imap, over_pop3):
        failure = await failure_of(
            TokenCheckingServers(challenge=challenge), fake_tokens("basi", is_renewable=False), sign_in
        )
        assert failure.failure.credentials_refused
        assert failure.failure.detail.endswith("Invalid credentials (Failure)")


@pytest.mark.parametrize("trick", ["+ \r\n" * 3, "+ x\r\n{tag} BAD tidak\r\n"])
async def test_endless_challenges_end(trick: Trick) -> None:
    servers = TokenCheckingServers()
    servers.imap.tricks["AUTHENTICATE"] = trick
    async with serving(servers, fake_tokens("tanda")) as box:
        with pytest.raises((ProbeFailedError, TimeoutError)):
            await over_imap(box, TraceRecorder())


async def test_unavailable_login_is_inconclusive_without_attempt() -> None:
    async def attempt(_key: Password | Bearer) -> None:
        raise AssertionError

    with pytest.raises(ProbeFailedError) as failed:
        await with_credential(
            UnavailableLogin(username="pantau", reason="it was entered for other servers"), Party.SENDER, attempt
        )

    assert (failed.value.outcome, failed.value.failure.reason) == (Outcome.INCONCLUSIVE, Reason.NO_SECRET)
    assert failed.value.failure.detail == "it was entered for other servers"
