"""DKIM signatures are verified with given keys, and no message raises an error."""

from __future__ import annotations

import random
import time
from base64 import b64decode, b64encode
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from probes.domain.signature import NOT_CHECKED, Signature, author_domain, find_key_names, verify_signatures
from probes.model.check import Verdict
from probes.verdict.domain import judge_dkim

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
def test_dkim_key_names_are_found(message: bytes, keys: tuple[str, ...]) -> None:
    assert find_key_names(message) == keys


@pytest.mark.parametrize(
    "key",
    [b"", b"v=DKIM1; p=", b"v=DKIM1; p=!!!!", b"v=DKIM2; p=AAAA", b"\xff\xff", b"v=DKIM1; k=ed25519; p=AAAA", b"=;=;"],
)
def test_dkim_invalid_key_makes_signature_invalid(key: bytes) -> None:
    (signature,) = verify_signatures(_HEADER + b"From: a@contoh.gov.my\r\n\r\n", {"s1._domainkey.contoh.gov.my": key})
    assert not signature.is_valid
    assert signature.domain == "contoh.gov.my"


@pytest.mark.parametrize(
    ("header", "domain"),
    [
        (b"From: Semakan <semakan@Contoh.gov.my>\r\n", "contoh.gov.my"),
        (b"From: semakan@contoh.gov.my\r\n", "contoh.gov.my"),
        (b"From: =?utf-8?q?Jabatan?= <a@contoh.gov.my>\r\n", "contoh.gov.my"),
        (b"From: tiada\r\n", ""),
        (b"Subject: tiada\r\n", ""),
        (b"From: " + b"(" * 20_000, ""),
        (b"From: " + b"a," * 100_000 + b"b@contoh.gov.my", ""),
    ],
)
def test_author_domain_is_taken_from_from_header(header: bytes, domain: str) -> None:
    assert author_domain(header + b"\r\nx") == domain


@pytest.mark.parametrize(
    ("header", "domain"),
    [
        (b"From: a@contoh.gov.my (" + b"(" * 400, "contoh.gov.my"),
        (b"From: a@[x\r\nFrom: <@:>@..\xff", "[x]"),
    ],
)
def test_author_domain_of_malformed_address_is_shown_domain_or_none(header: bytes, domain: str) -> None:
    # Since 3.11.10 and 3.12.4 Python takes such a header for none.
    assert author_domain(header + b"\r\nx") in {domain, ""}


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
def test_dkim_signature_alignment(signer: str, author: str, *, aligned: bool) -> None:
    assert Signature(domain=signer, selector="s").is_aligned(author) is aligned


def _signed(body: bytes = b"isi\r\n") -> tuple[bytes, bytes]:
    """Return a message of contoh.gov.my that is well signed, and the record of its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    message = b"From: a@contoh.gov.my\r\nSubject: ujian\r\n\r\n" + body
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = dkim.sign(message, b"s1", b"contoh.gov.my", pem, canonicalize=(b"relaxed", b"relaxed"))
    return signature + message, b"v=DKIM1; p=" + b64encode(public)


def _record(modulus: int, exponent: int) -> bytes:
    numbers = b"".join(_der(2, b"\0" + one.to_bytes((one.bit_length() + 7) // 8, "big")) for one in (modulus, exponent))
    algorithm = _der(0x30, b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00")
    return b"v=DKIM1; p=" + b64encode(_der(0x30, algorithm + _der(3, b"\0" + _der(0x30, numbers))))


def _der(tag: int, content: bytes) -> bytes:
    length = len(content).to_bytes(3, "big")
    return bytes([tag, 0x83]) + length + content


def _fault(message: bytes, key: bytes) -> str:
    (signature,) = verify_signatures(message, {"s1._domainkey.contoh.gov.my": key})
    return signature.fault


def test_dkim_huge_key_is_rejected_quickly() -> None:
    message, key = _signed()
    assert not _fault(message, key)
    began = time.process_time()
    for bits, exponent in ((200_000, 3), (4096, (1 << 4095) | 1)):
        assert _fault(message, _record((1 << bits) - 1, exponent)) != ""
    assert time.process_time() - began < 1


@pytest.mark.parametrize("hole", [b" ", b" \t"])
def test_dkim_message_of_blanks_is_rejected_quickly(hole: bytes) -> None:
    message, key = _signed()
    began = time.process_time()
    assert "blanks" in _fault(message + b"a" + hole * 100_000 + b"b", key)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("named", "signed", "others"),
    [
        (b"".join(b":a%d" % number for number in range(2_000)), b"", b"b:\r\n" * 8_000),
        (b"", b"\r\n a" * 64_000, b""),
    ],
    ids=["headers", "folds"],
)
def test_dkim_slow_signature_is_not_checked(named: bytes, signed: bytes, others: bytes) -> None:
    header = _HEADER.replace(b":subject", named).replace(b"QUJD", signed + b"QUJD")
    key = rsa.generate_private_key(65537, 1024).public_key()
    record = b"p=" + b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    began = time.process_time()
    (signature,) = verify_signatures(header + others + b"From: a@b\r\n\r\n", {"s1._domainkey.contoh.gov.my": record})
    assert not signature.is_valid
    assert time.process_time() - began < 0.3


def test_dkim_hostile_keys_and_signatures_raise_nothing() -> None:
    message, key = _signed()
    der = b64decode(key.partition(b"p=")[2])
    dice = random.Random(1)
    for _ in range(300):
        broken = bytearray(der)
        for _ in range(3):
            broken[dice.randrange(40)] = dice.randrange(256)
        verify_signatures(message, {"s1._domainkey.contoh.gov.my": b"v=DKIM1; p=" + b64encode(broken)})
    for _ in range(1000):
        odd = bytearray(message)
        for _ in range(3):
            odd[dice.randrange(300)] = dice.choice(b";=:, \r\n\x00\xff@a1")
        verify_signatures(bytes(odd), dict.fromkeys(find_key_names(bytes(odd)), key))


def test_dkim_ed25519_only_is_unknown() -> None:
    message, _ = _signed()
    message = message.replace(b"a=rsa-sha256", b"a=ed25519-sha256")
    assert _fault(message, b"v=DKIM1; k=ed25519; p=" + b64encode(bytes(32))) == NOT_CHECKED
    signatures = verify_signatures(
        message, {"s1._domainkey.contoh.gov.my": b"v=DKIM1; k=ed25519; p=" + b64encode(bytes(32))}
    )
    assert judge_dkim("contoh.gov.my", signatures) == (Verdict.UNKNOWN, NOT_CHECKED)


@pytest.mark.parametrize(
    "others", [{"bits": 4096, "testing": True}, {"bits": 1024}, {"bits": None}, {"bits": 4096, "fault": "altered"}]
)
def test_dkim_best_valid_signature_decides_verdict(others: dict[str, Any]) -> None:
    signatures = [
        Signature(domain="contoh.gov.my", selector="lain", **others),
        Signature(domain="contoh.gov.my", selector="baik", bits=2048),
    ]
    verdict, detail = judge_dkim("contoh.gov.my", signatures)
    assert (verdict, "with the key baik" in detail) == (Verdict.PASS, True)
