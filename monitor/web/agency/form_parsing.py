"""Form input of an agency's settings, converted to edits of its document. Pure.

Values are written as entered and validated by the same checks as a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monitor.config.files.edit import AppendItem, RemoveValue, SetValue, TextEdit
from monitor.config.files.problem import Path
from monitor.model.lazy_text import said

Fields = Mapping[str, str]


class InvalidFieldError(Exception):
    """Input that cannot be converted to an edit. `field` names the form field; the message gives the remedy."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def values(path: Path, fields: Fields, names: Iterable[str], prefix: str = "") -> list[TextEdit]:
    """Return edits that set the entered values and remove the empty ones. *prefix*: of the field names."""
    return [
        SetValue(path=(*path, name), value=typed) if typed else RemoveValue(path=(*path, name))
        for name in names
        if (typed := fields.get(prefix + name)) is not None
    ]


def choices(
    path: Path, fields: Fields, there: Mapping[str, Any], usual: Mapping[str, str], prefix: str = ""
) -> list[TextEdit]:
    """Return edits that set the selected values. A default value is written only if the key exists already."""
    return [
        SetValue(path=(*path, name), value=fields[prefix + name])
        for name, default in usual.items()
        if fields.get(prefix + name) and (name in there or fields[prefix + name] != default)
    ]


def listed(path: Path, there: object, wanted: Sequence[str]) -> list[TextEdit]:
    """Return edits that change a list of texts item by item, so that comments beside an item are kept."""
    present = there if isinstance(there, list) else []
    if not present:
        return [SetValue(path=path, value=list(wanted))] if wanted else []
    edits: list[TextEdit] = [
        SetValue(path=(*path, place), value=value) for place, value in enumerate(wanted[: len(present)])
    ]
    edits += [AppendItem(path=path, value=value) for value in wanted[len(present) :]]
    if not wanted:
        return [RemoveValue(path=path)]
    edits += [RemoveValue(path=(*path, place)) for place in range(len(present) - 1, len(wanted) - 1, -1)]
    return edits


def mapping(value: object) -> Mapping[str, Any]:
    """Return *value* if it is a mapping, otherwise an empty one: a document may contain anything."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> Sequence[Any]:
    """Return *value* if it is a list, otherwise an empty one."""
    return value if isinstance(value, list) else ()


def new_key(fields: Fields, there: Mapping[str, Any], example: str) -> str:
    """Return the key of a new item. Raise `InvalidFieldError`."""
    key = fields.get("key", "").lower()
    if not key:
        raise InvalidFieldError(
            "key", said("has no short name; write one in small letters: {example}", example=example)
        )
    if key in there:
        raise InvalidFieldError("key", said("there is '{key}' already; write another short name", key=key))
    return key
