"""Text that keeps its pattern and values, so that it can be translated when it is shown (as Django's `gettext_lazy`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self


class TranslatableText(str):
    """An English text with its pattern. Commands, programs and logs use it as a plain `str`.

    Values may be translatable texts too. A text without values is its own pattern, and can be a plain `str`.
    """

    __slots__ = ("pattern", "values")

    pattern: str
    values: Mapping[str, object]

    def __new__(cls, pattern: str, values: Mapping[str, object]) -> Self:
        """Return *pattern* with *values* filled in as by `str.format`."""
        translatable = super().__new__(cls, pattern.format(**values))
        translatable.pattern, translatable.values = pattern, values
        return translatable

    def __reduce__(self) -> tuple[object, ...]:
        """Return the constructor and its arguments, for `copy` and `pickle`."""
        return TranslatableText, (self.pattern, self.values)

    def __str__(self) -> str:
        """Return the object itself, so that `str` of an exception's argument keeps the pattern."""
        return self


def translatable(pattern: str, /, **values: object) -> TranslatableText:
    """Return *pattern* with *values* filled in. A test requires a Malay pattern with the same placeholders."""
    return TranslatableText(pattern, values)


def any_of(texts: Iterable[str]) -> str:
    """Return the *texts* as alternatives: "a or b or c"."""
    return _join("{before} or {after}", texts)


def all_of(texts: Iterable[str]) -> str:
    """Return all *texts*: "a and b and c"."""
    return _join("{before} and {after}", texts)


def translate(text: str, patterns: Mapping[str, str]) -> str | None:
    """Return the translation of *text*, with its values translated too; `None` if *patterns* lacks its pattern.

    *patterns*: translated patterns, by the English ones.
    """
    if not isinstance(text, TranslatableText):
        return patterns.get(text)
    translated = patterns.get(text.pattern)
    if translated is None:
        return None
    return translated.format(**{key: _translate_value(value, patterns) for key, value in text.values.items()})


def _translate_value(value: object, patterns: Mapping[str, str]) -> object:
    return (translate(value, patterns) or value) if isinstance(value, TranslatableText) else value


def _join(pattern: str, texts: Iterable[str]) -> str:
    joined, *remaining = [*texts] or [""]
    for each in remaining:
        joined = translatable(pattern, before=joined, after=each)
    return joined
