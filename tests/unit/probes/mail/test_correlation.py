"""Recognition of a probe message after relays rewrote it, and of answers to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

import pytest

from probes.arrival.expectation import Arrived
from probes.mail.disposition import Disposition, TokenState, decide
from probes.mail.message import DIGEST_HEADER, TOKEN_HEADER, build_subject, build_text, compose, find_damage
from probes.mail.observed_message import MailKind, ObservedMessage, classify
from probes.mail.token import Token
from probes.model.result import Party
from tests.unit.probes.standin import ImapStandIn, until
from tests.unit.probes.watchers import SIGNER, Counted, issue, mail, until_deleted, watching

#: Headers stay on their lines, as relays leave them.
KEEP_LINES = policy.SMTP.clone(max_line_length=400)

Relay = Callable[[bytes], bytes]


def replace_headers(**headers: str) -> Relay:
    """Return a relay that replaces these headers."""

    def relay(raw: bytes) -> bytes:
        message = message_from_bytes(raw, policy=KEEP_LINES)
        for name, value in headers.items():
            del message[name.replace("_", "-")]
            message[name.replace("_", "-")] = value
        return message.as_bytes()

    return relay


def remove_headers(*names: str) -> Relay:
    """Return a relay that removes these headers."""

    def relay(raw: bytes) -> bytes:
        message = message_from_bytes(raw, policy=KEEP_LINES)
        for name in names:
            del message[name]
        return message.as_bytes()

    return relay


def outlook_relay(raw: bytes) -> bytes:
    """Rewrite the Message-ID and keep the old one under another name."""
    message = message_from_bytes(raw, policy=KEEP_LINES)
    message["X-Microsoft-Original-Message-ID"] = str(message["Message-ID"])
    del message["Message-ID"]
    message["Message-ID"] = "<SG2PR01MB0001@SG2PR01MB0001.apcprd01.prod.example>"
    return message.as_bytes()


async def assert_delivered(relay: Relay) -> None:
    """Assert that the message after *relay* is delivered to its run, intact, and deleted."""
    standin, counted, token = ImapStandIn(), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            await expectation.ready
            uid = standin.put(relay(mail(token)))
            expectation.request_fast_polling()
            assert isinstance(await expectation.arrival, Arrived)
            content = await expectation.content
            assert isinstance(content, bytes)
            assert find_damage(content, token) == ()
        await until_deleted(standin, uid)
    assert counted.arrivals == []


@pytest.mark.pitfall
@pytest.mark.parametrize(
    "relay",
    [
        replace_headers(Message_ID="<0109018f3c2e7a1b-000000@ap-southeast-1.amazonses.example>"),
        replace_headers(Message_ID="<202603020830.47213908155@smtp-relay.mailin.example>"),
        outlook_relay,
        remove_headers("Message-ID"),
    ],
)
async def test_watcher_rewritten_message_id_is_recognised_as_own_message(relay: Relay) -> None:
    """Trap: SES, Brevo and Outlook rewrite the Message-ID.

    Pantau: It is one of five places of the token.
    """
    await assert_delivered(relay)


@pytest.mark.pitfall
@pytest.mark.parametrize(
    "relay",
    [
        remove_headers(TOKEN_HEADER, DIGEST_HEADER),
        remove_headers(TOKEN_HEADER, DIGEST_HEADER, "References"),
        remove_headers(TOKEN_HEADER, DIGEST_HEADER, "References", "Message-ID"),
        # No header with a token is left; the body still has it.
        lambda raw: replace_headers(Subject="[LUAR]")(remove_headers(TOKEN_HEADER, "References", "Message-ID")(raw)),
    ],
)
async def test_watcher_stripped_token_headers_is_recognised_as_own_message(relay: Relay) -> None:
    """Trap: Outlook.com strips unknown headers.

    Pantau: Subject, References and text have the token too.
    """
    await assert_delivered(relay)


def rebuild_by_gateway(subject: str) -> Relay:
    """Return a gateway that rebuilds the message: other headers and parts, the same text."""

    def relay(raw: bytes) -> bytes:
        old, new = message_from_bytes(raw, policy=policy.default), EmailMessage(policy=KEEP_LINES)
        new["From"], new["To"], new["Subject"] = str(old["From"]), str(old["To"]), subject.format(str(old["Subject"]))
        new["Message-ID"], new["References"] = "<1@get-laluan.example>", "<2@get-laluan.example>"
        body = old.get_body(("plain",))
        assert body is not None
        new.set_content(f"AWAS: dari luar.\n\n{body.get_content()}\nPenafian.\n")
        (attachment,) = old.iter_attachments()
        new.add_attachment(
            attachment.get_content(), maintype="application", subtype="octet-stream", filename="semakan.dat"
        )
        return new.as_bytes()

    return relay


@pytest.mark.blind
@pytest.mark.parametrize("subject", ["EXTERNAL: {}", "{}", "(tiada tajuk)", "[LUAR] Awas! {}"])
async def test_watcher_message_rebuilt_by_gateway_is_delivered_to_run_and_deleted(subject: str) -> None:
    """Defect: Mail whose headers a gateway replaced is LOST in the inbox.

    Pantau: The waiting run recognises its text.
    """
    await assert_delivered(rebuild_by_gateway(subject))


@pytest.mark.blind
@pytest.mark.parametrize(
    "make_copy",
    [
        # Answered, forwarded, quoted, listed, attached: what people and robots do with a message.
        lambda raw: replace_headers(In_Reply_To="<a@b>")(rebuild_by_gateway("LUAR: {}")(raw)),
        rebuild_by_gateway("Fwd: {}"),
        rebuild_by_gateway("Bls: {}"),
        lambda raw: rebuild_by_gateway("Senarai")(raw).replace(b"AWAS", f"{issue().text} AWAS".encode()),
        lambda raw: (
            b"From: a@b\r\nSubject: FYI\r\nContent-Type: message/rfc822\r\n\r\n" + rebuild_by_gateway("{}")(raw)
        ),
        lambda raw: rebuild_by_gateway("FYI {}")(raw).replace(b"SHA-256", b"SHA"),
        replace_headers(Auto_Submitted="auto-replied"),
    ],
    ids=["answer", "forward", "reply", "digest", "attached", "part of the text", "robot"],
)
def test_classify_copy_of_message_is_answer(make_copy: Relay) -> None:
    """Defect: Answers of people and robots look like a rewritten message.

    Pantau: They are no arrival.
    """
    found = classify(make_copy(mail(issue())), SIGNER)
    assert found.kind is MailKind.ANSWER


@pytest.mark.blind
def test_decide_rewritten_message_is_delivered_only_to_waiting_recipient() -> None:
    """Defect: A rewritten message that nobody waits for is deleted.

    Pantau: It is left alone.
    """
    token = issue()
    rewritten = ObservedMessage(kind=MailKind.REWRITTEN, token=token)

    def decided(awaited: set[Party], token_state: TokenState | None) -> Disposition:
        return decide(
            rewritten, origin=SIGNER.origin(token), awaited=awaited, token_state=token_state, now=token.sent_at
        )

    assert decided({Party.RECIPIENT}, None) == Disposition(deliver=True, delete=True)
    assert decided({Party.SENDER}, None) == Disposition()
    assert decided(set(), TokenState.ENDED) == Disposition()
    assert decided({Party.RECIPIENT}, TokenState.ARRIVED) == Disposition(), "it may be somebody's copy of it"


@pytest.mark.pitfall
def test_token_and_subject_have_no_underscore_bracket_or_non_ascii() -> None:
    """Trap: Searches and parsers lose underscores, brackets and non-ASCII letters.

    Pantau: The token has none.
    """
    for _ in range(50):
        assert re.fullmatch(r"pantau-[a-z2-7]+", issue().text)
        assert re.fullmatch(r"[A-Za-z0-9 -]+", build_subject(issue()))


@pytest.mark.pitfall
@pytest.mark.parametrize("prefix", ["Re: ", "RE: ", "AW: ", "WG: ", "Fwd: ", "FW: ", "BLS: ", "[LUAR] AW: "])
async def test_watcher_echo_with_subject_prefix_is_not_arrival(prefix: str) -> None:
    """Trap: An echo responder returns all headers.

    Pantau: Its subject prefix marks it as an answer, behind a gateway's tag too.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    echo = replace_headers(Subject=f"{prefix}{build_subject(token)}")(mail(token))
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            await expectation.ready
            kept = standin.put(echo)
            expectation.request_fast_polling()
            await until(lambda: any(f"UID FETCH {kept} " in line for line in standin.asked))
            uid = standin.put(mail(token))
            assert await expectation.content == mail(token)
        await until_deleted(standin, uid)
    assert list(standin.mails) == [kept]
    assert counted.arrivals == []


