"""Generator of docs/reference/configuration.md, with every key of settings and agencies' documents.

`make texts` writes the page and a test compares it. The meaning of a key is the string below it in its model.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from functools import cache
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from monitor.config.files import reading
from monitor.config.model.registry import Agency
from monitor.config.model.settings import Settings

DOCUMENT = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"

#: The two kinds of documents, each with its first line.
ROOTS: Mapping[str, tuple[type[BaseModel], str]] = {
    "Settings": (Settings, "The settings file, `pantau.yaml`."),
    "Agencies": (Agency, "One document for each agency."),
}

_HEAD = """# Configuration

For operators, and officers who edit their agency's document. Made from the code by `make texts`; `pantau check` names the file, line and
remedy of every problem. [Example](../../deploy/pantau.yaml).

A key without a default is required. A secret has no value here: its source is named by `KEY_file`, `KEY_env`, or typed in the portal.
"""


@cache
def meanings(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the string below each field of *model*, by the field's name, on one line."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        (defined,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(base))).body
        assert isinstance(defined, ast.ClassDef)
        name = ""
        for statement in defined.body:
            match statement:
                case ast.AnnAssign(target=ast.Name(id=name)):
                    pass
                case ast.Expr(value=ast.Constant(value=str(text))) if name:
                    found[name] = " ".join(text.split())
                    name = ""
                case _:
                    name = ""
    return found


def models_in(annotation: object) -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the model in *annotation*, with the part of a path that leads to it: "" itself, "[]" items, ".NAME" values."""
    if (model := reading.as_model(annotation)) is not None:
        yield model, ""
    elif (below := reading.item_type(annotation)) is not None:
        step = ".NAME" if reading.is_mapping(annotation) else "[]"
        yield from ((each, step + more) for each, more in models_in(below))


def sections(root: type[BaseModel]) -> Mapping[type[BaseModel], list[str]]:
    """Return the models below *root*, each with the paths of its uses, nearest first."""
    found: dict[type[BaseModel], list[str]] = {root: []}
    queue = [(root, "")]
    while queue:
        model, path = queue.pop(0)
        for key, field in reading.keys_of(model).items():
            for below, step in models_in(reading.field_annotation(field)):
                location = f"{path}.{key}{step}".lstrip(".")
                if below not in found:
                    queue.append((below, location))
                found.setdefault(below, []).append(location)
    return found


def in_yaml(value: object) -> str:
    """Return *value* as YAML, or "" for a section."""
    match value:
        case None:
            return "none"
        case BaseModel():
            return ""
        case bool():
            return str(value).lower()
        case Enum():
            return str(value.value)
        case timedelta():
            return _duration(value)
        case tuple() | list():
            return f"[{', '.join(map(in_yaml, value))}]"
        case Mapping():
            return "{}"
        case _:
            return str(value)


def _duration(span: timedelta) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if span and span % timedelta(seconds=size) == timedelta(0):
            return f"{span // timedelta(seconds=size)}{unit}"
    return f"{span.total_seconds():g}s"


def _rows(model: type[BaseModel]) -> Iterator[str]:
    texts = meanings(model)
    for name, field in model.model_fields.items():
        known = None if field.default is PydanticUndefined else in_yaml(field.default)
        default = "required" if field.is_required() else f"`{known}`" if known else ""
        example = (
            reading.example_value(reading.field_annotation(field))
            .replace(reading.example_value(BaseModel), "...")
            .replace("|", "\\|")
        )
        yield f"| `{field.alias or name}` | `{example}` | {default} | {texts.get(name, '')} |\n"


def document() -> str:
    """Return the page."""
    parts = [_HEAD]
    known: set[type[BaseModel]] = set()
    for title, (root, line) in ROOTS.items():
        parts.append(f"\n## {title}\n\n{line}\n")
        for model, paths in sections(root).items():
            if model in known:
                continue
            known.add(model)
            summary = " ".join((inspect.getdoc(model) or "").partition("\n\n")[0].split())
            if paths:
                parts.append(f"\n### {paths[0]}\n\n{summary}\n")
            parts.append(f"\n| Key | Example | Default | Meaning |\n| --- | --- | --- | --- |\n{''.join(_rows(model))}")
    return "".join(parts)


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
