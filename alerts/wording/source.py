"""Read a YAML file of texts, remembering where each stands. Knows nothing of which texts there should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml


class SourceError(Exception):
    """The file cannot be read as texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One text, or one list of texts, and where it stands."""

    key: str
    value: str | tuple[str, ...]
    #: "ms.yaml:12"
    place: str


def read(path: Path) -> tuple[Entry, ...]:
    """Return the entries of a file, nested keys joined by dots. Raise `SourceError` with file and line."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise SourceError(f"{path.name}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path.name}: is not UTF-8; save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise SourceError(f"{path.name}: is not YAML: {error}") from error
    if root is None:
        return ()
    if not isinstance(root, yaml.MappingNode):
        raise SourceError(f"{path.name}:1: must hold keys and texts; write 'sms:' and so on, as our own file does")
    return tuple(_entries(root, "", path.name))


def _entries(node: yaml.Node, key: str, file: str) -> Iterator[Entry]:
    place = f"{file}:{node.start_mark.line + 1}"
    match node:
        case yaml.MappingNode():
            seen = set()
            for name, child in node.value:
                if not isinstance(name, yaml.ScalarNode):
                    raise SourceError(f"{file}:{name.start_mark.line + 1}: a key must be a plain word")
                if name.value in seen:
                    raise SourceError(f"{file}:{name.start_mark.line + 1}: {name.value} stands twice; keep one")
                seen.add(name.value)
                yield from _entries(child, f"{key}.{name.value}" if key else str(name.value), file)
        case yaml.SequenceNode():
            items = []
            for item in node.value:
                if not isinstance(item, yaml.ScalarNode):
                    raise SourceError(
                        f"{file}:{item.start_mark.line + 1}: {key} must be a list of texts; put quotes around each"
                    )
                items.append(_text(item))
            yield Entry(key=key, value=tuple(items), place=place)
        case _:
            yield Entry(key=key, value=_text(node), place=place)


def _text(node: yaml.Node) -> str:
    # Folded blocks end in a line break that nobody means.
    return str(node.value).strip()
