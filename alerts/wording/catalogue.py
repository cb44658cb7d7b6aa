"""Texts with placeholders, checked against a specification. Independent of their subject."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from alerts.wording.source import TextEntry
from alerts.wording.template import Template, TemplateError, parse

#: By key. A single text is a tuple of one.
Texts = Mapping[str, tuple[Template, ...]]

#: Old parts of keys with their new names, each with the separators around it.
RENAMED_KEYS: Final[Mapping[str, str]] = {
    "lifeline.": "out_of_band.",
    ".hand_on.": ".escalate.",
    ".handed_on.": ".escalated.",
    ".own_fault.": ".monitoring_fault.",
    ".cause.name.": ".cause.dns.",
    ".cause.refused.": ".cause.connect.",
    ".cause.silent.": ".cause.timeout.",
    ".cause.encryption.": ".cause.tls.",
    ".cause.sign_in.": ".cause.auth.",
    ".cause.returned.": ".cause.bounced.",
    ".cause.changed.": ".cause.corrupted.",
}


class WordingError(Exception):
    """The texts are invalid. One line per problem, each with file, line, key, and what to write instead."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpec:
    """Specification of one text."""

    #: A list of texts: the sentences of a call, the paragraphs of a letter.
    several: bool = False
    #: Placeholders that always have a value.
    always: frozenset[str] = frozenset()
    #: Placeholders that may be empty, and so must be inside `[ ]`.
    maybe: frozenset[str] = frozenset()
    #: The text may be missing.
    optional: bool = False


def checked(
    entries: tuple[TextEntry, ...],
    needs: Mapping[str, TextSpec],
    file: str,
    problems: list[str],
    rules: Callable[[TextEntry, Template], None] | None = None,
) -> Texts:
    """Return the texts of *entries*, of which the last of a key wins; append problems to *problems*.

    *rules* raises `TemplateError` for a text that breaks further rules.
    """
    texts: dict[str, tuple[Template, ...]] = {}
    for entry in entries:
        need = needs.get(entry.key)
        if need is None:
            problems.append(f"{entry.place}: {entry.key}: {_unknown(entry.key, needs)}")
            continue
        try:
            texts[entry.key] = tuple(_read(entry, need, rules))
        except TemplateError as error:
            problems.append(f"{entry.place}: {entry.key}: {error}")
            texts[entry.key] = ()  # reported once, not as missing too
    missing = (key for key, need in needs.items() if key not in texts and not need.optional)
    problems.extend(f"{file}: {key}: is missing; write it" for key in missing)
    return texts


def _unknown(key: str, needs: Collection[str]) -> str:
    for old, new in RENAMED_KEYS.items():
        if (renamed := f"{key}.".replace(old, new)[:-1]) != key and renamed in needs:
            return f"`{old.strip('.')}` is now `{new.strip('.')}`; write {renamed}"
    return f"is no text of ours{_closest(key, needs)}"


def _closest(key: str, needs: Collection[str]) -> str:
    close = difflib.get_close_matches(key, needs, n=1)
    return f"; write {close[0]}, or remove it" if close else "; remove it"


def _read(entry: TextEntry, need: TextSpec, rules: Callable[[TextEntry, Template], None] | None) -> Iterator[Template]:
    if need.several is isinstance(entry.value, str):
        raise TemplateError(f"must be {'a list of texts' if need.several else 'one text'}")
    values = (entry.value,) if isinstance(entry.value, str) else entry.value
    if not all(values) or not values:
        raise TemplateError("is empty; write the text")
    for value in values:
        template = parse(value)
        _placeholders(template, need)
        if rules is not None:
            rules(entry, template)
        yield template


def _placeholders(template: Template, need: TextSpec) -> None:
    known = need.always | need.maybe
    if unknown := template.used() - known:
        listed = ", ".join(f"{{{name}}}" for name in sorted(unknown))
        choice = ", ".join(f"{{{name}}}" for name in sorted(known)) or "no placeholder at all"
        raise TemplateError(f"{listed} is unknown here; write {choice}")
    if bare := template.needed() & need.maybe:
        listed = ", ".join(f"{{{name}}}" for name in sorted(bare))
        raise TemplateError(f"{listed} may be empty; put what is to vanish with it between [ and ]")
