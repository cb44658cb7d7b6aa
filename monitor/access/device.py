"""By what a browser is known in which somebody has signed in before: it keeps its own count of wrong passwords.

A stranger's failures make the account wait, and would make an officer wait with it at night. The browser of whoever has signed in
shows a mark, and is not held up by others (OWASP: "Slow Down Online Guessing Attacks with Device Cookies"). The mark opens
nothing: the password is asked for as ever.

It is made with what is kept of the password. So it needs no table and no key of its own, is good at every service on the same
store, and is void when the password is another one.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from hashlib import sha256
from typing import Final

#: Whoever has not signed in here for so long is a stranger again.
KNOWN_FOR: Final = timedelta(days=180)


def device_mark(user_id: int, nonce: str, kept_password: str) -> str:
    """Return what a browser shows that *nonce* is the name of."""
    proof = hmac.new(kept_password.encode(), f"pantau device {user_id} {nonce}".encode(), sha256)
    return f"{nonce}.{proof.hexdigest()}"


def marked_device(mark: str, user_id: int, kept_password: str) -> str | None:
    """Return the name of the browser that shows *mark*; `None`: it is none of this user's."""
    nonce = mark.partition(".")[0]
    right = device_mark(user_id, nonce, kept_password)
    return nonce if hmac.compare_digest(right.encode(), mark.encode()) else None


def device_cookie(name: str) -> str:
    """Return what a cookie is called by which somebody's browser is known: several people may share one."""
    return f"-device-{sha256(name.encode()).hexdigest()[:12]}"
