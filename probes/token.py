"""The signed token that ties a message in a mailbox to the run that sent it.

A token is `pantau-` and 56 base32 letters: ASCII, without underscores, brackets, padding or case, because relays fold,
lower-case and rewrite headers, and some servers do not find an underscore. Inside are 35 octets:

    version 1 | id 8 | prober 4 | route 4 | sent at 5 (seconds since 1970) | HMAC-SHA256, cut to 13

Whoever reads one in a mailbox cannot make another, so nobody can paint a dead mailbox green by sending mail to it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

_PREFIX = "pantau-"
_VERSION = b"\x01"
_ID, _DIGEST, _TIME, _MAC = 8, 4, 5, 13
_LETTERS = 56
#: What looks like a token, whole or not: a shorter or longer run of letters is a look-alike and is reported as one.
_LOOKS_LIKE = re.compile(rf"{_PREFIX}([a-z2-7]{{24,200}})", re.IGNORECASE)
#: One text with more look-alikes than this is an attack on our CPU; the rest is not read.
_AT_MOST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token whose signature is known to be right."""

    #: 16 hex digits; what results and the store call the run.
    id: str
    #: Digest of the prober that sent it; 8 hex digits.
    prober: str
    #: Digest of the route's name; 8 hex digits.
    route_digest: str
    #: Whole seconds.
    sent_at: datetime
    #: The wire form, as it stands in the message.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was found in a text, in order of appearance, each once."""

    tokens: tuple[Token, ...] = ()
    #: Texts that look like tokens and do not verify.
    forged: tuple[str, ...] = ()


class TokenSigner:
    """Issues and verifies tokens with one key. Two probers that share mailboxes share the key and differ in name."""

    def __init__(self, key: bytes, prober: str) -> None:
        if len(key) < 16:
            raise ValueError("a token key needs at least 16 octets")
        self._key = key
        #: What `Token.prober` is for the tokens issued here.
        self.prober = _digest(prober).hex()

    def issue(self, route: str, now: datetime, nonce: bytes | None = None) -> Token:
        """Return a token for one run on *route*. *nonce*, 8 octets, is drawn at random when not given."""
        nonce = secrets.token_bytes(_ID) if nonce is None else nonce
        if len(nonce) != _ID:
            raise ValueError(f"a token id has {_ID} octets")
        seconds = int(now.timestamp()).to_bytes(_TIME, "big")
        payload = _VERSION + nonce + bytes.fromhex(self.prober) + _digest(route) + seconds
        return _parsed(payload, _PREFIX + _encoded(payload + self._mac(payload)))

    def read(self, text: str) -> Reading:
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
        return Reading(tokens=tuple(tokens.values()), forged=tuple(forged))

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
    nonce, prober, route, seconds = payload[1:9], payload[9:13], payload[13:17], payload[17:22]
    return Token(
        id=nonce.hex(),
        prober=prober.hex(),
        route_digest=route.hex(),
        sent_at=datetime.fromtimestamp(int.from_bytes(seconds, "big"), UTC),
        text=text,
    )


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:_DIGEST]


def _encoded(octets: bytes) -> str:
    return base64.b32encode(octets).decode().lower()
