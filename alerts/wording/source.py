"""Parser of YAML files of texts, with positions. Independent of which texts exist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

#: Octets. Our own texts have some 30 KiB.
_LARGEST = 512 * 1024
#: Maximum estimated nesting for libyaml. Our texts have six levels.
_DEEPEST = 2_000
#: Maximum of open brackets: PyYAML takes a second for a thousand, and then refuses them.
_MOST_OPEN = 100


class SourceError(Exception):
    """The file cannot be parsed as texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEntry:
    """One text or list of texts, with its position."""

    key: str
    value: str | tuple[str, ...]
    #: "ms.yaml:12"
    place: str


def read(path: Path) -> tuple[TextEntry, ...]:
    """Return the entries of a file, nested keys joined by dots. Raise `SourceError` with file and line."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            # A pipe or a device would block the reader and every later reload.
            raise SourceError(f"{path.name}: is no file of texts; write keys and texts in it, or remove it")
        root = tree(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(
            f"{path.name}: cannot be read: {error.strerror}; write a file that this user may read"
        ) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path.name}: is not UTF-8; write the same, saved as UTF-8") from error
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        # The parser's own message has six lines with a drawing of the position.
        place = f"{path.name}:{mark.line + 1}" if mark else path.name
        what = getattr(error, "problem", "") or getattr(error, "reason", "")
        raise SourceError(f"{place}: is not YAML ({what}); write a key, a colon, a blank and the text") from error
    except RecursionError:
        raise SourceError(f"{path.name}: is nested too deeply; write fewer levels") from None
    except (ValueError, OverflowError):  # The type of error depends on the version of Python.
        raise SourceError(
            f"{path.name}: is not YAML: it holds an escape that is not allowed; write the character itself"
        ) from None
    if root is None:
        return ()
    if not isinstance(root, yaml.MappingNode):
        raise SourceError(f"{path.name}:1: must hold keys and texts; write 'sms:' and so on, as our own file does")
    return tuple(_entries(root, "", path.name, set()))


def tree(text: str) -> yaml.Node | None:
    """Parse YAML into nodes with positions. Raise PyYAML's errors.

    libyaml is ten times as fast. PyYAML's own parser reads what libyaml rejects, because its messages are better, and
    deeply nested files, because libyaml would exhaust the stack.
    """
    if _depth_at_most(text) <= _DEEPEST:
        try:
            return yaml.compose(text, Loader=yaml.CSafeLoader)
        except (yaml.YAMLError, ValueError, OverflowError):
            pass
    return yaml.compose(text, Loader=_Reader)


class _Reader(yaml.SafeLoader):
    """PyYAML's parser, with a limit of open brackets."""

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:  # noqa: N803 - PyYAML's name
        if self.flow_level > _MOST_OPEN:
            raise RecursionError
        super().fetch_flow_collection_start(TokenClass)


def _depth_at_most(text: str) -> int:
    # A nested node is indented further, or in brackets.
    return 2 * max(map(len, text.splitlines()), default=0) + text.count("[") + text.count("{")


def sections(path: Path) -> dict[str, dict[str, Any]]:
    """Return our own texts of a file by section and name."""
    found: dict[str, dict[str, Any]] = {}
    for entry in read(path):
        section, _, name = entry.key.rpartition(".")
        found.setdefault(section, {})[name] = entry.value
    return found


def _entries(node: yaml.Node, key: str, file: str, met: set[int]) -> Iterator[TextEntry]:
    place = f"{file}:{node.start_mark.line + 1}"
    match node:
        case yaml.MappingNode():
            if id(node) in met:
                # Aliases of aliases can expand without bound, and an alias may contain itself.
                raise SourceError(f"{place}: aliases (*) are not read here; write the texts out")
            met.add(id(node))
            seen = set()
            for name, child in node.value:
                if not isinstance(name, yaml.ScalarNode):
                    raise SourceError(f"{file}:{name.start_mark.line + 1}: a key must be a plain word")
                if name.value in seen:
                    raise SourceError(f"{file}:{name.start_mark.line + 1}: {name.value} stands twice; keep one")
                seen.add(name.value)
                yield from _entries(child, f"{key}.{name.value}" if key else str(name.value), file, met)
        case yaml.SequenceNode():
            items = []
            for item in node.value:
                if not isinstance(item, yaml.ScalarNode):
                    raise SourceError(
                        f"{file}:{item.start_mark.line + 1}: {key} must be a list of texts; put quotes around each"
                    )
                items.append(_text(item))
            yield TextEntry(key=key, value=tuple(items), place=place)
        case _:
            yield TextEntry(key=key, value=_text(node), place=place)


def _text(node: yaml.Node) -> str:
    # Remove the trailing line break of folded blocks.
    return str(node.value).strip()
