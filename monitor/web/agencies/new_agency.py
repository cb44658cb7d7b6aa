"""Form input for a new agency, converted to a minimal document. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from alerts.model.channel import Channel
from monitor.config.files.edit import AppendItem, SetValue, TextEdit, edit_text
from monitor.web.agency.form_parsing import Fields

#: Template in which each line is replaced by a value of the form.
_BLANK: Final = "agency: X\nname: X\ndomains: []\nmailboxes: {}\n"
_CODE: Final = re.compile(r"[A-Z0-9]{1,11}")
_BETWEEN: Final = re.compile(r"[\s,;]+")
_KEY: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
#: Key of a contact whose name contains no usable characters.
_FIRST: Final = "pertama"
#: Document keys by field of the form.
_FIELDS: Final[Mapping[str, str]] = {
    "agency": "code",
    "name": "name",
    "domains": "domains",
    "contacts": "number",
    "escalation": "contact",
}


def is_code(written: str) -> bool:
    """Whether *written* is a valid agency code."""
    return _CODE.fullmatch(written) is not None


def new_agency_document(code: str, fields: Fields, channels: Sequence[Channel]) -> str:
    """Return the document. *channels*: the channels that have a gateway. Raise `NotEditableError`."""
    edits: list[TextEdit] = [
        SetValue(path=("agency",), value=code),
        SetValue(path=("name",), value=fields.get("name", "")),
        *(AppendItem(path=("domains",), value=each) for each in _BETWEEN.split(fields.get("domains", "")) if each),
    ]
    contact, number, rota = (fields.get(each, "") for each in ("contact", "number", "rota"))
    step: dict[str, Sequence[str]] = {}
    if contact or number:
        key = _key(contact)
        edits.append(SetValue(path=("contacts",), value={key: {"name": contact, "sms": number, "voice": number}}))
        step["contacts"] = [key]
    if rota:
        step["rotas"] = [rota]
    if step:
        ways = [each.value for each in (Channel.SMS, Channel.VOICE) if each in channels] or [Channel.SMS.value]
        edits.append(SetValue(path=("escalation",), value={"steps": [{**step, "channels": ways}]}))
    return edit_text(_BLANK, edits)


def new_agency_field(key: str, problem: str) -> str | None:
    """Return the form field of a problem at a key of the document; `None`: it belongs to no field."""
    top = re.split(r"[.\[]", key, maxsplit=1)[0]
    return "contact" if top == "contacts" and (key.endswith(".name") or "name" in problem[:8]) else _FIELDS.get(top)


def _key(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", name.lower())
    return next((each for each in words if _KEY.fullmatch(each)), _FIRST)
