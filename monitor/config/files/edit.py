"""Edits of single values in the text of a YAML file, which preserve comments, order, spaces and quotes elsewhere.

The text is changed at the locations that the parser reports. The result is parsed again, and it is returned only if its
data has exactly the intended change. Otherwise `NotEditableError` is raised, and a person must edit the text.

Terms of YAML: a *scalar* is a single value; a *collection* is a mapping or a sequence, in *block style* (one entry per
line) or in *flow style* (in brackets on one line).
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
from monitor.model.translatable import translatable

#: A text, or a mapping or list of such values.
YamlValue = str | Mapping[str, "YamlValue"] | Sequence["YamlValue"]

#: A text that needs no quotes, not even in a flow collection.
_PLAIN_SCALAR = re.compile(r"[\w+/](?:[\w .@/+()&;-]|:(?! |$))*(?<! )")
#: Texts that YAML reads as null.
_NULL_TEXTS = frozenset({"", "~", "null"})
_COLON = re.compile(r"\s*:")
#: The separator between two values of a flow collection, without a comment.
_COMMA = re.compile(r"[\s,]*")


class NotEditableError(Exception):
    """A value cannot be changed in this text without another change. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetValue:
    """Edit that sets the value at a path. Missing parent keys are created."""

    path: Path
    value: YamlValue


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendItem:
    """Edit that appends an item to the list at a path. A missing list is created."""

    path: Path
    value: YamlValue


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveValue:
    """Edit that removes the value at a path, with its key and the comment on its line, if the value exists."""

    path: Path


TextEdit = SetValue | AppendItem | RemoveValue


def edit_text(text: str, edits: Iterable[TextEdit]) -> str:
    """Return *text* with *edits* applied in order. Raise `NotEditableError` if one of them is not possible."""
    document, root = parse_tree(text, "")
    for edit in edits:
        # Without a root node, the text is unreadable.
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
        translatable(
            "{path} is written in a way that this form cannot change; change it in the whole text",
            path=format_path(path),
        )
    )


# -- data -------------------------------------------------------------------------------------------------------


def _are_equal(one: Any, other: Any) -> bool:
    """Whether both values are equal, including the order of keys: the order of mailboxes is significant."""
    return json.dumps(one) == json.dumps(other)


def _expected_data(data: Mapping[str, Any], edit: TextEdit) -> Mapping[str, Any]:
    """Return the data that a document must have after an edit."""
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
            # The path is empty.
            raise NotEditableError("the document as a whole is no value")
    result: Mapping[str, Any] = expected
    return result


def _has(parent: Any, part: str | int) -> bool:
    """Whether *parent* is a collection with the key or index *part*."""
    if isinstance(part, int):
        return isinstance(parent, list) and 0 <= part < len(parent)
    return isinstance(parent, dict) and part in parent


def _get(data: Any, path: Iterable[str | int]) -> Any:
    """Return the value at *path*; `None` if there is none."""
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


# -- text -------------------------------------------------------------------------------------------------------


