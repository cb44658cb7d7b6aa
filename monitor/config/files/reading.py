"""Models read from a document. pydantic finds all errors of shape at once; this module words them.

Before validation secrets are fetched from their sources. After it each broken value is recorded at its location and
replaced by a blank, so that the rest is read as well.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum
from functools import cache
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from alerts.model.channel import Channel
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path, nearest, one_of, split_remedy
from monitor.config.files.secret import SecretResolver, SecretUnavailableError
from monitor.config.files.section import InvalidValue, OptionalSecret
from monitor.model.document import SECRET_NAME
from monitor.model.lazy_text import both, either, said
from monitor.model.renamed_keys import old_keys

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
    """Return a field's whole annotation with its examples; pydantic stores the `Annotated` part separately."""
    return Annotated[field.annotation, *field.metadata, field]


@cache
def names(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return the keys that *model* accepts, with their fields."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


@cache
def secrets(model: type[BaseModel]) -> Mapping[str, Any]:
    """Return the annotations of those keys of *model* that are secrets or contain secrets."""
    asked = {key: of_field(field) for key, field in names(model).items()}
    return {key: each for key, each in asked.items() if is_secret(each) or _leads_to_secrets(each)}


def is_secret(annotation: Any) -> bool:
    """Return whether *annotation* is a secret or a list of secrets."""
    return SecretStr in (core(annotation), core(item(annotation)))


def optional_secret(annotation: Any) -> OptionalSecret | None:
    """Return the `OptionalSecret` of *annotation*; `None`: the secret is required."""
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((mark for mark in marks if isinstance(mark, OptionalSecret)), None)


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
    """Return whether the key may have no value."""
    if get_origin(annotation) is Annotated:
        return allows_none(get_args(annotation)[0])
    return annotation in (Any, None) or type(None) in get_args(annotation)


def as_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model in *annotation*; `None` if it is not a model."""
    inner = core(annotation)
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def item(annotation: Any) -> Any | None:
    """Return the type of a list's items or a mapping's values; `None` for anything else."""
    inner = core(annotation)
    origin, arguments = get_origin(inner), get_args(inner)
    if not isinstance(origin, type) or not arguments:
        return None
    if issubclass(origin, Mapping):
        return arguments[1]
    return arguments[0] if issubclass(origin, Sequence | set | frozenset) else None


def is_mapping(annotation: Any) -> bool:
    """Return whether *annotation* is a mapping with arbitrary keys."""
    origin = get_origin(core(annotation))
    return isinstance(origin, type) and issubclass(origin, Mapping)


def at(model: type[BaseModel], path: Path) -> Any:
    """Return the annotation at *path* below *model*; `Any` if it is unknown."""
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
    """Return a value of the right shape that substitutes a broken one."""
    if get_origin(annotation) is Annotated:
        marks = [mark.value for mark in get_args(annotation)[1:] if isinstance(mark, InvalidValue)]
        return marks[-1] if marks else blank(get_args(annotation)[0])
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
    """Return a short example of a value for *annotation*."""
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    if written := [str(mark.examples[0]) for mark in marks if isinstance(mark, FieldInfo) and mark.examples]:
        return written[0]
    inner = core(annotation)
    if isinstance(inner, type) and issubclass(inner, Enum):
        return " | ".join(str(member.value) for member in inner)
    if item(inner) is not None and not is_mapping(inner):
        return said("[{example}, ...]", example=example(item(inner)))
    if as_model(inner) is not None or is_mapping(inner):
        return said("(keys below it, indented)")
    return said(_EXAMPLES.get(inner, "TEXT"))


M = TypeVar("M", bound=BaseModel)

#: A blank has the right shape, so the second validation normally passes. Validators of gateways may need another.
_LOOKS = 4

#: Marks a value to be removed.
_GONE = object()

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
    "date_type": "a day",
    "datetime_type": "a date with a time",
    "time_type": "a time of the day",
    "zoneinfo_str": "a time zone",
    "path_type": "a path",
    "string_unicode": "a text",
}
_LIMITS = {"ge": "at least {value}", "le": "at most {value}", "gt": "more than {value}", "lt": "less than {value}"}

#: Messages about what other users of this machine can do with the file of a secret.
_OTHERS_CAN: Mapping[tuple[str, ...], str] = {
    ("read",): "everybody on this machine can read {name}",
    ("change",): "everybody on this machine can change {name}",
    ("read", "change"): "everybody on this machine can read and change {name}",
}

#: Where only the four channels are allowed, these words are deliberate and not typing errors.
_UNSANCTIONED = frozenset(
    {
        *("e-mail", "e-mel", "email", "emel", "mail", "smtp"),
        *("chat", "discord", "mattermost", "push", "signal", "slack", "teams", "telegram", "webhook", "whatsapp"),
    }
)
SANCTIONED = "sms, voice, fax or letter (circular of 1 June 2007, paragraph 4)"


class Reader:
    """Reader of models from one document."""

    def __init__(self, findings: Findings, vault: SecretResolver) -> None:
        self.findings = findings
        self._vault = vault
        self._has_noted_old_keys = False

    def read(
        self, model: type[M], data: object, path: Path = (), *, given: Mapping[str, object] | None = None
    ) -> M | None:
        """Return *data* at *path* as a *model*. Invalid values are recorded and replaced by blanks.

        *given* are fields that were read elsewhere. Return `None` if the data cannot be read at all.
        """
        read: Any = self._with_secrets(model, data, path)
        if given and isinstance(read, Mapping):
            read = {**read, **given}
        for _ in range(_LOOKS):
            try:
                return model.model_validate(read, context=self._vault.directory)
            except ValidationError as error:
                # Report errors inside a forbidden key first, because the whole key is removed afterwards.
                details = sorted(error.errors(include_url=False), key=lambda detail: "[key]" in detail["loc"])
                if any(detail["type"] == "extra_forbidden" for detail in details):
                    self._note_old_keys()
                read = _mended(read, dict(self._note(model, detail, read, path) for detail in details))
        return None

    def _note_old_keys(self) -> None:
        if self._has_noted_old_keys:
            return
        self._has_noted_old_keys = True
        for path, name in old_keys(self.findings.document.data):
            self.findings.root[path].broken(said("`{old}` is now `{new}`", old=str(path[-1]), new=name), name)
            # A required key is not missing where it has its old name.
            self.findings.root[(*path[:-1], name)].mark_broken()

    def _note(self, model: type[BaseModel], detail: ErrorDetails, data: object, path: Path) -> tuple[Path, Any]:
        """Record one of pydantic's errors. Return its path below *model*, and the replacement."""
        where = tuple(part for part in detail["loc"] if part != "[key]")
        asked, place = at(model, where), (*path, *where)
        if detail["type"] == "extra_forbidden":
            # The search for the key that was meant takes a third of a millisecond, and a document may have thousands.
            is_listed = self.findings.has_room
            said_of_it = _unknown(str(where[-1]), as_model(at(model, where[:-1])) or model) if is_listed else ("", "")
            self.findings[place].broken(*said_of_it)
            return where, _GONE
        self._unusable(asked, self._written(asked, place), *_words(asked, detail, str(place[-1]) if place else ""))
        where = _reachable(data, where)
        return where, _GONE if "[key]" in detail["loc"] else blank(at(model, where))

    def _written(self, asked: Any, path: Path) -> Path:
        """Return the path of the value as written: a secret is written under another key than the model's."""
        places = self.findings.document.places
        if not path or path in places or not is_secret(asked):
            return path
        by_source = [(*path[:-1], source) for source in sources(str(path[-1]))]
        return next((place for place in by_source if place in places), path)

    def _with_secrets(self, asked: Any, value: Any, path: Path) -> Any:
        """Return *value* with each secret that it contains under the model's key.

        A value of another shape is unchanged.
        """
        model, below = as_model(asked), item(asked)
        if model is None and isinstance(value, list) and not is_mapping(asked):
            return [self._with_secrets(below, each, (*path, number)) for number, each in enumerate(value)]
        if not isinstance(value, Mapping) or (model is None and not is_mapping(asked)):
            return value
        if model is None:
            return {key: self._with_secrets(below, each, (*path, key)) for key, each in value.items()}
        found = dict(value)
        for key, each in secrets(model).items():
            if is_secret(each):
                written = {source: found.pop(source) for source in (key, *sources(key)) if source in found}
                found |= {key: self._secret(each, key, written, path)} if written else {}
            elif key in value:
                found[key] = self._with_secrets(each, value[key], (*path, key))
        return found

    def _secret(self, asked: Any, key: str, written: Mapping[str, Any], path: Path) -> object:
        """Return the secret *key*, whose sources *written* are at *path*."""
        by_file, _, by_name = sources(key)
        if key in written:
            message = "a secret is never written in the configuration"
            self.findings[(*path, key)].broken(message, by_source(key))
        elif len(written) > 1:
            first, *others = (source for source in sources(key) if source in written)
            self.findings[(*path, others[0])].broken(
                said("is a second source beside {first}", first=first), "one of the two"
            )
        elif by_name in written:
            return self._typed(written[by_name], key, (*path, by_name))
        else:
            [(source, names)] = written.items()
            place, is_file = (*path, source), source == by_file
            if item(asked) is not None and isinstance(names, list):
                return [self._fetched(name, (*place, n), asked, is_file=is_file) for n, name in enumerate(names)]
            return self._fetched(names, place, asked, is_file=is_file)
        return blank(asked)

    def _typed(self, name: object, key: str, path: Path) -> SecretStr:
        """Return a secret that was entered in the portal. If it is unavailable, all else still works."""
        if not isinstance(name, str) or not SECRET_NAME.fullmatch(name):
            self.findings[path].broken("is no name of a secret that was typed in the portal", by_source(key))
        elif self._vault.typed is None:
            self.findings[path].broken("only a secret of an agency's mailbox is typed in the portal", by_source(key))
        else:
            secret = self._vault.from_store(name)
            if secret.why:
                self.findings[path].warning(secret.why, "it again, on the agency's page in the portal")
            return secret
        return SecretStr("?")

    def _fetched(self, name: object, path: Path, asked: Any, *, is_file: bool) -> SecretStr | None:
        if not isinstance(name, str) or not name:
            what = said("the path of a file") if is_file else said("the name of an environment variable")
            self.findings[path].broken(said("must be {what}", what=what), "PATH" if is_file else "NAME")
            return SecretStr("?")
        try:
            secret = self._vault.from_file(name) if is_file else self._vault.from_variable(name)
        except SecretUnavailableError as error:
            self._unusable(asked, path, str(error), error.instead)
            return None if optional_secret(asked) else SecretStr("?")
        if is_file and (can := self._vault.others_can(name)):
            instead = f"chmod o-rwx {name} (in a shell)"
            self.findings[path].warning(said(_OTHERS_CAN[can], name=name), instead)
        if is_file and self._vault.is_tracked(name):
            instead = said(
                "a file outside the tree, or: git rm --cached {name} (in a shell); and change the secret", name=name
            )
            self.findings[path].warning(said("git keeps {name}, and every clone has the secret", name=name), instead)
        return secret

    def _unusable(self, asked: Any, path: Path, message: str, instead: str) -> None:
        """Record that the secret at *path* with the annotation *asked* is unusable."""
        if (lost := optional_secret(asked)) is None:
            self.findings[path].broken(message, instead)
        else:
            self.findings[path].loss(f"{message}: {lost.without}", lost.instead)


def sources(key: str) -> tuple[str, str, str]:
    """Return the keys that name the source of the secret *key*: a file, a variable, the store."""
    return f"{key}_file", f"{key}_env", f"{key}_stored"


def by_source(key: str) -> str:
    """Return what to write for the secret *key*."""
    by_file, by_variable, _ = sources(key)
    return said("{by_file}: PATH, or {by_variable}: NAME", by_file=by_file, by_variable=by_variable)


def _written_so(key: str, asked: Any) -> str:
    return said("{key}: {example}", key=key, example=example(asked))


def missing(model: type[BaseModel], key: str) -> tuple[str, str]:
    """Return that the optional *key* of *model* is missing, and what to write."""
    return "is missing", _written_so(key, of_field(names(model)[key]))


def _words(asked: Any, detail: ErrorDetails, key: str) -> tuple[str, str]:
    """Return the message and the remedy for pydantic's error *detail* about *key* with the annotation *asked*."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "is missing", by_source(key) if is_secret(asked) else _written_so(key, asked)
    if kind == "shape":
        return str(context["what"]), str(context["instead"])
    if detail["input"] is None and not allows_none(asked):
        return "has no value", _written_so(key, asked)
    if kind in ("enum", "literal_error"):
        return _choice(core(asked), detail)
    if kind in _KINDS:
        return said("must be {kind}", kind=said(_KINDS[kind])), example(asked)
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        limits = both(said(_LIMITS[each], value=value) for each, value in context.items())
        return said("must be {limits}", limits=limits), said("a number that is {limits}", limits=limits)
    if kind == "string_pattern_mismatch":
        return "does not have the right form", said("text that matches {pattern}", pattern=context["pattern"])
    # A validator of a field or a gateway: its message is already worded and contains no secret.
    return split_remedy(detail["msg"].removeprefix("Value error, "))


def _choice(wanted: Any, detail: ErrorDetails) -> tuple[str, str]:
    written = detail["input"] if isinstance(detail["input"], str) else ""
    if wanted is Channel:
        return said("'{written}' is no sanctioned channel", written=written), SANCTIONED
    options = str(detail.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
    return said("'{written}' is not possible here", written=written), nearest(written, options) or either(options)


def _unknown(key: str, model: type[BaseModel]) -> tuple[str, str]:
    """Return the message and the remedy for a key that *model* does not have.

    Secrets are recognised by their sources.
    """
    hidden = [name for name, asked in secrets(model).items() if is_secret(asked)]
    known = [name for name in names(model) if name not in hidden] + [
        each for name in hidden for each in sources(name)[:2]
    ]
    if key.lower() in _UNSANCTIONED and {Channel.SMS, Channel.VOICE} <= set(known):
        return said("'{key}' is no sanctioned channel", key=key), SANCTIONED
    return "is no known key", one_of(key, known, "nothing: no key belongs here")


def _reachable(data: Any, where: Path) -> Path:
    """Return *where*, or its nearest parent in the data."""
    for length, part in enumerate(where):
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return where[:length]
    return where


def _mended(data: Any, pieces: Mapping[Path, Any]) -> Any:
    """Return *data* with *pieces* inserted at their paths."""
    if () in pieces:
        return pieces[()]
    below: dict[str | int, dict[Path, Any]] = {}
    for path, piece in pieces.items():
        below.setdefault(path[0], {})[path[1:]] = piece
    mended = dict(data) if isinstance(data, Mapping) else dict(enumerate(data))
    for part, parts in below.items():
        mended[part] = _mended(mended.get(part), parts)
    kept = {part: each for part, each in mended.items() if each is not _GONE}
    return kept if isinstance(data, Mapping) else list(kept.values())
