"""The traps between a message that was sent and the one that arrived: what relays rewrite, and what answers it."""

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
from probes.mail.message import DIGEST_HEADER, TOKEN_HEADER, build_subject, build_text, compose, find_changes
from probes.mail.observed_message import MailKind, ObservedMessage, classify
from probes.mail.token import Token
from probes.model.result import Party
from tests.unit.probes.standin import ImapStandIn, until
from tests.unit.probes.watch import SIGNER, Counted, gone, issue, mail, watching

#: Headers stay on their lines, as relays leave them.
AS_IT_IS = policy.SMTP.clone(max_line_length=400)

Relay = Callable[[bytes], bytes]


def rewriting(**headers: str) -> Relay:
    """Return what a relay does that puts other headers in place of those."""

    def relay(raw: bytes) -> bytes:
        message = message_from_bytes(raw, policy=AS_IT_IS)
        for name, value in headers.items():
            del message[name.replace("_", "-")]
            message[name.replace("_", "-")] = value
        return message.as_bytes()

    return relay


def stripping(*names: str) -> Relay:
    """Return what a relay does that leaves headers out."""

    def relay(raw: bytes) -> bytes:
        message = message_from_bytes(raw, policy=AS_IT_IS)
        for name in names:
            del message[name]
        return message.as_bytes()

    return relay


def outlook(raw: bytes) -> bytes:
    """Rewrite the Message-ID and keep the old one under another name."""
    message = message_from_bytes(raw, policy=AS_IT_IS)
    message["X-Microsoft-Original-Message-ID"] = str(message["Message-ID"])
    del message["Message-ID"]
    message["Message-ID"] = "<SG2PR01MB0001@SG2PR01MB0001.apcprd01.prod.example>"
    return message.as_bytes()


async def arrives(relay: Relay) -> None:
    """See that the message which *relay* has handled is handed to its run, as a whole one, and deleted."""
    standin, counted, token = ImapStandIn(), Counted(), issue()
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            await letter.ready
            uid = standin.put(relay(mail(token)))
            letter.request_fast_polling()
            assert isinstance(await letter.arrival, Arrived)
            content = await letter.content
            assert isinstance(content, bytes)
            assert find_changes(content, token) == ()
        await gone(standin, uid)
    assert counted.arrivals == []


@pytest.mark.pitfall
@pytest.mark.parametrize(
    "relay",
    [
        rewriting(Message_ID="<0109018f3c2e7a1b-000000@ap-southeast-1.amazonses.example>"),
        rewriting(Message_ID="<202603020830.47213908155@smtp-relay.mailin.example>"),
        outlook,
        stripping("Message-ID"),
    ],
)
async def test_a_message_whose_message_id_was_rewritten_on_the_way_is_still_ours(relay: Relay) -> None:
    """Trap: SES, Brevo and Outlook rewrite the Message-ID.

    Pantau: It is one of five places of the token.
    """
    await arrives(relay)


@pytest.mark.pitfall
@pytest.mark.parametrize(
    "relay",
    [
        stripping(TOKEN_HEADER, DIGEST_HEADER),
        stripping(TOKEN_HEADER, DIGEST_HEADER, "References"),
        stripping(TOKEN_HEADER, DIGEST_HEADER, "References", "Message-ID"),
        # Of all headers with a token in them not one is left; the body has it, too.
        lambda raw: rewriting(Subject="[LUAR]")(stripping(TOKEN_HEADER, "References", "Message-ID")(raw)),
    ],
)
async def test_a_message_whose_own_headers_were_stripped_on_the_way_is_still_ours(relay: Relay) -> None:
    """Trap: Outlook.com strips unknown headers.

    Pantau: Subject, References and text have the token too.
    """
    await arrives(relay)


def gateway(subject: str) -> Relay:
    """Return what a gateway does that makes a message anew: other headers, other parts, the text as it was."""

    def relay(raw: bytes) -> bytes:
        old, new = message_from_bytes(raw, policy=policy.default), EmailMessage(policy=AS_IT_IS)
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
async def test_watcher_message_made_anew_by_a_gateway_is_handed_over_and_deleted(subject: str) -> None:
    """Defect: Mail whose headers a gateway replaced is LOST in the inbox.

    Pantau: The waiting run recognises its text.
    """
    await arrives(gateway(subject))


