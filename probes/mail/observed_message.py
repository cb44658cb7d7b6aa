"""What kind of mail stands in the mailbox: our message, a report about it, something that answers it, or foreign mail."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import policy
from email.message import Message
from enum import StrEnum

from probes.mail.bounce import DsnReport, parse
from probes.mail.message import TOKEN_HEADER, boundary_of, says_all, subject_of
from probes.mail.mime import header_of, in_clear, taken_apart
from probes.mail.token import Token, TokenReading, TokenSigner

_CARRIERS = (TOKEN_HEADER, "Subject", "References", "In-Reply-To", "Message-ID")
_ANSWERS = re.compile(r"^\s*(?:re|fw|fwd|aw|wg|bls|tr|antwort|automatic reply|auto)\s*:", re.IGNORECASE)
_POSTMASTERS = re.compile(r"\b(?:mailer-daemon|postmaster)@", re.IGNORECASE)
#: What gateways put before a subject: "[EXTERNAL]", "[LUAR]".
_TAGS = re.compile(r"^(?:\s*\[[^\]]{0,40}\])+")
#: Soft line breaks of quoted-printable, and the folding of headers, may stand in the middle of a token's line.
_LINE_END = re.compile(rb"\r\n(?![ \t])")
#: A header field as everybody writes it, folded or not (RFC 5322 2.2).
_FIELD = re.compile(rb"([!-9;-~]+):[ \t]*([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)")
_BREAKS = re.compile(r"=\r?\n|\r?\n(?=[ \t])")


class MailKind(StrEnum):
    """What a mail is to us."""

    #: The message that a run sent.
    MESSAGE = "message"
    #: A delivery status notification about it.
    REPORT = "report"
    #: The message with all headers replaced that tell it from an answer, known by its text. It counts only for a run that
    #: waits for it: a person may have copied it.
    REWRITTEN = "rewritten"
    #: Something that quotes it: an automatic or a human answer, a bounce in prose. Proves nothing.
    ANSWER = "answer"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedMessage:
    """A mail in the mailbox, as far as it has been read."""

    kind: MailKind
    #: Verified; `None` for foreign mail.
    token: Token | None = None
    #: It carries something that looks like a token and is none.
    forged: bool = False
    report: DsnReport | None = None


def recognise(raw: bytes, signer: TokenSigner) -> ObservedMessage:
    """Say what the mail *raw*, whole or its header only, is to us."""
    message = _taken_apart(raw)
    reading = _reading(message, raw, signer)
    report = parse(message)
    token = reading.tokens[0] if reading.tokens else None
    if token is None:
        return ObservedMessage(kind=MailKind.FOREIGN, forged=bool(reading.forged))
    if report is not None:
        return ObservedMessage(kind=MailKind.REPORT, token=token, report=report)
    if _answers(message):
        return ObservedMessage(kind=MailKind.ANSWER, token=token)
    if _is_ours(message, token):
        return ObservedMessage(kind=MailKind.MESSAGE, token=token)
    return ObservedMessage(kind=MailKind.REWRITTEN if _is_rewritten(message, reading) else MailKind.ANSWER, token=token)


def _reading(message: Message, raw: bytes, signer: TokenSigner) -> TokenReading:
    plain = signer.read(_unfolded(raw))
    if len(plain.tokens) == 1 and not plain.forged:
        # As almost always: what may be hidden elsewhere is the same one, and decoding it all takes a while.
        return plain
    return signer.read("\n".join(_texts(message, raw)))


def _unfolded(raw: bytes) -> str:
    return _BREAKS.sub("", raw.decode("latin-1"))


def _taken_apart(raw: bytes) -> Message:
    header = raw[:-4]
    if raw.endswith(b"\r\n\r\n") and b"\r\n\r\n" not in raw[:-1]:
        fields = [_FIELD.fullmatch(line) for line in _LINE_END.split(header)]
        if all(fields):
            return _header_only([(match[1], match[2]) for match in fields if match])
    return taken_apart(raw)


def _header_only(fields: Iterable[tuple[bytes, bytes]]) -> Message:
    """Return a message as `email` reads it, without its looking for parts that are not there.

    That would take half of the CPU of recognising a mail, most of it for the regular expression that is made of each
    boundary.
    """
    message = Message(policy=policy.compat32)
    for name, value in fields:
        message.set_raw(name.decode("ascii"), value.decode("ascii", "surrogateescape"))
    # Without a body, not without any payload: `email` cannot decode that where the header says that it is encoded.
    message.set_payload("")
    return message


def may_hide_token(header: bytes) -> bool:
    """Whether the body is worth reading though the header holds no token: a report quotes the message in its body."""
    # Most mail is none, and reading a header takes a while.
    if b"multipart/report" not in header.lower():
        return False
    return header_of(header).get_content_type() == "multipart/report"


def _texts(message: Message, raw: bytes) -> Iterator[str]:
    for name in _CARRIERS:
        for value in message.get_all(name, ()):
            yield in_clear(str(value))
    yield _unfolded(raw)
    for part in message.walk():
        # Encoded parts hide the token from the line above; only what is text may hold one.
        if part.get_content_maintype() in {"text", "message"} and not part.is_multipart():
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                yield payload.decode("latin-1")


def _is_ours(message: Message, token: Token) -> bool:
    """Whether the mail is the one that was sent, by at least one thing that no answer, digest or complaint copies.

    A person may quote a token, a quarantine may list our subject: such mail is somebody's, and is never deleted.
    """
    return (
        token.text in str(message.get(TOKEN_HEADER, "")).lower()
        or token.text in str(message.get("Message-ID", "")).lower()
        or _subject(message).lower().startswith(subject_of(token).lower())
        or message.get_boundary() == boundary_of(token)
    )


def _is_rewritten(message: Message, reading: TokenReading) -> bool:
    """Whether the mail says all that was sent, of one token alone, and not as an answer to it.

    A digest lists several tokens, and no text. Whoever forwards the message as a part gives the whole a subject of their own;
    a filter that does so puts something before ours.
    """
    if len(reading.tokens) != 1 or "In-Reply-To" in message:
        return False
    token = reading.tokens[0]
    return says_all(message, token, nested=subject_of(token).lower() in _subject(message).lower())


def _answers(message: Message) -> bool:
    by_robot = str(message.get("Auto-Submitted", "")).lower().startswith("auto-replied")
    from_nobody = str(message.get("Return-Path", "")).strip() == "<>"
    from_postmaster = _POSTMASTERS.search(str(message.get("From", ""))) is not None
    return by_robot or from_nobody or from_postmaster or bool(_ANSWERS.match(_subject(message)))


def _subject(message: Message) -> str:
    """Return the subject in clear, without what gateways put before it: behind that, too, an answer is one."""
    return _TAGS.sub("", in_clear(str(message.get("Subject", "")))).strip()
