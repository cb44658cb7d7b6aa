"""What a person's SMS means. Pure: text in, meaning out.

People answer at three in the morning, with a telephone that corrects their words: `1A`, `Balas 1A untuk sahkan`, `"ack
1"`, `saya terima`. What is asked for is a code that their phone was given, and what cannot be understood stays so:
every word has to be one that is known, and nothing is guessed from a longer text. docs/sms-replies.md has the ways in
which people write it, and the tests read them there.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace

#: The letter behind a code in an SMS: "Balas 1A untuk sahkan".
ACCEPT_LETTER = "A"

#: Says by itself that somebody takes it on.
_TAKES = frozenset(
    {"a", "ack", "acknowledge", "acknowledged", "acknowledging", "accept", "accepted", "confirm", "confirmed", "noted"}
    | {"received", "terima", "trima", "diterima", "menerima", "sahkan", "disahkan", "mengesahkan", "ambil", "faham"}
    | {"difahami", "maklum", "dimaklumi"}
)
#: Says yes; beside thanks it only ends a conversation, about whatever that was.
_AGREES = frozenset({"ok", "okay", "okey", "oke", "okie", "yes", "yup", "ya", "ye", "baik", "baiklah"})
#: What may stand around it without meaning anything.
_FILLERS = frozenset(
    {"balas", "membalas", "reply", "replying", "utk", "untuk", "to", "saya", "sy", "i", "we", "kami", "akan", "will"}
    | {
        "dah",
        "sudah",
        "telah",
        "have",
        "dengan",
        "penerimaan",
        "semua",
        "all",
        "amaran",
        "alert",
        "insiden",
        "incident",
    }
    | {"kod", "code", "ruj", "ref", "tuan", "puan", "encik", "cik", "please", "sila", "ini", "with"}
)
#: Thanks alone accept nothing: whoever thanks for one answer has not heard of the next outage. "Terima" is "accept",
#: and "terima kasih" is "thank you".
_THANKS = re.compile(
    r"\b(?:t(?:e?r)?ima[ -]?kasih|t\.? ?kasih|makasih|thank(?:s|[ -]?you)?|thx|tq(?:vm|sm)?|ty|kasih)\b"
)
#: Hands it on to the next; stronger than any yes, and nothing beside it may say that it is taken on.
_HANDS_ON = re.compile(
    r"\b(?:(?:di|men?y?)?serah(?:kan)?|menyerah(?:kan)?|hand(?:s|ed|ing)?[ -]?(?:it[ -])?(?:on|over)|"
    r"pass(?:es|ed|ing)?(?:[ -]?it)?(?:[ -]?on)?|escalated?)(?![^\W\d])"
)
#: To whom: whoever is next, in any case.
_NEXT = frozenset({"kepada", "kpd", "pegawai", "seterusnya", "lain", "orang", "next", "officer", "person", "the", "it"})
#: Pictures that say no. Other pictures say nothing.
_NO = re.compile(
    "[\N{THUMBS DOWN SIGN}\N{CROSS MARK}\N{NO ENTRY SIGN}\N{HEAVY MULTIPLICATION X}\N{FACE WITH NO GOOD GESTURE}]"
)
#: CTIA's words, which providers act on as well, and the Malay one.
_STOP = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "berhenti"})
_START = frozenset({"start", "unstop", "mula"})

_CODE = re.compile(r"(\d{1,4})-?a{0,2}|a-?(\d{1,4})")
#: An incident's number, or an agency's code and a number; which of the digits are the code's is not known here.
_NUMBER = re.compile(r"(?=[\d-]*[a-z])[a-z0-9-]{1,18}\d")
#: What stands apart from the code's letters: "JCM 01", "PPD 01-01", "JBA 1001 01".
_NUMBER_END = re.compile(r"[\d-]+")
#: "ack1", "balas1A": what was typed without the space.
_GLUED = re.compile(
    rf"\b({'|'.join(sorted(_TAKES | _AGREES | _FILLERS, key=len, reverse=True))})(\d{{1,4}}a{{0,2}})\b(?!-\d)"
)
#: "JCM - 01" and "JCM 01" are one word to whoever typed them.
_SPLIT_NUMBER = re.compile(r"\b(\d*[a-z][a-z0-9]{1,10})\s*-\s*(\d{1,6})\b")
#: Everything but letters, digits and the hyphen of a number. Letters of every script are words: who writes "no" in
#: Chinese or Tamil before the code has not said yes.
_NOISE = re.compile(r"(?:[^\w-]|_)+")
#: Longer than any answer. Cut off there, a text could lose the word that takes the rest back.
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Responds:
    """The person takes on what the code or the incident's number stands for; with neither, what they were told of."""

    code: int | None = None
    #: As it was written, in capital letters: `alerts.model.number.is_quoted` says whether it means an incident.
    number: str | None = None
    #: They hand it on instead; with neither, what they have or were told of.
    hands_on: bool = False


@dataclass(frozen=True, slots=True)
class Stops:
    """The person wants no more SMS."""


@dataclass(frozen=True, slots=True)
class Starts:
    """The person wants SMS again."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """It cannot be understood."""


Meaning = Responds | Stops | Starts | Unclear


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
    if "?" in plain or _NO.search(plain):
        return Unclear()  # "ya?" and "1A?" ask what it is about.
    thanked = _THANKS.search(plain) is not None
    hands_on = _HANDS_ON.search(plain) is not None
    fillers = _FILLERS | _NEXT if hands_on else _FILLERS
    plain = _HANDS_ON.sub(" ", _THANKS.sub(" ", plain))
    said = [word for word in _words(plain) if word not in fillers]
    if hands_on:
        return _handed(said)
    rest = [word for word in said if word not in _TAKES and word not in _AGREES]
    if not rest:
        takes = any(word in _TAKES for word in said) or (bool(said) and not thanked)
        return Responds() if takes else Unclear()
    return _named(rest) or Unclear()


def _handed(said: list[str]) -> Meaning:
    """Return what is handed on, of the words beside that; a yes says nothing more."""
    rest = [word for word in said if word not in _AGREES]
    if not rest:
        return Responds(hands_on=True)
    named = _named(rest)
    return replace(named, hands_on=True) if named else Unclear()


def _named(rest: list[str]) -> Responds | None:
    """Return the one code or number that these words are; `None`: they are more or something else."""
    head, *ends = rest
    if 1 <= len(ends) <= 2 and not _CODE.fullmatch(head) and all(_NUMBER_END.fullmatch(end) for end in ends):
        rest = ["-".join(rest)]
    if len(rest) != 1:
        return None
    (word,) = rest
    if found := _CODE.fullmatch(word):
        return Responds(code=int(found[1] or found[2]))
    if _NUMBER.fullmatch(word):
        return Responds(number=word.upper())
    return None


def _words(plain: str) -> list[str]:
    joined = _GLUED.sub(r"\1 \2", _SPLIT_NUMBER.sub(r"\1-\2", plain))
    return [word for part in _NOISE.sub(" ", joined).split() if (word := part.strip("-"))]
