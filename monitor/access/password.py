"""Password policy.

Figures of OWASP (Authentication cheat sheet, ASVS 5.0 section 6.2): fifteen characters without a second factor, no
composition rules, no rotation, and no common password.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from monitor.access.common_password import GUESSED

#: Characters. The minimum is a sentence, the maximum protects the hash function.
SHORTEST: Final = 15
LONGEST: Final = 200

#: zxcvbn's "safely unguessable" without access to the hash: 3 of 0 to 4.
_GOOD: Final = 3
#: zxcvbn takes quadratic time, and so many characters decide.
_LOOKED_AT: Final = 72


def password_problem(password: str, names: Iterable[str]) -> str | None:
    """Return what is wrong with a password, as a key of the portal's texts; `None`: acceptable. Takes milliseconds.

    *names*: of the person and the agencies, which an attacker would try.
    """
    if len(password) < SHORTEST:
        return "password_short"
    if len(password) > LONGEST:
        return "password_long"
    from zxcvbn import zxcvbn  # noqa: PLC0415 - reads its lists of thirty thousand passwords

    found = zxcvbn(password[:_LOOKED_AT], user_inputs=[*names, "pantau", *GUESSED])
    return None if found["score"] >= _GOOD else "password_guessable"
