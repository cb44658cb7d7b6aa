"""Numbers, dates and times as words, because speech synthesis may misread figures."""

from __future__ import annotations

from datetime import datetime

from alerts.model.notification import Language
from alerts.wording import moment

_NUMBERS = {
    Language.MALAY: "kosong satu dua tiga empat lima enam tujuh lapan sembilan sepuluh sebelas",
    Language.ENGLISH: "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen",
}
_UNITS = {language: numbers.split() for language, numbers in _NUMBERS.items()}
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINAL_ENDS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_SIGNS = {
    Language.MALAY: {"-": "sempang", "/": "garis miring", ".": "titik"},
    Language.ENGLISH: {"-": "dash", "/": "slash", ".": "point"},
}
#: Parts of the day. Each applies to the hours before its number.
_ENGLISH_PARTS = ((12, "in the morning"), (18, "in the afternoon"), (21, "in the evening"), (24, "at night"))


def number(value: int, language: Language) -> str:
    """Return *value*, 0 to 9999, in words."""
    if not 0 <= value <= 9999:
        raise ValueError(f"{value} is not between 0 and 9999")
    return _malay(value) if language is Language.MALAY else _english(value)


def letters(text: str, language: Language) -> str:
    """Return an incident number character by character: "J, K, R, sempang, kosong, tujuh"."""
    signs = _SIGNS[language]
    words = []
    for character in text.upper():
        if character.isdecimal():
            words.append(number(int(character), language))
        elif not character.isspace():
            words.append(signs.get(character, character))
    return ", ".join(words)


def date(at: datetime, language: Language) -> str:
    """Return "dua puluh empat November dua ribu dua puluh enam"."""
    day = moment.local(at)
    month = moment.MONTHS[language][day.month - 1]
    if language is Language.MALAY:
        return f"{number(day.day, language)} {month} {number(day.year, language)}"
    return f"the {_ordinal(day.day)} of {month}, {number(day.year, language)}"


def clock(at: datetime, language: Language) -> str:
    """Return "dua lima belas minit petang" or "two fifteen in the afternoon" (after "pukul" or "at")."""
    time = moment.local(at)
    hour = number(time.hour % 12 or 12, language)
    minute = number(time.minute, language) if time.minute else ""
    if language is Language.MALAY:
        return f"{hour}{f' {minute} minit' if minute else ''} {moment.part_of_day(at)}"
    if not minute and time.hour % 12 == 0:
        return "twelve noon" if time.hour else "twelve midnight"
    if not minute:
        minute = "o'clock"
    elif time.minute < 10:
        minute = f"oh {minute}"
    part = next(part for before, part in _ENGLISH_PARTS if time.hour < before)
    return f"{hour} {minute} {part}"


def _malay(value: int) -> str:
    units = _UNITS[Language.MALAY]
    if value < 12:
        return units[value]
    if value < 20:
        return f"{units[value - 10]} belas"
    for size, name, single in ((1000, "ribu", "seribu"), (100, "ratus", "seratus"), (10, "puluh", "")):
        if value >= size:
            many, remainder = divmod(value, size)
            head = single if single and many == 1 else f"{units[many]} {name}"
            return f"{head} {_malay(remainder)}" if remainder else head
    raise AssertionError(value)


def _english(value: int) -> str:
    units = _UNITS[Language.ENGLISH]
    if value < 20:
        return units[value]
    if value < 100:
        tens, remainder = divmod(value, 10)
        return f"{_TENS[tens - 2]}-{units[remainder]}" if remainder else _TENS[tens - 2]
    size, name = (1000, "thousand") if value >= 1000 else (100, "hundred")
    many, remainder = divmod(value, size)
    separator = " " if remainder >= 100 else " and "
    return f"{units[many]} {name}" + (f"{separator}{_english(remainder)}" if remainder else "")


def _ordinal(value: int) -> str:
    head, dash, last = _english(value).rpartition("-")
    if last.endswith("y"):
        return f"{head}{dash}{last[:-1]}ieth"
    return f"{head}{dash}{_ORDINAL_ENDS.get(last, f'{last}th')}"
