"""Conversion of the notification forms to edits of an agency's document (its YAML configuration). No I/O.

A form field has the name of the document key that it edits, relative to the part of the document that its form edits:
`layers[0].from` in the form of a rota. So the page can show an error at a key beside the right field.

A rota says who is on call. Each of its layers is a list of people who are on call in turn. An escalation notifies staff
in steps, one step after another. A recipient is an office outside that receives the announcement of an outage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from alerts.model.channel import Channel
from alerts.model.notification import Language
from monitor.config.fields.phone import AnsweringHours
from monitor.config.files.edit import AppendItem, RemoveValue, SetValue, TextEdit, YamlValue
from monitor.config.files.problem import Path, format_path
from monitor.model.translatable import translatable
from monitor.web.agency.form_parsing import (
    Fields,
    InvalidFieldError,
    as_mapping,
    as_sequence,
    choice_edits,
    list_edits,
    new_key,
    value_edits,
)

#: Maximum number of layers of a rota or steps of an escalation, and of people in a layer. If there are more, the user
#: must edit the text of the document.
MAX_ROWS: Final = 20
MAX_PEOPLE: Final = 12
#: Single-line fields of an external recipient.
RECIPIENT_FIELDS: Final = ("title", "organisation", "attention", "salutation", "fax", "sms", "voice", "extension")
#: Fields of the letterhead, and of the person who signs letters.
LETTERHEAD_FIELDS: Final = ("division", "telephone", "fax", "hours", "reference")
SIGNATORY_FIELDS: Final = ("name", "post")
#: Default values of a recipient, by field. They are not written for a new recipient.
_RECIPIENT_DEFAULTS: Final = {"hours": AnsweringHours.ALWAYS.value, "language": Language.MALAY.value}
#: Beginning of the name of a field in a row: a layer of a rota, or a step of an escalation.
_ROW_PATTERN: Final = re.compile(r"(layers|steps)\[(\d{1,3})\]")


def rota(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form of an existing rota."""
    key = fields.get("key", "")
    path: Path = ("rotas", key)
    present = as_mapping(data.get("rotas")).get(key)
    if not isinstance(present, Mapping):
        raise InvalidFieldError("key", translatable("there is no rota '{key}' any more; open the page again", key=key))
    # 08:00 is the default time of a handover.
    edits = choice_edits(path, fields, present, {"handover": "08:00"})
    layers = as_sequence(present.get("layers"))
    for index, layer in enumerate(layers):
        if f"layers[{index}].drop" not in fields:
            edits += _layer_edits((*path, "layers", index), as_mapping(layer), fields, f"layers[{index}].")
    edits += _removed_rows((*path, "layers"), layers, fields)
    # The form has an empty row for a new layer after the present layers.
    if people := _people(fields, f"layers[{len(layers)}]."):
        edits.append(AppendItem(path=(*path, "layers"), value=_new_layer(fields, f"layers[{len(layers)}].", people)))
    return edits


