"""Read a model from a document: its shape is checked here, all of it at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from alerts.model.channel import Channel
from monitor.config.files.annotation import at, blank, core, example
from monitor.config.files.findings import Findings
from monitor.config.files.form import SANCTIONED, Form, nearest
from monitor.config.files.problem import Path

M = TypeVar("M", bound=BaseModel)

#: A blank is of the right shape, so the second look normally passes; validators of gateways may need another.
_LOOKS = 4

_KINDS = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "keys below it",
    "mapping_type": "keys below it",
    "model_type": "keys below it",
    "model_attributes_type": "keys below it",
    "time_delta_type": "a span of time",
    "path_type": "a path",
    "string_unicode": "a text",
}


def read_model(
    model: type[M],
    data: object,
    form: Form,
    findings: Findings,
    *,
    path: Path = (),
    given: Mapping[str, Any] | None = None,
) -> M | None:
    """Return *data*, which stands at *path*, as a *model*; blanks stand in for what is wrong and was noted.

    *given* are fields that were read elsewhere. `None` when the whole cannot be made sense of.
    """
    filled: object = form.fill(model, data, path)
    if given and isinstance(filled, dict):
        filled |= given
    for _ in range(_LOOKS):
        try:
            return model.model_validate(filled)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                filled = _blanked(model, filled, _note(model, detail, findings, path))
    return None


def _note(model: type[BaseModel], detail: ErrorDetails, findings: Findings, path: Path) -> Path:
    """Note one of pydantic's errors and return where it is, below *model*."""
    where = tuple(part for part in detail["loc"] if part != "[key]")
    message, instead = _words(at(model, where), detail)
    findings.broken(_written((*path, *where), at(model, where), findings), message, instead)
    return where


def _written(path: Path, annotation: Any, findings: Findings) -> Path:
    """Return where the value at *path* was written: a secret stands under another key than the model's."""
    if core(annotation) is SecretStr and path and path not in findings.document.places:
        for source in ("file", "env"):
            if (key := (*path[:-1], f"{path[-1]}_{source}")) in findings.document.places:
                return key
    return path


def _words(annotation: Any, detail: ErrorDetails) -> tuple[str, str]:
    kind, context, wanted = detail["type"], detail.get("ctx", {}), core(annotation)
    if kind == "shape":
        return str(context["what"]), str(context["instead"])
    if kind in ("enum", "literal_error"):
        return _choice(wanted, detail)
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}", example(annotation)
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        words = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than"}
        return "must be " + " and ".join(f"{words[key]} {value}" for key, value in context.items()), ""
    if kind == "string_pattern_mismatch":
        return "does not have the right form", f"text that matches {context['pattern']}"
    # A gateway's own check: its author words it, and keeps secrets out of it.
    return detail["msg"].removeprefix("Value error, "), ""


def _choice(wanted: Any, detail: ErrorDetails) -> tuple[str, str]:
    written = detail["input"] if isinstance(detail["input"], str) else ""
    if wanted is Channel:
        return f"'{written}' is no sanctioned channel", SANCTIONED
    options = str(detail.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
    return f"'{written}' is not possible here", nearest(written, options) or " or ".join(options)


def _blanked(model: type[BaseModel], filled: Any, where: Path) -> Any:
    """Return *filled* with a blank at *where*; a blank of the whole when there is no such place."""
    if not where:
        return blank(model)
    container: Any = filled
    try:
        for part in where[:-1]:
            container = container[part]
        container[where[-1]] = blank(at(model, where))
    except (KeyError, IndexError, TypeError):
        return blank(model)
    return filled
