"""Parser of SMS by which staff acknowledge notifications. Pure.

A notification by SMS contains a response code such as "1A" and asks for it as the reply. People reply at night, on a
telephone that corrects their words: `1A`, `Balas 1A untuk sahkan`, `"ack 1"`, `saya terima`. A text with a whole code
("1A") acknowledges, whatever other words it has, unless one of them denies, asks or escalates. In a text without a
whole code, each word must be known; otherwise the text is not recognised. docs/reference/sms-replies.md describes the
accepted replies; the tests read tests/data/sms-replies.md. The word lists are Malay and English.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace

#: Letter after a response code in an SMS: "Balas 1A untuk sahkan".
ACCEPT_LETTER = "A"

#: Words that acknowledge without a code.
_ACCEPT_WORDS = frozenset(
    {"a", "ack", "acknowledge", "acknowledged", "acknowledging", "accept", "accepted", "confirm", "confirmed", "noted"}
    | {"received", "terima", "trima", "diterima", "menerima", "sahkan", "disahkan", "mengesahkan", "ambil", "faham"}
    | {"difahami", "maklum", "dimaklumi"}
)
#: Words of agreement. They acknowledge, but not together with thanks: "ok, terima kasih" only ends a conversation.
_AGREE_WORDS = frozenset({"ok", "okay", "okey", "oke", "okie", "yes", "yup", "ya", "ye", "baik", "baiklah"})
#: Words that are ignored.
_FILLERS = frozenset(
    {"balas", "membalas", "reply", "replying", "utk", "untuk", "to", "saya", "sy", "i", "we", "kami", "akan", "will"}
    | {"dah", "sudah", "telah", "have", "dengan", "penerimaan", "semua", "all", "amaran", "alert", "insiden"}
    | {"incident", "kod", "code", "ruj", "ref", "tuan", "puan", "encik", "cik", "please", "sila", "ini", "with"}
)
#: Thanks. They acknowledge nothing, because they may refer to an earlier reply of Pantau. They are removed before words
#: are compared: "terima kasih" is "thank you", while "terima" alone is "accept".
_THANKS = re.compile(
    r"\b(?:t(?:e?r)?ima[ -]?kasih|t\.? ?kasih|makasih|thank(?:s|[ -]?you)?|thx|tq(?:vm|sm)?|ty|kasih)\b"
)
#: Words that escalate. Words of agreement beside them are ignored; a text with words of `_ACCEPT_WORDS` beside them is
#: not recognised.
_ESCALATE = re.compile(
    r"\b(?:(?:di|men?y?)?serah(?:kan)?|menyerah(?:kan)?|hand(?:s|ed|ing)?[ -]?(?:it[ -])?(?:on|over)|"
    r"pass(?:es|ed|ing)?(?:[ -]?it)?(?:[ -]?on)?|escalated?)(?![^\W\d])"
)
#: Words for the next person. They are ignored beside a word that escalates: an incident always goes to the next person.
_ESCALATION_TARGETS = frozenset(
    {"kepada", "kpd", "pegawai", "seterusnya", "lain", "orang", "next", "officer", "person", "the", "it"}
)
#: Emoji that deny. Others have no meaning.
_DENY_EMOJI = re.compile(
    "[\N{THUMBS DOWN SIGN}\N{CROSS MARK}\N{NO ENTRY SIGN}\N{HEAVY MULTIPLICATION X}\N{FACE WITH NO GOOD GESTURE}]"
)
#: Words that deny, or refer to somebody else. A text with such a word is not recognised, even if it has a whole code.
_DENY = re.compile(
    r"\b(?:tak\w*|tdk|td(?:a|i)k|tidak\w*|x|x[a-z]+|bukan\w*|belum|blm|jangan|jgn|tiada|enggan|(?:di|men)?tolak|batal\w*|"
    r"dibatalkan|abaikan|salah|silap|tolong|tlg|cuti|mc|sakit|berhenti|lain|ganti|no|nope|not|none|nobody|never|unable|"
    r"cannot|(?:do|does|did|is|are|was|were|ca|can|could|wo|would|should|have|has|had)n'?t|refus\w+|reject\w*|"
    r"declin\w+|cancel\w*|stop\w*|unsubscribe|quit|wrong|mistake|ignore|sick|leave|someone|somebody|else)\b"
)
#: Question words. "ke" makes a question only at the end of a text ("1A ke").
_QUESTION = re.compile(
    r"\b(?:apa|apakah|ape|kenapa|knp|mengapa|bila|siapa|sape|mana|manakah|bagaimana|macamana|camne|patut|"
    r"(?:ada|boleh|perlu|betul|benar|sudah|harus)kah|what|whats|why|who|whom|when|where|which|how|does|should)\b|\bke\W*$"
)
#: Keywords of the CTIA (association of mobile carriers), which providers interpret as well, and a Malay one each.
_OPT_OUT_WORDS = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "berhenti"})
_OPT_IN_WORDS = frozenset({"start", "unstop", "mula"})

#: A code as a whole word, with or without its letter: "1", "1A", "1-a", "1aa", "A1".
_CODE = re.compile(r"(\d{1,4})-?a{0,2}|a-?(\d{1,4})")
#: A whole code within a text: "1A". A number without the letter could be a telephone number, a time or a floor.
_PRINTED_CODE = re.compile(r"(?<![\w-])(?:(\d{1,4})[ -]?a{1,2}|a-?(\d{1,4}))(?![\w-])")
#: An incident number, as quoted in an SMS.
_QUOTED_NUMBER = re.compile(r"(?<![\w-])[a-z][a-z0-9]{1,10}-\d{1,6}(?![\w-])")
#: First word of Pantau's own SMS. A telephone that sends a notification back does not acknowledge it.
_OWN_PREFIX = "rm0"
#: An incident number as a whole word, or an agency's code and a number. The two are not separated here, because codes
#: may end with digits.
_NUMBER = re.compile(r"(?=[\d-]*[a-z])[a-z0-9-]{1,18}\d")
#: End of an incident number that is separated by a blank: the "01" of "JCM 01", the "01-01" of "PPD 01-01".
_NUMBER_END = re.compile(r"[\d-]+")
#: A known word and a code without a space between them: "ack1", "balas1A".
_MISSING_SPACE = re.compile(
    rf"\b({'|'.join(sorted(_ACCEPT_WORDS | _AGREE_WORDS | _FILLERS, key=len, reverse=True))})(\d{{1,4}}a{{0,2}})\b(?!-\d)"
)
#: An incident number with blanks around its hyphen: "JCM - 01". The blanks are removed.
_SPLIT_NUMBER = re.compile(r"\b(\d*[a-z][a-z0-9]{1,10})\s*-\s*(\d{1,6})\b")
#: Characters that separate words: all but letters, digits and hyphens. Letters of all scripts form words, so that a
#: "no" in Chinese or Tamil before a code is noticed.
_NOISE = re.compile(r"(?:[^\w-]|_)+")
#: Longer than any reply. A longer text is not recognised; truncating it could remove a word that denies.
_MAX_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The person acknowledges the incidents of the code or number; without either, all of which they were notified."""

    #: Response code; `None`: the text has none.
    code: int | None = None
    #: Incident number as typed, in capital letters; `None`: the text has none. `alerts.model.number.matches_number`
    #: compares it with the numbers of incidents. Beside a code it only matters if it contradicts the code's
    #: notification.
    number: str | None = None
    #: Whether the person escalates the incidents instead of acknowledging them.
    escalates: bool = False


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


