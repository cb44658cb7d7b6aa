"""Edits of the notification forms: rotas, escalation steps, external recipients. Pure.

A field is named after the document key that it edits, relative to the form's root: `layers[0].from` of a rota. So an
error of the document is shown at its field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from alerts.model.channel import Channel
from alerts.model.notification import Language
from monitor.config.fields.phone import Presence
from monitor.config.files.edit import AppendItem, RemoveValue, SetValue, TextEdit, Written
from monitor.config.files.problem import Path, dotted
from monitor.model.lazy_text import said
from monitor.web.agency.form_parsing import (
    Fields,
    InvalidFieldError,
    choices,
    listed,
    mapping,
    new_key,
    sequence,
    values,
)

#: More rows than a page shows, and fewer than a form may have.
MOST_ROWS: Final = 20
MOST_PEOPLE: Final = 12
#: Single-line fields of a recipient.
LINES: Final = ("title", "organisation", "attention", "salutation", "fax", "sms", "voice", "extension")
#: Fields of the letterhead.
OFFICE: Final = ("division", "telephone", "fax", "hours", "reference")
SIGNATORY: Final = ("name", "post")
_USUAL: Final = {"hours": Presence.ALWAYS.value, "language": Language.MALAY.value}
_ROW: Final = re.compile(r"(layers|steps)\[(\d{1,3})\]")


def rota(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form of an existing rota."""
    key = fields.get("key", "")
    path: Path = ("rotas", key)
    there = mapping(data.get("rotas")).get(key)
    if not isinstance(there, Mapping):
        raise InvalidFieldError("key", said("there is no rota '{key}' any more; open the page again", key=key))
    edits = choices(path, fields, there, {"handover": "08:00"})
    layers = sequence(there.get("layers"))
    for place, layer in enumerate(layers):
        if f"layers[{place}].drop" not in fields:
            edits += _layer((*path, "layers", place), mapping(layer), fields, f"layers[{place}].")
    edits += _dropped((*path, "layers"), layers, fields)
    if people := _people(fields, f"layers[{len(layers)}]."):
        edits.append(AppendItem(path=(*path, "layers"), value=_new_layer(fields, f"layers[{len(layers)}].", people)))
    return edits


