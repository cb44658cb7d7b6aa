"""One-time codes of an authenticator app (RFC 6238), and recovery codes.

Every app supports SHA-1, six digits and thirty seconds. A *step* is the number of thirty-second intervals since 1970.
The database stores the last step whose code was accepted, so that no code is accepted twice.
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
#: Number of recovery codes that a user gets; each is accepted once.
RECOVERY_CODE_COUNT: Final = 10
#: Length of a user's secret in octets (RFC 4226, section 4, recommends 160 bits).
SECRET_OCTETS: Final = 20
_DIGITS: Final = 6
_STEP_SECONDS: Final = 30
#: Accepted steps relative to the current one: a user may type slowly, and a telephone's clock may be wrong (RFC 6238,
#: section 5.2).
_WINDOW: Final = (-1, 0, 1)


def encode_secret(octets: bytes) -> str:
    """Return a secret in the format that apps expect: base 32 without padding."""
    return b32encode(octets).decode().rstrip("=")


def group_secret(secret: str) -> str:
    """Return a secret in groups for typing: "ABCD EFGH ..."."""
    return " ".join(secret[first : first + 4] for first in range(0, len(secret), 4))


def parse_totp(typed: str) -> str | None:
    """Return the six digits of a typed one-time code, without separators; `None` if it is not such a code."""
    digits = re.sub(r"[\s-]", "", typed)
    return digits if re.fullmatch(r"\d{6}", digits, re.ASCII) else None


def matching_step(secret: str, digits: str, now: datetime) -> int | None:
    """Return the step near *now* to which the code *digits* belongs; `None` if there is none.

    The comparison takes the same time for every code.
    """
    totp, current_step = _totp(secret), int(now.timestamp()) // _STEP_SECONDS
    match = None
    for offset in _WINDOW:
        if compare_digest(totp.generate((current_step + offset) * _STEP_SECONDS), digits.encode()):
            match = current_step + offset
    return match


def otpauth_uri(secret: str, name: str, issuer: str) -> str:
    """Return the otpauth URI of a secret; an app shows *name* for the account and *issuer* for the service."""
    uri: str = _totp(secret).get_provisioning_uri(name, issuer)
    return uri


def _totp(secret: str) -> TOTP:
    octets = b32decode(secret + "=" * (-len(secret) % 8))
    return TOTP(octets, _DIGITS, SHA1(), _STEP_SECONDS)  # noqa: S303 - apps expect it; no collision resistance needed
