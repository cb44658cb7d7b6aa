"""Content of a server's certificate, trusted or not (RFC 5280, RFC 9525), and its match with a TLSA record (RFC 6698).

Pure.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dns.rdtypes.ANY.TLSA import TLSA

#: Checks warn of a certificate that expires in less than this: an office needs the time to order, sign and install a
#: new one, with a holiday between. The alert, the wallboard and the documents have the same value; a test compares
#: them.
RENEW_AHEAD = timedelta(days=21)

#: Certificate usages of TLSA records: the record pins an authority in the chain (TA), or the server's certificate (EE).
DANE_TA, DANE_EE = 2, 3

#: Errors of the `cryptography` library for certificates that OpenSSL accepts.
_UNSUPPORTED = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Certificate of a server, with its chain."""

    #: DNS names and addresses of the server's own certificate, in lower case.
    names: tuple[str, ...]
    not_before: datetime
    #: Earliest expiry in the chain: a chain is invalid once a certificate in it has expired.
    not_after: datetime
    #: Whether the server's own certificate expires first; otherwise an intermediate authority's does.
    is_own_expiry_first: bool


def parse_chain(chain: Sequence[bytes]) -> Certificate:
    """Parse the certificates of *chain* (DER, the server's own first).

    Raise `ValueError` if there is none, or one cannot be parsed.
    """
    with _parsing_errors():
        certificates = [x509.load_der_x509_certificate(der) for der in chain]
        if not certificates:
            raise ValueError("no certificate was shown")
        own = certificates[0]
        earliest_expiry = min(certificate.not_valid_after_utc for certificate in certificates)
        return Certificate(
            names=_names(own),
            not_before=own.not_valid_before_utc,
            not_after=earliest_expiry,
            is_own_expiry_first=own.not_valid_after_utc == earliest_expiry,
        )


def read_issuer(chain: Sequence[bytes]) -> str:
    """Return the issuer of the last certificate of *chain*: "CN=..., O=...".

    Raise `ValueError` if there is no certificate, or the last one cannot be parsed.
    """
    with _parsing_errors():
        if not chain:
            raise ValueError("no certificate was shown")
        return x509.load_der_x509_certificate(chain[-1]).issuer.rfc4514_string()


@contextmanager
def _parsing_errors() -> Iterator[None]:
    try:
        yield
    except _UNSUPPORTED as error:
        raise ValueError(str(error)) from error


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        # The common name has not counted as a name since RFC 6125.
        return ()
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return tuple(name.lower() for name in [*names.get_values_for_type(x509.DNSName), *addresses])


def covers_name(certificate: Certificate, name: str) -> bool:
    """Return whether the certificate is for *name*, a host or an IP address; "*" matches the first label."""
    normal_name = name.lower().rstrip(".")
    try:
        return str(ipaddress.ip_address(normal_name)) in certificate.names
    except ValueError:
        # A wildcard in a top-level domain ("*.my") does not count.
        wildcard = "*." + normal_name.partition(".")[2]
        return normal_name in certificate.names or (wildcard in certificate.names and wildcard.count(".") >= 2)


def is_usable(record: TLSA) -> bool:
    """Return whether mail servers use the TLSA *record* (RFC 7672 3.1): DANE-TA or DANE-EE, and well formed."""
    # `mtype` is the matching type: 0 the full data, 1 SHA-256, 2 SHA-512. `cert` is the data or its hash.
    length = {1: 32, 2: 64}.get(record.mtype, len(record.cert))
    return (
        record.usage in {DANE_TA, DANE_EE}
        and record.selector in {0, 1}
        and record.mtype in {0, 1, 2}
        and len(record.cert) == length > 0
    )


def matches_chain(record: TLSA, chain: Sequence[bytes], name: str) -> bool:
    """Return whether the usable TLSA *record* matches *chain* of the server *name*.

    With DANE-EE the name and the dates of the certificate are ignored (RFC 7672 3.1.1). Raise `ValueError` when a
    certificate cannot be parsed.
    """
    if record.usage == DANE_EE:
        return bool(chain) and _matches_certificate(record, chain[0])
    return any(_matches_certificate(record, der) for der in chain) and covers_name(parse_chain(chain), name)


def _matches_certificate(record: TLSA, der: bytes) -> bool:
    octets = der
    if record.selector == 1:  # The public key only; 0 is the whole certificate.
        with _parsing_errors():
            key = x509.load_der_x509_certificate(der).public_key()
            octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _digest(octets, record.mtype) == bytes(record.cert)


def _digest(octets: bytes, matching_type: int) -> bytes:
    return {0: octets, 1: hashlib.sha256(octets).digest(), 2: hashlib.sha512(octets).digest()}[matching_type]
