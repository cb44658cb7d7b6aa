"""Signatures are checked with the keys that are brought, and whatever a message holds, nothing breaks."""

from __future__ import annotations

import pytest

from probes.signature import Signature, author_domain, keys_of, verified

_HEADER = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=Contoh.gov.my; s=S1;\r\n"
    b" h=from:subject; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=QUJD\r\n"
)


@pytest.mark.parametrize(
    ("message", "keys"),
    [
        (_HEADER + b"From: a@contoh.gov.my\r\n\r\n", ("s1._domainkey.contoh.gov.my",)),
        (_HEADER * 9 + b"From: a@contoh.gov.my\r\n\r\n", ("s1._domainkey.contoh.gov.my",)),
        (b"DKIM-Signature: bukan\r\nFrom: a@x\r\n\r\n", ()),
        (b"From: a@contoh.gov.my\r\n\r\n", ()),
        (b"\xff\xfe\x00", ()),
        (b"", ()),
    ],
)
def test_which_keys_are_needed(message: bytes, keys: tuple[str, ...]) -> None:
    assert keys_of(message) == keys


@pytest.mark.parametrize(
    "key",
    [b"", b"v=DKIM1; p=", b"v=DKIM1; p=!!!!", b"v=DKIM2; p=AAAA", b"\xff\xff", b"v=DKIM1; k=ed25519; p=AAAA", b"=;=;"],
)
def test_a_key_that_is_none_makes_a_signature_invalid_and_breaks_nothing(key: bytes) -> None:
    (signature,) = verified(_HEADER + b"From: a@contoh.gov.my\r\n\r\n", {"s1._domainkey.contoh.gov.my": key})
    assert not signature.valid
    assert signature.domain == "contoh.gov.my"


@pytest.mark.parametrize(
    ("header", "domain"),
    [
        (b"From: Semakan <semakan@Contoh.gov.my>\r\n", "contoh.gov.my"),
        (b"From: semakan@contoh.gov.my\r\n", "contoh.gov.my"),
        (b"From: =?utf-8?q?Jabatan?= <a@contoh.gov.my>\r\n", "contoh.gov.my"),
        (b"From: tiada\r\n", ""),
        (b"Subject: tiada\r\n", ""),
    ],
)
def test_whose_message_it_is(header: bytes, domain: str) -> None:
    assert author_domain(header + b"\r\nx") == domain


@pytest.mark.parametrize(
    ("signer", "author", "aligned"),
    [
        ("contoh.gov.my", "contoh.gov.my", True),
        ("contoh.gov.my", "mel.contoh.gov.my", True),
        ("mel.contoh.gov.my", "contoh.gov.my", True),
        ("lain.gov.my", "contoh.gov.my", False),
        ("gov.my", "contoh.gov.my", False),
    ],
)
def test_for_whom_a_signature_speaks(signer: str, author: str, *, aligned: bool) -> None:
    assert Signature(domain=signer, selector="s").aligned(author) is aligned
