"""Reading of pydantic models from a configuration document.

pydantic finds all errors of shape (type and structure) at once; `Reader` turns them into messages for the author of the
file. Before validation, `Reader` fetches secrets from their sources. After validation, it records each invalid value at
its location and replaces it by a *blank*, a valid substitute, so that the rest is read as well.
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
from monitor.config.files.problem import Path, closest_match, split_remedy, suggest
from monitor.config.files.secret import SecretResolver, SecretUnavailableError
from monitor.config.files.section import OptionalSecret, SubstituteIfInvalid
from monitor.model.document import SECRET_NAME
from monitor.model.renamed_keys import REMOVED_KEYS, find_old_keys
from monitor.model.translatable import all_of, any_of, translatable

#: Examples of values by type, as messages show them.
_EXAMPLES = {int: "NUMBER", float: "NUMBER", bool: "true | false", timedelta: "30s | 5m | 1h30m", FilePath: "PATH"}
#: Blanks by type, for types without `SubstituteIfInvalid`.
_BLANK_VALUES: Mapping[Any, Any] = {
    str: "?",
    int: 1,
    float: 1.0,
    bool: False,
    timedelta: timedelta(minutes=1),
    FilePath: FilePath(),
    SecretStr: SecretStr("?"),
}


def field_annotation(field: FieldInfo) -> Any:
    """Return the annotation of *field* as `Annotated`, with its metadata (which pydantic stores apart) and *field*."""
    return Annotated[field.annotation, *field.metadata, field]


@cache
def keys_of(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return the fields of *model* by the keys that it accepts."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


@cache
def secret_keys(model: type[BaseModel]) -> Mapping[str, Any]:
    """Return the annotations of those keys of *model* that are secrets or contain secrets."""
    annotations = {key: field_annotation(field) for key, field in keys_of(model).items()}
    return {key: each for key, each in annotations.items() if is_secret(each) or _contains_secrets(each)}


def is_secret(annotation: Any) -> bool:
    """Return whether *annotation* is a secret or a list of secrets."""
    return SecretStr in (unwrap(annotation), unwrap(item_type(annotation)))


def optional_secret(annotation: Any) -> OptionalSecret | None:
    """Return the `OptionalSecret` of *annotation*; `None`: the secret is required."""
    return next((each for each in _metadata(annotation) if isinstance(each, OptionalSecret)), None)


def _metadata(annotation: Any) -> tuple[Any, ...]:
    """Return the metadata of an `Annotated` type; empty for any other type."""
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _contains_secrets(annotation: Any) -> bool:
    model, child_type = as_model(annotation), item_type(annotation)
    return bool(secret_keys(model)) if model is not None else child_type is not None and _contains_secrets(child_type)


def unwrap(annotation: Any) -> Any:
    """Return *annotation* without `Annotated` and without `| None`; a union of several types stays as it is."""
    if get_origin(annotation) is Annotated:
        return unwrap(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        member_types = [part for part in get_args(annotation) if part is not type(None)]
        return unwrap(member_types[0]) if len(member_types) == 1 else annotation
    return annotation


def allows_none(annotation: Any) -> bool:
    """Return whether *annotation* accepts `None`, that is, a key without a value."""
    if get_origin(annotation) is Annotated:
        return allows_none(get_args(annotation)[0])
    return annotation in (Any, None) or type(None) in get_args(annotation)


def as_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model in *annotation*; `None` if it is not a model."""
    inner = unwrap(annotation)
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def item_type(annotation: Any) -> Any | None:
    """Return the type of a list's items or a mapping's values; `None` for anything else."""
    inner = unwrap(annotation)
    origin, arguments = get_origin(inner), get_args(inner)
    if not isinstance(origin, type) or not arguments:
        return None
    if issubclass(origin, Mapping):
        return arguments[1]
    return arguments[0] if issubclass(origin, Sequence | set | frozenset) else None


def is_mapping(annotation: Any) -> bool:
    """Return whether *annotation* is a mapping with arbitrary keys."""
    origin = get_origin(unwrap(annotation))
    return isinstance(origin, type) and issubclass(origin, Mapping)


