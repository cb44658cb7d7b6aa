"""Parsing of YAML configuration files into plain values, each with its source location.

A scalar stays the text as written (a bare null is `None`); the pydantic model decides which text becomes a number. So
an unquoted +60123456789 is not an integer, 12:30 is not 750, and `no` is not false unless the field is boolean.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

import yaml

from alerts.wording.source import parse_nodes
from monitor.config.files.problem import Path, Problem, ProblemList, Severity, format_path
from monitor.config.files.regular import NotRegularFileError, explain_unreadable, read_regular
from monitor.config.files.syntax import character_name, is_typographic_quote, syntax_problem
from monitor.model.translatable import translatable

_TAG_PREFIX = "tag:yaml.org,2002:"
_NULL = f"{_TAG_PREFIX}null"
#: Tags that PyYAML gives to values without an explicit tag.
_IMPLICIT_TAGS = frozenset(
    f"{_TAG_PREFIX}{kind}"
    for kind in ("bool", "float", "int", "map", "merge", "null", "seq", "str", "timestamp", "value")
)
_COLON = re.compile(r"\s*:")
#: Causes of errors that PyYAML reports without a location: a directive, or an escape beyond U+10FFFF.
_UNLOCATED_ERROR = re.compile(r"^%YAML|\\U(?!000|0010)[0-9A-Fa-f]{8}", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """A line and a column in a file, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed file."""

    #: Name of the file in problems.
    file: str
    #: Content: all scalars are texts, or `None` for null.
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Location of each value, at its key or, in a list, at the value itself.
    locations: Mapping[Path, SourceLocation] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()
    #: Paths of values that could not be parsed; no further problems are reported about them.
    broken: frozenset[Path] = frozenset()
    #: False if the file could not be parsed at all; `data` is then empty.
    readable: bool = True
    #: SHA-256 of the file as `sha256sum` prints it; "" if the file could not be read.
    digest: str = ""
    #: Text of the file; "" if it could not be read.
    text: str = field(default="", repr=False)

    def location(self, path: Path) -> SourceLocation:
        """Return the location of *path*, or of the nearest enclosing value if *path* is not in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.locations:
                return self.locations[path[:length]]
        return SourceLocation(1, 1)

    def problem(self, path: Path, message: str, instead: str, severity: Severity = Severity.ERROR) -> Problem:
        """Return a problem about the value at *path*. *instead*: what to write instead."""
        location = self.location(path)
        return Problem(
            file=self.file,
            line=location.line,
            column=location.column,
            key=format_path(path),
            message=message,
            instead=instead,
            severity=severity,
        )

    def compacted(self) -> Document:
        """Return the document for the cache: without data, and with locations that are computed again on demand."""
        return replace(self, data={}, locations=_LazyLocations(self.text, self.file))


