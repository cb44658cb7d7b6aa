"""Replacement of characters that the font cannot print.

PDF/A forbids missing glyphs: without a replacement, one unsupported character in a recipient's name would prevent the
whole letter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

#: Ranges of code points (first, last) that the font Arimo has: Latin, and symbols of office texts. A test prints all of
#: them.
_PRINTABLE = (
    (0x20, 0x7E),
    (0xA1, 0xAC),
    (0xAE, 0x17F),
    (0x218, 0x21B),
    (0x1E80, 0x1E85),
    (0x1EA0, 0x1EF9),
    (0x2010, 0x2015),
    (0x2017, 0x201E),
    (0x2020, 0x2022),
    (0x2026, 0x2026),
    (0x2030, 0x2030),
    (0x2032, 0x2033),
    (0x2039, 0x203A),
    (0x20AC, 0x20AC),
    (0x2116, 0x2116),
    (0x2122, 0x2122),
)
_REPLACEMENT = "?"

Json = str | int | bool | Sequence["Json"] | Mapping[str, "Json"]


def printable(text: str) -> str:
    """Return *text* on one line with printable characters only: others become a similar one, or "?"."""
    composed = unicodedata.normalize("NFC", text)
    # Control and format characters (a right-to-left override in a name) have no glyph.
    visible = "".join(
        character
        for character in composed
        if character.isspace() or unicodedata.category(character) not in {"Cc", "Cf"}
    )
    return "".join(
        character if _is_printable(character) else _closest_printable(character)
        for character in " ".join(visible.split())
    )


def replaced_characters(text: str) -> str:
    """Return the characters of *text* that `printable` replaces, each once."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(dict.fromkeys(c for c in composed if not c.isspace() and not _is_printable(c)))


def printable_all(data: Json) -> Json:
    """Return *data* with all texts made printable."""
    match data:
        case str():
            return printable(data)
        case int():
            return data
        case Mapping():
            return {name: printable_all(value) for name, value in data.items()}
        case _:
            return [printable_all(value) for value in data]


def _is_printable(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _PRINTABLE)


def _closest_printable(character: str) -> str:
    """Return a letter without its diacritics, or the plain form of a full-width character; "?" without either."""
    base = "".join(part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part))
    return base if base and all(_is_printable(part) for part in base) else _REPLACEMENT
