"""Content rules by which Malaysian carriers drop SMS silently: the status stays "sent", and nothing arrives.

The simulated carrier then reports "undelivered" instead, with the error code 30007.
"""

from __future__ import annotations

import re

#: Description and pattern of banned content. Links and call-back numbers are banned in all SMS since 1 September 2024.
_BANNED = (
    ("a link", re.compile(r"https?:|www\.|@|[A-Za-z0-9-]+\.[A-Za-z]{2,}", re.IGNORECASE)),
    ("a telephone number", re.compile(r"\d[\d -]{5,}\d")),
    ("a request for personal data", re.compile(r"kata laluan|kad pengenalan|akaun bank|klik|pautan", re.IGNORECASE)),
)


def objection(number: str, text: str) -> str | None:
    """Return the reason why the text does not arrive at *number*; `None` if it arrives."""
    if not number.startswith("+60"):
        return None
    if not text.startswith(("RM0 ", "RM0.00 ")):
        return "no RM0 at the start"
    return next((what for what, pattern in _BANNED if pattern.search(text)), None)