def annotation_at(model: type[BaseModel], path: Path) -> Any:
    """Return the annotation at *path* below *model*; `Any` if it is unknown."""
    annotation: Any = model
    for part in path:
        child_model = as_model(annotation)
        if child_model is not None:
            field = keys_of(child_model).get(str(part))
            annotation = Any if field is None else field_annotation(field)
        else:
            annotation = item_type(annotation) or Any
    return annotation


def blank_value(annotation: Any) -> Any:
    """Return a value of the right shape that substitutes a broken one."""
    if get_origin(annotation) is Annotated:
        substitutes = [each.value for each in _metadata(annotation) if isinstance(each, SubstituteIfInvalid)]
        return substitutes[-1] if substitutes else blank_value(get_args(annotation)[0])
    if allows_none(annotation):
        return None
    inner = unwrap(annotation)
    if (model := as_model(inner)) is not None:
        return {
            key: blank_value(field_annotation(field)) for key, field in keys_of(model).items() if field.is_required()
        }
    if isinstance(inner, type) and issubclass(inner, Enum):
        return next(iter(inner))
    if item_type(inner) is not None:
        return {} if is_mapping(inner) else []
    return _BLANK_VALUES.get(inner)


def example_value(annotation: Any) -> str:
    """Return a short example of a value for *annotation*."""
    for each in _metadata(annotation):
        if isinstance(each, FieldInfo) and each.examples:
            return str(each.examples[0])
    inner = unwrap(annotation)
    if isinstance(inner, type) and issubclass(inner, Enum):
        return " | ".join(str(member.value) for member in inner)
    if item_type(inner) is not None and not is_mapping(inner):
        return translatable("[{example}, ...]", example=example_value(item_type(inner)))
    if as_model(inner) is not None or is_mapping(inner):
        return translatable("(keys below it, indented)")
    return translatable(_EXAMPLES.get(inner, "TEXT"))


M = TypeVar("M", bound=BaseModel)

#: Maximum number of validations of one model. Blanks have the right shape, so the second validation normally succeeds.
#: Validators of gateways may require a third.
_MAX_VALIDATIONS = 4

#: "Replacement" that marks a value for removal, together with its key.
_REMOVED = object()

