"""One-time codes of an authenticator app (RFC 6238), and recovery codes.

SHA-1, six digits, thirty seconds: supported by every app. The store ensures single use by keeping the last step.
"""

from __future__ import annotations

import re
from base64 import b32decode, b32encode
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

#: Time from the password to the code: the telephone is in a pocket.
HALF_FOR: Final = timedelta(minutes=5)
#: Number of codes; each is used once.
RECOVERY_CODES: Final = 10
#: Octets (RFC 4226, section 4: 160 bits are recommended).
SECRET_OCTETS: Final = 20
_DIGITS: Final = 6
_STEP: Final = 30
#: Accepted steps on either side (RFC 6238, section 5.2: one for slow typing); a telephone's clock may be off.
_WINDOW: Final = (-1, 0, 1)


def written_secret(octets: bytes) -> str:
    """Return a secret in the format of apps: base 32 without padding."""
    return b32encode(octets).decode().rstrip("=")


def in_groups(secret: str) -> str:
    """Return a secret in groups for typing: "ABCD EFGH ..."."""
    return " ".join(secret[first : first + 4] for first in range(0, len(secret), 4))


def one_time_digits(typed: str) -> str | None:
    """Return the digits of a one-time code, without separators; `None` if it is none."""
    digits = re.sub(r"[\s-]", "", typed)
    return digits if re.fullmatch(r"\d{6}", digits, re.ASCII) else None


def step_of(secret: str, digits: str, now: datetime) -> int | None:
    """Return the step of a code; `None`: of none near *now*. Constant time."""
    totp, here = _totp(secret), int(now.timestamp()) // _STEP
    found = None
    for away in _WINDOW:
        if compare_digest(totp.generate((here + away) * _STEP), digits.encode()):
            found = here + away
    return found


def app_address(secret: str, name: str, issuer: str) -> str:
    """Return the otpauth URI for an app; *issuer*: its name for the service."""
    address: str = _totp(secret).get_provisioning_uri(name, issuer)
    return address


def _totp(secret: str) -> TOTP:
    octets = b32decode(secret + "=" * (-len(secret) % 8))
    return TOTP(octets, _DIGITS, SHA1(), _STEP)  # noqa: S303 - as apps have it; an HMAC does not rest on collisions
