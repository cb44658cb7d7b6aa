"""Meaning of a person's SMS. Pure: text in, meaning out.

People answer at three in the morning, with a telephone that corrects their words: `1A`, `Balas 1A untuk sahkan`, `"ack
1"`, `saya terima`. The expected answer is a code that their phone received. A printed code ("1A") accepts in any text
without a word of denial, question or escalation; without a code every word must be known, and other texts are not
recognised. docs/reference/sms-replies.md describes the accepted answers; the tests read tests/data/sms-replies.md.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace

#: Letter after a code in an SMS: "Balas 1A untuk sahkan".
ACCEPT_LETTER = "A"

#: Words that accept by themselves.
_TAKES = frozenset(
    {"a", "ack", "acknowledge", "acknowledged", "acknowledging", "accept", "accepted", "confirm", "confirmed", "noted"}
    | {"received", "terima", "trima", "diterima", "menerima", "sahkan", "disahkan", "mengesahkan", "ambil", "faham"}
    | {"difahami", "maklum", "dimaklumi"}
)
#: Words of agreement; together with thanks they only end a conversation.
_AGREES = frozenset({"ok", "okay", "okey", "oke", "okie", "yes", "yup", "ya", "ye", "baik", "baiklah"})
#: Words without a meaning of their own.
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
#: Thanks alone accept nothing: they may refer to an earlier answer. "Terima" is "accept", "terima kasih" is "thank
#: you".
_THANKS = re.compile(
    r"\b(?:t(?:e?r)?ima[ -]?kasih|t\.? ?kasih|makasih|thank(?:s|[ -]?you)?|thx|tq(?:vm|sm)?|ty|kasih)\b"
)
#: Words that escalate; they override any agreement, and no acceptance may accompany them.
_HANDS_ON = re.compile(
    r"\b(?:(?:di|men?y?)?serah(?:kan)?|menyerah(?:kan)?|hand(?:s|ed|ing)?[ -]?(?:it[ -])?(?:on|over)|"
    r"pass(?:es|ed|ing)?(?:[ -]?it)?(?:[ -]?on)?|escalated?)(?![^\W\d])"
)
#: The recipient of an escalation, which is always the next person.
_NEXT = frozenset({"kepada", "kpd", "pegawai", "seterusnya", "lain", "orang", "next", "officer", "person", "the", "it"})
#: Emoji that deny. Others have no meaning.
_NO = re.compile(
    "[\N{THUMBS DOWN SIGN}\N{CROSS MARK}\N{NO ENTRY SIGN}\N{HEAVY MULTIPLICATION X}\N{FACE WITH NO GOOD GESTURE}]"
)
#: Words that deny, or refer to somebody else: together with one of these a code accepts nothing.
_DENIES = re.compile(
    r"\b(?:tak\w*|tdk|td(?:a|i)k|tidak\w*|x|x[a-z]+|bukan\w*|belum|blm|jangan|jgn|tiada|enggan|(?:di|men)?tolak|batal\w*|"
    r"dibatalkan|abaikan|salah|silap|tolong|tlg|cuti|mc|sakit|berhenti|lain|ganti|no|nope|not|none|nobody|never|unable|"
    r"cannot|(?:do|does|did|is|are|was|were|ca|can|could|wo|would|should|have|has|had)n'?t|refus\w+|reject\w*|"
    r"declin\w+|cancel\w*|stop\w*|unsubscribe|quit|wrong|mistake|ignore|sick|leave|someone|somebody|else)\b"
)
#: Words that ask. A tag ("1A ke") asks at the end only.
_ASKS = re.compile(
    r"\b(?:apa|apakah|ape|kenapa|knp|mengapa|bila|siapa|sape|mana|manakah|bagaimana|macamana|camne|patut|"
    r"(?:ada|boleh|perlu|betul|benar|sudah|harus)kah|what|whats|why|who|whom|when|where|which|how|does|should)\b|\bke\W*$"
)
#: CTIA's keywords, which providers interpret too, and the Malay one.
_STOP = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "berhenti"})
_START = frozenset({"start", "unstop", "mula"})

_CODE = re.compile(r"(\d{1,4})-?a{0,2}|a-?(\d{1,4})")
#: A code with its letter, as printed in an SMS; no telephone number, time or floor.
_PRINTED = re.compile(r"(?<![\w-])(?:(\d{1,4})[ -]?a{1,2}|a-?(\d{1,4}))(?![\w-])")
#: An incident number, as quoted in an SMS.
_QUOTED = re.compile(r"(?<![\w-])[a-z][a-z0-9]{1,10}-\d{1,6}(?![\w-])")
#: Prefix of our own SMS, which are no answer when sent back whole.
_OURS = "rm0"
#: An incident number, or an agency's code and a number; where the code ends is not known here.
_NUMBER = re.compile(r"(?=[\d-]*[a-z])[a-z0-9-]{1,18}\d")
#: The number apart from the code: "JCM 01", "PPD 01-01", "JBA 1001 01".
_NUMBER_END = re.compile(r"[\d-]+")
#: "ack1", "balas1A": typed without a space.
_GLUED = re.compile(
    rf"\b({'|'.join(sorted(_TAKES | _AGREES | _FILLERS, key=len, reverse=True))})(\d{{1,4}}a{{0,2}})\b(?!-\d)"
)
#: "JCM - 01" and "JCM 01" are one word.
_SPLIT_NUMBER = re.compile(r"\b(\d*[a-z][a-z0-9]{1,10})\s*-\s*(\d{1,6})\b")
#: Everything but letters, digits and the hyphen of a number. Letters of all scripts form words: a "no" in Chinese or
#: Tamil before the code is no acceptance.
_NOISE = re.compile(r"(?:[^\w-]|_)+")
#: Longer than any answer. A truncated text could lose a word that denies.
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The person acknowledges the incidents of the code or number; without both, what they were notified of."""

    code: int | None = None
    #: As typed, in capital letters: `alerts.model.number.is_quoted` tells whether it names an incident. Beside a code
    #: it is ignored unless it belongs to another alert.
    number: str | None = None
    #: The person escalates instead.
    hands_on: bool = False


@dataclass(frozen=True, slots=True)
class OptOut:
    """The person opts out of SMS."""


@dataclass(frozen=True, slots=True)
class OptIn:
    """The person opts in to SMS."""


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """The text is not recognised."""


Meaning = Acknowledgement | OptOut | OptIn | Unrecognised


def printed(code: int) -> str:
    """Return a code as printed in an SMS: "1A"."""
    return f"{code}{ACCEPT_LETTER}"


def understand(text: str) -> Meaning:
    """Return the meaning of an SMS. Empty texts and questions are not recognised."""
    if len(text) > _LONGEST:
        return Unrecognised()
    # NFKC converts full-width letters and digits; curly quotes are noise like straight ones.
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    words = _words(plain)
    if len(words) == 1 and words[0] in _STOP:
        return OptOut()
    if len(words) == 1 and words[0] in _START:
        return OptIn()
    if "?" in plain or _NO.search(plain):
        return Unrecognised()  # "ya?" and "1A?" are questions.
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
    """Return the only printed code of a text with unknown words; `None` if they may deny it."""
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
    """Return what is escalated by the remaining words; agreement adds nothing."""
    rest = [word for word in said if word not in _AGREES]
    if not rest:
        return Acknowledgement(hands_on=True)
    named = _named(rest)
    return replace(named, hands_on=True) if named else Unrecognised()


def _named(rest: list[str]) -> Acknowledgement | None:
    """Return the only code or number in these words; `None` if there is more or something else."""
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
