"""YAML syntax errors, worded for the author of a configuration.

The parser reports what it expected and where it stopped. The actual mistake, such as a missing quote, may be some lines
above. No message quotes the file, which may contain a password.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import yaml

from monitor.config.files.problem import Problem
from monitor.model.translatable import translatable


class _KnownProblem(NamedTuple):
    """Wording of one of the parser's messages."""

    #: Part of the parser's message.
    fragment: str
    #: Whether to report the line where the construct begins, instead of the line where the parser stopped.
    is_at_start: bool
    message: str
    #: What to write instead.
    instead: str


_UNCLOSED_QUOTE = _KnownProblem(
    "found unexpected end of stream", True, "a quote is opened here and not closed", "the closing quote, or no quotes"
)
_NO_COLON = _KnownProblem(
    "could not find expected ':'", True, "is no key and value: it has no colon with a space behind it", "key: value"
)
#: The first problem whose fragment occurs in the parser's message applies.
_KNOWN_PROBLEMS = (
    _UNCLOSED_QUOTE,
    _KnownProblem("'}', but got", True, "a { is opened here and not closed", "the closing }"),
    _KnownProblem("']', but got", True, "a [ is opened here and not closed", "the closing ]"),
    _NO_COLON,
    _KnownProblem(
        "but found '<scalar>'",
        False,
        "holds more text behind a closing quote",
        "quotes around all of the value, or none",
    ),
    _KnownProblem(
        "expected <block end>",
        False,
        "is indented unlike the lines that it belongs to",
        "as many spaces as before the keys (or hyphens) beside it",
    ),
    _KnownProblem(
        "entries are not allowed here",
        False,
        "has a hyphen where no list can begin",
        "the list in lines of its own below the key",
    ),
    _KnownProblem("alias", False, "a value begins with *", "the value between quotes"),
    _KnownProblem("anchor", False, "a value begins with &", "the value between quotes"),
    _KnownProblem("alphabetic or numeric", False, "a value begins with *, & or !", "the value between quotes"),
    _KnownProblem(
        "cannot start any token",
        False,
        "a value begins with a character that is reserved in YAML",
        "the value between quotes",
    ),
    _KnownProblem(
        "escape",
        False,
        "a backslash between double quotes begins an escape, and this escape does not exist",
        "the value between single quotes",
    ),
    _KnownProblem(
        "node content",
        False,
        "a value is missing here, or a bracket before it is not closed",
        "the value, or the bracket",
    ),
    _KnownProblem("document", False, "begins a second document after a line of --- or ...", "one file for each"),
)

#: A line that git inserts where it could not merge two changes.
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
            message=translatable("holds {character}", character=character_name(chr(error.character))),
            instead="plain text, saved as UTF-8",
        )
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(file=name, line=0, message="is no YAML")
    lines = text.splitlines()
    # Indices of the line where the parser stopped, and of the line where the construct begins.
    stop_line, start_line = (
        mark.line if mark else 0 for mark in (error.problem_mark, error.context_mark or error.problem_mark)
    )
    if (obvious := _find_obvious_problem(lines, {start_line, stop_line - 1, stop_line}, name)) is not None:
        return obvious
    # The parser reports an unclosed quote only at a later line.
    for line_index, line in enumerate(lines[:stop_line]):
        if _OPEN_QUOTE.fullmatch(line):
            return _known_problem(_UNCLOSED_QUOTE, line_index, name)
    # The parser's message.
    problem = f"{error.problem or error.context}"
    if "mapping values" in problem:
        # The parser did not expect a colon here. If the last line before has none, it is probably the mistake.
        column = error.problem_mark.column if error.problem_mark else 0
        previous_line = stop_line - 1
        while previous_line >= 0 and not lines[previous_line].strip():
            previous_line -= 1
        if (
            previous_line >= 0
            and ":" not in lines[previous_line]
            and not lines[previous_line].lstrip().startswith(("- ", "#"))
        ):
            return _known_problem(_NO_COLON, previous_line, name)
        return _colon_problem(lines[stop_line][:column] if stop_line < len(lines) else "", stop_line, name)
    if "but got ':'" in problem and stop_line == start_line:
        return Problem(file=name, line=stop_line + 1, message="a comma is missing before a key", instead="a comma")
    for known in _KNOWN_PROBLEMS:
        if known.fragment in problem:
            return _known_problem(known, start_line if known.is_at_start else stop_line, name)
    return Problem(file=name, line=stop_line + 1, message="is no YAML")


def _known_problem(known: _KnownProblem, line_index: int, name: str) -> Problem:
    return Problem(file=name, line=line_index + 1, message=known.message, instead=known.instead)


def character_name(character: str) -> str:
    """Return the name of a character for a message: "a no-break space (U+00A0)"."""
    name = unicodedata.name(character, "control character").lower()
    return translatable("a {name} (U+{code:04X})", name=name, code=ord(character))


def is_typographic_quote(character: str) -> bool:
    """Whether *character* is a typographic quote of word processors, which YAML treats as a letter."""
    return character != "" and unicodedata.category(character) in ("Pi", "Pf")


def _find_obvious_problem(lines: list[str], line_indices: set[int], name: str) -> Problem | None:
    """Return the first problem that is obvious from one of the lines with *line_indices*; `None` if there is none."""
    for line_index in sorted(line_indices & set(range(len(lines)))):
        line = lines[line_index]
        if _CONFLICT.match(line):
            message, instead = "is a conflict marker of git", "one of the two"
        elif "\t" in line[: len(line) - len(line.lstrip())]:
            message, instead = "is indented with a tab", "spaces, two for each level"
        elif "${" in line:
            message, instead = "holds a variable ($), and none is filled in here", "the value itself"
        elif spaces := [c for c in line if c != " " and unicodedata.category(c) == "Zs"]:
            message, instead = translatable("holds {character}", character=character_name(spaces[0])), "ordinary spaces"
        else:
            continue
        return Problem(file=name, line=line_index + 1, message=message, instead=instead)
    return None


def _colon_problem(before: str, line_index: int, name: str) -> Problem:
    """Return the problem of a misplaced colon. *before*: the text before the colon on its line."""
    if ": " in before:
        return Problem(
            file=name,
            line=line_index + 1,
            message="holds a second colon with a space behind it",
            instead="the value between quotes",
        )
    return Problem(
        file=name,
        line=line_index + 1,
        message="is indented unlike the lines that it belongs to, or follows a key that has a value already",
        instead="as many spaces as before the keys beside it",
    )
