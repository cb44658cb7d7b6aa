"""Signed token that links a message in a mailbox to the run (one execution of a probe on a route) that sent it.

A token is `pantau-` and 56 base32 letters: ASCII, without underscores, brackets, padding or case, because relays fold,
lower-case and rewrite headers, and some servers do not find an underscore. It encodes 35 octets:

    version 1 | id 8 | prober 4 | route 4 | lasts 1 (minutes) | sent at 4 (seconds since 1970) | HMAC-SHA256, cut to 13

The id is a number, unique in a process, and four random octets that are drawn when the process starts. So a process
recognises its own tokens without storing them. A person who reads a token cannot forge another token, so nobody can
make a failed mailbox appear healthy by sending mail to it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

_PREFIX = "pantau-"
_VERSION = b"\x01"
_NUMBER_OCTETS, _PROCESS_OCTETS, _DIGEST_OCTETS, _TIME_OCTETS, _MAC_OCTETS = 4, 4, 4, 4, 13
_ID_OCTETS = _NUMBER_OCTETS + _PROCESS_OCTETS
_NUMBER_RANGE = 1 << 8 * _NUMBER_OCTETS
#: Step between two numbers. The step is odd, so the sequence covers all numbers before it repeats. Each step changes
#: every octet of the number, so that the content of the message, which is derived from these octets, differs.
_STRIDE = 0x9E3779B1
#: Maximum of one octet. A run that may last longer is stored with this number of minutes.
_MAX_MINUTES = 255
_TEXT_LETTERS = 56
#: Pattern of a candidate for a token. A candidate with another length than a token is reported as forged. Only ASCII
#: matches, because some other letters become two characters when their case is changed.
_CANDIDATE = re.compile(rf"{_PREFIX}([a-z2-7]{{24,200}})", re.ASCII | re.IGNORECASE)
#: Limit of candidates in a text. A text with more of them is an attack on the CPU, and its rest is not read.
_MAX_CANDIDATES = 50


class Origin(StrEnum):
    """Issuer of a token, as far as one process can determine it."""

    #: This process.
    OURS = "ours"
    #: A prober of this name, before this process started: most likely an earlier process.
    EARLIER = "earlier"
    #: A prober of this name, since this process started, and not this process: another machine uses the same name.
    PROBER_CONFLICT = "prober_conflict"
    #: A former prober of another name, whose routes may have moved here.
    INHERITED = "inherited"
    #: A prober of another name.
    ANOTHER = "another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Token with a verified signature."""

    #: 16 hex digits; the run's id in results and in the store.
    id: str
    #: Digest of the prober that sent it; 8 hex digits.
    prober: str
    #: Whole seconds.
    sent_at: datetime
    #: Latest end of its run, to the minute; the sending time if the token has none.
    ends_at: datetime
    #: The token's text as in the message.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReading:
    """Tokens found in a text, in order of appearance, each once."""

    tokens: tuple[Token, ...] = ()
    #: Candidates whose signature is invalid.
    forged: tuple[str, ...] = ()


class TokenSigner:
    """Issues and verifies tokens with one key. Probers (processes that probe) that share mailboxes share the key.

    Each prober has its own name, which its tokens contain as a digest.
    """

    def __init__(self, key: bytes, prober: str, *, began: datetime | None = None) -> None:
        """*began*: start of this process; by default the present time."""
        if len(key) < 16:
            raise ValueError("a token key needs at least 16 octets")
        self._key = key
        #: `Token.prober` of the tokens issued here.
        self.prober = _digest(prober).hex()
        self._began = began or datetime.now(UTC)
        self._process = secrets.token_bytes(_PROCESS_OCTETS)
        self._numbers = itertools.count(secrets.randbelow(_NUMBER_RANGE), _STRIDE)
        #: `Token.prober` of the former probers.
        self._inherited: frozenset[str] = frozenset()

    def issue(self, route: str, now: datetime, lasts: timedelta = timedelta(0), *, nonce: bytes | None = None) -> Token:
        """Return a token for one run on *route* that ends at the latest *lasts* from now.

        *nonce*, 8 octets, is for tests.
        """
        nonce = self._next_id() if nonce is None else nonce
        if len(nonce) != _ID_OCTETS:
            raise ValueError(f"a token id has {_ID_OCTETS} octets")
        minutes = min(-(-lasts // timedelta(minutes=1)), _MAX_MINUTES).to_bytes(1, "big")
        seconds = int(now.timestamp()).to_bytes(_TIME_OCTETS, "big")
        payload = _VERSION + nonce + bytes.fromhex(self.prober) + _digest(route) + minutes + seconds
        return _create_token(payload, _PREFIX + _encode(payload + self._mac(payload)))

    def inherit(self, probers: Iterable[str]) -> None:
        """Set the former probers, by name. No other prober handles the mail that these have sent."""
        self._inherited = frozenset(_digest(prober).hex() for prober in probers)

    def origin(self, token: Token) -> Origin:
        """Return the issuer of *token*."""
        if token.prober != self.prober:
            return Origin.INHERITED if token.prober in self._inherited else Origin.ANOTHER
        if bytes.fromhex(token.id)[_NUMBER_OCTETS:] == self._process:
            return Origin.OURS
        return Origin.PROBER_CONFLICT if token.sent_at > self._began else Origin.EARLIER

    def _next_id(self) -> bytes:
        return (next(self._numbers) % _NUMBER_RANGE).to_bytes(_NUMBER_OCTETS, "big") + self._process

    def read(self, text: str) -> TokenReading:
        """Return the tokens in *text*, in any case."""
        verified: dict[str, Token | None] = {}
        tokens: dict[str, Token] = {}
        forged: dict[str, None] = {}
        for count, match in enumerate(_CANDIDATE.finditer(text)):
            if count == _MAX_CANDIDATES:
                break
            letters = match[1].lower()
            if letters not in verified:  # All headers of a message have the same token.
                verified[letters] = self._verify(letters)
            token = verified[letters]
            if token is None:
                forged[match[0].lower()] = None
            else:
                tokens[token.id] = token
        return TokenReading(tokens=tuple(tokens.values()), forged=tuple(forged))

    def _verify(self, letters: str) -> Token | None:
        if len(letters) != _TEXT_LETTERS:
            return None
        octets = base64.b32decode(letters.upper())
        payload, mac = octets[:-_MAC_OCTETS], octets[-_MAC_OCTETS:]
        if payload[:1] != _VERSION or not hmac.compare_digest(mac, self._mac(payload)):
            return None
        return _create_token(payload, _PREFIX + letters)

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")[:_MAC_OCTETS]


def _create_token(payload: bytes, text: str) -> Token:
    nonce, prober, minutes, seconds = payload[1:9], payload[9:13], payload[17], payload[18:22]
    sent_at = datetime.fromtimestamp(int.from_bytes(seconds, "big"), UTC)
    return Token(
        id=nonce.hex(),
        prober=prober.hex(),
        sent_at=sent_at,
        ends_at=sent_at + timedelta(minutes=minutes),
        text=text,
    )


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:_DIGEST_OCTETS]


def _encode(octets: bytes) -> str:
    return base64.b32encode(octets).decode().lower()