class _LazyLocations(Mapping[Path, SourceLocation]):
    """Source locations of a text, computed on first use: those of thousands of files would need too much memory."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file

    @cached_property
    def _locations(self) -> Mapping[Path, SourceLocation]:
        return parse_document(self._text, self._file).locations

    def __getitem__(self, path: Path) -> SourceLocation:
        return self._locations[path]

    def __iter__(self) -> Iterator[Path]:
        return iter(self._locations)

    def __len__(self) -> int:
        return len(self._locations)


#: File name extensions of agency files.
SUFFIXES = (".yaml", ".yml")


def list_agency_files(directory: FilePath) -> list[FilePath]:
    """Return the agency files of a directory in order. Raise `OSError` or `ValueError` if it is not a directory."""
    return sorted(each for each in directory.iterdir() if each.suffix in SUFFIXES and not each.name.startswith("."))


#: Maximum size of a file in octets. An agency's file has a few KiB, so a larger file is not a configuration.
MAX_OCTETS = 512 * 1024


def read_document(file: FilePath, cached: Document | None = None) -> Document:
    """Read a YAML file whose top level is a mapping. Invalid content or a missing file is a problem of the result.

    Return *cached* if the content is the same as when *cached* was read.
    """
    name = str(file)
    try:
        octets = read_regular(file, MAX_OCTETS)
        digest = hashlib.sha256(octets).hexdigest()
        if cached is not None and cached.digest == digest:
            return cached
        text = decode_text(octets)
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        return _unreadable(name, "is not UTF-8 text", instead="the same, saved as UTF-8", line=line)
    except NotRegularFileError as error:
        return _unreadable(name, str(error), instead="a file of text")
    except (OSError, ValueError) as error:
        message, instead = explain_unreadable(file, error)
        return _unreadable(
            name, message, instead=instead or translatable("a file of text, or another path where it is named")
        )
    return replace(parse_document(text, name), digest=digest, text=text)


def decode_text(octets: bytes) -> str:
    """Return the text of a file without a byte order mark, with LF as line ends. Raise `UnicodeDecodeError`."""
    return io.TextIOWrapper(io.BytesIO(octets), encoding="utf-8-sig").read()


def document_from_text(text: str, name: str, cached: Document | None = None) -> Document:
    """Parse *text* as the content of a file. Return *cached* if the content is the same."""
    if cached is not None and cached.digest and cached.text == text:
        return cached
    digest = hashlib.sha256(text.encode()).hexdigest()
    return replace(parse_document(text, name), digest=digest, text=text)


def parse_document(text: str, name: str) -> Document:
    """Parse *text*, the content of the file *name*, as `read_document` does."""
    return parse_tree(text, name)[0]


def parse_tree(text: str, name: str) -> tuple[Document, yaml.MappingNode | None]:
    """Parse *text* as `read_document` does. Return its root node as well; `None` if it is not readable."""
    try:
        root = parse_nodes(text)
        if root is None:
            return _unreadable(name, "is empty, or all of it is a comment", instead="key: value"), None
        if not isinstance(root, yaml.MappingNode):
            line = root.start_mark.line + 1
            return _unreadable(name, "holds no keys", instead="key: value", line=line), None
        converter = _NodeConverter(name, text)
        data = converter.convert_mapping(root, ())
    except yaml.YAMLError as error:
        return Document(file=name, problems=(syntax_problem(error, text, name),), readable=False), None
    except RecursionError:
        # The error has no location, so report the line with the most brackets and the deepest indentation.
        lines = text.splitlines()
        deepest_line = max(
            range(len(lines)), key=lambda n: lines[n].count("[") + lines[n].count("{") + _indent(lines[n])
        )
        return _unreadable(name, "is nested too deeply", instead="fewer levels", line=deepest_line + 1), None
    except (ValueError, OverflowError):
        # For an invalid escape ("\\UFFFFFFFF") or %YAML directive, PyYAML raises an error of Python without a location.
        match = _UNLOCATED_ERROR.search(text)
        line = text.count("\n", 0, match.start()) + 1 if match else 1
        message = "is no YAML: it holds an escape or a directive that is not allowed"
        return _unreadable(
            name, message, instead="the character itself, and no line that begins with %", line=line
        ), None
    document = Document(
        file=name,
        data=data,
        locations=converter.locations,
        problems=converter.problems.sorted_problems(),
        broken=frozenset(converter.broken),
    )
    return document, root


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _unreadable(name: str, message: str, *, instead: str = "", line: int = 0) -> Document:
    problem = Problem(file=name, line=line, message=message, instead=instead)
    return Document(file=name, problems=(problem,), readable=False)


class _NodeConverter:
    """Converter from YAML nodes to Python values, which records source locations and problems."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._source = text
        self.locations: dict[Path, SourceLocation] = {}
        self.problems = ProblemList()
        self.broken: set[Path] = set()
        #: Ids of the converted nodes. A node that occurs twice is the target of an alias.
        self._visited: set[int] = set()

    def convert_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _NULL:
                self._record_problem(key_node, path, "a key is a single word", "key: value")
                continue
            if not value_node.value and not _COLON.match(self._source, key_node.end_mark.index):
                # In a flow mapping this key is probably a value, possibly a password, so do not repeat it.
                self._record_problem(
                    key_node, path, "an entry among the keys has no colon with a space behind it", "key: value"
                )
                continue
            key = str(key_node.value)
            child_path = (*path, key)
            if key in data:
                first = self.locations[child_path].line
                self._record_problem(
                    key_node,
                    child_path,
                    translatable("is written twice, first on line {first}", first=first),
                    "one of the two",
                )
                continue
            # Only record problems of the key.
            self._checked_text(key_node, child_path)
            self.locations[child_path] = _node_location(key_node)
            data[key] = self._convert_value(value_node, child_path)
        return data

    def _convert_value(self, node: yaml.Node, path: Path) -> Any:
        if id(node) in self._visited or self._source[node.start_mark.index : node.start_mark.index + 1] == "&":
            # Reject aliases, by which a small file could expand without limit. Also reject anchors: a value that begins
            # with "&" by mistake would lose its first word.
            self._record_problem(
                node, path, "anchors and aliases (&, *) are not read here", "the value itself, between quotes"
            )
            self.broken.add(path)
            return None
        self._visited.add(id(node))
        if node.tag not in _IMPLICIT_TAGS:
            self._record_problem(node, path, "tags (!) are not read here", "the value without its tag")
        if isinstance(node, yaml.MappingNode):
            return self.convert_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for number, item in enumerate(node.value):
                self.locations[*path, number] = _node_location(item)
                items.append(self._convert_value(item, (*path, number)))
            return items
        if node.tag == _NULL:
            return None
        return self._checked_text(node, path)

    def _checked_text(self, node: yaml.Node, path: Path) -> str:
        """Return the text of a scalar; "?" if it has invisible characters. Record these, and typographic quotes."""
        text = str(node.value)
        if invisible := next((c for c in text if c not in "\n\t" and not c.isprintable()), ""):
            self._record_problem(
                node,
                path,
                translatable("holds {character}, which cannot be seen", character=character_name(invisible)),
                "plain text, with ordinary spaces",
            )
            self.broken.add(path)
            return "?"
        if (
            isinstance(node, yaml.ScalarNode)
            and not node.style
            and is_typographic_quote(text[:1])
            and is_typographic_quote(text[-1:])
        ):
            message = "the quotes of a word processor are a part of the value"
            self._record_problem(node, path, message, "it without them, or all of it between ' and '", Severity.WARNING)
        return text

    def _record_problem(
        self, node: yaml.Node, path: Path, message: str, instead: str, severity: Severity = Severity.ERROR
    ) -> None:
        location = _node_location(node)
        self.problems.add(
            Problem(
                file=self.file,
                line=location.line,
                column=location.column,
                key=format_path(path),
                message=message,
                instead=instead,
                severity=severity,
            )
        )


def _node_location(node: yaml.Node) -> SourceLocation:
    return SourceLocation(node.start_mark.line + 1, node.start_mark.column + 1)
