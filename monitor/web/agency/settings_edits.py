"""Conversion of the settings forms to edits of an agency's document (its YAML configuration). No I/O.

Edits write the values as entered; only a probe interval in words is converted to the short format. The checks for
configuration files validate the edited document. The names of forms and fields are those in the HTML templates. A route
leads from one mailbox to another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from alerts.model.notification import Language
from monitor.config.agency.route import RouteSettings
from monitor.config.files.duration import format_duration
from monitor.config.files.edit import AppendItem, RemoveValue, SetValue, TextEdit, YamlValue
from monitor.config.files.problem import Path
from monitor.model.translatable import translatable
from monitor.web.agency import notification_edits
from monitor.web.agency.form_parsing import (
    Fields,
    InvalidFieldError,
    as_mapping,
    as_sequence,
    choice_edits,
    value_edits,
)

#: Document keys of a contact's numbers in the short notation. Otherwise a contact has a list `addresses`.
CONTACT_NUMBERS: Final = ("sms", "voice", "extension", "fax")
#: Kinds of numbers in an item of `addresses`.
ADDRESS_KINDS: Final = ("mobile", "landline", "fax")
#: Document key of the date on which a number was last verified.
VERIFIED_KEY: Final = "verified"
#: Field name prefix of the selected maintenance windows of a calendar file.
SELECTED_PREFIX: Final = "window-"
#: Field name prefix of all maintenance windows that the preview of a calendar file offers.
OFFERED_PREFIX: Final = "offered-"
#: Choices for the days on which probe hours (the hours in which Pantau probes) start, in cron format.
PROBE_DAYS: Final = ("*", "mon-fri", "sun-thu")
#: Units of durations in Malay and English words ("10 minit"), for users who do not know the short format ("10m").
_UNITS: Final = {"saat": "s", "minit": "m", "jam": "h", "seconds": "s", "minutes": "m", "hour": "h", "hours": "h"}
_DURATION_IN_WORDS: Final = re.compile(rf"(\d{{1,4}})\s*({'|'.join(_UNITS)})", re.ASCII)


def form_edits(
    form: str, fields: Fields, data: Mapping[str, Any], routes: Sequence[RouteSettings]
) -> Sequence[TextEdit]:
    """Return the edits that the form named *form* makes to a document with the content *data*.

    *routes*: the default routes, which apply if the document lists none. Raise `InvalidFieldError`, or `KeyError` for
    an unknown form.
    """
    if (notification_function := _NOTIFICATION_FORMS.get(form)) is not None:
        return notification_function(fields, data)
    return _SETTINGS_FORMS[form](fields, data, routes)


#: Function that returns the edits of one form. Arguments: form fields, content of the document, default routes.
_EditFunction = Callable[[Fields, Mapping[str, Any], Sequence[RouteSettings]], Sequence[TextEdit]]


def _interval(fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    match = _DURATION_IN_WORDS.fullmatch(fields.get("interval", "").strip().lower())
    if match is not None:
        fields = {**fields, "interval": match[1] + _UNITS[match[2]]}
    return value_edits(("probing",), fields, ("interval",))


def _add_probe_hours(fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    start, end = _time(fields, "begins"), _time(fields, "ends")
    any_day = date(2026, 1, 1)
    duration = datetime.combine(any_day, end) - datetime.combine(any_day, start)
    if duration <= timedelta(0):
        # The probe hours end on the next day.
        duration += timedelta(days=1)
    days = fields.get("days", "*")
    cron = f"{start.minute} {start.hour} * * {days if days in PROBE_DAYS else '*'}"
    return [AppendItem(path=("probing", "active_hours"), value={"cron": cron, "for": format_duration(duration)})]


def _remove_probe_hours(
    fields: Fields, data: Mapping[str, Any], _routes: Sequence[RouteSettings]
) -> Sequence[TextEdit]:
    # A window is one item of the probe hours. If it is the only one, remove the whole key: without the key, mail is
    # probed at all times; with an empty list, it would never be probed.
    is_only_window = len(as_sequence(as_mapping(data.get("probing")).get("active_hours"))) == 1
    return [
        RemoveValue(path=("probing", "active_hours") if is_only_window else ("probing", "active_hours", _index(fields)))
    ]


def _add_maintenance(fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    window = {key: fields.get(name, "").replace("T", " ") for key, name in (("from", "begins"), ("until", "ends"))}
    return [AppendItem(path=("maintenance",), value={**window, "reason": fields.get("reason", "")})]


def _calendar(fields: Fields, data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    present = maintenance_windows(data)
    new = [parse_window(value) for name, value in fields.items() if name.startswith(SELECTED_PREFIX)]
    return [AppendItem(path=("maintenance",), value=each) for each in new if each not in present]


def maintenance_windows(data: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """Return the maintenance windows of a document, with times such as "2026-12-01 22:00" and all values as text."""
    return [
        {key: str(value).replace("T", " ") if key in ("from", "until") else str(value) for key, value in each.items()}
        for each in as_sequence(data.get("maintenance"))
        if isinstance(each, Mapping)
    ]


def parse_window(text: str) -> Mapping[str, str]:
    """Parse a maintenance window from the JSON in a form field of the preview page of a calendar file.

    Raise `InvalidFieldError`.
    """
    try:
        window = json.loads(text)
    except (ValueError, RecursionError):
        window = None
    if not isinstance(window, dict) or not all(isinstance(value, str) for value in window.values()):
        raise InvalidFieldError("file", "the window from the calendar file is invalid; open the page again")
    return {key: window[key] for key in ("from", "until", "cron", "for", "reason") if key in window}


def _remove_maintenance(
    fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]
) -> Sequence[TextEdit]:
    return [RemoveValue(path=("maintenance", _index(fields)))]


def _add_route(fields: Fields, data: Mapping[str, Any], routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    new = {key: fields[key] for key in ("direction", "mailbox", "reference", "to") if fields.get(key)}
    if "routes" in data:
        return [AppendItem(path=("routes",), value=new)]
    # Write the default routes, too: they apply only as long as the document lists no routes.
    return [SetValue(path=("routes",), value=[*map(_route_values, routes), new])]


def _remove_route(fields: Fields, data: Mapping[str, Any], routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    removed_index = _index(fields)
    if "routes" in data:
        return [RemoveValue(path=("routes", removed_index))]
    remaining = [_route_values(route) for index, route in enumerate(routes) if index != removed_index]
    return [SetValue(path=("routes",), value=remaining)]


def _use_default_routes(
    _fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]
) -> Sequence[TextEdit]:
    return [RemoveValue(path=("routes",))]


def _contact(fields: Fields, data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    key = fields.get("key", "")
    path: Path = ("contacts", key)
    present = as_mapping(data.get("contacts")).get(key)
    if not isinstance(present, Mapping):
        raise InvalidFieldError(
            "key", translatable("there is no contact '{key}' any more; open the page again", key=key)
        )
    edits = [
        SetValue(path=(*path, "name"), value=fields.get("name", "")),
        *choice_edits(path, fields, present, {"language": Language.MALAY.value}),
        *value_edits(path, fields, (*CONTACT_NUMBERS, VERIFIED_KEY)),
    ]
    addresses = present.get("addresses")
    # The fields of an item are named by key and position, such as "mobile-0" and "verified-0".
    for index, address in enumerate(as_sequence(addresses)):
        keys = [*(kind for kind in ADDRESS_KINDS if kind in as_mapping(address)), VERIFIED_KEY]
        entered = {each: fields[f"{each}-{index}"] for each in keys if f"{each}-{index}" in fields}
        edits += value_edits((*path, "addresses", index), entered, keys)
    if (new := fields.get("new_number")) and isinstance(addresses, list):
        kind = fields.get("new_kind", "")
        edits.append(
            AppendItem(path=(*path, "addresses"), value={kind if kind in ADDRESS_KINDS else ADDRESS_KINDS[0]: new})
        )
    return edits


def _add_contact(fields: Fields, data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    key = fields.get("key", "").lower()
    if not key:
        raise InvalidFieldError("key", "the contact has no short name; write one in lower-case letters: siti")
    if key in as_mapping(data.get("contacts")):
        raise InvalidFieldError(
            "key", translatable("there is a contact '{key}' already; write another short name", key=key)
        )
    numbers = {each: fields[each] for each in ("sms", "voice") if fields.get(each)}
    return [SetValue(path=("contacts", key), value={"name": fields.get("name", ""), **numbers})]


def _remove_contact(fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    return [RemoveValue(path=("contacts", fields.get("key", "")))]


#: Edit functions of the settings page, by name of the form.
_SETTINGS_FORMS: Final[Mapping[str, _EditFunction]] = {
    "interval": _interval,
    "add_hours": _add_probe_hours,
    "drop_hours": _remove_probe_hours,
    "add_maintenance": _add_maintenance,
    "calendar": _calendar,
    "drop_maintenance": _remove_maintenance,
    "add_route": _add_route,
    "drop_route": _remove_route,
    "usual_routes": _use_default_routes,
    "contact": _contact,
    "add_contact": _add_contact,
    "drop_contact": _remove_contact,
}
#: Edit functions of the notification page, by name of the form.
_NOTIFICATION_FORMS: Final[Mapping[str, Callable[[Fields, Mapping[str, Any]], Sequence[TextEdit]]]] = {
    "rota": notification_edits.rota,
    "add_rota": notification_edits.add_rota,
    "drop_rota": notification_edits.remove_rota,
    "escalation": notification_edits.escalation,
    "recipient": notification_edits.recipient,
    "add_recipient": notification_edits.add_recipient,
    "drop_recipient": notification_edits.remove_recipient,
    "announcement": notification_edits.announcement,
    "letterhead": notification_edits.letterhead,
}
#: Names of all forms.
FORMS: Final = frozenset({*_SETTINGS_FORMS, *_NOTIFICATION_FORMS})
#: Forms whose field names contain positions of rows, such as "steps[0].after". In another version of the document,
#: other rows may have these positions.
POSITIONAL_FORMS: Final = frozenset({"rota", "escalation"})
#: Forms with a preview before saving.
PREVIEWED_FORMS: Final = frozenset({"rota", "add_rota"})


def is_notification_form(form: str) -> bool:
    """Whether a form belongs to the notification page."""
    return form in _NOTIFICATION_FORMS


def _index(fields: Fields) -> int:
    """Return the position of the item that the form removes, from the field "number". Raise `InvalidFieldError`."""
    entered = fields.get("number", "")
    if not entered.isdecimal() or len(entered) > 4:
        raise InvalidFieldError("number", "the item to remove is not named; open the page again")
    return int(entered)


def _time(fields: Fields, name: str) -> time:
    try:
        return time.fromisoformat(fields.get(name, ""))
    except ValueError:
        raise InvalidFieldError(name, "is not a time of day; write 08:00, or 17:30") from None


def _route_values(route: RouteSettings) -> YamlValue:
    return {key: str(value) for key, value in route.model_dump(exclude_none=True).items()}
