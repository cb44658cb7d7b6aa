"""Contents of a certificate, and TLSA records that match it."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID
from dns.rdata import from_text
from dns.rdtypes.ANY.TLSA import TLSA

from probes.domain.x509 import Certificate, covers_name, is_usable, matches_chain, parse_chain

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def ders(certificate: trustme.LeafCert, authority: trustme.CA | None = None) -> tuple[bytes, ...]:
    pems = [*certificate.cert_chain_pems, *([authority.cert_pem] if authority else [])]
    return tuple(ssl.PEM_cert_to_DER_cert(pem.bytes().decode()) for pem in pems)


def named(*names: str) -> Certificate:
    return Certificate(names=names, not_before=NOW, not_after=NOW + timedelta(days=90), is_own_expiry_first=True)


@pytest.mark.parametrize(
    ("names", "wanted", "covered"),
    [
        (("mel.contoh.gov.my",), "mel.contoh.gov.my", True),
        (("mel.contoh.gov.my",), "MEL.contoh.gov.my.", True),
        (("*.contoh.gov.my",), "mel.contoh.gov.my", True),
        (("*.contoh.gov.my",), "a.mel.contoh.gov.my", False),
        (("*.contoh.gov.my",), "contoh.gov.my", False),
        (("*.my",), "contoh.my", False),
        (("lain.gov.my",), "mel.contoh.gov.my", False),
        (("192.0.2.1",), "192.0.2.1", True),
        (("2001:db8::1",), "2001:0db8:0::1", True),
        (("*.0.2.1",), "192.0.2.1", False),
        ((), "mel.contoh.gov.my", False),
    ],
)
def test_certificate_covers_name(names: tuple[str, ...], wanted: str, *, covered: bool) -> None:
    assert covers_name(named(*names), wanted) is covered


def test_certificate_names_addresses_and_dates_are_read() -> None:
    end = datetime(2027, 3, 1, tzinfo=UTC)
    leaf = trustme.CA().issue_cert("Mel.contoh.gov.my", "192.0.2.1", "2001:db8::1", not_after=end)
    certificate = parse_chain(ders(leaf))
    assert set(certificate.names) == {"mel.contoh.gov.my", "192.0.2.1", "2001:db8::1"}
    assert (certificate.not_after, certificate.is_own_expiry_first) == (end, True)


def test_chain_expiry_is_earliest_of_its_certificates() -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("mel.contoh.gov.my", not_after=datetime(3500, 1, 1, tzinfo=UTC))
    certificate = parse_chain(ders(leaf, authority))
    assert not certificate.is_own_expiry_first
    assert certificate.not_after < datetime(3500, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("chain", [(), (b"bukan sijil",)])
def test_chain_unreadable_raises_value_error(chain: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_chain(chain)


def tlsa(text: str) -> TLSA:
    record = from_text("IN", "TLSA", text)
    assert isinstance(record, TLSA)
    return record


@pytest.mark.parametrize(
    ("text", "heeded"),
    [
        ("3 1 1 " + "ab" * 32, True),
        ("2 0 2 " + "ab" * 64, True),
        ("3 0 0 abab", True),
        ("1 1 1 " + "ab" * 32, False),
        ("0 0 1 " + "ab" * 32, False),
        ("3 7 1 " + "ab" * 32, False),
        ("3 1 9 abab", False),
    ],
)
def test_tlsa_record_usability(text: str, *, heeded: bool) -> None:
    assert is_usable(tlsa(text)) is heeded


def test_tlsa_record_matches_certificate_key_or_authority() -> None:
    authority, other = trustme.CA(), trustme.CA()
    chain = ders(authority.issue_cert("mx.contoh.gov.my"), authority)
    stranger = ders(other.issue_cert("mx.contoh.gov.my"), other)
    key = x509.load_der_x509_certificate(chain[0]).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    whole = tlsa(f"3 0 0 {chain[0].hex()}")
    hashed = tlsa(f"3 0 2 {hashlib.sha512(chain[0]).hexdigest()}")
    by_key = tlsa(f"3 1 1 {hashlib.sha256(spki).hexdigest()}")
    by_authority = tlsa(f"2 0 1 {hashlib.sha256(chain[1]).hexdigest()}")
    for record in (whole, hashed, by_key, by_authority):
        assert matches_chain(record, chain, "mx.contoh.gov.my")
        assert not matches_chain(record, stranger, "mx.contoh.gov.my")
    # With the host's own certificate named, its name does not count; with an authority named it does.
    assert matches_chain(by_key, chain, "lain.gov.my")
    assert not matches_chain(by_authority, chain, "lain.gov.my")
    assert not matches_chain(whole, (), "mx.contoh.gov.my")


def odd(name: bytes = b"", version: int = 2) -> bytes:
    """Return a certificate with *name* for its alternative names, in DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mel.contoh.gov.my")])
    builder = x509.CertificateBuilder(subject_name=who, issuer_name=who, public_key=key.public_key(), serial_number=5)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=9))
    if name:
        builder = builder.add_extension(x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, name), False)
    der = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    return der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01" + bytes([version]), 1)


@pytest.mark.parametrize(
    "der",
    [odd(b"\x30\x04\xa3\x02\x05\x00"), odd(b"\x30\x05\x87\x03\x01\x02\x03"), odd(b"\x30\x05bukan"), odd(version=7)],
    ids=["a name for X.400", "an address of three octets", "no names", "a version that is none"],
)
def test_certificate_accepted_only_by_openssl_raises_value_error(der: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_chain((der,))


def test_tlsa_key_of_unknown_type_raises_value_error() -> None:
    der = odd().replace(b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x2a\x86\x48\xce\x3d\x03\x01\x7f")
    with pytest.raises(ValueError, match="not supported"):
        matches_chain(tlsa("3 1 1 " + "ab" * 32), (der,), "mel.contoh.gov.my")
