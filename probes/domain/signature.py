"""DKIM signatures of a received message (RFC 6376, RFC 8301). Uses dkimpy with keys fetched in advance."""

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

#: Octets of a header line (RFC 5322 2.1.1).
_MAX_AUTHOR = 998
#: Relays add signatures of their own; more than these are not verified.
_SIGNATURES_AT_MOST = 5
#: Limits of headers and of a signature's octets. dkimpy searches all headers for each name in a signature, and its
#: patterns match runs of blanks in many ways.
_HEADERS_AT_MOST = 500
_SIGNATURE_AT_MOST = 4096
#: Octets of all headers. dkimpy copies a folded header once for each of its lines.
_BLOCK_AT_MOST = 64 * 1024
_BLOCK_END = re.compile(rb"\r?\n\r?\n")
#: RFC 8301 3.2: verifiers must accept keys from here.
_MIN_BITS = 1024
#: dkimpy computes in Python. With a key of 64 KiB, which the DNS permits, one signature would block the loop for hours.
_MAX_BITS = 8192
_EXPONENT_BITS_AT_MOST = 64
#: Limit of consecutive blanks. The time of dkimpy's patterns grows with the square of their number.
_MAX_BLANKS = 1_000
_BLANKS = re.compile(rb"[ \t]+")
#: Exceptions of dkimpy on hostile mail and hostile keys.
_ERRORS = (dkim.DKIMException, ValueError, LookupError, TypeError, AssertionError)
#: Fault of a signature that may be valid (RFC 8463); senders with Ed25519 also sign with RSA.
NOT_CHECKED = "Ed25519 signatures are not checked here"
_LOG = logging.getLogger("dkimpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Result for one signature of a message."""

    #: The signing domain, d=.
    domain: str
    selector: str
    #: What is wrong with the signature; empty when it is valid.
    fault: str = ""
    #: Length of the key in bits; `None` without a readable key.
    bits: int | None = None
    #: The key is marked for testing (t=y): receivers treat the mail as unsigned.
    testing: bool = False

    @property
    def valid(self) -> bool:
        return not self.fault

    def aligned(self, domain: str) -> bool:
        """Return whether the signature is aligned with *domain* under DMARC, relaxed: by organizational domain."""
        return bool(get_base_domain(self.domain) == get_base_domain(domain))


_TOO_MANY_HEADERS = Signature(
    domain="", selector="", fault="the message came with more headers, or longer ones, than mail has"
)


def author_domain(message: bytes) -> str:
    """Return the domain of the From header, in lower case; empty without one."""
    # The newer policies of `email` are not used: their time grows with the square of an address's length, and they fail
    # on many addresses.
    author = " ".join(str(parse_header(message).get("From", "")).split())[:_MAX_AUTHOR]
    try:
        _, at, domain = parseaddr(author)[1].rpartition("@")
    except RecursionError:
        return ""  # Nested comments.
    return domain.lower() if at else ""


def find_key_names(message: bytes) -> tuple[str, ...]:
    """Return the names that publish the keys of the message's signatures, each once."""
    names = (
        f"{signature.selector}._domainkey.{signature.domain}"
        for signature in _parse_signatures(message)
        if signature.valid
    )
    return tuple(dict.fromkeys(names))


def verify_signatures(message: bytes, keys: Mapping[str, bytes]) -> tuple[Signature, ...]:
    """Verify every signature of *message*. *keys* has the key records, by the names that `find_key_names` returns."""
    results = []
    for index, signature in enumerate(_parse_signatures(message)):
        key = keys.get(f"{signature.selector}._domainkey.{signature.domain}", b"")
        results.append(signature if signature.fault else _verify(message, index, signature, key))
    return tuple(results)


def _parse_signatures(message: bytes) -> tuple[Signature, ...]:
    """Return the signatures of *message*, with only their format checked."""
    if any(len(run[0]) > _MAX_BLANKS for run in _BLANKS.finditer(message)):
        return (Signature(domain="", selector="", fault="the message came with too many blanks in a row"),)
    end = _BLOCK_END.search(message)
    if (end.start() if end else len(message)) > _BLOCK_AT_MOST:
        return (_TOO_MANY_HEADERS,)
    signatures: list[Signature] = []
    try:
        reader = dkim.DKIM(message, logger=_LOG)
    except _ERRORS:
        return ()
    lengths = [len(value) for name, value in reader.headers if name.lower() == b"dkim-signature"]
    if len(reader.headers) > _HEADERS_AT_MOST or max(lengths, default=0) > _SIGNATURE_AT_MOST:
        return (
            Signature(domain="", selector="", fault="the message came with more headers, or longer ones, than any"),
        )
    count = len(lengths)
    for index in range(min(count, _SIGNATURES_AT_MOST)):
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
        valid = reader.verify(index, dnsfunc=lambda *_args, **_named: key)
    except dkim.NaClNotFoundError:
        return Signature(domain=domain, selector=selector, fault=NOT_CHECKED)
    except _ERRORS as error:
        return Signature(domain=domain, selector=selector, fault=_fault_text(error))
    fault = "" if valid else "the signature does not fit the message and the key"
    if valid and reader.signature_fields[b"a"] == b"rsa-sha1":
        fault = "it is made with SHA-1, which nobody accepts any more"
    testing = b"y" in _tag_value(key, b"t").split(b":")
    bits = getattr(reader, "keysize", None)
    return Signature(domain=domain, selector=selector, fault=fault, bits=bits, testing=testing)


def _key_fault(key: bytes) -> str:
    """Return why the record *key* must not be used; "" when it may be."""
    if _tag_value(key, b"k") not in {b"", b"rsa"}:
        return ""
    try:
        public = load_der_public_key(b64decode(_tag_value(key, b"p")))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "the key cannot be read"
    if not isinstance(public, RSAPublicKey):
        return "the key is no RSA key"
    if public.key_size > _MAX_BITS or public.public_numbers().e.bit_length() > _EXPONENT_BITS_AT_MOST:
        return f"the key is larger than any in use ({public.key_size} bits)"
    return ""


def _fault_text(error: Exception) -> str:
    return shorten(str(error)) or "it cannot be read"


def _tag_value(key: bytes, name: bytes) -> bytes:
    tags = (tag_text.partition(b"=") for tag_text in key.split(b";"))
    return next((value.strip() for tag, _, value in tags if tag.strip() == name), b"")


def _to_text(octets: bytes) -> str:
    return shorten(octets.decode("ascii", "replace").lower())
