"""Crafted mail in a watched mailbox neither delays nor ends the watcher."""

from __future__ import annotations

import time
from email.message import Message

import pytest

from probes.mail.message import find_damage
from probes.mail.mime import decode_header_value, is_charset, parse_message
from probes.mail.observed_message import MailKind, classify
from tests.unit.probes.watchers import SIGNER, issue, mail

NESTED = b"".join(b'Content-Type: multipart/report; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(150))


@pytest.mark.parametrize(
    "raw",
    [
        NESTED + b"\r\n" * 120_000,
        b"Subject: " + b"=?a?q?a " * 8_000 + b"\r\n\r\n",
        b"Subject: =?punycode?q?" + b"a" * 120_000 + b"-" + b"b" * 120_000 + b"?=\r\n\r\n",
    ],
    ids=["parts in each other", "encoded words without end", "a word in Punycode"],
)
def test_mail_crafted_to_be_slow_is_classified_quickly(raw: bytes) -> None:
    began = time.process_time()
    assert classify(raw, SIGNER).kind is MailKind.FOREIGN
    assert find_damage(raw, issue())
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("depth", [21, 3000])
def test_token_in_deeply_nested_mail_is_found(depth: int) -> None:
    token = issue()
    opened = b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(depth))
    assert classify(opened + mail(token), SIGNER).token == token


def test_deeply_nested_messages_are_parsed() -> None:
    assert isinstance(parse_message(b"Content-Type: message/rfc822\r\n\r\n" * 3000), Message)


def test_token_with_lookalike_letter_is_not_read() -> None:
    text = issue().text
    # The lower case of this letter has two characters.
    assert SIGNER.read(text[:20] + "\u0130" + text[22:]).tokens == ()


@pytest.mark.parametrize(
    ("value", "clear"),
    [
        ("=?utf-8?q?gangguan_=C2=BD?=", "gangguan ½"),
        ("=?utf-8?b?a?=", "=?utf-8?b?a?="),
        ("=?tiada?q?a?=", "=?tiada?q?a?="),
        ("=?unicode-escape?q?=5Cd?=", "=?unicode-escape?q?=5Cd?="),
        (" =?utf-8?q?a?=" * 50, "a" * 50),
        (" =?utf-8?q?a?=" * 51, " =?utf-8?q?a?=" * 51),
    ],
)
def test_encoded_words_are_decoded_if_valid_and_few(value: str, clear: str) -> None:
    assert decode_header_value(value) == clear


@pytest.mark.parametrize(
    ("name", "known"), [("UTF-8", True), ("windows-1252", True), ("Punycode", False), ("a\0b", False)]
)
def test_charset_accepts_only_mail_character_sets(name: str, *, known: bool) -> None:
    assert is_charset(name) is known