def add_rota(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form of a new rota."""
    # "bertugas" (Malay for "on duty") is the example key in the error message.
    key = new_key(fields, as_mapping(data.get("rotas")), "bertugas")
    handover = fields.get("handover", "")
    value: dict[str, YamlValue] = {"handover": handover} if handover not in ("", "08:00") else {}
    layer = _new_layer(fields, "layers[0].", _people(fields, "layers[0]."))
    return [SetValue(path=("rotas", key), value={**value, "layers": [layer]})]


def remove_rota(fields: Fields, _data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits that remove a rota."""
    return [RemoveValue(path=("rotas", fields.get("key", "")))]


def _layer_edits(path: Path, present: Mapping[str, Any], fields: Fields, prefix: str) -> list[TextEdit]:
    return [
        *choice_edits(path, fields, present, {"days": "all", "every": "weekly"}, prefix),
        *value_edits(path, fields, ("from",), prefix),
        *list_edits((*path, "people"), present.get("people"), _people(fields, prefix)),
    ]


def _new_layer(fields: Fields, prefix: str, people: Sequence[str]) -> Mapping[str, YamlValue]:
    # "all" is the default of "days", and is not written.
    selected = {name: fields.get(prefix + name, "") for name in ("days", "every", "from")}
    return {**{name: value for name, value in selected.items() if value and value != "all"}, "people": people}


def _people(fields: Fields, prefix: str) -> Sequence[str]:
    """Return the keys of the people entered for a layer, in order."""
    names = (f"{prefix}people[{index}]" for index in range(MAX_PEOPLE))
    return [fields[name] for name in names if fields.get(name)]


def escalation(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form of the escalation and its steps."""
    path: Path = ("escalation",)
    present = as_mapping(data.get("escalation"))
    steps = as_sequence(present.get("steps"))
    edits: list[TextEdit] = []
    for index, step in enumerate(steps):
        if f"steps[{index}].drop" not in fields:
            edits += _step_edits(("escalation", "steps", index), as_mapping(step), fields, f"steps[{index}].")
    edits += _removed_rows(("escalation", "steps"), steps, fields)
    # The form has an empty row for a new step after the present steps.
    prefix = f"steps[{len(steps)}]."
    selected_keys, channels = _selected_keys(fields, prefix), _selected_channels(fields, prefix)
    if channels or any(selected_keys.values()):
        after = {"after": fields[f"{prefix}after"]} if fields.get(f"{prefix}after") else {}
        recipients = {name: keys for name, keys in selected_keys.items() if keys}
        edits.append(AppendItem(path=("escalation", "steps"), value={**after, **recipients, "channels": channels}))
    return [
        *edits,
        *value_edits(
            path, fields, ("rounds", "repeat_after", "repeat_interval", "acknowledgement_timeout", "fallback")
        ),
    ]


def _step_edits(path: Path, present: Mapping[str, Any], fields: Fields, prefix: str) -> list[TextEdit]:
    edits = value_edits(path, fields, ("after",), prefix)
    for name, keys in _selected_keys(fields, prefix).items():
        edits += list_edits((*path, name), present.get(name), _keep_order(present.get(name), keys))
    return [*edits, *list_edits((*path, "channels"), present.get("channels"), _selected_channels(fields, prefix))]


def _selected_keys(fields: Fields, prefix: str) -> Mapping[str, list[str]]:
    """Return the keys of the selected contacts and rotas of a step: {"contacts": [...], "rotas": [...]}."""
    return {
        name: [field.removeprefix(f"{prefix}{name}.") for field in fields if field.startswith(f"{prefix}{name}.")]
        for name in ("contacts", "rotas")
    }


def _selected_channels(fields: Fields, prefix: str) -> Sequence[str]:
    """Return the channels in the order in which they are tried, without duplicates."""
    names = (f"{prefix}channels[{index}]" for index in range(len(Channel)))
    return list(dict.fromkeys(fields[name] for name in names if fields.get(name)))


def _keep_order(present: object, new_items: Sequence[str]) -> Sequence[str]:
    """Return *new_items*: first the items that the document has already, in the document's order, then the others."""
    present_items = [str(each) for each in as_sequence(present)]
    remaining = [each for each in present_items if each in new_items]
    return [*remaining, *(each for each in new_items if each not in present_items)]


def _removed_rows(path: Path, rows: Sequence[object], fields: Fields) -> list[TextEdit]:
    """Return edits that remove the rows ticked for removal, the last row first, so that other positions stay valid."""
    name = path[-1]
    return [
        RemoveValue(path=(*path, index)) for index in range(len(rows) - 1, -1, -1) if f"{name}[{index}].drop" in fields
    ]


def recipient(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form of an existing recipient."""
    key = fields.get("key", "")
    present = as_mapping(as_mapping(data.get("announcement")).get("recipients")).get(key)
    if not isinstance(present, Mapping):
        raise InvalidFieldError(
            "key", translatable("there is no recipient '{key}' any more; open the page again", key=key)
        )
    path: Path = ("announcement", "recipients", key)
    channels = _keep_order(present.get("channels"), _ticked_channels(fields))
    return [
        *value_edits(path, fields, RECIPIENT_FIELDS),
        *choice_edits(path, fields, present, _RECIPIENT_DEFAULTS),
        *list_edits((*path, "address"), present.get("address"), _address_lines(fields)),
        *list_edits((*path, "channels"), present.get("channels"), channels),
    ]


def add_recipient(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form of a new recipient."""
    # "ksu" is the example key in the error message: the Malay abbreviation of "secretary general".
    key = new_key(fields, as_mapping(as_mapping(data.get("announcement")).get("recipients")), "ksu")
    value: dict[str, YamlValue] = {name: fields[name] for name in RECIPIENT_FIELDS if fields.get(name)}
    if address := _address_lines(fields):
        value["address"] = address
    entered = {
        name: fields[name] for name, default in _RECIPIENT_DEFAULTS.items() if fields.get(name, default) != default
    }
    recipient_value = {**value, **entered, "channels": _ticked_channels(fields)}
    return [SetValue(path=("announcement", "recipients", key), value=recipient_value)]


def remove_recipient(fields: Fields, _data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits that remove a recipient."""
    return [RemoveValue(path=("announcement", "recipients", fields.get("key", "")))]


def announcement(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the form about the release of announcements, and the days of further notifications."""
    present = as_mapping(data.get("announcement"))
    defaults = {"release": "manual", "updates": "workdays"}
    return [
        *choice_edits(("announcement",), fields, present, defaults),
        *value_edits(("announcement",), fields, ("release_offered_after",)),
    ]


def letterhead(fields: Fields, data: Mapping[str, Any]) -> Sequence[TextEdit]:
    """Return the edits of the letterhead form."""
    present = as_mapping(data.get("letterhead"))
    signatory = {name: fields[f"signatory.{name}"] for name in SIGNATORY_FIELDS if fields.get(f"signatory.{name}")}
    edits = [
        *value_edits(("letterhead",), fields, LETTERHEAD_FIELDS),
        *list_edits(("letterhead", "address"), present.get("address"), _address_lines(fields)),
    ]
    # Edit an existing signatory value by value. Write a new one as a whole; remove one whose fields are all empty.
    if "signatory" in present and signatory:
        return [*edits, *value_edits(("letterhead", "signatory"), fields, SIGNATORY_FIELDS, "signatory.")]
    signatory_edit = SetValue(path=("letterhead", "signatory"), value=signatory) if signatory else None
    return [*edits, signatory_edit or RemoveValue(path=("letterhead", "signatory"))]


def _ticked_channels(fields: Fields) -> Sequence[str]:
    return [channel.value for channel in Channel if f"channels.{channel}" in fields]


def _address_lines(fields: Fields) -> Sequence[str]:
    return [line for each in fields.get("address", "").splitlines() if (line := each.strip())]


def root_path(form: str, fields: Fields) -> str:
    """Return the document key to which a form's field names are relative; "" if its fields do not have such names."""
    key = fields.get("key", "").lower()
    match form:
        case "rota" | "add_rota":
            return format_path(("rotas", key))
        case "recipient" | "add_recipient":
            return format_path(("announcement", "recipients", key))
        case "escalation" | "announcement" | "letterhead":
            return form
    return ""


def field_for_key(form: str, fields: Fields, key: str) -> str | None:
    """Return the form field for an error at *key* of the document; `None` if the form has no field for the key."""
    root = root_path(form, fields)
    if not root or not key.startswith((f"{root}.", f"{root}[")):
        return None
    name = key.removeprefix(root).removeprefix(".")
    if (row := _ROW_PATTERN.match(name)) is not None:
        # The error refers to a row of the edited document, which lacks the rows that the form removes. So convert the
        # position of the row in this document to its position in the form.
        remaining = [index for index in range(MAX_ROWS + 1) if f"{row[1]}[{index}].drop" not in fields]
        if int(row[2]) < len(remaining):
            return f"{row[1]}[{remaining[int(row[2])]}]{name[row.end() :]}"
    return name
