"""Edits of the settings forms: each form's input is converted to edits of the document's text. Pure.

Values are written as entered and validated by the same checks as a file. Durations in words are converted.
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
from monitor.config.files.edit import AppendItem, RemoveValue, SetValue, TextEdit, Written
from monitor.config.files.problem import Path
from monitor.model.lazy_text import said
from monitor.web.agency import notification_edits
from monitor.web.agency.form_parsing import Fields, InvalidFieldError, choices, mapping, sequence, values

#: Keys of a contact in the short form, and types of one address of a contact.
NUMBERS: Final = ("sms", "voice", "extension", "fax")
KINDS: Final = ("mobile", "landline", "fax")
#: The date of the last successful verification.
VERIFIED: Final = "verified"
#: Field name prefix of the windows from a calendar file.
OF_A_FILE: Final = "window-"
#: Field name prefix of all offered windows, selected or not.
OFFERED: Final = "offered-"
#: Days on which probe hours start, in cron format.
DAYS: Final = ("*", "mon-fri", "sun-thu")
#: Units of durations in words, for users unfamiliar with the short format: "10 minit".
_UNITS: Final = {"saat": "s", "minit": "m", "jam": "h", "seconds": "s", "minutes": "m", "hour": "h", "hours": "h"}
_SPOKEN: Final = re.compile(rf"(\d{{1,4}})\s*({'|'.join(_UNITS)})", re.ASCII)


def edits_of(form: str, fields: Fields, data: Mapping[str, Any], routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    """Return the edits that a form makes to a document with *data*.

    Raise `InvalidFieldError`, or `KeyError` for an unknown form.

    *routes*: the default routes of an agency that lists none.
    """
    if (told := _TELLING.get(form)) is not None:
        return told(fields, data)
    return _DEEDS[form](fields, data, routes)


_Deed = Callable[[Fields, Mapping[str, Any], Sequence[RouteSettings]], Sequence[TextEdit]]


def _interval(fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    spoken = _SPOKEN.fullmatch(fields.get("interval", "").strip().lower())
    if spoken is not None:
        fields = {**fields, "interval": spoken[1] + _UNITS[spoken[2]]}
    return values(("probing",), fields, ("interval",))


def _add_hours(fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    begins, ends = _time(fields, "begins"), _time(fields, "ends")
    some_day = date(2026, 1, 1)
    lasts = datetime.combine(some_day, ends) - datetime.combine(some_day, begins)
    if lasts <= timedelta(0):
        lasts += timedelta(days=1)
    days = fields.get("days", "*")
    cron = f"{begins.minute} {begins.hour} * * {days if days in DAYS else '*'}"
    return [AppendItem(path=("probing", "active_hours"), value={"cron": cron, "for": format_duration(lasts)})]


def _drop_hours(fields: Fields, data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    # Without a window nothing would be probed. Without the key mail is probed at all times.
    alone = len(sequence(mapping(data.get("probing")).get("active_hours"))) == 1
    return [RemoveValue(path=("probing", "active_hours") if alone else ("probing", "active_hours", _number(fields)))]


def _add_maintenance(fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    window = {key: fields.get(name, "").replace("T", " ") for key, name in (("from", "begins"), ("until", "ends"))}
    return [AppendItem(path=("maintenance",), value={**window, "reason": fields.get("reason", "")})]


def _calendar(fields: Fields, data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    there = maintenance_in(data)
    wanted = [read_window(value) for name, value in fields.items() if name.startswith(OF_A_FILE)]
    return [AppendItem(path=("maintenance",), value=each) for each in wanted if each not in there]


def maintenance_in(data: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """Return the maintenance windows of a document in the format of the form."""
    return [
        {key: str(value).replace("T", " ") if key in ("from", "until") else str(value) for key, value in each.items()}
        for each in sequence(data.get("maintenance"))
        if isinstance(each, Mapping)
    ]


def read_window(written: str) -> Mapping[str, str]:
    """Parse a window from the page of a calendar file."""
    try:
        found = json.loads(written)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidFieldError("file", "what the file told of is not known; open the page again")
    return {key: found[key] for key in ("from", "until", "cron", "for", "reason") if key in found}


def _drop_maintenance(fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    return [RemoveValue(path=("maintenance", _number(fields)))]


def _add_route(fields: Fields, data: Mapping[str, Any], routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    wanted = {key: fields[key] for key in ("direction", "mailbox", "reference", "to") if fields.get(key)}
    if "routes" in data:
        return [AppendItem(path=("routes",), value=wanted)]
    return [SetValue(path=("routes",), value=[*map(_written, routes), wanted])]


def _drop_route(fields: Fields, data: Mapping[str, Any], routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    number = _number(fields)
    if "routes" in data:
        return [RemoveValue(path=("routes", number))]
    left = [_written(route) for place, route in enumerate(routes) if place != number]
    return [SetValue(path=("routes",), value=left)]


def _usual_routes(_fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    return [RemoveValue(path=("routes",))]


def _contact(fields: Fields, data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    key = fields.get("key", "")
    path: Path = ("contacts", key)
    there = mapping(data.get("contacts")).get(key)
    if not isinstance(there, Mapping):
        raise InvalidFieldError("key", said("there is no contact '{key}' any more; open the page again", key=key))
    edits = [
        SetValue(path=(*path, "name"), value=fields.get("name", "")),
        *choices(path, fields, there, {"language": Language.MALAY.value}),
        *values(path, fields, (*NUMBERS, VERIFIED)),
    ]
    addresses = there.get("addresses")
    for number, address in enumerate(sequence(addresses)):
        kinds = [kind for kind in KINDS if kind in mapping(address)]
        written = {kind: fields[f"{kind}-{number}"] for kind in (*kinds, VERIFIED) if f"{kind}-{number}" in fields}
        edits += values((*path, "addresses", number), written, (*kinds, VERIFIED))
    if (new := fields.get("new_number")) and isinstance(addresses, list):
        kind = fields.get("new_kind", "")
        edits.append(AppendItem(path=(*path, "addresses"), value={kind if kind in KINDS else KINDS[0]: new}))
    return edits


def _add_contact(fields: Fields, data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    key = fields.get("key", "").lower()
    if not key:
        raise InvalidFieldError("key", "the contact has no short name; write one in small letters: siti")
    if key in mapping(data.get("contacts")):
        raise InvalidFieldError("key", said("there is a contact '{key}' already; write another short name", key=key))
    numbers = {each: fields[each] for each in ("sms", "voice") if fields.get(each)}
    return [SetValue(path=("contacts", key), value={"name": fields.get("name", ""), **numbers})]


def _drop_contact(fields: Fields, _data: Mapping[str, Any], _routes: Sequence[RouteSettings]) -> Sequence[TextEdit]:
    return [RemoveValue(path=("contacts", fields.get("key", "")))]


#: Edit functions by name of the form.
_DEEDS: Final[Mapping[str, _Deed]] = {
    "interval": _interval,
    "add_hours": _add_hours,
    "drop_hours": _drop_hours,
    "add_maintenance": _add_maintenance,
    "calendar": _calendar,
    "drop_maintenance": _drop_maintenance,
    "add_route": _add_route,
    "drop_route": _drop_route,
    "usual_routes": _usual_routes,
    "contact": _contact,
    "add_contact": _add_contact,
    "drop_contact": _drop_contact,
}
#: Edit functions of the notification page.
_TELLING: Final[Mapping[str, Callable[[Fields, Mapping[str, Any]], Sequence[TextEdit]]]] = {
    "rota": notification_edits.rota,
    "add_rota": notification_edits.add_rota,
    "drop_rota": notification_edits.drop_rota,
    "escalation": notification_edits.escalation,
    "recipient": notification_edits.recipient,
    "add_recipient": notification_edits.add_recipient,
    "drop_recipient": notification_edits.drop_recipient,
    "announcement": notification_edits.announcement,
    "letterhead": notification_edits.letterhead,
}
FORMS: Final = frozenset({*_DEEDS, *_TELLING})
#: Forms whose field names contain row positions, which may differ in another version.
BY_PLACE: Final = frozenset({"rota", "escalation"})
#: Forms with a preview before saving.
LOOKED_AT: Final = frozenset({"rota", "add_rota"})


def is_about_telling(form: str) -> bool:
    """Whether a form belongs to the notification page."""
    return form in _TELLING


def _number(fields: Fields) -> int:
    written = fields.get("number", "")
    if not written.isdecimal() or len(written) > 4:
        raise InvalidFieldError("number", "what is to be taken out is not named; open the page again")
    return int(written)


def _time(fields: Fields, name: str) -> time:
    try:
        return time.fromisoformat(fields.get(name, ""))
    except ValueError:
        raise InvalidFieldError(name, "is no time of the day; write 08:00, or 17:30") from None


def _written(route: RouteSettings) -> Written:
    return {key: str(value) for key, value in route.model_dump(exclude_none=True).items()}