#: End of the message "must be ...", by the type of pydantic's error.
_EXPECTED_KINDS = {
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
#: Limits in messages, by their name in the context of pydantic's errors.
_LIMITS = {"ge": "at least {value}", "le": "at most {value}", "gt": "more than {value}", "lt": "less than {value}"}

#: Messages about what other users of this machine can do with the file of a secret.
_PUBLIC_ACCESS_MESSAGES: Mapping[tuple[str, ...], str] = {
    ("read",): "everybody on this machine can read {name}",
    ("change",): "everybody on this machine can change {name}",
    ("read", "change"): "everybody on this machine can read and change {name}",
}

#: Names of channels that the government's circular on e-mail does not sanction for notifications. As a key, such a word
#: is not reported as a typing error.
_UNSANCTIONED_CHANNELS = frozenset(
    {
        *("e-mail", "e-mel", "email", "emel", "mail", "smtp"),
        *("chat", "discord", "mattermost", "push", "signal", "slack", "teams", "telegram", "webhook", "whatsapp"),
    }
)
#: What to write instead of an invalid channel.
SANCTIONED_CHANNELS = "sms, voice, fax or letter (circular of 1 June 2007, paragraph 4)"


class Reader:
    """Reader of models from one document. It records all problems in `findings`."""

    def __init__(self, findings: Findings, secret_resolver: SecretResolver) -> None:
        self.findings = findings
        self._secret_resolver = secret_resolver
        self._has_recorded_old_keys = False

    def read(
        self, model: type[M], data: object, path: Path = (), *, already_read: Mapping[str, object] | None = None
    ) -> M | None:
        """Return *data*, which is at *path* in the document, as a *model*. Return `None` if that is impossible.

        Invalid values are recorded and replaced by blanks. *already_read*: values of fields that were read elsewhere.
        """
        values: Any = self._resolve_secrets(model, data, path)
        if already_read and isinstance(values, Mapping):
            values = {**values, **already_read}
        for _ in range(_MAX_VALIDATIONS):
            try:
                return model.model_validate(values, context=self._secret_resolver.directory)
            except ValidationError as error:
                # pydantic marks an error in the key of a mapping by "[key]" in its location. Record such errors last,
                # because they remove the key together with its value, in which there may be other errors.
                details = sorted(error.errors(include_url=False), key=lambda detail: "[key]" in detail["loc"])
                if any(detail["type"] == "extra_forbidden" for detail in details):
                    self._record_old_keys()
                values = _replace_at(
                    values, dict(self._record_error(model, detail, values, path) for detail in details)
                )
        return None

    def _record_old_keys(self) -> None:
        """Record all keys in the document that have a new name. Later calls do nothing."""
        if self._has_recorded_old_keys:
            return
        self._has_recorded_old_keys = True
        for path, name in find_old_keys(self.findings.document.data):
            self.findings.root[path].broken(translatable("`{old}` is now `{new}`", old=str(path[-1]), new=name), name)
            # A required key that is present under its old name must not be reported as missing.
            self.findings.root[(*path[:-1], name)].mark_broken()

    def _record_error(self, model: type[BaseModel], detail: ErrorDetails, data: object, path: Path) -> tuple[Path, Any]:
        """Record one of pydantic's errors. Return its path below *model*, and the replacement of the invalid value.

        *detail*: the error. *data*: the data at *path*.
        """
        path_below = tuple(part for part in detail["loc"] if part != "[key]")
        annotation, value_path = annotation_at(model, path_below), (*path, *path_below)
        # The error is an unknown key.
        if detail["type"] == "extra_forbidden":
            # Compose the message only if the problem will be listed: a document may have thousands of unknown keys, and
            # each search for a similar key takes a third of a millisecond.
            is_listed = self.findings.has_room
            message_and_remedy = (
                _describe_unknown_key(str(path_below[-1]), as_model(annotation_at(model, path_below[:-1])) or model)
                if is_listed
                else ("", "")
            )
            self.findings[value_path].broken(*message_and_remedy)
            return path_below, _REMOVED
        self._record_unusable(
            annotation,
            self._path_in_file(annotation, value_path),
            *_describe_error(annotation, detail, str(value_path[-1]) if value_path else ""),
        )
        path_below = _replaceable_path(data, path_below)
        return path_below, _REMOVED if "[key]" in detail["loc"] else blank_value(annotation_at(model, path_below))

    def _path_in_file(self, annotation: Any, path: Path) -> Path:
        """Return the path of a value in the file: for a secret, that of its source key, such as `password_file`."""
        locations = self.findings.document.locations
        if not path or path in locations or not is_secret(annotation):
            return path
        candidates = [(*path[:-1], source) for source in source_keys(str(path[-1]))]
        return next((candidate for candidate in candidates if candidate in locations), path)

    def _resolve_secrets(self, annotation: Any, value: Any, path: Path) -> Any:
        """Return *value* with each source of a secret (`password_file`) replaced by the secret itself (`password`).

        A value that does not have the shape of *annotation* is returned unchanged.
        """
        model, child_type = as_model(annotation), item_type(annotation)
        if model is None and isinstance(value, list) and not is_mapping(annotation):
            return [self._resolve_secrets(child_type, each, (*path, number)) for number, each in enumerate(value)]
        if not isinstance(value, Mapping) or (model is None and not is_mapping(annotation)):
            return value
        if model is None:
            return {key: self._resolve_secrets(child_type, each, (*path, key)) for key, each in value.items()}
        resolved = dict(value)
        for key, each in secret_keys(model).items():
            if is_secret(each):
                given_sources = {
                    source: resolved.pop(source) for source in (key, *source_keys(key)) if source in resolved
                }
                resolved |= {key: self._resolve_secret(each, key, given_sources, path)} if given_sources else {}
            elif key in value:
                resolved[key] = self._resolve_secrets(each, value[key], (*path, key))
        return resolved

    def _resolve_secret(self, annotation: Any, key: str, given_sources: Mapping[str, Any], path: Path) -> object:
        """Return the secret *key*; a blank if its source is invalid.

        *given_sources*: the values of *key* and its source keys in the section at *path*, as far as present.
        """
        by_file, _, by_store = source_keys(key)
        if key in given_sources:
            message = "a secret is never written in the configuration"
            self.findings[(*path, key)].broken(message, source_remedy(key))
        elif len(given_sources) > 1:
            first, *others = (source for source in source_keys(key) if source in given_sources)
            self.findings[(*path, others[0])].broken(
                translatable("is a second source beside {first}", first=first), "one of the two"
            )
        elif by_store in given_sources:
            return self._stored_secret(given_sources[by_store], key, (*path, by_store))
        else:
            [(source, source_value)] = given_sources.items()
            source_path, is_file = (*path, source), source == by_file
            if item_type(annotation) is not None and isinstance(source_value, list):
                return [
                    self._fetch_secret(name, (*source_path, n), annotation, is_file=is_file)
                    for n, name in enumerate(source_value)
                ]
            return self._fetch_secret(source_value, source_path, annotation, is_file=is_file)
        return blank_value(annotation)

    def _stored_secret(self, name: object, key: str, path: Path) -> SecretStr:
        """Return the stored secret *name*, which a user entered in the portal. An unavailable one is only a warning."""
        if not isinstance(name, str) or not SECRET_NAME.fullmatch(name):
            self.findings[path].broken("is no name of a secret that was entered in the portal", source_remedy(key))
        elif self._secret_resolver.find_stored is None:
            self.findings[path].broken(
                "only secrets of an agency's mailboxes are entered in the portal", source_remedy(key)
            )
        else:
            secret = self._secret_resolver.from_store(name)
            if secret.unavailable_reason:
                self.findings[path].warning(secret.unavailable_reason, "it again, on the agency's page in the portal")
            return secret
        return SecretStr("?")

    def _fetch_secret(self, name: object, path: Path, annotation: Any, *, is_file: bool) -> SecretStr | None:
        """Return the secret in the file or environment variable *name*; record one that is unavailable or exposed."""
        if not isinstance(name, str) or not name:
            what = (
                translatable("the path of a file") if is_file else translatable("the name of an environment variable")
            )
            self.findings[path].broken(translatable("must be {what}", what=what), "PATH" if is_file else "NAME")
            return SecretStr("?")
        try:
            secret = self._secret_resolver.from_file(name) if is_file else self._secret_resolver.from_variable(name)
        except SecretUnavailableError as error:
            self._record_unusable(annotation, path, str(error), error.instead)
            return None if optional_secret(annotation) else SecretStr("?")
        if is_file and (access := self._secret_resolver.public_access(name)):
            instead = f"chmod o-rwx {name} (in a shell)"
            self.findings[path].warning(translatable(_PUBLIC_ACCESS_MESSAGES[access], name=name), instead)
        if is_file and self._secret_resolver.is_tracked(name):
            instead = translatable(
                "a file outside the tree, or: git rm --cached {name} (in a shell); and change the secret", name=name
            )
            self.findings[path].warning(
                translatable("git tracks {name}, so every clone has the secret", name=name), instead
            )
        return secret

    def _record_unusable(self, annotation: Any, path: Path, message: str, instead: str) -> None:
        """Record an error at *path*, or only a loss if *annotation* marks the secret as optional."""
        if (optional := optional_secret(annotation)) is None:
            self.findings[path].broken(message, instead)
        else:
            self.findings[path].loss(f"{message}: {optional.consequence}", optional.instead)


def source_keys(key: str) -> tuple[str, str, str]:
    """Return the keys that name the source of the secret *key*: a file, an environment variable, or a stored secret."""
    return f"{key}_file", f"{key}_env", f"{key}_stored"


def source_remedy(key: str) -> str:
    """Return what to write instead of a missing or invalid secret *key*."""
    by_file, by_variable, _ = source_keys(key)
    return translatable("{by_file}: PATH, or {by_variable}: NAME", by_file=by_file, by_variable=by_variable)


def _key_example(key: str, annotation: Any) -> str:
    return translatable("{key}: {example}", key=key, example=example_value(annotation))


def missing_key(model: type[BaseModel], key: str) -> tuple[str, str]:
    """Return the message and the remedy for a missing *key* of *model*."""
    return "is missing", _key_example(key, field_annotation(keys_of(model)[key]))


def _describe_error(annotation: Any, detail: ErrorDetails, key: str) -> tuple[str, str]:
    """Return the message and the remedy for pydantic's error *detail* about *key* with the annotation *annotation*."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "is missing", source_remedy(key) if is_secret(annotation) else _key_example(key, annotation)
    if kind == "shape":
        return str(context["what"]), str(context["instead"])
    if detail["input"] is None and not allows_none(annotation):
        return "has no value", _key_example(key, annotation)
    if kind in ("enum", "literal_error"):
        return _describe_choice(unwrap(annotation), detail)
    if kind in _EXPECTED_KINDS:
        return translatable("must be {kind}", kind=translatable(_EXPECTED_KINDS[kind])), example_value(annotation)
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        limits = all_of(translatable(_LIMITS[each], value=value) for each, value in context.items())
        return translatable("must be {limits}", limits=limits), translatable("a number that is {limits}", limits=limits)
    if kind == "string_pattern_mismatch":
        return "does not have the right form", translatable("text that matches {pattern}", pattern=context["pattern"])
    # The error comes from a validator of a field or a gateway, whose message is ready to use and contains no secret.
    return split_remedy(detail["msg"].removeprefix("Value error, "))


def _describe_choice(enumeration: Any, detail: ErrorDetails) -> tuple[str, str]:
    """Return the message and the remedy for a value that is not a member of *enumeration*."""
    value = detail["input"] if isinstance(detail["input"], str) else ""
    if enumeration is Channel:
        return translatable("'{written}' is no sanctioned channel", written=value), SANCTIONED_CHANNELS
    options = str(detail.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
    return translatable("'{written}' is not possible here", written=value), closest_match(value, options) or any_of(
        options
    )


def _describe_unknown_key(key: str, model: type[BaseModel]) -> tuple[str, str]:
    """Return the message and the remedy for a key that *model* does not have.

    The remedy is a similar key. Secrets are suggested by their source keys, such as `password_file`.
    """
    secret_names = [name for name, annotation in secret_keys(model).items() if is_secret(annotation)]
    known_keys = [name for name in keys_of(model) if name not in secret_names] + [
        each for name in secret_names for each in source_keys(name)[:2]
    ]
    # The keys of the model are channels.
    if key.lower() in _UNSANCTIONED_CHANNELS and {Channel.SMS, Channel.VOICE} <= set(known_keys):
        return translatable("'{key}' is no sanctioned channel", key=key), SANCTIONED_CHANNELS
    if (remedy := REMOVED_KEYS.get(key)) is not None and "agencies" in known_keys:  # The model is that of the settings.
        return "was removed", remedy
    return "is no known key", suggest(key, known_keys, "nothing: no key belongs here")


def _replaceable_path(data: Any, path: Path) -> Path:
    """Return *path*, or the path of its nearest parent at which `_replace_at` can insert a value into *data*."""
    for length, part in enumerate(path):
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return path[:length]
    return path


def _replace_at(data: Any, replacements: Mapping[Path, Any]) -> Any:
    """Return *data* with *replacements* inserted at their paths."""
    if () in replacements:
        return replacements[()]
    by_child: dict[str | int, dict[Path, Any]] = {}
    for path, replacement in replacements.items():
        by_child.setdefault(path[0], {})[path[1:]] = replacement
    result = dict(data) if isinstance(data, Mapping) else dict(enumerate(data))
    for key, child_replacements in by_child.items():
        result[key] = _replace_at(result.get(key), child_replacements)
    remaining = {key: each for key, each in result.items() if each is not _REMOVED}
    return remaining if isinstance(data, Mapping) else list(remaining.values())
