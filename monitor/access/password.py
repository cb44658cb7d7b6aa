"""Password policy, after OWASP (Authentication cheat sheet, ASVS 5.0 section 6.2).

At least fifteen characters, no common password, no composition rules, no rotation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from monitor.access.common_password import COMMON_WORDS

#: Number of characters. The maximum protects the hash function from long inputs.
SHORTEST: Final = 15
LONGEST: Final = 200

#: Lowest accepted score of zxcvbn, of 0 to 4: "safely unguessable".
_MIN_SCORE: Final = 3
#: Only so many characters are rated, because zxcvbn takes quadratic time.
_MAX_RATED_LENGTH: Final = 72


def password_problem(password: str, names: Iterable[str]) -> str | None:
    """Return why a password is rejected, as a key of the portal's texts; `None`: it is accepted. Takes milliseconds.

    *names*: of the person and the agencies, because an attacker would try them.
    """
    if len(password) < SHORTEST:
        return "password_short"
    if len(password) > LONGEST:
        return "password_long"
    from zxcvbn import zxcvbn  # noqa: PLC0415 - reads its lists of thirty thousand passwords

    strength = zxcvbn(password[:_MAX_RATED_LENGTH], user_inputs=[*names, "pantau", *COMMON_WORDS])
    return None if strength["score"] >= _MIN_SCORE else "password_guessable"
