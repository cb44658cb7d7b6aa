"""Verification of the DKIM signatures of a received message (RFC 6376, RFC 8301).

dkimpy verifies them, with keys that the caller has fetched. The limits protect the event loop against hostile messages.
"""

from __future__ import annotations

import logging
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parseaddr

import dkim
from checkdmarc.utils import get_base_domain
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from probes.mail.mime import parse_header
from probes.model.reply import shorten

#: Characters of the From header that are parsed: a line of the maximum length (RFC 5322 2.1.1).
_MAX_AUTHOR = 998
#: Limit of signatures that are verified: relays add their own.
_MAX_SIGNATURES = 5
#: Limits: headers of a message, and octets of a signature. dkimpy searches all headers for each name in a signature,
#: and its patterns match runs of blanks in many ways.
_MAX_HEADERS = 500
_MAX_SIGNATURE = 4096
#: Limit of octets of all headers together. dkimpy copies a folded header once for each of its lines.
_MAX_HEADER_BLOCK = 64 * 1024
_HEADER_END = re.compile(rb"\r?\n\r?\n")
#: Smallest key in bits that verifiers accept (RFC 8301 3.2).
_MIN_BITS = 1024
#: Largest accepted key and public exponent, in bits. dkimpy computes in Python: with a key of 64 KiB, which DNS
#: permits, one signature would block the event loop for hours.
_MAX_BITS = 8192
_MAX_EXPONENT_BITS = 64
#: Limit of consecutive blanks. The time of dkimpy's patterns grows with the square of their number.
_MAX_BLANKS = 1_000
_BLANKS = re.compile(rb"[ \t]+")
#: Exceptions of dkimpy on hostile mail and hostile keys.
_ERRORS = (dkim.DKIMException, ValueError, LookupError, TypeError, AssertionError)
#: Fault of a signature that cannot be verified here, but may be valid (RFC 8463). Senders that use Ed25519 also sign
#: with RSA.
NOT_CHECKED = "Ed25519 signatures are not checked here"
_LOG = logging.getLogger("dkimpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Result for one signature of a message."""

    #: The signing domain, d=; "" if the signature cannot be parsed.
    domain: str
    #: The selector, s=: with the domain it names the key's DNS record.
    selector: str
    #: Reason why the signature is not valid; "" if it is valid, or not verified yet.
    fault: str = ""
    #: Length of the key in bits; `None` if it is unknown.
    bits: int | None = None
    #: The key is marked for testing (t=y), so that receivers treat the mail as unsigned.
    testing: bool = False

    @property
    def is_valid(self) -> bool:
        return not self.fault

    def is_aligned(self, domain: str) -> bool:
        """Return whether the signature is aligned with *domain* under DMARC, relaxed: by organizational domain."""
        return bool(get_base_domain(self.domain) == get_base_domain(domain))


_TOO_MANY_HEADERS = Signature(
    domain="", selector="", fault="the message came with more headers, or longer ones, than mail has"
)


def author_domain(message: bytes) -> str:
    """Return the domain of the From header, in lower case; empty without one."""
    # The newer policies of the `email` package are not used: their time grows with the square of an address's length,
    # and they fail on many addresses.
    author = " ".join(str(parse_header(message).get("From", "")).split())[:_MAX_AUTHOR]
    try:
        _, at, domain = parseaddr(author)[1].rpartition("@")
    except RecursionError:
        return ""  # The header has too many nested comments.
    return domain.lower() if at else ""


def find_key_names(message: bytes) -> tuple[str, ...]:
    """Return the DNS names of the keys of the message's signatures, each once."""
    names = (
        f"{signature.selector}._domainkey.{signature.domain}"
        for signature in _parse_signatures(message)
        if not signature.fault
    )
    return tuple(dict.fromkeys(names))


def verify_signatures(message: bytes, keys: Mapping[str, bytes]) -> tuple[Signature, ...]:
    """Verify the signatures of *message*. *keys* has the keys' DNS records, by the names from `find_key_names`."""
    results = []
    for index, signature in enumerate(_parse_signatures(message)):
        key = keys.get(f"{signature.selector}._domainkey.{signature.domain}", b"")
        results.append(signature if signature.fault else _verify(message, index, signature, key))
    return tuple(results)


def _parse_signatures(message: bytes) -> tuple[Signature, ...]:
    """Parse the signatures of *message*, unverified. Unacceptable headers result in one signature with a fault."""
    if any(len(run[0]) > _MAX_BLANKS for run in _BLANKS.finditer(message)):
        return (Signature(domain="", selector="", fault="the message came with too many blanks in a row"),)
    end = _HEADER_END.search(message)
    if (end.start() if end else len(message)) > _MAX_HEADER_BLOCK:
        return (_TOO_MANY_HEADERS,)
    signatures: list[Signature] = []
    try:
        reader = dkim.DKIM(message, logger=_LOG)
    except _ERRORS:
        return ()
    lengths = [len(value) for name, value in reader.headers if name.lower() == b"dkim-signature"]
    if len(reader.headers) > _MAX_HEADERS or max(lengths, default=0) > _MAX_SIGNATURE:
        return (_TOO_MANY_HEADERS,)
    count = len(lengths)
    for index in range(min(count, _MAX_SIGNATURES)):
        try:
            reader.verify_headerprep(index)
        except _ERRORS as error:
            signatures.append(Signature(domain="", selector="", fault=_fault_text(error)))
        else:
            signatures.append(Signature(domain=_to_text(reader.domain), selector=_to_text(reader.selector)))
    return tuple(signatures)


def _verify(message: bytes, index: int, signature: Signature, key: bytes) -> Signature:
    domain, selector = signature.domain, signature.selector
    if not key:
        return Signature(domain=domain, selector=selector, fault=f"there is no key at {selector}._domainkey.{domain}")
    if fault := _key_fault(key):
        return Signature(domain=domain, selector=selector, fault=fault)
    reader = dkim.DKIM(message, minkey=_MIN_BITS, logger=_LOG)
    try:
        is_valid = reader.verify(index, dnsfunc=lambda *_args, **_named: key)
    except dkim.NaClNotFoundError:
        return Signature(domain=domain, selector=selector, fault=NOT_CHECKED)
    except _ERRORS as error:
        return Signature(domain=domain, selector=selector, fault=_fault_text(error))
    fault = "" if is_valid else "the signature does not fit the message and the key"
    if is_valid and reader.signature_fields[b"a"] == b"rsa-sha1":
        fault = "it is made with SHA-1, which nobody accepts any more"
    testing = b"y" in _tag_value(key, b"t").split(b":")
    bits = getattr(reader, "keysize", None)
    return Signature(domain=domain, selector=selector, fault=fault, bits=bits, testing=testing)


def _key_fault(key: bytes) -> str:
    """Return why the RSA key of the DNS record *key* must not be used; "" if it may, or for a key that is not RSA."""
    if _tag_value(key, b"k") not in {b"", b"rsa"}:
        return ""
    try:
        public = load_der_public_key(b64decode(_tag_value(key, b"p")))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "the key cannot be read"
    if not isinstance(public, RSAPublicKey):
        return "the key is no RSA key"
    if public.key_size > _MAX_BITS or public.public_numbers().e.bit_length() > _MAX_EXPONENT_BITS:
        return f"the key is larger than any in use ({public.key_size} bits)"
    return ""


def _fault_text(error: Exception) -> str:
    return shorten(str(error)) or "it cannot be read"


def _tag_value(key: bytes, name: bytes) -> bytes:
    tags = (tag_text.partition(b"=") for tag_text in key.split(b";"))
    return next((value.strip() for tag, _, value in tags if tag.strip() == name), b"")


def _to_text(octets: bytes) -> str:
    return shorten(octets.decode("ascii", "replace").lower())