def add_rota(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form of a new rota."""
    key = new_key(fields, mapping(data.get("rotas")), "bertugas")
    handover = fields.get("handover", "")
    value: dict[str, Written] = {"handover": handover} if handover not in ("", "08:00") else {}
    layer = _new_layer(fields, "layers[0].", _people(fields, "layers[0]."))
    return [SetValue(path=("rotas", key), value={**value, "layers": [layer]})]


def drop_rota(fields: Fields, _data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits that remove a rota."""
    return [RemoveValue(path=("rotas", fields.get("key", "")))]


def _layer(path: Path, there: Mapping[str, Any], fields: Fields, prefix: str) -> list[TextEdit]:
    return [
        *choices(path, fields, there, {"days": "all", "every": "weekly"}, prefix),
        *values(path, fields, ("from",), prefix),
        *listed((*path, "people"), there.get("people"), _people(fields, prefix)),
    ]


def _new_layer(fields: Fields, prefix: str, people: Sequence[str]) -> Mapping[str, Written]:
    chosen = {name: fields.get(prefix + name, "") for name in ("days", "every", "from")}
    return {**{name: value for name, value in chosen.items() if value and value != "all"}, "people": people}


def _people(fields: Fields, prefix: str) -> Sequence[str]:
    """Return the sequence of people, without empty fields."""
    names = (f"{prefix}people[{place}]" for place in range(MOST_PEOPLE))
    return [fields[name] for name in names if fields.get(name)]


def escalation(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form of escalation steps."""
    path: Path = ("escalation",)
    there = mapping(data.get("escalation"))
    steps = sequence(there.get("steps"))
    edits: list[TextEdit] = []
    for place, step in enumerate(steps):
        if f"steps[{place}].drop" not in fields:
            edits += _step(("escalation", "steps", place), mapping(step), fields, f"steps[{place}].")
    edits += _dropped(("escalation", "steps"), steps, fields)
    prefix = f"steps[{len(steps)}]."
    who, channels = _who(fields, prefix), _channels(fields, prefix)
    if channels or any(who.values()):
        after = {"after": fields[f"{prefix}after"]} if fields.get(f"{prefix}after") else {}
        named = {name: keys for name, keys in who.items() if keys}
        edits.append(AppendItem(path=("escalation", "steps"), value={**after, **named, "channels": channels}))
    return [
        *edits,
        *values(path, fields, ("rounds", "repeat_after", "repeat_interval", "acknowledgement_timeout", "fallback")),
    ]


def _step(path: Path, there: Mapping[str, Any], fields: Fields, prefix: str) -> list[TextEdit]:
    edits = values(path, fields, ("after",), prefix)
    for name, keys in _who(fields, prefix).items():
        edits += listed((*path, name), there.get(name), _in_order(there.get(name), keys))
    return [*edits, *listed((*path, "channels"), there.get("channels"), _channels(fields, prefix))]


def _who(fields: Fields, prefix: str) -> Mapping[str, list[str]]:
    """Return the selected keys."""
    return {
        name: [field.removeprefix(f"{prefix}{name}.") for field in fields if field.startswith(f"{prefix}{name}.")]
        for name in ("contacts", "rotas")
    }


def _channels(fields: Fields, prefix: str) -> Sequence[str]:
    """Return the channels in the order in which they are tried, without duplicates."""
    names = (f"{prefix}channels[{place}]" for place in range(len(Channel)))
    return list(dict.fromkeys(fields[name] for name in names if fields.get(name)))


def _in_order(there: object, wanted: Sequence[str]) -> Sequence[str]:
    """Return *wanted* in the order of *there*, followed by the new items."""
    present = [str(each) for each in sequence(there)]
    kept = [each for each in present if each in wanted]
    return [*kept, *(each for each in wanted if each not in present)]


def _dropped(path: Path, rows: Sequence[object], fields: Fields) -> list[TextEdit]:
    """Return edits that remove rows, the last first, so that the positions of the others stay valid."""
    name = path[-1]
    return [
        RemoveValue(path=(*path, place)) for place in range(len(rows) - 1, -1, -1) if f"{name}[{place}].drop" in fields
    ]


def recipient(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form of an existing recipient."""
    key = fields.get("key", "")
    there = mapping(mapping(data.get("announcement")).get("recipients")).get(key)
    if not isinstance(there, Mapping):
        raise InvalidFieldError("key", said("there is no recipient '{key}' any more; open the page again", key=key))
    path: Path = ("announcement", "recipients", key)
    channels = _in_order(there.get("channels"), _ticked(fields))
    return [
        *values(path, fields, LINES),
        *choices(path, fields, there, _USUAL),
        *listed((*path, "address"), there.get("address"), _address(fields)),
        *listed((*path, "channels"), there.get("channels"), channels),
    ]


def add_recipient(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form of a new recipient."""
    key = new_key(fields, mapping(mapping(data.get("announcement")).get("recipients")), "ksu")
    value: dict[str, Written] = {name: fields[name] for name in LINES if fields.get(name)}
    if address := _address(fields):
        value["address"] = address
    usual = {name: fields[name] for name, default in _USUAL.items() if fields.get(name, default) != default}
    whole = {**value, **usual, "channels": _ticked(fields)}
    return [SetValue(path=("announcement", "recipients", key), value=whole)]


def drop_recipient(fields: Fields, _data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits that remove a recipient."""
    return [RemoveValue(path=("announcement", "recipients", fields.get("key", "")))]


def announcement(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form that sets how announcements are released."""
    there = mapping(data.get("announcement"))
    usual = {"release": "manual", "updates": "workdays"}
    return [
        *choices(("announcement",), fields, there, usual),
        *values(("announcement",), fields, ("release_offered_after",)),
    ]


def letterhead(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the letterhead form."""
    there = mapping(data.get("letterhead"))
    signatory = {name: fields[f"signatory.{name}"] for name in SIGNATORY if fields.get(f"signatory.{name}")}
    edits = [
        *values(("letterhead",), fields, OFFICE),
        *listed(("letterhead", "address"), there.get("address"), _address(fields)),
    ]
    if "signatory" in there and signatory:
        return [*edits, *values(("letterhead", "signatory"), fields, SIGNATORY, "signatory.")]
    whole = SetValue(path=("letterhead", "signatory"), value=signatory) if signatory else None
    return [*edits, whole or RemoveValue(path=("letterhead", "signatory"))]


def _ticked(fields: Fields) -> Sequence[str]:
    return [channel.value for channel in Channel if f"channels.{channel}" in fields]


def _address(fields: Fields) -> Sequence[str]:
    return [line for each in fields.get("address", "").splitlines() if (line := each.strip())]


def root_of(form: str, fields: Fields) -> str:
    """Return the root path of the keys that a form's field names are relative to; "" if the form has none."""
    key = fields.get("key", "").lower()
    match form:
        case "rota" | "add_rota":
            return dotted(("rotas", key))
        case "recipient" | "add_recipient":
            return dotted(("announcement", "recipients", key))
        case "escalation" | "announcement" | "letterhead":
            return form
    return ""


def field_of(form: str, fields: Fields, key: str) -> str | None:
    """Return the form field of an error at a document *key*; `None` if the key is not in this form."""
    root = root_of(form, fields)
    if not root or not key.startswith((f"{root}.", f"{root}[")):
        return None
    name = key.removeprefix(root).removeprefix(".")
    if (row := _ROW.match(name)) is not None:
        # Removed rows have no position in the document any more.
        kept = [place for place in range(MOST_ROWS + 1) if f"{row[1]}[{place}].drop" not in fields]
        if int(row[2]) < len(kept):
            return f"{row[1]}[{kept[int(row[2])]}]{name[row.end() :]}"
    return name
