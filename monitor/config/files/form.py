"""Bring what was written into the shape of a model, before pydantic sees it.

What pydantic cannot place or word well is found here: unknown and missing keys, keys without a value, secrets, spans
of time, paths. Each is reported where it stands and replaced by a blank, so that the rest is read as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from alerts.model.channel import Channel
from monitor.config.files.annotation import Ask, asks, blank, example, names, of_field
from monitor.config.files.duration import NoDuration, parse_duration
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path
from monitor.config.files.secret import NoSecret, Vault

#: Written where only the four channels can stand, these are no slips of the pen.
_UNSANCTIONED = frozenset(
    {
        *("e-mail", "e-mel", "email", "emel", "mail", "smtp"),
        *("chat", "discord", "mattermost", "push", "signal", "slack", "teams", "telegram", "webhook", "whatsapp"),
    }
)
SANCTIONED = "sms, voice, fax or letter (circular of 1 June 2007, paragraph 4)"


class Form:
    """Fills in models from one document."""

    def __init__(self, findings: Findings, vault: Vault) -> None:
        self._findings = findings
        self._vault = vault

    def fill(self, model: type[BaseModel], data: object, path: Path = ()) -> object:
        """Return *data* as *model* can be validated from; anything wrong is noted and blanked."""
        if not isinstance(data, Mapping):
            return data  # pydantic says what kind of value it wants
        fields, wanted = names(model), asks(model)
        known = _known(model)
        filled: dict[str, Any] = {}
        for key, value in data.items():
            if key in known and key in fields:
                filled[key] = self._value(wanted[key], value, (*path, key))
            elif key not in known and key not in fields:
                self._findings.broken((*path, key), *_unknown(key, known))
        for key, field in fields.items():
            if wanted[key].is_secret:
                secret = self._secret(key, field, wanted[key], data, path)
                filled |= {} if secret is None else {key: secret}
            elif field.is_required() and key not in data:
                self._findings.broken((*path, key), "is missing", f"{key}: {_example(field)}")
                filled[key] = blank(wanted[key].annotation)
        return filled

    def _value(self, ask: Ask, value: object, path: Path) -> object:
        if value is None:
            if not ask.allows_none:
                self._findings.broken(path, "has no value", f"{path[-1]}: {example(ask.annotation)}")
                return blank(ask.annotation)
            return None
        if ask.model is not None:
            return self.fill(ask.model, value, path)
        within = ask.within
        if within is not None and isinstance(value, Mapping) and ask.is_mapping:
            return {key: self._value(within, below, (*path, key)) for key, below in value.items()}
        if within is not None and isinstance(value, list) and not ask.is_mapping:
            return [self._value(within, below, (*path, number)) for number, below in enumerate(value)]
        if ask.core is timedelta and isinstance(value, str):
            return self._duration(ask.annotation, value, path)
        if ask.core is FilePath and isinstance(value, str):
            return self._vault.directory / value if value else value
        return value

    def _duration(self, annotation: Any, text: str, path: Path) -> object:
        try:
            return parse_duration(text)
        except NoDuration as error:
            unit = f"{text.strip()}s or {text.strip()}m" if text.strip().isdigit() else "30s, 5m or 1h30m"
            self._findings.broken(path, str(error), unit)
            return blank(annotation)

    def _secret(self, key: str, field: FieldInfo, ask: Ask, data: Mapping[str, Any], path: Path) -> object:
        by_file, by_variable = f"{key}_file", f"{key}_env"
        sources = [name for name in (key, by_file, by_variable) if name in data]
        instead = f"{by_file}: PATH, or {by_variable}: NAME"
        if key in data:
            self._findings.broken((*path, key), "a secret is never written in the configuration", instead)
        elif not sources:
            if not field.is_required():
                return None
            self._findings.broken((*path, key), "is missing", instead)
        elif len(sources) > 1:
            self._findings.broken((*path, by_variable), f"is a second source beside {by_file}", "one of the two")
        else:
            place, names = (*path, sources[0]), data[sources[0]]
            if ask.within is not None and isinstance(names, list):
                return [self._from(name, (*place, n), by_file=sources[0] == by_file) for n, name in enumerate(names)]
            return self._from(names, place, by_file=sources[0] == by_file)
        return blank(ask.annotation)

    def _from(self, name: object, path: Path, *, by_file: bool) -> SecretStr:
        if not isinstance(name, str) or not name:
            what = "the path of a file" if by_file else "the name of an environment variable"
            self._findings.broken(path, f"must be {what}", "PATH" if by_file else "NAME")
            return SecretStr("?")
        try:
            secret = self._vault.from_file(name) if by_file else self._vault.from_variable(name)
        except NoSecret as error:
            self._findings.broken(path, str(error), error.instead)
            return SecretStr("?")
        if by_file and self._vault.is_open_to_all(name):
            self._findings.warning(
                path, f"everybody on this machine can read {name}", f"chmod o-rwx {name} (in a shell)"
            )
        return secret


@cache
def _known(model: type[BaseModel]) -> Sequence[str]:
    """Return the keys that may be written for *model*: of a secret where it is, never the secret."""
    secrets = [key for key, ask in asks(model).items() if ask.is_secret]
    plain = [key for key in names(model) if key not in secrets]
    return plain + [f"{key}_{source}" for key in secrets for source in ("file", "env")]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the one of *known* that *word* was probably meant to be."""
    matches = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return matches[0] if matches else None


def _unknown(key: str, known: Iterable[str]) -> tuple[str, str]:
    options = list(known)
    if key.lower() in _UNSANCTIONED and {Channel.SMS, Channel.VOICE} <= set(options):
        return f"'{key}' is no sanctioned channel", SANCTIONED
    near = nearest(key, options)
    return "is no known key", near or ("one of " + ", ".join(options) if options else "nothing: no key belongs here")


def _example(field: FieldInfo) -> str:
    return str(field.examples[0]) if field.examples else example(of_field(field))
