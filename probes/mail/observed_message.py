"""Classification of a message in a mailbox: the one a run sent, a bounce of it, an answer to it, or foreign mail."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import policy
from email.message import Message
from enum import StrEnum

from probes.mail.bounce import DsnReport, parse_report
from probes.mail.message import TOKEN_HEADER, build_subject, contains_text, mime_boundary
from probes.mail.mime import decode_header_value, parse_header, parse_message
from probes.mail.token import Token, TokenReading, TokenSigner

_TOKEN_HEADERS = (TOKEN_HEADER, "Subject", "References", "In-Reply-To", "Message-ID")
_ANSWER_PREFIX = re.compile(r"^\s*(?:re|fw|fwd|aw|wg|bls|tr|antwort|automatic reply|auto)\s*:", re.IGNORECASE)
_POSTMASTERS = re.compile(r"\b(?:mailer-daemon|postmaster)@", re.IGNORECASE)
#: Tags that gateways put before a subject: "[EXTERNAL]", "[LUAR]".
_SUBJECT_TAGS = re.compile(r"^(?:\s*\[[^\]]{0,40}\])+")
#: Soft line breaks of quoted-printable, and the folding of headers, may split a token.
_LINE_END = re.compile(rb"\r\n(?![ \t])")
#: A header field in its usual form, folded or not (RFC 5322 2.2).
_FIELD = re.compile(rb"([!-9;-~]+):[ \t]*([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)")
_SOFT_BREAKS = re.compile(r"=\r?\n|\r?\n(?=[ \t])")


class MailKind(StrEnum):
    """Kind of a mail."""

    #: The message that a run sent.
    MESSAGE = "message"
    #: A delivery status notification about it.
    REPORT = "report"
    #: The message with all the headers replaced that distinguish it from an answer, recognised by its text. It counts
    #: only for a run that waits for it: a person may have copied it.
    REWRITTEN = "rewritten"
    #: Mail that quotes it: an automatic or a human answer, a free-text bounce. No evidence.
    ANSWER = "answer"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedMessage:
    """Classified message; its body may not have been read."""

    kind: MailKind
    #: Verified; `None` for foreign mail.
    token: Token | None = None
    #: It contains an invalid token.
    forged: bool = False
    report: DsnReport | None = None


def classify(raw: bytes, signer: TokenSigner) -> ObservedMessage:
    """Return the kind of the mail *raw*, which is complete or its header only."""
    message = _parse(raw)
    reading = _read_tokens(message, raw, signer)
    report = parse_report(message)
    token = reading.tokens[0] if reading.tokens else None
    if token is None:
        return ObservedMessage(kind=MailKind.FOREIGN, forged=bool(reading.forged))
    if report is not None:
        return ObservedMessage(kind=MailKind.REPORT, token=token, report=report)
    if _is_answer(message):
        return ObservedMessage(kind=MailKind.ANSWER, token=token)
    if _is_sent_message(message, token):
        return ObservedMessage(kind=MailKind.MESSAGE, token=token)
    return ObservedMessage(kind=MailKind.REWRITTEN if _is_rewritten(message, reading) else MailKind.ANSWER, token=token)


def _read_tokens(message: Message, raw: bytes, signer: TokenSigner) -> TokenReading:
    plain = signer.read(_unfold(raw))
    if len(plain.tokens) == 1 and not plain.forged:
        # The usual case: hidden copies have the same token, and decoding everything takes time.
        return plain
    return signer.read("\n".join(_text_sources(message, raw)))


def _unfold(raw: bytes) -> str:
    return _SOFT_BREAKS.sub("", raw.decode("latin-1"))


def _parse(raw: bytes) -> Message:
    header = raw[:-4]
    if raw.endswith(b"\r\n\r\n") and b"\r\n\r\n" not in raw[:-1]:
        fields = [_FIELD.fullmatch(line) for line in _LINE_END.split(header)]
        if all(fields):
            return _build_header([(match[1], match[2]) for match in fields if match])
    return parse_message(raw)


def _build_header(fields: Iterable[tuple[bytes, bytes]]) -> Message:
    """Return a message as `email` parses it, without the search for absent parts.

    That search would take half of the CPU of recognising a mail, most of it for the regular expression built from each
    boundary.
    """
    message = Message(policy=policy.compat32)
    for name, value in fields:
        message.set_raw(name.decode("ascii"), value.decode("ascii", "surrogateescape"))
    # An empty body, not a missing payload: `email` cannot decode a missing one when the header declares an encoding.
    message.set_payload("")
    return message


def may_hide_token(header: bytes) -> bool:
    """Return whether to read the body although the header has no token: a report quotes the message in its body."""
    # Most mail is no report, and parsing a header takes time.
    if b"multipart/report" not in header.lower():
        return False
    return parse_header(header).get_content_type() == "multipart/report"


def _text_sources(message: Message, raw: bytes) -> Iterator[str]:
    for name in _TOKEN_HEADERS:
        for value in message.get_all(name, ()):
            yield decode_header_value(str(value))
    yield _unfold(raw)
    for part in message.walk():
        # The code above does not see a token in encoded parts; only text may contain one.
        if part.get_content_maintype() in {"text", "message"} and not part.is_multipart():
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                yield payload.decode("latin-1")


def _is_sent_message(message: Message, token: Token) -> bool:
    """Return whether the mail is the sent one, by at least one feature that no answer, digest or complaint copies.

    A person may quote a token, and a quarantine may list our subject: such mail belongs to people, and is never
    deleted.
    """
    return (
        token.text in str(message.get(TOKEN_HEADER, "")).lower()
        or token.text in str(message.get("Message-ID", "")).lower()
        or _subject(message).lower().startswith(build_subject(token).lower())
        or message.get_boundary() == mime_boundary(token)
    )


def _is_rewritten(message: Message, reading: TokenReading) -> bool:
    """Return whether the mail has the complete sent text, with one token only, and is no answer.

    A digest lists several tokens, and no text. A message forwarded as a part has a subject of the forwarding person's;
    a filter that forwards so adds a prefix to ours.
    """
    if len(reading.tokens) != 1 or "In-Reply-To" in message:
        return False
    token = reading.tokens[0]
    return contains_text(message, token, nested=build_subject(token).lower() in _subject(message).lower())


def _is_answer(message: Message) -> bool:
    by_robot = str(message.get("Auto-Submitted", "")).lower().startswith("auto-replied")
    from_nobody = str(message.get("Return-Path", "")).strip() == "<>"
    from_postmaster = _POSTMASTERS.search(str(message.get("From", ""))) is not None
    return by_robot or from_nobody or from_postmaster or bool(_ANSWER_PREFIX.match(_subject(message)))


def _subject(message: Message) -> str:
    """Return the decoded subject without the tags of gateways, so that an answer is recognised behind them."""
    return _SUBJECT_TAGS.sub("", decode_header_value(str(message.get("Subject", "")))).strip()