def format_code(code: int) -> str:
    """Return a code as printed in an SMS: "1A"."""
    return f"{code}{ACCEPT_LETTER}"


def parse_reply(text: str) -> Meaning:
    """Return the meaning of an SMS."""
    if len(text) > _MAX_LENGTH:
        return Unrecognised()
    # NFKC converts full-width letters and digits. Curly apostrophes become straight, because `_DENY` has straight ones.
    normalised = unicodedata.normalize("NFKC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    words = _words(normalised)
    if len(words) == 1 and words[0] in _OPT_OUT_WORDS:
        return OptOut()
    if len(words) == 1 and words[0] in _OPT_IN_WORDS:
        return OptIn()
    if "?" in normalised or _DENY_EMOJI.search(normalised):
        return Unrecognised()  # "ya?" and "1A?" are questions.
    has_thanks = _THANKS.search(normalised) is not None
    escalates = _ESCALATE.search(normalised) is not None
    fillers = _FILLERS | _ESCALATION_TARGETS if escalates else _FILLERS
    normalised = _ESCALATE.sub(" ", _THANKS.sub(" ", normalised))
    content_words = [word for word in _words(normalised) if word not in fillers]
    if escalates:
        return _parse_escalation(content_words)
    remaining_words = [word for word in content_words if word not in _ACCEPT_WORDS and word not in _AGREE_WORDS]
    if not remaining_words:
        accepts = any(word in _ACCEPT_WORDS for word in content_words) or (bool(content_words) and not has_thanks)
        return Acknowledgement() if accepts else Unrecognised()
    return _parse_target(remaining_words) or _find_printed_code(normalised) or Unrecognised()


def _find_printed_code(normalised: str) -> Acknowledgement | None:
    """Return the acknowledgement by a text with one whole code and other words.

    `None` if the text has no code or several, or if another word may deny, ask or be in a foreign script.
    """
    words = _words(normalised)
    text = " ".join(words)
    codes = {int(match[1] or match[2]) for match in _PRINTED_CODE.finditer(text)}
    other_words = [word for word in words if not _CODE.fullmatch(word) and word != "a"]
    has_foreign_script = any(
        letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN") for letter in text
    )
    if (
        len(codes) != 1
        or not other_words
        or has_foreign_script
        or _OWN_PREFIX in words
        or _DENY.search(normalised)
        or _QUESTION.search(normalised)
    ):
        return None
    numbers = set(_QUOTED_NUMBER.findall(text))
    return Acknowledgement(code=codes.pop(), number=numbers.pop().upper() if len(numbers) == 1 else None)


def _parse_escalation(words: list[str]) -> Meaning:
    """Return the escalation of the incidents that *words* name; words of agreement are ignored.

    *words*: the words of the text without thanks, fillers and words that escalate.
    """
    remaining_words = [word for word in words if word not in _AGREE_WORDS]
    if not remaining_words:
        return Acknowledgement(escalates=True)
    target = _parse_target(remaining_words)
    return replace(target, escalates=True) if target else Unrecognised()


def _parse_target(remaining_words: list[str]) -> Acknowledgement | None:
    """Return the code or incident number that the words consist of; `None` if there are other words."""
    head, *number_parts = remaining_words
    if (
        1 <= len(number_parts) <= 2
        and not _CODE.fullmatch(head)
        and all(_NUMBER_END.fullmatch(part) for part in number_parts)
    ):
        remaining_words = ["-".join(remaining_words)]
    if len(remaining_words) != 1:
        return None
    (word,) = remaining_words
    if match := _CODE.fullmatch(word):
        return Acknowledgement(code=int(match[1] or match[2]))
    if _NUMBER.fullmatch(word):
        return Acknowledgement(number=word.upper())
    return None


def _words(normalised: str) -> list[str]:
    """Return the words of a text, after repairing blanks in codes and incident numbers."""
    joined = _MISSING_SPACE.sub(r"\1 \2", _SPLIT_NUMBER.sub(r"\1-\2", normalised))
    return [word for part in _NOISE.sub(" ", joined).split() if (word := part.strip("-"))]
