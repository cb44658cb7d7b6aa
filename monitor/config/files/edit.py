"""Edits of single values in the text of a YAML file. All other bytes stay: comments, order, blanks, quotes. Pure.

The text is changed at the locations that the parser reports. The result is parsed again and returned only if it differs
by the intended change alone. A text whose format does not permit this must be edited by hand.
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
from monitor.config.files.problem import Path, Severity, dotted
from monitor.model.lazy_text import said

#: A text, or texts by key or in a list.
Written = str | Mapping[str, "Written"] | Sequence["Written"]

#: A text that needs no quotes anywhere, not even in a flow collection.
_PLAIN = re.compile(r"[\w+/](?:[\w .@/+()&;-]|:(?! |$))*(?<! )")
#: Texts that YAML reads as null.
_NOTHING = frozenset({"", "~", "null"})
_COLON = re.compile(r"\s*:")
#: The separator between two values of a flow collection, without a comment.
_COMMA = re.compile(r"[\s,]*")


class NotEditableError(Exception):
    """A value cannot be changed in this text without changing something else. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetValue:
    """Edit that sets the value at a path. Missing parent keys are created."""

    path: Path
    value: Written


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendItem:
    """Edit that appends an item to the list at a path, which is created if it is missing."""

    path: Path
    value: Written


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
        wanted = _applied(document.data, edit)
        if _same(wanted, document.data):
            continue
        found = _Cutter(text, root).cut(edit)
        after, root = parse_tree(found, "")
        if not after.readable or len(after.problems) != len(document.problems) or not _same(wanted, after.data):
            raise _odd(edit.path)
        text, document = found, after
    return text


def _odd(path: Path) -> NotEditableError:
    return NotEditableError(
        said("{path} is written in a way that this form cannot change; change it in the whole text", path=dotted(path))
    )


# -- content ----------------------------------------------------------------------------------------------------


def _same(one: Any, other: Any) -> bool:
    """Whether both are equal, including the order of keys: the order of mailboxes is significant."""
    return json.dumps(one) == json.dumps(other)


def _applied(data: Mapping[str, Any], edit: TextEdit) -> Mapping[str, Any]:
    """Return the expected content of a document after an edit."""
    wanted: Any = deepcopy(dict(data))
    match edit:
        case RemoveValue(path=(*above, last)):
            there = _at(wanted, above)
            if _has(there, last):
                del there[last]
        case SetValue(path=(*above, last), value=value):
            there = _made(wanted, above)
            if not isinstance(there, dict) and not _has(there, last):
                raise _odd(edit.path)
            there[last] = deepcopy(value)
        case AppendItem(path=(*above, last), value=value):
            there = _made(wanted, above)
            items = there[last] if _has(there, last) and there[last] is not None else []
            if not isinstance(items, list) or not (isinstance(there, dict) or _has(there, last)):
                raise _odd(edit.path)
            there[last] = [*items, deepcopy(value)]
        case _:
            raise NotEditableError("the document as a whole is no value")
    result: Mapping[str, Any] = wanted
    return result


