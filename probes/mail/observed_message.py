"""Classification of a message in a mailbox: a probe message, a bounce of it, an answer to it, or foreign mail.

A probe message contains a token, the signed mark of the run that sent it.
"""

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
#: Tags that mail gateways put before a subject: "[EXTERNAL]", "[LUAR]".
_SUBJECT_TAGS = re.compile(r"^(?:\s*\[[^\]]{0,40}\])+")
#: End of a header field; a line that begins with a blank continues the field.
_LINE_END = re.compile(rb"\r\n(?![ \t])")
#: A header field in its usual form, folded or not (RFC 5322 2.2).
_FIELD = re.compile(rb"([!-9;-~]+):[ \t]*([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)")
#: Soft line breaks of quoted-printable, and the folding of headers: either may split a token.
_SOFT_BREAKS = re.compile(r"=\r?\n|\r?\n(?=[ \t])")


class MailKind(StrEnum):
    """Kind of a mail."""

    #: The message that a run sent.
    MESSAGE = "message"
    #: A delivery status notification about the message.
    REPORT = "report"
    #: The message, recognised only by its text, because a relay has replaced the headers that distinguish it from an
    #: answer. It counts only for a run that waits for it, because a person may have copied it.
    REWRITTEN = "rewritten"
    #: Mail that quotes the message: an automatic or human answer, or a free-text bounce. It is no evidence of delivery.
    ANSWER = "answer"
    #: Mail without a valid token.
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedMessage:
    """Classified message; perhaps only its header was read."""

    kind: MailKind
    #: The verified token; `None` for foreign mail.
    token: Token | None = None
    #: Whether foreign mail contains an invalid token.
    is_forged: bool = False
    #: Only for `MailKind.REPORT`.
    report: DsnReport | None = None


def classify(raw: bytes, signer: TokenSigner) -> ObservedMessage:
    """Classify the message *raw*: a whole message, or its header only."""
    message = _parse(raw)
    reading = _read_tokens(message, raw, signer)
    report = parse_report(message)
    token = reading.tokens[0] if reading.tokens else None
    if token is None:
        return ObservedMessage(kind=MailKind.FOREIGN, is_forged=bool(reading.forged))
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
        # In this usual case nothing else is decoded, to save time: encoded parts have the same token.
        return plain
    return signer.read("\n".join(_text_sources(message, raw)))


def _unfold(raw: bytes) -> str:
    return _SOFT_BREAKS.sub("", raw.decode("latin-1"))


def _parse(raw: bytes) -> Message:
    """Parse *raw*; if it is only a header, in the usual form, by the faster `_build_header`."""
    header = raw[:-4]
    if raw.endswith(b"\r\n\r\n") and b"\r\n\r\n" not in raw[:-1]:
        fields = [_FIELD.fullmatch(line) for line in _LINE_END.split(header)]
        if all(fields):
            return _build_header([(match[1], match[2]) for match in fields if match])
    return parse_message(raw)


def _build_header(fields: Iterable[tuple[bytes, bytes]]) -> Message:
    """Return the message that `email` would parse from a header alone, without its search for MIME parts.

    That search takes half of the CPU of a classification, mostly for the regular expression that it builds for each
    boundary.
    """
    message = Message(policy=policy.compat32)
    for name, value in fields:
        message.set_raw(name.decode("ascii"), value.decode("ascii", "surrogateescape"))
    # The body is empty and not missing, because `email` cannot decode a missing one if the header declares an encoding.
    message.set_payload("")
    return message


def may_hide_token(header: bytes) -> bool:
    """Return whether the body may have a token that the header lacks: a report quotes the message in its body."""
    # This search avoids parsing the header of most mail, which takes time.
    if b"multipart/report" not in header.lower():
        return False
    return parse_header(header).get_content_type() == "multipart/report"


def _text_sources(message: Message, raw: bytes) -> Iterator[str]:
    for name in _TOKEN_HEADERS:
        for value in message.get_all(name, ()):
            yield decode_header_value(str(value))
    yield _unfold(raw)
    for part in message.walk():
        # `raw` does not show a token in encoded parts. Only text parts may contain one.
        if part.get_content_maintype() in {"text", "message"} and not part.is_multipart():
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                yield payload.decode("latin-1")


def _is_sent_message(message: Message, token: Token) -> bool:
    """Return whether *message* is the sent one, by a feature that answers, digests and complaints do not copy.

    A person may quote a token, and a quarantine's digest may list our subject. Such mail is for people, and is never
    deleted.
    """
    return (
        token.text in str(message.get(TOKEN_HEADER, "")).lower()
        or token.text in str(message.get("Message-ID", "")).lower()
        or _subject(message).lower().startswith(build_subject(token).lower())
        or message.get_boundary() == mime_boundary(token)
    )


def _is_rewritten(message: Message, reading: TokenReading) -> bool:
    """Return whether *message* has the complete sent text and only one token, and is not an answer.

    A digest lists several tokens, without the text. The text in an attached message counts only if the subject contains
    ours: a filter that forwards the message as an attachment only adds a prefix to our subject, but a person who
    forwards the message writes another subject.
    """
    if len(reading.tokens) != 1 or "In-Reply-To" in message:
        return False
    token = reading.tokens[0]
    return contains_text(message, token, nested=build_subject(token).lower() in _subject(message).lower())


def _is_answer(message: Message) -> bool:
    is_automatic_reply = str(message.get("Auto-Submitted", "")).lower().startswith("auto-replied")
    has_null_sender = str(message.get("Return-Path", "")).strip() == "<>"
    is_from_postmaster = _POSTMASTERS.search(str(message.get("From", ""))) is not None
    has_answer_prefix = _ANSWER_PREFIX.match(_subject(message)) is not None
    return is_automatic_reply or has_null_sender or is_from_postmaster or has_answer_prefix


def _subject(message: Message) -> str:
    """Return the decoded subject without the tags of gateways, which may precede the prefix of an answer."""
    return _SUBJECT_TAGS.sub("", decode_header_value(str(message.get("Subject", "")))).strip()
