"""The signed token that ties a message in a mailbox to the run that sent it.

A token is `pantau-` and 56 base32 letters: ASCII, without underscores, brackets, padding or case, because relays fold,
lower-case and rewrite headers, and some servers do not find an underscore. Inside are 35 octets:

    version 1 | id 8 | prober 4 | route 4 | lasts 1 (minutes) | sent at 4 (seconds since 1970) | HMAC-SHA256, cut to 13

The id is a number that no two tokens of a process share, and four octets that are drawn when the process starts: so it
knows its own tokens, however many there were. Whoever reads one in a mailbox cannot make another, so nobody can paint a
dead mailbox green by sending mail to it.
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
_NUMBER, _PROCESS, _DIGEST, _TIME, _MAC = 4, 4, 4, 4, 13
_ID = _NUMBER + _PROCESS
_NUMBERS = 1 << 8 * _NUMBER
#: From one number to the next. It is odd, so all of them are had before one comes again; and each octet of them changes
#: from one to the next, because what a message says follows from them.
_STRIDE = 0x9E3779B1
#: What one octet can say; who waits longer says this.
_LASTS_AT_MOST = 255
_LETTERS = 56
#: What looks like a token, whole or not: a shorter or longer run of letters is a look-alike and is reported as one.
#: Of ASCII only: some letters that only look like these become two when their case is changed.
_LOOKS_LIKE = re.compile(rf"{_PREFIX}([a-z2-7]{{24,200}})", re.ASCII | re.IGNORECASE)
#: One text with more look-alikes than this is an attack on our CPU; the rest is not read.
_AT_MOST = 50


class Origin(StrEnum):
    """Who issued a token, as far as one process can tell."""

    #: This process.
    OURS = "ours"
    #: A prober of our name, before this process began: most likely we ourselves.
    EARLIER = "earlier"
    #: A prober of our name, since this process began, and not we: another machine goes by the same name.
    PROBER_CONFLICT = "prober_conflict"
    #: A prober of another name that is there no more, and whose routes may be ours now.
    INHERITED = "inherited"
    #: A prober of another name.
    ANOTHER = "another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token whose signature is known to be right."""

    #: 16 hex digits; what results and the store call the run.
    id: str
    #: Digest of the prober that sent it; 8 hex digits.
    prober: str
    #: Whole seconds.
    sent_at: datetime
    #: When its run has ended for certain, to the minute. When it was sent, if the token does not say.
    over_at: datetime
    #: The wire form, as it stands in the message.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReading:
    """What was found in a text, in order of appearance, each once."""

    tokens: tuple[Token, ...] = ()
    #: Texts that look like tokens and do not verify.
    forged: tuple[str, ...] = ()


class TokenSigner:
    """Issues and verifies tokens with one key. Two probers that share mailboxes share the key and differ in name."""

    def __init__(self, key: bytes, prober: str, *, began: datetime | None = None) -> None:
        """*began*: when this process did, if not now."""
        if len(key) < 16:
            raise ValueError("a token key needs at least 16 octets")
        self._key = key
        #: What `Token.prober` is for the tokens issued here.
        self.prober = _digest(prober).hex()
        self._began = began or datetime.now(UTC)
        self._process = secrets.token_bytes(_PROCESS)
        self._numbers = itertools.count(secrets.randbelow(_NUMBERS), _STRIDE)
        #: Of the probers that are there no more, what `Token.prober` is.
        self._inherited: frozenset[str] = frozenset()

    def issue(self, route: str, now: datetime, lasts: timedelta = timedelta(0), *, nonce: bytes | None = None) -> Token:
        """Return a token for one run on *route*, which has ended *lasts* from now. *nonce*, 8 octets, is for tests."""
        nonce = self._id() if nonce is None else nonce
        if len(nonce) != _ID:
            raise ValueError(f"a token id has {_ID} octets")
        minutes = min(-(-lasts // timedelta(minutes=1)), _LASTS_AT_MOST).to_bytes(1, "big")
        seconds = int(now.timestamp()).to_bytes(_TIME, "big")
        payload = _VERSION + nonce + bytes.fromhex(self.prober) + _digest(route) + minutes + seconds
        return _parsed(payload, _PREFIX + _encoded(payload + self._mac(payload)))

    def inherit(self, probers: Iterable[str]) -> None:
        """Take in which probers, by their names, are there no more: nobody else takes in the mail that they have sent."""
        self._inherited = frozenset(_digest(prober).hex() for prober in probers)

    def origin(self, token: Token) -> Origin:
        """Return who issued *token*."""
        if token.prober != self.prober:
            return Origin.INHERITED if token.prober in self._inherited else Origin.ANOTHER
        if bytes.fromhex(token.id)[_NUMBER:] == self._process:
            return Origin.OURS
        return Origin.PROBER_CONFLICT if token.sent_at > self._began else Origin.EARLIER

    def _id(self) -> bytes:
        return (next(self._numbers) % _NUMBERS).to_bytes(_NUMBER, "big") + self._process

    def read(self, text: str) -> TokenReading:
        """Find the tokens in *text*, whatever their case."""
        verified: dict[str, Token | None] = {}
        tokens: dict[str, Token] = {}
        forged: dict[str, None] = {}
        for count, match in enumerate(_LOOKS_LIKE.finditer(text)):
            if count == _AT_MOST:
                break
            letters = match[1].lower()
            if letters not in verified:  # Every carrier holds the same one.
                verified[letters] = self._verified(letters)
            token = verified[letters]
            if token is None:
                forged[match[0].lower()] = None
            else:
                tokens[token.id] = token
        return TokenReading(tokens=tuple(tokens.values()), forged=tuple(forged))

    def _verified(self, letters: str) -> Token | None:
        if len(letters) != _LETTERS:
            return None
        octets = base64.b32decode(letters.upper())
        payload, mac = octets[:-_MAC], octets[-_MAC:]
        if payload[:1] != _VERSION or not hmac.compare_digest(mac, self._mac(payload)):
            return None
        return _parsed(payload, _PREFIX + letters)

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")[:_MAC]


def _parsed(payload: bytes, text: str) -> Token:
    nonce, prober, minutes, seconds = payload[1:9], payload[9:13], payload[17], payload[18:22]
    sent_at = datetime.fromtimestamp(int.from_bytes(seconds, "big"), UTC)
    return Token(
        id=nonce.hex(),
        prober=prober.hex(),
        sent_at=sent_at,
        over_at=sent_at + timedelta(minutes=minutes),
        text=text,
    )


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:_DIGEST]


def _encoded(octets: bytes) -> str:
    return base64.b32encode(octets).decode().lower()
