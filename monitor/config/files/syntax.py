"""YAML syntax errors, worded for the author of a configuration.

The parser reports what it expected and where it stopped; the actual mistake, such as a missing quote, may be some lines
above. No message repeats a part of the file, which may be a password.
"""

from __future__ import annotations

import re
import unicodedata

import yaml

from monitor.config.files.problem import Problem
from monitor.model.lazy_text import lazy_text

_NO_COLON = (
    "could not find expected ':'",
    True,
    "is no key and value: it has no colon with a space behind it",
    "key: value",
)
#: Problems by a part of the parser's message: whether to report the line where the parser began the construct, instead
#: of the line where it stopped; the message; and the remedy.
_PROBLEMS = (
    (
        "found unexpected end of stream",
        True,
        "a quote is opened here and not closed",
        "the closing quote, or no quotes",
    ),
    ("'}', but got", True, "a { is opened here and not closed", "the closing }"),
    ("']', but got", True, "a [ is opened here and not closed", "the closing ]"),
    _NO_COLON,
    (
        "but found '<scalar>'",
        False,
        "holds more text behind a closing quote",
        "quotes around all of the value, or none",
    ),
    (
        "expected <block end>",
        False,
        "is indented unlike the lines that it belongs to",
        "as many spaces as before the keys (or hyphens) beside it",
    ),
    (
        "entries are not allowed here",
        False,
        "has a hyphen where no list can begin",
        "the list in lines of its own below the key",
    ),
    ("alias", False, "a value begins with *", "the value between quotes"),
    ("anchor", False, "a value begins with &", "the value between quotes"),
    ("alphabetic or numeric", False, "a value begins with *, & or !", "the value between quotes"),
    (
        "cannot start any token",
        False,
        "a value begins with a sign that YAML keeps for itself",
        "the value between quotes",
    ),
    (
        "escape",
        False,
        "a backslash between double quotes begins an escape, and this is none",
        "the value between single quotes",
    ),
    (
        "node content",
        False,
        "a value is missing here, or a bracket before it is not closed",
        "the value, or the bracket",
    ),
    ("document", False, "begins a second document after a line of --- or ...", "one file for each"),
)

_CONFLICT = re.compile(r"<{7} |={7}$|>{7} ")
#: A value with an opening quote that is not closed on its line.
_OPEN_QUOTE = re.compile(r"""\s*(?:- +)?[\w-]+: +(?:"[^"]*|'[^']*)""")


def syntax_problem(error: yaml.YAMLError, text: str, name: str) -> Problem:
    """Return the problem of the file *name* with the content *text*, for which the parser raised *error*."""
    if isinstance(error, yaml.reader.ReaderError):
        number = text.count("\n", 0, error.position) + 1
        return Problem(
            file=name,
            line=number,
            message=lazy_text("holds {character}", character=character_name(chr(error.character))),
            instead="plain text, saved as UTF-8",
        )
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(file=name, line=0, message="is no YAML")
    lines = text.splitlines()
    stop_line, start_line = (
        mark.line if mark else 0 for mark in (error.problem_mark, error.context_mark or error.problem_mark)
    )
    if (visible := _find_visible_problem(lines, {start_line, stop_line - 1, stop_line}, name)) is not None:
        return visible
    for number, line in enumerate(lines[:stop_line]):
        if _OPEN_QUOTE.fullmatch(line):
            _, _, message, instead = _PROBLEMS[0]
            return Problem(file=name, line=number + 1, message=message, instead=instead)
    problem = f"{error.problem or error.context}"
    if "mapping values" in problem:
        column = error.problem_mark.column if error.problem_mark else 0
        previous_line = stop_line - 1
        while previous_line >= 0 and not lines[previous_line].strip():
            previous_line -= 1
        if (
            previous_line >= 0
            and ":" not in lines[previous_line]
            and not lines[previous_line].lstrip().startswith(("- ", "#"))
        ):
            _, _, message, instead = _NO_COLON
            return Problem(file=name, line=previous_line + 1, message=message, instead=instead)
        return _colon_problem(lines[stop_line][:column] if stop_line < len(lines) else "", stop_line, name)
    if "but got ':'" in problem and stop_line == start_line:
        return Problem(file=name, line=stop_line + 1, message="a comma is missing before a key", instead="a comma")
    for fragment, reports_start, message, instead in _PROBLEMS:
        if fragment in problem:
            return Problem(
                file=name, line=(start_line if reports_start else stop_line) + 1, message=message, instead=instead
            )
    return Problem(file=name, line=stop_line + 1, message="is no YAML")


def character_name(character: str) -> str:
    """Return the name of an invisible character: "a no-break space (U+00A0)"."""
    name = unicodedata.name(character, "control character").lower()
    return lazy_text("a {name} (U+{code:04X})", name=name, code=ord(character))


def is_typographic_quote(character: str) -> bool:
    """Whether *character* is a typographic quote of word processors, which YAML treats as a letter."""
    return character != "" and unicodedata.category(character) in ("Pi", "Pf")


def _find_visible_problem(lines: list[str], line_numbers: set[int], name: str) -> Problem | None:
    """Return the first problem that is visible in one of the lines *line_numbers*; `None` if there is none."""
    for number in sorted(line_numbers & set(range(len(lines)))):
        line = lines[number]
        if _CONFLICT.match(line):
            message, instead = "is a mark of two changes that git could not join", "one of the two"
        elif "\t" in line[: len(line) - len(line.lstrip())]:
            message, instead = "is indented with a tab", "spaces, two for each level"
        elif "${" in line:
            message, instead = "holds a variable ($), and none is filled in here", "the value itself"
        elif spaces := [c for c in line if c != " " and unicodedata.category(c) == "Zs"]:
            message, instead = lazy_text("holds {character}", character=character_name(spaces[0])), "ordinary spaces"
        else:
            continue
        return Problem(file=name, line=number + 1, message=message, instead=instead)
    return None


def _colon_problem(before: str, number: int, name: str) -> Problem:
    """Return the problem of an invalid colon that follows the text *before* on its line."""
    if ": " in before:
        return Problem(
            file=name,
            line=number + 1,
            message="holds a second colon with a space behind it",
            instead="the value between quotes",
        )
    return Problem(
        file=name,
        line=number + 1,
        message="is indented unlike the lines that it belongs to, or follows a key that has a value already",
        instead="as many spaces as before the keys beside it",
    )
