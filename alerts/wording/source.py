"""Parser of YAML files of texts, with positions for error messages. It accepts any keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

#: The shipped texts have some 30 KiB.
_MAX_OCTETS = 512 * 1024
#: Maximum estimated nesting of a file for libyaml, because deeper nesting could exhaust its stack. The shipped texts
#: have six levels.
_MAX_DEPTH = 2_000
#: Maximum number of open brackets for PyYAML's own parser, which takes a second for a thousand and then fails.
_MAX_OPEN_BRACKETS = 100


class SourceError(Exception):
    """The file cannot be parsed as texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEntry:
    """One text or list of texts, with its position."""

    key: str
    value: str | tuple[str, ...]
    #: "ms.yaml:12"
    position: str


def read(path: Path) -> tuple[TextEntry, ...]:
    """Return the entries of a file, nested keys joined by dots. Raise `SourceError` with file and line."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_OCTETS:
            # A pipe or a device would block the reader and every later reload.
            raise SourceError(f"{path.name}: is not a file of texts; write keys and texts in it, or remove it")
        root = parse_nodes(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(
            f"{path.name}: cannot be read: {error.strerror}; write a file that this user may read"
        ) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path.name}: is not UTF-8; write the same, saved as UTF-8") from error
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        # The parser's own message has six lines with a drawing of the position.
        location = f"{path.name}:{mark.line + 1}" if mark else path.name
        reason = getattr(error, "problem", "") or getattr(error, "reason", "")
        raise SourceError(f"{location}: is not YAML ({reason}); write a key, a colon, a blank and the text") from error
    except RecursionError:
        raise SourceError(f"{path.name}: is nested too deeply; write fewer levels") from None
    except (ValueError, OverflowError):  # The type of error depends on the version of Python.
        raise SourceError(
            f"{path.name}: is not YAML: it contains an escape that is not allowed; write the character itself"
        ) from None
    if root is None:
        return ()
    if not isinstance(root, yaml.MappingNode):
        raise SourceError(f"{path.name}:1: must contain keys and texts; write 'sms:' and so on, as the shipped file")
    return tuple(_entries(root, "", path.name, set()))


def parse_nodes(text: str) -> yaml.Node | None:
    """Parse YAML into nodes with positions. Raise PyYAML's errors.

    libyaml is ten times as fast. PyYAML's own parser reads the files that libyaml rejects, because its messages are
    better, and deeply nested files, because libyaml would exhaust the stack.
    """
    if _max_depth(text) <= _MAX_DEPTH:
        try:
            return yaml.compose(text, Loader=yaml.CSafeLoader)
        except (yaml.YAMLError, ValueError, OverflowError):
            pass
    return yaml.compose(text, Loader=_Reader)


class _Reader(yaml.SafeLoader):
    """PyYAML's parser, with a limit of open brackets."""

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:  # noqa: N803 - PyYAML's name
        if self.flow_level > _MAX_OPEN_BRACKETS:
            raise RecursionError
        super().fetch_flow_collection_start(TokenClass)


def _max_depth(text: str) -> int:
    """Return an upper bound of the nesting: each level is indented further, or in brackets."""
    return 2 * max(map(len, text.splitlines()), default=0) + text.count("[") + text.count("{")


def sections(path: Path) -> dict[str, dict[str, Any]]:
    """Return the texts of a shipped file by section (the key without its last part) and name (the last part)."""
    by_section: dict[str, dict[str, Any]] = {}
    for entry in read(path):
        section, _, name = entry.key.rpartition(".")
        by_section.setdefault(section, {})[name] = entry.value
    return by_section


def _entries(node: yaml.Node, key: str, file: str, ancestors: set[int]) -> Iterator[TextEntry]:
    location = f"{file}:{node.start_mark.line + 1}"
    match node:
        case yaml.MappingNode():
            if id(node) in ancestors:
                # Aliases of aliases can expand without bound, and an alias may contain itself.
                raise SourceError(f"{location}: aliases (*) are not supported here; write the texts out")
            ancestors.add(id(node))
            keys = set()
            for name, child in node.value:
                if not isinstance(name, yaml.ScalarNode):
                    raise SourceError(f"{file}:{name.start_mark.line + 1}: a key must be a plain word")
                if name.value in keys:
                    raise SourceError(f"{file}:{name.start_mark.line + 1}: {name.value} is there twice; keep one")
                keys.add(name.value)
                yield from _entries(child, f"{key}.{name.value}" if key else str(name.value), file, ancestors)
        case yaml.SequenceNode():
            items = []
            for item in node.value:
                if not isinstance(item, yaml.ScalarNode):
                    raise SourceError(
                        f"{file}:{item.start_mark.line + 1}: {key} must be a list of texts; put quotes around each"
                    )
                items.append(_text(item))
            yield TextEntry(key=key, value=tuple(items), position=location)
        case _:
            yield TextEntry(key=key, value=_text(node), position=location)


def _text(node: yaml.Node) -> str:
    # Remove the trailing line break of folded blocks.
    return str(node.value).strip()
