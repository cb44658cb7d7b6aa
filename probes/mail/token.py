"""Signed token that links a message in a mailbox to the run (one execution of a probe on a route) that sent it.

A token is `pantau-` and 56 base32 letters. It is ASCII without underscores, brackets and padding, and its case does not
matter, because relays fold, lower-case and rewrite headers, and some servers' searches do not find an underscore. It
encodes 35 octets:

    version 1 | id 8 | prober 4 | route 4 | maximum duration 1 (minutes) | sent at 4 (seconds since 1970) | MAC 13

The MAC is a truncated HMAC-SHA256. A person who reads a token cannot forge another one, so nobody can make a failed
mailbox appear healthy by sending mail to it. The id has four octets of a number, unique in a process, and four random
octets, drawn when the process starts, by which a process recognises its own tokens without storing them.
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
#: Step between two numbers. It is odd, so that the sequence has all numbers before it repeats. Each step changes every
#: octet of the number, so that consecutive messages, whose content is derived from these octets, differ.
_STRIDE = 0x9E3779B1
#: Maximum of one octet: a longer maximum duration is encoded as this number of minutes.
_MAX_MINUTES = 255
_TEXT_LETTERS = 56
#: Pattern of a candidate for a token. A candidate of another length than a token counts as forged. Only ASCII matches,
#: because some other letters become two characters if their case is changed.
_CANDIDATE = re.compile(rf"{_PREFIX}([a-z2-7]{{24,200}})", re.ASCII | re.IGNORECASE)
#: Limit of candidates in a text. A text with more is an attack on the CPU; the rest of it is not read.
_MAX_CANDIDATES = 50


class Origin(StrEnum):
    """Issuer of a token, as far as a process can determine it. A prober is a named process that runs probes."""

    #: This process.
    THIS_PROCESS = "ours"
    #: A prober with this process's name, before this process started: most likely an earlier process.
    EARLIER_PROCESS = "earlier"
    #: A prober with this process's name, after this process started, but not this process: the name is used twice.
    PROBER_CONFLICT = "prober_conflict"
    #: A former prober with another name, whose routes may have moved to this process.
    INHERITED = "inherited"
    #: A prober with another name.
    OTHER_PROBER = "another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Token with a verified signature."""

    #: 16 hex digits; the run's id in results and in the store.
    id: str
    #: Digest of the name of the prober that sent it; 8 hex digits.
    prober: str
    #: In whole seconds.
    sent_at: datetime
    #: Latest end of the run, in whole minutes after `sent_at`; equal to `sent_at` if `issue` had no maximum duration.
    ends_at: datetime
    #: The token as it is written in a message, in lower case.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReading:
    """Tokens found in a text, in order of appearance, each once."""

    tokens: tuple[Token, ...] = ()
    #: Candidates whose signature is invalid.
    forged: tuple[str, ...] = ()


class TokenSigner:
    """Issuer and verifier of tokens with one key. Probers that share mailboxes share the key.

    Each prober has its own name, whose digest its tokens contain.
    """

    def __init__(self, key: bytes, prober: str, *, process_started_at: datetime | None = None) -> None:
        """*prober*: name of this process. *process_started_at*: start of this process; by default the present time."""
        if len(key) < 16:
            raise ValueError("a token key needs at least 16 octets")
        self._key = key
        #: `Token.prober` of the tokens that this process issues.
        self.prober = _digest(prober).hex()
        self._process_started_at = process_started_at or datetime.now(UTC)
        self._process = secrets.token_bytes(_PROCESS_OCTETS)
        self._numbers = itertools.count(secrets.randbelow(_NUMBER_RANGE), _STRIDE)
        #: `Token.prober` of the tokens of former probers.
        self._inherited: frozenset[str] = frozenset()

    def issue(
        self, route: str, now: datetime, max_duration: timedelta = timedelta(0), *, id_octets: bytes | None = None
    ) -> Token:
        """Return a token for one run on *route* that ends at most *max_duration* after *now*.

        *id_octets*, the token's id, is for tests; by default it is the next unused one.
        """
        id_octets = self._next_id() if id_octets is None else id_octets
        if len(id_octets) != _ID_OCTETS:
            raise ValueError(f"a token id has {_ID_OCTETS} octets")
        minutes = min(-(-max_duration // timedelta(minutes=1)), _MAX_MINUTES).to_bytes(1, "big")
        seconds = int(now.timestamp()).to_bytes(_TIME_OCTETS, "big")
        payload = _VERSION + id_octets + bytes.fromhex(self.prober) + _digest(route) + minutes + seconds
        return _create_token(payload, _PREFIX + _encode(payload + self._mac(payload)))

    def inherit(self, probers: Iterable[str]) -> None:
        """Set the names of the former probers, whose mail no other prober handles."""
        self._inherited = frozenset(_digest(prober).hex() for prober in probers)

    def origin(self, token: Token) -> Origin:
        """Return the issuer of *token*."""
        if token.prober != self.prober:
            return Origin.INHERITED if token.prober in self._inherited else Origin.OTHER_PROBER
        if bytes.fromhex(token.id)[_NUMBER_OCTETS:] == self._process:
            return Origin.THIS_PROCESS
        return Origin.PROBER_CONFLICT if token.sent_at > self._process_started_at else Origin.EARLIER_PROCESS

    def _next_id(self) -> bytes:
        return (next(self._numbers) % _NUMBER_RANGE).to_bytes(_NUMBER_OCTETS, "big") + self._process

    def read(self, text: str) -> TokenReading:
        """Return the tokens in *text*, in upper or lower case."""
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
    id_octets, prober, minutes, seconds = payload[1:9], payload[9:13], payload[17], payload[18:22]
    sent_at = datetime.fromtimestamp(int.from_bytes(seconds, "big"), UTC)
    return Token(
        id=id_octets.hex(),
        prober=prober.hex(),
        sent_at=sent_at,
        ends_at=sent_at + timedelta(minutes=minutes),
        text=text,
    )


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:_DIGEST_OCTETS]


def _encode(octets: bytes) -> str:
    return base64.b32encode(octets).decode().lower()
