"""What a person's SMS means. Pure: text in, meaning out.

People answer at three in the morning, with a telephone that corrects their words: `1A`, `Balas 1A untuk sahkan`, `"ack
1"`, `saya terima`. What is asked for is a code that their phone was given. A printed code ("1A") accepts in any text that
has no word of denial, question or hand-on; without one every word has to be known, and what cannot be understood stays so.
docs/reference/sms-replies.md has the rules, tests/data/sms-replies.md examples that the tests read.
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
#: Says no, or that somebody else is meant: beside one of these a code accepts nothing.
_DENIES = re.compile(
    r"\b(?:tak\w*|tdk|td(?:a|i)k|tidak\w*|x|x[a-z]+|bukan\w*|belum|blm|jangan|jgn|tiada|enggan|(?:di|men)?tolak|batal\w*|"
    r"dibatalkan|abaikan|salah|silap|tolong|tlg|cuti|mc|sakit|berhenti|lain|ganti|no|nope|not|none|nobody|never|unable|"
    r"cannot|(?:do|does|did|is|are|was|were|ca|can|could|wo|would|should|have|has|had)n'?t|refus\w+|reject\w*|"
    r"declin\w+|cancel\w*|stop\w*|unsubscribe|quit|wrong|mistake|ignore|sick|leave|someone|somebody|else)\b"
)
#: Asks. A tag ("1A ke") asks at the end only.
_ASKS = re.compile(
    r"\b(?:apa|apakah|ape|kenapa|knp|mengapa|bila|siapa|sape|mana|manakah|bagaimana|macamana|camne|patut|"
    r"(?:ada|boleh|perlu|betul|benar|sudah|harus)kah|what|whats|why|who|whom|when|where|which|how|does|should)\b|\bke\W*$"
)
#: CTIA's words, which providers act on as well, and the Malay one.
_STOP = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "berhenti"})
_START = frozenset({"start", "unstop", "mula"})

_CODE = re.compile(r"(\d{1,4})-?a{0,2}|a-?(\d{1,4})")
#: A code with its letter: what an SMS has printed, and no telephone number, time or floor.
_PRINTED = re.compile(r"(?<![\w-])(?:(\d{1,4})[ -]?a{1,2}|a-?(\d{1,4}))(?![\w-])")
#: An incident's number, as an SMS quotes it.
_QUOTED = re.compile(r"(?<![\w-])[a-z][a-z0-9]{1,10}-\d{1,6}(?![\w-])")
#: Our own SMS begin so: sent back whole they are no answer.
_OURS = "rm0"
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
class Acknowledgement:
    """The person takes on what the code or the incident's number stands for; with neither, what they were told of."""

    code: int | None = None
    #: As it was written, in capital letters: `alerts.model.number.is_quoted` says whether it means an incident. Beside a code
    #: it may be anything: the code decides, unless it is another alert's number.
    number: str | None = None
    #: They hand it on instead; with neither, what they have or were told of.
    hands_on: bool = False


@dataclass(frozen=True, slots=True)
class OptOut:
    """The person wants no more SMS."""


@dataclass(frozen=True, slots=True)
class OptIn:
    """The person wants SMS again."""


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """It cannot be understood."""


Meaning = Acknowledgement | OptOut | OptIn | Unrecognised


def printed(code: int) -> str:
    """Return a code as an SMS prints it: "1A"."""
    return f"{code}{ACCEPT_LETTER}"


def understand(text: str) -> Meaning:
    """Return what an SMS means. Any text is taken; an empty one is unclear, and so is a question."""
    if len(text) > _LONGEST:
        return Unrecognised()
    # NFKC makes full-width letters and digits plain; a phone's curly quotes are noise like straight ones.
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    words = _words(plain)
    if len(words) == 1 and words[0] in _STOP:
        return OptOut()
    if len(words) == 1 and words[0] in _START:
        return OptIn()
    if "?" in plain or _NO.search(plain):
        return Unrecognised()  # "ya?" and "1A?" ask what it is about.
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
        return Acknowledgement() if takes else Unrecognised()
    return _named(rest) or _among_other_words(plain) or Unrecognised()


def _among_other_words(plain: str) -> Acknowledgement | None:
    """Return the one printed code in a text whose other words need not be known; `None`: they may take it back."""
    words = _words(plain)
    text = " ".join(words)
    codes = {int(found[1] or found[2]) for found in _PRINTED.finditer(text)}
    others = [word for word in words if not _CODE.fullmatch(word) and word != "a"]
    foreign = any(letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN") for letter in text)
    if len(codes) != 1 or not others or foreign or _OURS in words or _DENIES.search(plain) or _ASKS.search(plain):
        return None
    numbers = set(_QUOTED.findall(text))
    return Acknowledgement(code=codes.pop(), number=numbers.pop().upper() if len(numbers) == 1 else None)


def _handed(said: list[str]) -> Meaning:
    """Return what is handed on, of the words beside that; a yes says nothing more."""
    rest = [word for word in said if word not in _AGREES]
    if not rest:
        return Acknowledgement(hands_on=True)
    named = _named(rest)
    return replace(named, hands_on=True) if named else Unrecognised()


def _named(rest: list[str]) -> Acknowledgement | None:
    """Return the one code or number that these words are; `None`: they are more or something else."""
    head, *ends = rest
    if 1 <= len(ends) <= 2 and not _CODE.fullmatch(head) and all(_NUMBER_END.fullmatch(end) for end in ends):
        rest = ["-".join(rest)]
    if len(rest) != 1:
        return None
    (word,) = rest
    if found := _CODE.fullmatch(word):
        return Acknowledgement(code=int(found[1] or found[2]))
    if _NUMBER.fullmatch(word):
        return Acknowledgement(number=word.upper())
    return None


def _words(plain: str) -> list[str]:
    joined = _GLUED.sub(r"\1 \2", _SPLIT_NUMBER.sub(r"\1-\2", plain))
    return [word for part in _NOISE.sub(" ", joined).split() if (word := part.strip("-"))]