class _TextEditor:
    """Editor that applies one edit to a text, at the locations of its nodes. Positions are indices of the text."""

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
                # The list is missing or null.
                return self._set(path, [value])
            case SetValue(path=path, value=value):
                return self._set(path, value)

    def _find_node(self, path: Path) -> yaml.Node | None:
        """Return the node at *path*; `None` if there is none."""
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
        """Return the text with *value* at *path*."""
        # Write the missing part of the path below the nearest parent that exists.
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
        # An empty value has no space in front of it.
        if start == end and self._text[start - 1 : start] in {":", "-", ","}:
            new = f" {new}"
        return self._text[:start] + new + self._text[end:]

    def _append(self, node: yaml.CollectionNode, lines: Sequence[str], inline: str) -> str:
        """Append an entry to a collection: as *lines* in block style, or as *inline* in flow style."""
        text = self._text
        if node.flow_style:
            if not node.value:
                position = node.start_mark.index + 1
                return text[:position] + inline + text[position:]
            position = self._extents(node)[-1][1]
            comma = re.compile(r"\s*,").match(text, position)
            position, separator = (comma.end(), " ") if comma else (position, ", ")
            return text[:position] + separator + inline + text[position:]
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
        line_start = self._text.rfind("\n", 0, start) + 1
        if not self._text[line_start:start].strip():
            return self._text[:line_start] + self._text[self._line_end(end) :]
        # The entry is the first of a mapping or list that begins behind a hyphen on the same line. The second entry
        # must take its position.
        second_start = extents[1][0]
        if self._text[end:second_start].strip():
            raise _not_editable(path)
        return self._text[:start] + self._text[second_start:]

    def _remove_from_brackets(self, extents: Sequence[tuple[int, int]], entry_index: int, path: Path) -> str:
        """Return the text without one entry of a flow collection and the comma beside it."""
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
        # A comment in the gap may belong to the other entry.
        if not _COMMA.fullmatch(self._text[slice(*gap)]):
            raise _not_editable(path)
        return self._text[:start] + self._text[end:]

    def _remove_only_entry(self, path: Path, node: yaml.CollectionNode, end: int) -> str:
        """Return the text with the block collection *node* emptied. Its only entry ends at *end*."""
        text, empty = self._text, "{}" if isinstance(node, yaml.MappingNode) else "[]"
        # The node that contains the collection.
        parent = self._find_node(path[:-2]) if len(path) > 1 else None
        if isinstance(parent, yaml.MappingNode):
            key = next(key for key, value in parent.value if value is node)
            colon = _COLON.match(text, key.end_mark.index)
            start = text.rfind("\n", 0, node.start_mark.index) + 1
            # The collection begins on a line below its key.
            if colon and colon.end() <= start:
                return text[: colon.end()] + f" {empty}" + text[colon.end() : start] + text[self._line_end(end) :]
        if isinstance(parent, yaml.SequenceNode):
            return text[: node.start_mark.index] + empty + text[end:]
        raise _not_editable(path)

    def _extents(self, node: yaml.CollectionNode) -> Sequence[tuple[int, int]]:
        """Return start and end position of each entry of a collection, including its key or hyphen."""
        if isinstance(node, yaml.MappingNode):
            return [(key.start_mark.index, max(key.end_mark.index, self._end(value))) for key, value in node.value]
        if node.flow_style:
            return [(item.start_mark.index, self._end(item)) for item in node.value]
        # An entry begins at its hyphen; the parser reports only the position of the item behind it.
        return [(self._text.rfind("-", 0, item.start_mark.index), self._end(item)) for item in node.value]

    def _end(self, node: yaml.Node) -> int:
        """Return the end of a node's content. The parser's end of a block node includes comments behind the content."""
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
        """Return the column at which the entries of a block collection begin."""
        first = node.value[0][0] if isinstance(node, yaml.MappingNode) else node
        return int(first.start_mark.column)

    def _line_end(self, position: int) -> int:
        """Return the start of the line after *position*, or the end of the text."""
        newline = self._text.find("\n", position)
        return len(self._text) if newline < 0 else newline + 1


# -- format -----------------------------------------------------------------------------------------------------


def _nest(path: Path, value: YamlValue) -> YamlValue:
    """Return *value* inside mappings with the keys of *path*."""
    for part in reversed(path):
        value = {str(part): value}
    return value


def _format_scalar(text: str, style: str | None = None) -> str:
    """Return a text as a YAML scalar, with quotes if required. *style*: the quotes of the replaced scalar, if any.

    If the replaced scalar had quotes, the new one has quotes too.
    """
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
    """Return a key and its value as lines in block style; lists of texts and empty collections in flow style."""
    if isinstance(value, Mapping) and value:
        children = [line for name, each in value.items() for line in _format_block(name, each)]
    elif not isinstance(value, str | Mapping) and not all(isinstance(each, str) for each in value):
        children = [f"- {_format_flow(each)}" for each in value]
    else:
        return [f"{_format_scalar(key)}: {_format_flow(value)}"]
    return [f"{_format_scalar(key)}:", *(f"  {line}" for line in children)]
