"""Device cookies: a browser that has signed in before has its own count of wrong passwords.

Failed sign-ins delay further ones to the account, so that an attacker could lock out an officer on duty. A browser with
a device cookie is not delayed by the failures of others (OWASP: "Slow Down Online Guessing Attacks with Device
Cookies"). The cookie does not replace the password.

Its value, the mark, is derived from the stored password hash. So it needs no table or key, is valid in every process on
the database, and becomes invalid when the password changes.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from hashlib import sha256
from typing import Final

#: Lifetime of the cookie after the last sign-in.
DEVICE_LIFETIME: Final = timedelta(days=180)


def device_mark(user_id: int, nonce: str, stored_password: str) -> str:
    """Return the mark of a browser, which *nonce* identifies."""
    digest = hmac.new(stored_password.encode(), f"pantau device {user_id} {nonce}".encode(), sha256)
    return f"{nonce}.{digest.hexdigest()}"


def marked_device(mark: str, user_id: int, stored_password: str) -> str | None:
    """Return the nonce of *mark*; `None` if the mark is not valid for this user."""
    nonce = mark.partition(".")[0]
    expected = device_mark(user_id, nonce, stored_password)
    return nonce if hmac.compare_digest(expected.encode(), mark.encode()) else None


def device_cookie(name: str) -> str:
    """Return the name of a user's cookie; each user has one, because several people may share a browser."""
    return f"-device-{sha256(name.encode()).hexdigest()[:12]}"
