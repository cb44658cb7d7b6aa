"""Check of texts with placeholders against a specification. The caller passes texts and specification."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from alerts.wording.source import TextEntry
from alerts.wording.template import Template, TemplateError, parse

#: Templates by key. A single text is a tuple of one template.
Texts = Mapping[str, tuple[Template, ...]]

#: Parts of keys that were renamed, with their new names. Each includes the dots around it.
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

    #: Whether the key has a list of texts instead of one: the sentences of a call, the paragraphs of a letter.
    several: bool = False
    #: Placeholders that always have a value.
    always: frozenset[str] = frozenset()
    #: Placeholders that may be empty. They must be inside `[ ]`, which is left out in that case (see
    #: `alerts.wording.template`).
    maybe: frozenset[str] = frozenset()
    #: Whether the text may be missing.
    optional: bool = False


def check_texts(
    entries: tuple[TextEntry, ...],
    specs: Mapping[str, TextSpec],
    file: str,
    problems: list[str],
    rules: Callable[[TextEntry, Template], None] | None = None,
) -> Texts:
    """Return the texts of *entries* by key, and append problems to *problems*. The last entry of a key wins.

    *rules* checks a text further, and raises `TemplateError`.
    """
    texts: dict[str, tuple[Template, ...]] = {}
    for entry in entries:
        spec = specs.get(entry.key)
        if spec is None:
            problems.append(f"{entry.position}: {entry.key}: {_unknown_key_message(entry.key, specs)}")
            continue
        try:
            texts[entry.key] = tuple(_parse_entry(entry, spec, rules))
        except TemplateError as error:
            problems.append(f"{entry.position}: {entry.key}: {error}")
            texts[entry.key] = ()  # Present, so that it is not reported as missing too.
    missing = (key for key, spec in specs.items() if key not in texts and not spec.optional)
    problems.extend(f"{file}: {key}: is missing; write it" for key in missing)
    return texts


def _unknown_key_message(key: str, specs: Collection[str]) -> str:
    for old, new in RENAMED_KEYS.items():
        if (renamed := f"{key}.".replace(old, new)[:-1]) != key and renamed in specs:
            return f"`{old.strip('.')}` is now `{new.strip('.')}`; write {renamed}"
    return f"is an unknown text{_closest_key_advice(key, specs)}"


def _closest_key_advice(key: str, specs: Collection[str]) -> str:
    close = difflib.get_close_matches(key, specs, n=1)
    return f"; write {close[0]}, or remove it" if close else "; remove it"


def _parse_entry(
    entry: TextEntry, spec: TextSpec, rules: Callable[[TextEntry, Template], None] | None
) -> Iterator[Template]:
    is_list = not isinstance(entry.value, str)
    if is_list is not spec.several:
        raise TemplateError(f"must be {'a list of texts' if spec.several else 'one text'}")
    values = (entry.value,) if isinstance(entry.value, str) else entry.value
    if not all(values) or not values:
        raise TemplateError("is empty; write the text")
    for value in values:
        template = parse(value)
        _check_placeholders(template, spec)
        if rules is not None:
            rules(entry, template)
        yield template


def _check_placeholders(template: Template, spec: TextSpec) -> None:
    known_names = spec.always | spec.maybe
    if unknown := template.placeholders() - known_names:
        listed = ", ".join(f"{{{name}}}" for name in sorted(unknown))
        choice = ", ".join(f"{{{name}}}" for name in sorted(known_names)) or "no placeholder at all"
        raise TemplateError(f"{listed} is unknown here; write {choice}")
    if unbracketed := template.required_placeholders() & spec.maybe:
        listed = ", ".join(f"{{{name}}}" for name in sorted(unbracketed))
        raise TemplateError(f"{listed} may be empty; put [ and ] around the part to leave out in that case")
