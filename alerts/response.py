"""What a person's SMS means. Pure: text in, meaning out.

People answer at three in the morning, with a telephone that corrects their words: `1A`, `1 a.`, `"ack 1"`, `terima
JCM-01`. What is asked for is a code that their phone was given (`Code`), and what cannot be understood stays so:
nothing is guessed from a longer text.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

#: The letter behind a code in an SMS: "Balas 1A utk terima".
ACCEPT_LETTER = "A"

_ACCEPT = frozenset(
    {"a", "ack", "acknowledge", "acknowledged", "accept", "ok", "okay", "yes"}
    | {"terima", "diterima", "sahkan", "disahkan", "ambil", "faham", "baik", "ya"}
)
#: What may stand around it without meaning anything.
_POLITE = frozenset({"kasih", "tuan", "puan", "tq", "thanks", "thank", "you", "please", "tolong", "sila", "ref", "ruj"})
#: CTIA's words, which providers act on as well, and the Malay one.
_STOP = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "berhenti"})
_START = frozenset({"start", "unstop", "mula"})

_CODE = re.compile(r"(\d{1,4})-?a{0,2}|a-?(\d{1,4})")
_NUMBER = re.compile(r"([a-z][a-z0-9]{0,10}?)-?0*(\d{1,6})")
#: "JCM - 01" and "JCM 01" are one word to whoever typed them.
_SPLIT_NUMBER = re.compile(r"\b([a-z][a-z0-9]{1,10})\s*-\s*(\d{1,6})\b")
#: Everything but letters, digits and the hyphen of a number. Letters of every script are words: who writes "no" in
#: Chinese or Tamil before the code has not said yes.
_NOISE = re.compile(r"(?:[^\w-]|_)+")
#: Longer than any answer. Cut off there, a text could lose the word that takes the rest back.
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Accepts:
    """The person takes on what the code or the incident's number stands for; with neither, what they were told of."""

    code: int | None = None
    #: As incidents are numbered: "JCM-01".
    number: str | None = None


@dataclass(frozen=True, slots=True)
class Stops:
    """The person wants no more SMS."""


@dataclass(frozen=True, slots=True)
class Starts:
    """The person wants SMS again."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """It cannot be understood."""


Meaning = Accepts | Stops | Starts | Unclear


def printed(code: int) -> str:
    """Return a code as an SMS prints it: "1A"."""
    return f"{code}{ACCEPT_LETTER}"


def understand(text: str) -> Meaning:
    """Return what an SMS means. Any text is taken; an empty one is unclear, and so is a question."""
    if len(text) > _LONGEST:
        return Unclear()
    # NFKC makes full-width letters and digits plain; a phone's curly quotes are noise like straight ones.
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = _words(plain)
    if len(words) == 1 and words[0] in _STOP:
        return Stops()
    if len(words) == 1 and words[0] in _START:
        return Starts()
    if "?" in plain:
        return Unclear()  # "ya?" and "1A?" ask what it is about.
    said = [word for word in words if word not in _POLITE]
    rest = [word for word in said if word not in _ACCEPT]
    if not rest:
        return Accepts() if said else Unclear()
    if len(rest) == 2 and rest[0].isalpha() and rest[1].isdigit():
        rest = [f"{rest[0]}-{rest[1]}"]  # "JCM 01"
    if len(rest) != 1:
        return Unclear()
    (word,) = rest
    if found := _CODE.fullmatch(word):
        return Accepts(code=int(found[1] or found[2]))
    if found := _NUMBER.fullmatch(word):
        return Accepts(number=f"{found[1].upper()}-{int(found[2]):02d}")
    return Unclear()


def _words(plain: str) -> list[str]:
    joined = _SPLIT_NUMBER.sub(r"\1-\2", plain)
    return [word for part in _NOISE.sub(" ", joined).split() if (word := part.strip("-"))]
