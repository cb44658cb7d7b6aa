r"""Template language of the texts.

`{domain}` is a placeholder, which is replaced by its value. `[ ... ]` is left out when a placeholder in it is empty:
"telephone[ ({hours})]" leaves no empty brackets. `[ ... | ... ]` uses the first alternative without empty placeholders.
A backslash makes the next character literal. Values are never parsed as templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_SYNTAX = "{}[]|\\"


class TemplateError(ValueError):
    """The text is not a valid template. The message says what to write."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """`[ ... | ... ]`: renders the first alternative whose placeholders all have values, or nothing."""

    alternatives: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class Template:
    pieces: tuple[str | Placeholder | Choice, ...]

    def required_placeholders(self) -> frozenset[str]:
        """Return the placeholders that must have a value: those outside `[ ]`."""
        return frozenset(piece.name for piece in self.pieces if isinstance(piece, Placeholder))

    def placeholders(self) -> frozenset[str]:
        """Return all placeholders of the text."""
        names = set(self.required_placeholders())
        for piece in self.pieces:
            if isinstance(piece, Choice):
                names.update(*(part.placeholders() for part in piece.alternatives))
        return frozenset(names)

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text. Raise `ValueError` when a required placeholder is missing or empty, which is a bug."""
        text = self._render(values)
        if text is None:
            missing = sorted(name for name in self.required_placeholders() if not values.get(name))
            raise ValueError(f"no value for {', '.join(missing)}")
        return text

    def _render(self, values: Mapping[str, str]) -> str | None:
        rendered = []
        for piece in self.pieces:
            match piece:
                case Placeholder(name):
                    if not values.get(name):
                        return None
                    rendered.append(values[name])
                case Choice(alternatives):
                    choices = (part._render(values) for part in alternatives)  # noqa: SLF001 - its own class
                    rendered.append(next((choice for choice in choices if choice is not None), ""))
                case _:
                    rendered.append(piece)
        return "".join(rendered)


def parse(text: str) -> Template:
    """Parse a text. Raise `TemplateError`."""
    characters = _mark_syntax(text)
    template, end = _parse_sequence(characters, inside=False)
    if end:
        raise TemplateError(f"a '{end}' without an opening bracket; write '\\{end}' for the character itself")
    return template


def _mark_syntax(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each character, and whether it is syntax (not escaped)."""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if not escaped or escaped not in _SYNTAX:
                raise TemplateError(f"a backslash is allowed only before {_SYNTAX}; write '\\\\' for a backslash")
            yield escaped, False
        else:
            yield character, character in _SYNTAX


def _parse_sequence(characters: Iterator[tuple[str, bool]], *, inside: bool) -> tuple[Template, str]:
    """Parse up to the end, a `]` or, inside brackets, a `|`; return the terminator ("" at the end of the text)."""
    pieces: list[str | Placeholder | Choice] = []
    literal = ""
    for character, is_syntax in characters:
        if not is_syntax or (character == "|" and not inside):
            literal += character
            continue
        if literal:
            pieces.append(literal)
            literal = ""
        if character == "{":
            pieces.append(_parse_placeholder(characters))
        elif character == "[":
            pieces.append(_parse_choice(characters))
        else:
            return Template(tuple(pieces)), character
    if literal:
        pieces.append(literal)
    return Template(tuple(pieces)), ""


def _parse_placeholder(characters: Iterator[tuple[str, bool]]) -> Placeholder:
    name = ""
    for character, is_syntax in characters:
        if is_syntax and character == "}":
            if not name.isidentifier():
                break
            return Placeholder(name)
        name += character
    raise TemplateError(f"'{{{name}' is not a placeholder; write a name and '}}', or '\\{{' for the character itself")


def _parse_choice(characters: Iterator[tuple[str, bool]]) -> Choice:
    alternatives = []
    end = "|"
    while end == "|":
        part, end = _parse_sequence(characters, inside=True)
        alternatives.append(part)
    if end != "]":
        where = f"'{end}'" if end else "the end"
        raise TemplateError(f"a '[' is not closed before {where}; write ']' at the end of the optional part")
    return Choice(tuple(alternatives))
