"""Conversion of the short form for a new agency to a minimal document, its YAML configuration. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from alerts.model.channel import Channel
from monitor.config.files.edit import AppendItem, SetValue, TextEdit, edit_text
from monitor.web.agency.form_parsing import Fields

#: Document in which the edits replace the placeholder values.
_TEMPLATE: Final = "agency: X\nname: X\ndomains: []\nmailboxes: {}\n"
_CODE: Final = re.compile(r"[A-Z0-9]{1,11}")
_SEPARATORS: Final = re.compile(r"[\s,;]+")
_CONTACT_KEY: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
#: Key of the contact if no word of its name is a valid key ("pertama" is Malay for "first").
_DEFAULT_KEY: Final = "pertama"
#: Form fields by top-level key of the document, to show an error of the document beside the field that caused it.
_FIELDS: Final[Mapping[str, str]] = {
    "agency": "code",
    "name": "name",
    "domains": "domains",
    "contacts": "number",
    "escalation": "contact",
}


def is_code(text: str) -> bool:
    """Whether *text* is a valid agency code."""
    return _CODE.fullmatch(text) is not None


def new_agency_document(code: str, fields: Fields, channels: Sequence[Channel]) -> str:
    """Return the document of a new agency. *channels*: those with a gateway. `edit_text` raises `NotEditableError`."""
    edits: list[TextEdit] = [
        SetValue(path=("agency",), value=code),
        SetValue(path=("name",), value=fields.get("name", "")),
        *(AppendItem(path=("domains",), value=each) for each in _SEPARATORS.split(fields.get("domains", "")) if each),
    ]
    contact, number, rota = (fields.get(each, "") for each in ("contact", "number", "rota"))
    step: dict[str, Sequence[str]] = {}
    if contact or number:
        key = _contact_key(contact)
        edits.append(SetValue(path=("contacts",), value={key: {"name": contact, "sms": number, "voice": number}}))
        step["contacts"] = [key]
    if rota:
        step["rotas"] = [rota]
    if step:
        # If neither channel has a gateway, name SMS: the checks of the document then report that it has no gateway.
        step_channels = [each.value for each in (Channel.SMS, Channel.VOICE) if each in channels] or [Channel.SMS.value]
        edits.append(SetValue(path=("escalation",), value={"steps": [{**step, "channels": step_channels}]}))
    return edit_text(_TEMPLATE, edits)


def new_agency_field(key: str, message: str) -> str | None:
    """Return the form field that caused the problem *message* at *key* of the document; `None`: no field caused it."""
    section = re.split(r"[.\[]", key, maxsplit=1)[0]
    is_contact_name = section == "contacts" and (key.endswith(".name") or "name" in message[:8])
    return "contact" if is_contact_name else _FIELDS.get(section)


def _contact_key(name: str) -> str:
    """Return the first word of a person's name that is a valid key of a contact."""
    name_words = re.findall(r"[a-z0-9]+", name.lower())
    return next((each for each in name_words if _CONTACT_KEY.fullmatch(each)), _DEFAULT_KEY)