def _has(there: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(there, list) and 0 <= part < len(there)
    return isinstance(there, dict) and part in there


def _at(data: Any, path: Iterable[str | int]) -> Any:
    for part in path:
        if not _has(data, part):
            return None
        data = data[part]
    return data


def _made(data: Any, path: Sequence[str | int]) -> Any:
    """Return the value at *path*; missing values are created as mappings."""
    for number, part in enumerate(path):
        if not _has(data, part) or data[part] is None:
            if not isinstance(part, str) or not isinstance(data, dict):
                raise _odd(tuple(path[: number + 1]))
            data[part] = {}
        data = data[part]
    return data


# -- location ---------------------------------------------------------------------------------------------------


class _Cutter:
    """Editor of one text: its nodes and one edit."""

    def __init__(self, text: str, root: yaml.MappingNode) -> None:
        self._text = text
        self._root = root

    def cut(self, edit: TextEdit) -> str:
        match edit:
            case RemoveValue(path=path):
                return self._drop(path)
            case AppendItem(path=path, value=value):
                there = self._node(path)
                if isinstance(there, yaml.SequenceNode):
                    return self._append(there, [f"- {_flow(value)}"], _flow(value))
                return self._put(path, [value])
            case SetValue(path=path, value=value):
                return self._put(path, value)

    def _node(self, path: Path) -> yaml.Node | None:
        node: yaml.Node = self._root
        for part in path:
            match node:
                case yaml.MappingNode():
                    below = next((value for key, value in node.value if key.value == part), None)
                case yaml.SequenceNode() if isinstance(part, int) and part < len(node.value):
                    below = node.value[part]
                case _:
                    below = None
            if below is None:
                return None
            node = below
        return node

    def _put(self, path: Path, value: Written) -> str:
        # Write the missing keys below the nearest existing parent.
        depth = next(length for length in range(len(path), -1, -1) if self._node(path[:length]) is not None)
        there, missing = self._node(path[:depth]), path[depth:]
        if isinstance(there, yaml.MappingNode) and missing:
            key, value = str(missing[0]), _nested(missing[1:], value)
            return self._append(there, _block(key, value), f"{_scalar(key)}: {_flow(value)}")
        value = _nested(missing, value)
        if there is None or (isinstance(there, yaml.CollectionNode) and not there.flow_style):
            raise _odd(path)
        return self._replace(there, value)

    def _replace(self, node: yaml.Node, value: Written) -> str:
        start, end = node.start_mark.index, self._end(node)
        style = node.style if isinstance(node, yaml.ScalarNode) else None
        new = _scalar(value, style) if isinstance(value, str) else _flow(value)
        if start == end and self._text[start - 1 : start] in {":", "-", ","}:
            new = f" {new}"
        return self._text[:start] + new + self._text[end:]

    def _append(self, node: yaml.CollectionNode, lines: Sequence[str], brief: str) -> str:
        """Append an entry to a collection: as *lines* of its own, or inside the brackets."""
        text = self._text
        if node.flow_style:
            if not node.value:
                at = node.start_mark.index + 1
                return text[:at] + brief + text[at:]
            at = self._extents(node)[-1][1]
            comma = re.compile(r"\s*,").match(text, at)
            at, before = (comma.end(), " ") if comma else (at, ", ")
            return text[:at] + before + brief + text[at:]
        at = self._line_end(self._end(node))
        indented = "\n".join(" " * self._column(node) + line for line in lines)
        if text[at - 1 : at] != "\n":
            return f"{text[:at]}\n{indented}{text[at:]}"
        return f"{text[:at]}{indented}\n{text[at:]}"

    def _drop(self, path: Path) -> str:
        node, last = self._node(path[:-1]), path[-1]
        if not isinstance(node, yaml.CollectionNode):
            raise _odd(path)
        keys = [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else range(len(node.value))
        place, extents = list(keys).index(last), self._extents(node)
        if node.flow_style:
            return self._drop_from_brackets(extents, place, path)
        start, end = extents[place]
        if len(extents) == 1:
            return self._emptied(path, node, end)
        line = self._text.rfind("\n", 0, start) + 1
        if not self._text[line:start].strip():
            return self._text[:line] + self._text[self._line_end(end) :]
        # The first entry begins on the line of a hyphen, where the next entry must begin after the removal.
        following = extents[1][0]
        if self._text[end:following].strip():
            raise _odd(path)
        return self._text[:start] + self._text[following:]

    def _drop_from_brackets(self, extents: Sequence[tuple[int, int]], place: int, path: Path) -> str:
        start, end = extents[place]
        if len(extents) == 1:
            comma = re.compile(r"\s*,?").match(self._text, end)
            return self._text[:start] + self._text[comma.end() if comma else end :]
        if place + 1 < len(extents):
            gap = end, extents[place + 1][0]
            end = gap[1]
        else:
            gap = extents[place - 1][1], start
            start = gap[0]
        if not _COMMA.fullmatch(self._text[slice(*gap)]):
            raise _odd(path)
        return self._text[:start] + self._text[end:]

    def _emptied(self, path: Path, node: yaml.CollectionNode, end: int) -> str:
        """Return the text after removal of the only entry of a collection."""
        text, blank = self._text, "{}" if isinstance(node, yaml.MappingNode) else "[]"
        above = self._node(path[:-2]) if len(path) > 1 else None
        if isinstance(above, yaml.MappingNode):
            key = next(key for key, value in above.value if value is node)
            colon = _COLON.match(text, key.end_mark.index)
            start = text.rfind("\n", 0, node.start_mark.index) + 1
            if colon and colon.end() <= start:
                return text[: colon.end()] + f" {blank}" + text[colon.end() : start] + text[self._line_end(end) :]
        if isinstance(above, yaml.SequenceNode):
            return text[: node.start_mark.index] + blank + text[end:]
        raise _odd(path)

    def _extents(self, node: yaml.CollectionNode) -> Sequence[tuple[int, int]]:
        """Return the start and end of each entry of a collection, including its key or hyphen."""
        if isinstance(node, yaml.MappingNode):
            return [(key.start_mark.index, max(key.end_mark.index, self._end(value))) for key, value in node.value]
        if node.flow_style:
            return [(item.start_mark.index, self._end(item)) for item in node.value]
        # For an empty item the parser reports a start behind its hyphen.
        return [(self._text.rfind("-", 0, item.start_mark.index), self._end(item)) for item in node.value]

    def _end(self, node: yaml.Node) -> int:
        """Return the end of a node's content. For a block node the parser includes the comments behind it."""
        start, end = node.start_mark.index, node.end_mark.index
        if isinstance(node, yaml.ScalarNode):
            return start + len(self._text[start:end].rstrip("\n ")) if node.style in {"|", ">"} else end
        if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
            return int(end)
        last = node.value[-1]
        return max(last[0].end_mark.index, self._end(last[1])) if isinstance(last, tuple) else self._end(last)

    def _column(self, node: yaml.CollectionNode) -> int:
        first = node.value[0][0] if isinstance(node, yaml.MappingNode) else node
        return int(first.start_mark.column)

    def _line_end(self, at: int) -> int:
        found = self._text.find("\n", at)
        return len(self._text) if found < 0 else found + 1


# -- format -----------------------------------------------------------------------------------------------------


def _nested(path: Path, value: Written) -> Written:
    for part in reversed(path):
        value = {str(part): value}
    return value


def _scalar(text: str, style: str | None = None) -> str:
    """Return a text as a YAML scalar: quoted in the *style* of the replaced value, or only if quotes are required."""
    if not all(c.isprintable() for c in text):
        return json.dumps(text)
    if style not in {"'", '"'} and _PLAIN.fullmatch(text) and text.lower() not in _NOTHING:
        return text
    if style == "'" or '"' in text or "\\" in text:
        return "'" + text.replace("'", "''") + "'"
    return f'"{text}"'


def _flow(value: Written) -> str:
    """Return a value in flow style, on one line."""
    if isinstance(value, str):
        return _scalar(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    return "[" + ", ".join(map(_flow, value)) + "]"


def _block(key: str, value: Written) -> Sequence[str]:
    """Return a key and its value as lines in block style."""
    if isinstance(value, Mapping) and value:
        below = [line for name, each in value.items() for line in _block(name, each)]
    elif not isinstance(value, str | Mapping) and not all(isinstance(each, str) for each in value):
        below = [f"- {_flow(each)}" for each in value]
    else:
        return [f"{_scalar(key)}: {_flow(value)}"]
    return [f"{_scalar(key)}:", *(f"  {line}" for line in below)]
