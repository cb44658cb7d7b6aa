"""Text that keeps its pattern and values for a later translation, as Django's lazy translation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self


class LazyText(str):
    """An English text with its pattern. Commands, programs and logs use it as plain text.

    Values may be lazy texts too. A text without values is its own pattern, and needs no `LazyText`.
    """

    __slots__ = ("pattern", "words")

    pattern: str
    words: Mapping[str, object]

    def __new__(cls, pattern: str, words: Mapping[str, object]) -> Self:
        """Return *pattern* with *words* filled in as by `str.format`."""
        said = super().__new__(cls, pattern.format(**words))
        said.pattern, said.words = pattern, words
        return said

    def __reduce__(self) -> tuple[object, ...]:
        """Return the constructor and its arguments for a copy."""
        return LazyText, (self.pattern, self.words)

    def __str__(self) -> str:
        """Return the object itself, so that an exception keeps the pattern."""
        return self


def said(pattern: str, /, **words: object) -> LazyText:
    """Return *pattern* with *words* filled in. A test requires the Malay pattern with the same words."""
    return LazyText(pattern, words)


def either(texts: Iterable[str]) -> str:
    """Return the *texts* as alternatives: "a or b or c"."""
    return _chain("{before} or {after}", texts)


def both(texts: Iterable[str]) -> str:
    """Return all *texts*: "a and b and c"."""
    return _chain("{before} and {after}", texts)


def in_other_words(text: str, patterns: Mapping[str, str]) -> str | None:
    """Return *text* by the translated pattern, with translated values; `None` without one in *patterns*."""
    if not isinstance(text, LazyText):
        return patterns.get(text)
    other = patterns.get(text.pattern)
    if other is None:
        return None
    return other.format(**{key: _other(word, patterns) for key, word in text.words.items()})


def _other(word: object, patterns: Mapping[str, str]) -> object:
    return (in_other_words(word, patterns) or word) if isinstance(word, LazyText) else word


def _chain(pattern: str, texts: Iterable[str]) -> str:
    chain, *others = [*texts] or [""]
    for each in others:
        chain = said(pattern, before=chain, after=each)
    return chain