@pytest.mark.blind
@pytest.mark.parametrize(
    "copied",
    [
        # Answered, forwarded, quoted, listed, attached: what people and robots do with a message.
        lambda raw: rewriting(In_Reply_To="<a@b>")(gateway("LUAR: {}")(raw)),
        gateway("Fwd: {}"),
        gateway("Bls: {}"),
        lambda raw: gateway("Senarai")(raw).replace(b"AWAS", f"{issue().text} AWAS".encode()),
        lambda raw: b"From: a@b\r\nSubject: FYI\r\nContent-Type: message/rfc822\r\n\r\n" + gateway("{}")(raw),
        lambda raw: gateway("FYI {}")(raw).replace(b"SHA-256", b"SHA"),
        rewriting(Auto_Submitted="auto-replied"),
    ],
    ids=["answer", "forward", "reply", "digest", "attached", "part of the text", "robot"],
)
def test_recognise_copy_of_the_message_is_no_arrival(copied: Relay) -> None:
    """Defect: Answers of people and robots look like a rewritten message.

    Pantau: They are no arrival.
    """
    found = classify(copied(mail(issue())), SIGNER)
    assert found.kind is MailKind.ANSWER


@pytest.mark.blind
def test_decide_rewritten_message_counts_for_a_run_that_waits_and_is_left_alone_otherwise() -> None:
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
def test_what_is_looked_for_holds_no_underscore_no_bracket_and_nothing_outside_ascii() -> None:
    """Trap: Searches and parsers lose underscores, brackets and non-ASCII letters.

    Pantau: The token has none.
    """
    for _ in range(50):
        assert re.fullmatch(r"pantau-[a-z2-7]+", issue().text)
        assert re.fullmatch(r"[A-Za-z0-9 -]+", build_subject(issue()))


@pytest.mark.pitfall
@pytest.mark.parametrize("prefix", ["Re: ", "RE: ", "AW: ", "WG: ", "Fwd: ", "FW: ", "BLS: ", "[LUAR] AW: "])
async def test_an_echo_with_a_prefix_and_all_our_headers_is_not_the_message_itself(prefix: str) -> None:
    """Trap: An echo responder returns all headers.

    Pantau: Its subject prefix marks it as an answer, behind a gateway's tag too.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    echo = rewriting(Subject=f"{prefix}{build_subject(token)}")(mail(token))
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            await letter.ready
            kept = standin.put(echo)
            letter.request_fast_polling()
            await until(lambda: any(f"UID FETCH {kept} " in line for line in standin.asked))
            uid = standin.put(mail(token))
            assert await letter.content == mail(token)
        await gone(standin, uid)
    assert list(standin.mails) == [kept]
    assert counted.arrivals == []


def written(token: Token) -> str:
    return compose(token, sender="a@jabatan-contoh.gov.my", recipient="b@rujukan.example", now=token.sent_at).decode()


@pytest.mark.pitfall
def test_our_message_asks_robots_not_to_answer_it() -> None:
    """Trap: Robots answer robots.

    Pantau: `Auto-Submitted` and `X-Auto-Response-Suppress` ask them not to.
    """
    message = message_from_bytes(written(issue()).encode(), policy=policy.default)
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
async def test_an_out_of_office_reply_is_no_arrival_no_bounce_and_is_left_alone(subject: str, headers: str) -> None:
    """Trap: Out-of-office replies come all the same.

    Pantau: They are no arrival and no bounce.
    """
    standin, counted, token = ImapStandIn(), Counted(), issue()
    reply = out_of_office(token, subject=subject.format(build_subject(token)), headers=headers)
    assert classify(reply, SIGNER).kind is MailKind.ANSWER
    async with watching(standin, counted) as watcher:
        with watcher.expect(token) as letter:
            await letter.ready
            kept = standin.put(reply)
            letter.request_fast_polling()
            await until(lambda: any(f"UID FETCH {kept} " in line for line in standin.asked))
            read = len(standin.asked)
            await until(lambda: any(line.endswith(" NOOP") for line in standin.asked[read:]))
            assert not letter.arrival.done()
    assert list(standin.mails) == [kept]
    assert counted.arrivals == []


@pytest.mark.pitfall
def test_our_message_has_one_date_and_it_is_a_valid_one() -> None:
    """Trap: A missing, doubled or invalid Date makes mail look like spam.

    Pantau: There is one valid Date.
    """
    now = datetime(2026, 3, 2, 8, 30, 15, tzinfo=UTC)
    token = SIGNER.issue("ujian", now)
    dates = message_from_bytes(mail(token)).get_all("Date")
    assert dates == ["Mon, 02 Mar 2026 08:30:15 +0000"]
    assert parsedate_to_datetime(dates[0]) == now


@pytest.mark.pitfall
def test_our_message_has_a_plain_text_that_a_person_can_read() -> None:
    """Trap: A message without text looks like spam.

    Pantau: It has plain text.
    """
    token = issue()
    body = message_from_bytes(mail(token), policy=policy.default).get_body(("plain",))
    assert body is not None
    assert body.get_content().split() == build_text(token).split()
    assert "semakan" in build_text(token).lower() or "ujian" in build_text(token).lower()
