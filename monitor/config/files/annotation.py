"""What a model's fields ask for, read from their annotations."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum
from functools import cache
from pathlib import Path as FilePath
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from monitor.config.files.problem import Path
from monitor.config.files.section import Blank

_EXAMPLES = {int: "NUMBER", float: "NUMBER", bool: "true | false", timedelta: "30s | 5m | 1h30m", FilePath: "PATH"}
_BLANKS: Mapping[Any, Any] = {
    str: "?",
    int: 1,
    float: 1.0,
    bool: False,
    timedelta: timedelta(minutes=1),
    FilePath: FilePath(),
    SecretStr: SecretStr("?"),
}


def of_field(field: FieldInfo) -> Any:
    """Return a field's whole annotation, with its examples; pydantic keeps the `Annotated` part of it elsewhere."""
    return Annotated[field.annotation, *field.metadata, field]


@cache
def names(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return the keys that may be written for *model*, with their fields."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


@cache
def secrets(model: type[BaseModel]) -> Mapping[str, Any]:
    """Return what *model* asks for under those of its keys that are secrets, or that lead to some."""
    asked = {key: of_field(field) for key, field in names(model).items()}
    return {key: each for key, each in asked.items() if is_secret(each) or _leads_to_secrets(each)}


def is_secret(annotation: Any) -> bool:
    """Return whether *annotation* asks for a secret, or a list of them."""
    return SecretStr in (core(annotation), core(item(annotation)))


def _leads_to_secrets(annotation: Any) -> bool:
    model, below = as_model(annotation), item(annotation)
    return bool(secrets(model)) if model is not None else below is not None and _leads_to_secrets(below)


def core(annotation: Any) -> Any:
    """Return *annotation* without `Annotated` and without `| None`."""
    if get_origin(annotation) is Annotated:
        return core(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        some = [part for part in get_args(annotation) if part is not type(None)]
        return core(some[0]) if len(some) == 1 else annotation
    return annotation


def allows_none(annotation: Any) -> bool:
    """Return whether a key may stand there without a value."""
    if get_origin(annotation) is Annotated:
        return allows_none(get_args(annotation)[0])
    return annotation in (Any, None) or type(None) in get_args(annotation)


def as_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model that *annotation* asks for, if it is one."""
    inner = core(annotation)
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def item(annotation: Any) -> Any | None:
    """Return what the items of a list, or the values of a mapping, are to be; `None` for anything else."""
    inner = core(annotation)
    origin, arguments = get_origin(inner), get_args(inner)
    if not isinstance(origin, type) or not arguments:
        return None
    if issubclass(origin, Mapping):
        return arguments[1]
    return arguments[0] if issubclass(origin, Sequence | set | frozenset) else None


def is_mapping(annotation: Any) -> bool:
    """Return whether *annotation* asks for keys of the writer's choice."""
    origin = get_origin(core(annotation))
    return isinstance(origin, type) and issubclass(origin, Mapping)


def at(model: type[BaseModel], path: Path) -> Any:
    """Return what is asked for at *path* below *model*; `Any` where that is not known."""
    annotation: Any = model
    for part in path:
        below = as_model(annotation)
        if below is not None:
            field = names(below).get(str(part))
            annotation = Any if field is None else of_field(field)
        else:
            annotation = item(annotation) or Any
    return annotation


def blank(annotation: Any) -> Any:
    """Return a value of the right shape to stand in for a broken one."""
    if get_origin(annotation) is Annotated:
        marks = [mark.value for mark in get_args(annotation)[1:] if isinstance(mark, Blank)]
        return marks[0] if marks else blank(get_args(annotation)[0])
    if allows_none(annotation):
        return None
    inner = core(annotation)
    if (model := as_model(inner)) is not None:
        return {key: blank(of_field(field)) for key, field in names(model).items() if field.is_required()}
    if isinstance(inner, type) and issubclass(inner, Enum):
        return next(iter(inner))
    if item(inner) is not None:
        return {} if is_mapping(inner) else []
    return _BLANKS.get(inner)


def example(annotation: Any) -> str:
    """Return what could be written for *annotation*, in a word."""
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    if written := [str(mark.examples[0]) for mark in marks if isinstance(mark, FieldInfo) and mark.examples]:
        return written[0]
    inner = core(annotation)
    if isinstance(inner, type) and issubclass(inner, Enum):
        return " | ".join(str(member.value) for member in inner)
    if item(inner) is not None and not is_mapping(inner):
        return f"[{example(item(inner))}, ...]"
    if as_model(inner) is not None or is_mapping(inner):
        return "(keys below it, indented)"
    return _EXAMPLES.get(inner, "TEXT")
