"""Known browsers: a browser that has signed in has its own count of wrong passwords.

Failed attempts of others delay sign-ins to the account, which would lock an officer out at night. A browser that has
signed in before presents a mark and is not delayed by others (OWASP: "Slow Down Online Guessing Attacks with Device
Cookies"). The mark grants no access: the password is required as ever.

The mark is derived from the stored password hash. So it needs no table or key, is valid at every service on the store,
and is void after a change of the password.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from hashlib import sha256
from typing import Final

#: A mark that has not been used for so long is void.
KNOWN_FOR: Final = timedelta(days=180)


def device_mark(user_id: int, nonce: str, kept_password: str) -> str:
    """Return the mark of a browser; *nonce* names the browser."""
    proof = hmac.new(kept_password.encode(), f"pantau device {user_id} {nonce}".encode(), sha256)
    return f"{nonce}.{proof.hexdigest()}"


def marked_device(mark: str, user_id: int, kept_password: str) -> str | None:
    """Return the name of the browser with *mark*; `None`: the mark is not valid for this user."""
    nonce = mark.partition(".")[0]
    right = device_mark(user_id, nonce, kept_password)
    return nonce if hmac.compare_digest(right.encode(), mark.encode()) else None


def device_cookie(name: str) -> str:
    """Return the name of a user's cookie: several people may share a browser."""
    return f"-device-{sha256(name.encode()).hexdigest()[:12]}"
