"""One-time codes of an authenticator app (RFC 6238), independent of the product's code."""

from __future__ import annotations

import hmac
from base64 import b32decode
from datetime import datetime


def code_at(secret: str, now: datetime) -> str:
    """Return the code at *now*, for a base-32 secret without padding."""
    step = int(now.timestamp()) // 30
    digest = hmac.digest(b32decode(secret + "=" * (-len(secret) % 8)), step.to_bytes(8, "big"), "sha1")
    # RFC 4226, 5.3.
    begin = digest[-1] & 0xF
    return f"{(int.from_bytes(digest[begin : begin + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"
