"""What makes a password good enough.

Figures of OWASP (Authentication cheat sheet, ASVS 5.0 section 6.2): fifteen characters where no second factor stands beside it,
no rules about its composition, no rotation, and nothing that guessers try first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from monitor.access.common_password import GUESSED

#: Characters. More than this is a sentence; longer than the other is a book.
SHORTEST: Final = 15
LONGEST: Final = 200

#: What zxcvbn calls "safely unguessable" without access to what is stored: 3 of 0 to 4.
_GOOD: Final = 3
#: It takes time that grows with the square of what it looks at, and knows enough by then.
_LOOKED_AT: Final = 72


def password_problem(password: str, names: Iterable[str]) -> str | None:
    """Return what is wrong with a password, as a key of the portal's words; `None`: it is good. Takes some milliseconds.

    *names*: of the person and the agencies, which a stranger would try.
    """
    if len(password) < SHORTEST:
        return "password_short"
    if len(password) > LONGEST:
        return "password_long"
    from zxcvbn import zxcvbn  # noqa: PLC0415 - reads its lists of thirty thousand passwords

    found = zxcvbn(password[:_LOOKED_AT], user_inputs=[*names, "pantau", *GUESSED])
    return None if found["score"] >= _GOOD else "password_guessable"
