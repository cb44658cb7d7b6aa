"""A text in English that remembers its pattern and what was filled in, so that a page can say it in another language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self


class LazyText(str):
    """A text made of a pattern. To whatever does not ask it is that text: commands, programs and logs read English.

    What is filled in may be such a text itself. A text with nothing to fill in is its own pattern, and needs no `LazyText`.
    """

    __slots__ = ("pattern", "words")

    pattern: str
    words: Mapping[str, object]

    def __new__(cls, pattern: str, words: Mapping[str, object]) -> Self:
        """Return *pattern* with *words* filled in, as `str.format` does it."""
        said = super().__new__(cls, pattern.format(**words))
        said.pattern, said.words = pattern, words
        return said

    def __reduce__(self) -> tuple[object, ...]:
        """Return what a copy is made of."""
        return LazyText, (self.pattern, self.words)

    def __str__(self) -> str:
        """Return it as it is: an exception that was given one says it, and not a copy that has forgotten its pattern."""
        return self


def said(pattern: str, /, **words: object) -> LazyText:
    """Return *pattern* with *words* filled in. A test asks for the Malay of each, with the same words."""
    return LazyText(pattern, words)


def either(texts: Iterable[str]) -> str:
    """Return the *texts* as alternatives: "a or b or c"."""
    return _chain("{before} or {after}", texts)


def both(texts: Iterable[str]) -> str:
    """Return all the *texts*: "a and b and c"."""
    return _chain("{before} and {after}", texts)


def in_other_words(text: str, patterns: Mapping[str, str]) -> str | None:
    """Return *text* by the pattern that *patterns* have for its own, what is filled in likewise; `None`: they have none."""
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