def compose_text(token: Token) -> str:
    return compose(token, sender="a@jabatan-contoh.gov.my", recipient="b@rujukan.example", now=token.sent_at).decode()


@pytest.mark.pitfall
def test_probe_message_asks_robots_not_to_reply() -> None:
    """Trap: Robots answer robots.

    Pantau: `Auto-Submitted` and `X-Auto-Response-Suppress` ask them not to.
    """
    message = message_from_bytes(compose_text(issue()).encode(), policy=policy.default)
    assert message.get_all("Auto-Submitted") == ["auto-generated"]
    assert message.get_all("X-Auto-Response-Suppress") == ["All"]


def out_of_office(token: Token, *, subject: str, headers: str) -> bytes:
    return (
        f"From: b@rujukan.example\r\nSubject: {subject}\r\n{headers}"
        f"In-Reply-To: <{token.text}@jabatan-contoh.gov.my>\r\nMessage-ID: <1@rujukan.example>\r\n\r\n"
        f"Saya bercuti hingga Isnin.\r\n"
    ).encode()


@pytest.mark.pitfall
@pytest.mark.parametrize(
    ("subject", "headers"),
    [
        ("Automatic reply: {}", "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n"),
        ("Jawapan automatik: {}", "Auto-Submitted: auto-replied (vacation)\r\n"),
        ("{}", "Auto-Submitted: auto-replied\r\n"),
        ("{}", "Return-Path: <>\r\n"),
        ("Saya bercuti", "X-Autoreply: yes\r\n"),
    ],
)
async def test_watcher_out_of_office_reply_is_kept_and_not_arrival(subject: str, headers: str) -> None:
    """Trap: Out-of-office replies come all the same.

    Pantau: They are no arrival and no bounce.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    reply = out_of_office(token, subject=subject.format(build_subject(token)), headers=headers)
    assert classify(reply, SIGNER).kind is MailKind.ANSWER
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as expectation:
            await expectation.ready
            kept = standin.put(reply)
            expectation.request_fast_polling()
            await until(lambda: any(f"UID FETCH {kept} " in line for line in standin.asked))
            read = len(standin.asked)
            await until(lambda: any(line.endswith(" NOOP") for line in standin.asked[read:]))
            assert not expectation.arrival.done()
    assert list(standin.mails) == [kept]
    assert counted.arrivals == []


@pytest.mark.pitfall
def test_probe_message_has_one_valid_date() -> None:
    """Trap: A missing, doubled or invalid Date makes mail look like spam.

    Pantau: There is one valid Date.
    """
    now = datetime(2026, 3, 2, 8, 30, 15, tzinfo=UTC)
    token = SIGNER.issue("ujian", now)
    dates = message_from_bytes(mail(token)).get_all("Date")
    assert dates == ["Mon, 02 Mar 2026 08:30:15 +0000"]
    assert parsedate_to_datetime(dates[0]) == now


@pytest.mark.pitfall
def test_probe_message_has_readable_plain_text() -> None:
    """Trap: A message without text looks like spam.

    Pantau: It has plain text.
    """
    token = issue()
    body = message_from_bytes(mail(token), policy=policy.default).get_body(("plain",))
    assert body is not None
    assert body.get_content().split() == build_text(token).split()
    assert "semakan" in build_text(token).lower() or "ujian" in build_text(token).lower()
