"""Password policy, after OWASP (Authentication cheat sheet, ASVS 5.0 section 6.2).

At least fifteen characters, no common password, no composition rules, no rotation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from monitor.access.common_password import COMMON_WORDS

#: Limits in characters. The maximum protects the hash function from long inputs.
MIN_PASSWORD_LENGTH: Final = 15
MAX_PASSWORD_LENGTH: Final = 200

#: Lowest accepted score of zxcvbn, which rates from 0 to 4; 3 means "safely unguessable".
_MIN_SCORE: Final = 3
#: Number of leading characters that zxcvbn rates, because its time is quadratic in the length.
_MAX_RATED_LENGTH: Final = 72


def password_problem(password: str, names: Iterable[str]) -> str | None:
    """Return why a password is rejected, as a key of the portal's texts; `None`: it is accepted.

    *names*: names of the user and of the agencies, which an attacker would try first. The rating takes milliseconds.
    """
    if len(password) < MIN_PASSWORD_LENGTH:
        return "password_short"
    if len(password) > MAX_PASSWORD_LENGTH:
        return "password_long"
    from zxcvbn import zxcvbn  # noqa: PLC0415 - the import is slow: it reads lists of thirty thousand passwords

    strength = zxcvbn(password[:_MAX_RATED_LENGTH], user_inputs=[*names, "pantau", *COMMON_WORDS])
    return None if strength["score"] >= _MIN_SCORE else "password_guessable"
