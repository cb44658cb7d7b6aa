"""Edits of single values in the text of a YAML file. All other bytes stay: comments, order, blanks, quotes. No I/O.

The text is changed at the locations that the parser reports. The result is parsed again and returned only if it differs
by the intended change alone. Otherwise `NotEditableError` is raised, and a person must edit the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import yaml

from monitor.config.files.document import parse_tree
from monitor.config.files.problem import Path, Severity, format_path
from monitor.model.lazy_text import lazy_text

#: A text, or texts by key or in a list.
YamlValue = str | Mapping[str, "YamlValue"] | Sequence["YamlValue"]

#: A text that needs no quotes anywhere, not even in a flow collection.
_PLAIN_SCALAR = re.compile(r"[\w+/](?:[\w .@/+()&;-]|:(?! |$))*(?<! )")
#: Texts that YAML reads as null.
_NULL_TEXTS = frozenset({"", "~", "null"})
_COLON = re.compile(r"\s*:")
#: The separator between two values of a flow collection, without a comment.
_COMMA = re.compile(r"[\s,]*")


class NotEditableError(Exception):
    """A value cannot be changed in this text without changing something else. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetValue:
    """Edit that sets the value at a path. Missing parent keys are created."""

    path: Path
    value: YamlValue


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendItem:
    """Edit that appends an item to the list at a path, which is created if it is missing."""

    path: Path
    value: YamlValue


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveValue:
    """Edit that removes the value at a path with its key and the comment on its line. A missing value is no error."""

    path: Path


TextEdit = SetValue | AppendItem | RemoveValue


def edit_text(text: str, edits: Iterable[TextEdit]) -> str:
    """Return *text* with *edits* applied in order. Raise `NotEditableError`."""
    document, root = parse_tree(text, "")
    for edit in edits:
        if root is None or any(problem.severity is Severity.ERROR for problem in document.problems):
            raise NotEditableError("the text has errors of its own; mend them first, in the whole text")
        expected = _expected_data(document.data, edit)
        if _are_equal(expected, document.data):
            continue
        edited_text = _TextEditor(text, root).apply(edit)
        edited_document, root = parse_tree(edited_text, "")
        if (
            not edited_document.readable
            or len(edited_document.problems) != len(document.problems)
            or not _are_equal(expected, edited_document.data)
        ):
            raise _not_editable(edit.path)
        text, document = edited_text, edited_document
    return text


def _not_editable(path: Path) -> NotEditableError:
    return NotEditableError(
        lazy_text(
            "{path} is written in a way that this form cannot change; change it in the whole text",
            path=format_path(path),
        )
    )


# -- content ----------------------------------------------------------------------------------------------------


def _are_equal(one: Any, other: Any) -> bool:
    """Whether both are equal, including the order of keys: the order of mailboxes is significant."""
    return json.dumps(one) == json.dumps(other)


def _expected_data(data: Mapping[str, Any], edit: TextEdit) -> Mapping[str, Any]:
    """Return the expected content of a document after an edit."""
    expected: Any = deepcopy(dict(data))
    match edit:
        case RemoveValue(path=(*parent_path, last_part)):
            parent = _get(expected, parent_path)
            if _has(parent, last_part):
                del parent[last_part]
        case SetValue(path=(*parent_path, last_part), value=value):
            parent = _get_or_create(expected, parent_path)
            if not isinstance(parent, dict) and not _has(parent, last_part):
                raise _not_editable(edit.path)
            parent[last_part] = deepcopy(value)
        case AppendItem(path=(*parent_path, last_part), value=value):
            parent = _get_or_create(expected, parent_path)
            items = parent[last_part] if _has(parent, last_part) and parent[last_part] is not None else []
            if not isinstance(items, list) or not (isinstance(parent, dict) or _has(parent, last_part)):
                raise _not_editable(edit.path)
            parent[last_part] = [*items, deepcopy(value)]
        case _:
            raise NotEditableError("the document as a whole is no value")
    result: Mapping[str, Any] = expected
    return result


