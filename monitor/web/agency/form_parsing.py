"""Helpers that convert form input to edits of an agency's document (its YAML configuration). No I/O.

Edits write the values as entered. The checks for configuration files validate the edited document. A path consists of
the keys and list positions that lead to a value of the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monitor.config.files.edit import AppendItem, RemoveValue, SetValue, TextEdit
from monitor.config.files.problem import Path
from monitor.model.translatable import translatable

#: Form input by field name.
Fields = Mapping[str, str]


class InvalidFieldError(Exception):
    """The input of the form field `field` cannot be converted to an edit. The message states the remedy."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def value_edits(path: Path, fields: Fields, names: Iterable[str], prefix: str = "") -> list[TextEdit]:
    """Return edits that set the entered values below *path*, and remove the values whose form field is empty.

    *names*: keys of the values. *prefix*: prefix of the form fields; a field's name is the prefix and the key. Values
    without a form field stay.
    """
    return [
        SetValue(path=(*path, name), value=entered) if entered else RemoveValue(path=(*path, name))
        for name in names
        if (entered := fields.get(prefix + name)) is not None
    ]


def choice_edits(
    path: Path, fields: Fields, present: Mapping[str, Any], defaults: Mapping[str, str], prefix: str = ""
) -> list[TextEdit]:
    """Return edits that set the selected values below *path*.

    *present*: the values that the document has below *path*. *defaults*: default values by key. A default value is
    written only if the document has the key already. *prefix*: as for `value_edits`.
    """
    return [
        SetValue(path=(*path, name), value=fields[prefix + name])
        for name, default in defaults.items()
        if fields.get(prefix + name) and (name in present or fields[prefix + name] != default)
    ]


def list_edits(path: Path, present_value: object, new_items: Sequence[str]) -> list[TextEdit]:
    """Return edits that change the list at *path* to *new_items*, item by item: comments beside the items stay."""
    present = present_value if isinstance(present_value, list) else []
    if not present:
        return [SetValue(path=path, value=list(new_items))] if new_items else []
    edits: list[TextEdit] = [
        SetValue(path=(*path, index), value=value) for index, value in enumerate(new_items[: len(present)])
    ]
    edits += [AppendItem(path=path, value=value) for value in new_items[len(present) :]]
    if not new_items:
        return [RemoveValue(path=path)]
    # Remove the last item first, so that the positions of the others stay valid.
    edits += [RemoveValue(path=(*path, index)) for index in range(len(present) - 1, len(new_items) - 1, -1)]
    return edits


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return *value* if it is a mapping, otherwise an empty one: a document may contain anything."""
    return value if isinstance(value, Mapping) else {}


def as_sequence(value: object) -> Sequence[Any]:
    """Return *value* if it is a list, otherwise an empty one."""
    return value if isinstance(value, list) else ()


def new_key(fields: Fields, present_items: Mapping[str, Any], example: str) -> str:
    """Return the key entered for a new item. *example*: key for the error message.

    Raise `InvalidFieldError` if the key is empty or in *present_items*.
    """
    key = fields.get("key", "").lower()
    if not key:
        raise InvalidFieldError(
            "key", translatable("has no short name; write one in lower-case letters: {example}", example=example)
        )
    if key in present_items:
        raise InvalidFieldError("key", translatable("there is '{key}' already; write another short name", key=key))
    return key
