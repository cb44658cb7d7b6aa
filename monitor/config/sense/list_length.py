"""How long the lists of an agency's document may be that somebody writes who is no administrator.

What is written there is worked off by everybody's service: a route is probed again and again, a step rings people, a window
is weighed at each probe. A thousand of each fit into the octets that a draft may have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from monitor.config.files.document import Document
from monitor.config.files.problem import Path, Problem, dotted
from monitor.config.files.reading import as_model, is_mapping, item, names, of_field
from monitor.config.model.registry import Agency
from monitor.model.said import said

#: Of each list and mapping, by where it stands: ten times what a large ministry has, and what can be read on a page.
MOST: Final[Mapping[Path, int]] = {
    ("domains",): 50,
    ("office", "address"): 10,
    ("office", "slogans"): 10,
    ("office", "copies"): 50,
    ("mailboxes",): 50,
    ("mailboxes", "*", "login", "token_command"): 50,
    ("mailboxes", "*", "junk_folders"): 50,
    ("routes",): 200,
    ("probing", "when"): 50,
    ("maintenance",): 400,
    ("contacts",): 300,
    ("contacts", "*", "addresses"): 20,
    ("rotas",): 50,
    ("rotas", "*", "layers"): 20,
    ("rotas", "*", "layers", "*", "people"): 100,
    ("calendar", "office_hours"): 50,
    ("calendar", "office_hours", "*"): 50,
    ("escalation", "steps"): 20,
    ("escalation", "steps", "*", "contacts"): 50,
    ("escalation", "steps", "*", "rotas"): 20,
    ("escalation", "steps", "*", "channels"): 10,
    ("announcement", "recipients"): 200,
    ("announcement", "recipients", "*", "channels"): 10,
    ("announcement", "recipients", "*", "address"): 10,
}


def check_plenty(before: Mapping[str, Any], document: Document) -> tuple[Problem, ...]:
    """Return which lists of *document* are too long. One that was as long *before* may stay so."""
    was = {path: len(value) for path, _, value in _lists(Agency, before, (), ())}
    return tuple(
        _problem(document, path, value, most)
        for path, kind, value in _lists(Agency, document.data, (), ())
        if (most := max(MOST[kind], was.get(path, 0))) < len(value)
    )


def _lists(asked: Any, value: Any, path: Path, kind: Path) -> Iterator[tuple[Path, Path, Any]]:
    """Yield each list and each mapping of names: where it is, of which kind, and what it has."""
    model, below = as_model(asked), item(asked)
    if model is not None and isinstance(value, Mapping):
        for key, field in names(model).items():
            if key in value:
                yield from _lists(of_field(field), value[key], (*path, key), (*kind, key))
    elif below is not None and isinstance(value, Mapping if is_mapping(asked) else list):
        yield path, kind, value
        for place, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _lists(below, each, (*path, place), (*kind, "*"))


def _problem(document: Document, path: Path, value: Any, most: int) -> Problem:
    # The first that is too many.
    key: str | int = list(value)[most] if isinstance(value, Mapping) else most
    instead = said("{most} at most; an administrator may write more", most=most)
    there = document.problem((*path, key), said("has more than {most} entries", most=most), instead)
    return replace(there, key=dotted(path))