def _has(parent: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(parent, list) and 0 <= part < len(parent)
    return isinstance(parent, dict) and part in parent


def _get(data: Any, path: Iterable[str | int]) -> Any:
    for part in path:
        if not _has(data, part):
            return None
        data = data[part]
    return data


def _get_or_create(data: Any, path: Sequence[str | int]) -> Any:
    """Return the value at *path*; missing values are created as mappings."""
    for number, part in enumerate(path):
        if not _has(data, part) or data[part] is None:
            if not isinstance(part, str) or not isinstance(data, dict):
                raise _not_editable(tuple(path[: number + 1]))
            data[part] = {}
        data = data[part]
    return data


# -- location ---------------------------------------------------------------------------------------------------


class _TextEditor:
    """Editor of one text, which applies one edit at the locations of the parsed nodes."""

    def __init__(self, text: str, root: yaml.MappingNode) -> None:
        self._text = text
        self._root = root

    def apply(self, edit: TextEdit) -> str:
        match edit:
            case RemoveValue(path=path):
                return self._remove(path)
            case AppendItem(path=path, value=value):
                parent = self._find_node(path)
                if isinstance(parent, yaml.SequenceNode):
                    return self._append(parent, [f"- {_format_flow(value)}"], _format_flow(value))
                return self._set(path, [value])
            case SetValue(path=path, value=value):
                return self._set(path, value)

    def _find_node(self, path: Path) -> yaml.Node | None:
        node: yaml.Node = self._root
        for part in path:
            match node:
                case yaml.MappingNode():
                    child = next((value for key, value in node.value if key.value == part), None)
                case yaml.SequenceNode() if isinstance(part, int) and part < len(node.value):
                    child = node.value[part]
                case _:
                    child = None
            if child is None:
                return None
            node = child
        return node

    def _set(self, path: Path, value: YamlValue) -> str:
        # Write the missing keys below the nearest parent that exists.
        depth = next(length for length in range(len(path), -1, -1) if self._find_node(path[:length]) is not None)
        parent, missing_path = self._find_node(path[:depth]), path[depth:]
        if isinstance(parent, yaml.MappingNode) and missing_path:
            key, value = str(missing_path[0]), _nest(missing_path[1:], value)
            return self._append(parent, _format_block(key, value), f"{_format_scalar(key)}: {_format_flow(value)}")
        value = _nest(missing_path, value)
        if parent is None or (isinstance(parent, yaml.CollectionNode) and not parent.flow_style):
            raise _not_editable(path)
        return self._replace(parent, value)

    def _replace(self, node: yaml.Node, value: YamlValue) -> str:
        start, end = node.start_mark.index, self._end(node)
        style = node.style if isinstance(node, yaml.ScalarNode) else None
        new = _format_scalar(value, style) if isinstance(value, str) else _format_flow(value)
        if start == end and self._text[start - 1 : start] in {":", "-", ","}:
            new = f" {new}"
        return self._text[:start] + new + self._text[end:]

    def _append(self, node: yaml.CollectionNode, lines: Sequence[str], inline: str) -> str:
        """Append an entry to a collection: as *lines* of its own, or inside the brackets."""
        text = self._text
        if node.flow_style:
            if not node.value:
                position = node.start_mark.index + 1
                return text[:position] + inline + text[position:]
            position = self._extents(node)[-1][1]
            comma = re.compile(r"\s*,").match(text, position)
            position, before = (comma.end(), " ") if comma else (position, ", ")
            return text[:position] + before + inline + text[position:]
        position = self._line_end(self._end(node))
        indented = "\n".join(" " * self._column(node) + line for line in lines)
        if text[position - 1 : position] != "\n":
            return f"{text[:position]}\n{indented}{text[position:]}"
        return f"{text[:position]}{indented}\n{text[position:]}"

    def _remove(self, path: Path) -> str:
        node, last_part = self._find_node(path[:-1]), path[-1]
        if not isinstance(node, yaml.CollectionNode):
            raise _not_editable(path)
        keys = [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else range(len(node.value))
        entry_index, extents = list(keys).index(last_part), self._extents(node)
        if node.flow_style:
            return self._remove_from_brackets(extents, entry_index, path)
        start, end = extents[entry_index]
        if len(extents) == 1:
            return self._remove_only_entry(path, node, end)
        line = self._text.rfind("\n", 0, start) + 1
        if not self._text[line:start].strip():
            return self._text[:line] + self._text[self._line_end(end) :]
        # The first entry begins on the line of a hyphen, where the next entry must begin after the removal.
        following = extents[1][0]
        if self._text[end:following].strip():
            raise _not_editable(path)
        return self._text[:start] + self._text[following:]

    def _remove_from_brackets(self, extents: Sequence[tuple[int, int]], entry_index: int, path: Path) -> str:
        start, end = extents[entry_index]
        if len(extents) == 1:
            comma = re.compile(r"\s*,?").match(self._text, end)
            return self._text[:start] + self._text[comma.end() if comma else end :]
        if entry_index + 1 < len(extents):
            gap = end, extents[entry_index + 1][0]
            end = gap[1]
        else:
            gap = extents[entry_index - 1][1], start
            start = gap[0]
        if not _COMMA.fullmatch(self._text[slice(*gap)]):
            raise _not_editable(path)
        return self._text[:start] + self._text[end:]

    def _remove_only_entry(self, path: Path, node: yaml.CollectionNode, end: int) -> str:
        """Return the text after removal of the only entry of a collection."""
        text, blank = self._text, "{}" if isinstance(node, yaml.MappingNode) else "[]"
        # The collection's own parent.
        parent = self._find_node(path[:-2]) if len(path) > 1 else None
        if isinstance(parent, yaml.MappingNode):
            key = next(key for key, value in parent.value if value is node)
            colon = _COLON.match(text, key.end_mark.index)
            start = text.rfind("\n", 0, node.start_mark.index) + 1
            if colon and colon.end() <= start:
                return text[: colon.end()] + f" {blank}" + text[colon.end() : start] + text[self._line_end(end) :]
        if isinstance(parent, yaml.SequenceNode):
            return text[: node.start_mark.index] + blank + text[end:]
        raise _not_editable(path)

    def _extents(self, node: yaml.CollectionNode) -> Sequence[tuple[int, int]]:
        """Return the start and end of each entry of a collection, including its key or hyphen."""
        if isinstance(node, yaml.MappingNode):
            return [(key.start_mark.index, max(key.end_mark.index, self._end(value))) for key, value in node.value]
        if node.flow_style:
            return [(item.start_mark.index, self._end(item)) for item in node.value]
        # An entry begins at its hyphen; the parser reports the start of the item, which is behind it.
        return [(self._text.rfind("-", 0, item.start_mark.index), self._end(item)) for item in node.value]

    def _end(self, node: yaml.Node) -> int:
        """Return the end of a node's content. For a block node the parser includes the comments behind it."""
        start, end = node.start_mark.index, node.end_mark.index
        if isinstance(node, yaml.ScalarNode):
            return start + len(self._text[start:end].rstrip("\n ")) if node.style in {"|", ">"} else end
        if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
            return int(end)
        last_entry = node.value[-1]
        return (
            max(last_entry[0].end_mark.index, self._end(last_entry[1]))
            if isinstance(last_entry, tuple)
            else self._end(last_entry)
        )

    def _column(self, node: yaml.CollectionNode) -> int:
        first = node.value[0][0] if isinstance(node, yaml.MappingNode) else node
        return int(first.start_mark.column)

    def _line_end(self, position: int) -> int:
        newline = self._text.find("\n", position)
        return len(self._text) if newline < 0 else newline + 1


# -- format -----------------------------------------------------------------------------------------------------


def _nest(path: Path, value: YamlValue) -> YamlValue:
    for part in reversed(path):
        value = {str(part): value}
    return value


def _format_scalar(text: str, style: str | None = None) -> str:
    """Return a text as a YAML scalar: quoted in the *style* of the replaced value, or only if quotes are required."""
    if not all(c.isprintable() for c in text):
        return json.dumps(text)
    if style not in {"'", '"'} and _PLAIN_SCALAR.fullmatch(text) and text.lower() not in _NULL_TEXTS:
        return text
    if style == "'" or '"' in text or "\\" in text:
        return "'" + text.replace("'", "''") + "'"
    return f'"{text}"'


def _format_flow(value: YamlValue) -> str:
    """Return a value in flow style, on one line."""
    if isinstance(value, str):
        return _format_scalar(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_format_scalar(key)}: {_format_flow(each)}" for key, each in value.items()) + "}"
    return "[" + ", ".join(map(_format_flow, value)) + "]"


def _format_block(key: str, value: YamlValue) -> Sequence[str]:
    """Return a key and its value as lines in block style."""
    if isinstance(value, Mapping) and value:
        children = [line for name, each in value.items() for line in _format_block(name, each)]
    elif not isinstance(value, str | Mapping) and not all(isinstance(each, str) for each in value):
        children = [f"- {_format_flow(each)}" for each in value]
    else:
        return [f"{_format_scalar(key)}: {_format_flow(value)}"]
    return [f"{_format_scalar(key)}:", *(f"  {line}" for line in children)]
