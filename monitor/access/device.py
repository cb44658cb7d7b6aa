"""Device cookies: a browser that has signed in before has its own count of wrong passwords.

Failed sign-ins delay further ones to the account, which an attacker could use to keep out an officer on duty. The
failures of other clients do not delay a browser with a device cookie (OWASP: "Slow Down Online Guessing Attacks with
Device Cookies"). The cookie does not replace the password.

The cookie's value is derived from the stored password hash. Therefore it needs no table and no key, is valid in every
process that uses the database, and becomes invalid when the password changes.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from hashlib import sha256
from typing import Final

#: Lifetime of the cookie after the last sign-in.
DEVICE_LIFETIME: Final = timedelta(days=180)


def device_cookie_value(user_id: int, nonce: str, stored_password: str) -> str:
    """Return the cookie's value for the browser that *nonce* identifies. *stored_password*: the password hash."""
    digest = hmac.new(stored_password.encode(), f"pantau device {user_id} {nonce}".encode(), sha256)
    return f"{nonce}.{digest.hexdigest()}"


def verify_device_cookie(value: str, user_id: int, stored_password: str) -> str | None:
    """Return the nonce in a cookie's *value*; `None` if the value is not valid for this user."""
    nonce = value.partition(".")[0]
    expected = device_cookie_value(user_id, nonce, stored_password)
    return nonce if hmac.compare_digest(expected.encode(), value.encode()) else None


def device_cookie_suffix(user_name: str) -> str:
    """Return the suffix of the cookie's name for a user: several users may share a browser."""
    return f"-device-{sha256(user_name.encode()).hexdigest()[:12]}"
