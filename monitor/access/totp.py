"""One-time codes of an authenticator app (RFC 6238), and recovery codes.

SHA-1, six digits and thirty seconds are supported by every app. The database keeps the last step that was used, so that
a code is accepted once.
"""

from __future__ import annotations

import re
from base64 import b32decode, b32encode
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

#: Maximum time between the password and the one-time code.
PENDING_LIFETIME: Final = timedelta(minutes=5)
#: Number of codes; each is used once.
RECOVERY_CODES: Final = 10
#: Octets (RFC 4226, section 4: 160 bits are recommended).
SECRET_OCTETS: Final = 20
_DIGITS: Final = 6
_STEP_SECONDS: Final = 30
#: Accepted steps on either side (RFC 6238, section 5.2: one for slow typing); a telephone's clock may be off.
_WINDOW: Final = (-1, 0, 1)


def encode_secret(octets: bytes) -> str:
    """Return a secret in the format of apps: base 32 without padding."""
    return b32encode(octets).decode().rstrip("=")


def group_secret(secret: str) -> str:
    """Return a secret in groups for typing: "ABCD EFGH ..."."""
    return " ".join(secret[first : first + 4] for first in range(0, len(secret), 4))


def parse_totp(typed: str) -> str | None:
    """Return the digits of a one-time code, without separators; `None` if it is none."""
    digits = re.sub(r"[\s-]", "", typed)
    return digits if re.fullmatch(r"\d{6}", digits, re.ASCII) else None


def step_of(secret: str, digits: str, now: datetime) -> int | None:
    """Return the time step of a code; `None` if it belongs to none near *now*. Takes constant time."""
    totp, current_step = _totp(secret), int(now.timestamp()) // _STEP_SECONDS
    match = None
    for offset in _WINDOW:
        if compare_digest(totp.generate((current_step + offset) * _STEP_SECONDS), digits.encode()):
            match = current_step + offset
    return match


def otpauth_uri(secret: str, name: str, issuer: str) -> str:
    """Return the otpauth URI for an app; *issuer*: its name for the service."""
    address: str = _totp(secret).get_provisioning_uri(name, issuer)
    return address


def _totp(secret: str) -> TOTP:
    octets = b32decode(secret + "=" * (-len(secret) % 8))
    return TOTP(octets, _DIGITS, SHA1(), _STEP_SECONDS)  # noqa: S303 - as apps have it; an HMAC does not rest on collisions
